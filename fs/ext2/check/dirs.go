package check

import (
	"bytes"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// directories reads the names of all directories.
func (c *checker) directories() {
	for _, dir := range c.dirs {
		if dir.Inode.Links == 0 {
			continue // an orphan: removed while somebody was in it
		}
		seen := make(map[string]bool, 16)
		for _, m := range dir.Content {
			c.dirBlock(dir, m, seen)
		}
		if dir.Inode.Flags&disk.InodeIndex != 0 {
			c.index(dir)
		}
	}
	for _, n := range c.Nodes {
		c.checkNames(n)
	}
}

// dirBlock reads the entries of one block.
func (c *checker) dirBlock(dir *Node, m Mapping, seen map[string]bool) {
	b := c.block(m.Block)
	if err := disk.CheckDirBlock(b, c.sb.InodesCount); err != nil {
		c.bad("directory %d, block %d (%d): %v", dir.Ino, m.Logical, m.Block, err)
		return
	}
	count := 0
	for off := 0; ; count++ {
		d, next, ok := disk.NextDirent(b, off)
		if !ok {
			break
		}
		off = next
		if m.Logical == 0 && count < 2 {
			c.dots(dir, d, count)
		} else if d.Inode != 0 {
			c.entry(dir, d, seen)
		}
	}
	if m.Logical == 0 && count < 2 {
		c.bad("directory %d: no \".\" and \"..\"", dir.Ino)
	}
}

// dots looks at the first two entries.
func (c *checker) dots(dir *Node, d disk.Dirent, i int) {
	switch {
	case i == 0 && (string(d.Name) != "." || d.Inode != dir.Ino):
		c.bad("directory %d: the first entry is %q of inode %d", dir.Ino, d.Name, d.Inode)
	case i == 1 && string(d.Name) != "..":
		c.bad("directory %d: the second entry is %q", dir.Ino, d.Name)
	case i == 1:
		dir.dotdot = d.Inode
	}
	if c.sb.HasIncompat(disk.IncompatFiletype) && d.FileType != disk.TypeDir {
		c.bad("directory %d: %q has file type %d", dir.Ino, d.Name, d.FileType)
	}
	if n := c.Node(d.Inode); n != nil {
		n.names++
	}
}

// entry looks at a name.
func (c *checker) entry(dir *Node, d disk.Dirent, seen map[string]bool) {
	name := string(d.Name)
	switch {
	case name == "" || name == "." || name == ".." || bytes.ContainsAny(d.Name, "/\x00"):
		c.bad("directory %d: impossible name %q", dir.Ino, name)
		return
	case seen[name]:
		c.bad("directory %d: %q stands there twice", dir.Ino, name)
	}
	seen[name] = true
	n := c.Node(d.Inode)
	if n == nil || n.Inode.Links == 0 {
		c.bad("directory %d: %q is inode %d, which is not in use", dir.Ino, name, d.Inode)
		return
	}
	want := uint8(disk.TypeUnknown)
	if c.sb.HasIncompat(disk.IncompatFiletype) {
		want = disk.FileType(n.Inode.Mode)
	}
	if d.FileType != want {
		c.bad("directory %d: %q has file type %d, expected %d", dir.Ino, name, d.FileType, want)
	}
	if n.Inode.IsDir() {
		if n.parent != 0 || n.Ino == disk.RootIno {
			c.bad("directory %d: %q is a second name of directory %d", dir.Ino, name, d.Inode)
			return
		}
		n.parent = dir.Ino
	}
	n.names++
	dir.kids = append(dir.kids, kid{name, d.Inode})
}

// checkNames holds i_links_count against the names found, and ".." against the parent.
func (c *checker) checkNames(n *Node) {
	if n.Orphan && n.Inode.Links == 0 {
		return
	}
	if int(n.Inode.Links) != n.names {
		c.bad("inode %d: i_links_count is %d, there are %d names", n.Ino, n.Inode.Links, n.names)
	}
	if !n.Inode.IsDir() {
		return
	}
	if n.Ino == disk.RootIno {
		n.parent = n.Ino
	}
	if n.parent == 0 {
		c.bad("directory %d has no name", n.Ino)
	} else if n.dotdot != n.parent {
		c.bad("directory %d: \"..\" is inode %d, its name is in %d", n.Ino, n.dotdot, n.parent)
	}
}

// paths walks down from the root. What it does not come by is not connected.
func (c *checker) paths() {
	root := c.Node(disk.RootIno)
	if root == nil {
		return
	}
	root.Paths = []string{"/"}
	for todo := []*Node{root}; len(todo) > 0; {
		dir := todo[0]
		todo = todo[1:]
		prefix := dir.Paths[0]
		if prefix != "/" {
			prefix += "/"
		}
		for _, k := range dir.kids {
			n := c.Node(k.ino)
			n.Paths = append(n.Paths, prefix+k.name)
			if n.Inode.IsDir() && len(n.Paths) == 1 {
				todo = append(todo, n)
			}
		}
	}
	for _, n := range c.Nodes {
		if len(n.Paths) == 0 && n.Inode.Links > 0 {
			c.bad("inode %d is not connected to the root", n.Ino)
		}
	}
}

// hashed is the range of hashes that a node or leaf may hold, its bounds as the index
// has them: the lowest bit set says that the hash begins in the leaf before.
type hashed struct{ from, to uint64 }

// index looks at the tree of hashes of a directory.
func (c *checker) index(dir *Node) {
	if !c.sb.HasCompat(disk.CompatDirIndex) {
		c.bad("directory %d has an index, the file system does not", dir.Ino)
		return
	}
	if len(dir.Content) == 0 {
		return
	}
	root, err := disk.DecodeDxRoot(c.block(dir.Content[0].Block))
	if err != nil {
		c.bad("directory %d: %v", dir.Ino, err)
		return
	}
	x := &indexWalk{c: c, dir: dir, version: c.sb.HashVersion(root.HashVersion), seen: make([]bool, len(dir.Content))}
	x.seen[0] = true
	x.table(root.DxNode, int(root.IndirectLevels), hashed{0, 1 << 32})
	for i, seen := range x.seen {
		if !seen {
			c.bad("directory %d: block %d is not in the index", dir.Ino, i)
		}
	}
}

type indexWalk struct {
	c       *checker
	dir     *Node
	version uint8
	seen    []bool
}

// table follows the entries of a root or node.
func (x *indexWalk) table(n disk.DxNode, levels int, r hashed) {
	if err := n.CheckOrder(); err != nil {
		x.c.bad("directory %d: %v", x.dir.Ino, err)
		return
	}
	for i := range n.Count {
		e := n.At(i)
		sub := hashed{uint64(e.Hash), r.to}
		if i == 0 {
			sub.from = r.from
		}
		if i+1 < n.Count {
			sub.to = uint64(n.At(i + 1).Hash)
		}
		if sub.from&^1 < r.from&^1 || sub.to > r.to {
			x.c.bad("directory %d: hashes %#x to %#x of the index lie outside of their node", x.dir.Ino, sub.from, sub.to)
		}
		if int(e.Block) >= len(x.seen) || x.seen[e.Block] {
			x.c.bad("directory %d: the index has block %d twice, or past the end", x.dir.Ino, e.Block)
			continue
		}
		x.seen[e.Block] = true
		b := x.c.block(x.dir.Content[e.Block].Block)
		if levels == 0 {
			x.leaf(b, e.Block, sub)
			continue
		}
		node, err := disk.DecodeDxNode(b)
		if err != nil {
			x.c.bad("directory %d: %v", x.dir.Ino, err)
			continue
		}
		x.table(node, levels-1, sub)
	}
}

// leaf checks that every name of the block belongs there.
func (x *indexWalk) leaf(b []byte, block uint32, r hashed) {
	for off := 0; ; {
		d, next, ok := disk.NextDirent(b, off)
		if !ok {
			return
		}
		off = next
		if d.Inode == 0 {
			continue
		}
		major, _ := disk.DirHash(x.version, x.c.sb.HashSeed, d.Name)
		h := uint64(major)
		if h < r.from&^1 || h > r.to || h == r.to && r.to&1 == 0 {
			x.c.bad("directory %d, block %d: %q has hash %#x, the index says %#x to %#x", x.dir.Ino, block, d.Name, h, r.from, r.to)
		}
	}
}
