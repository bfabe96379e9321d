package check

import (
	"bytes"
	"encoding/binary"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

var le = binary.LittleEndian

// Offsets in an inode, for a quick look.
const (
	offMode      = 0
	offDtime     = 20
	offLinks     = 26
	offSizeHi    = 108
	offFileACLHi = 118
)

// inodes looks at every inode of the tables.
func (c *checker) inodes() {
	c.byIno = make([]*Node, c.sb.InodesCount+1)
	for ino := uint32(1); ino <= c.sb.InodesCount; ino++ {
		b := c.inodeBytes(ino)
		if ino < c.sb.FirstIno() && ino != disk.RootIno {
			c.reserved(ino, b)
			continue
		}
		if le.Uint16(b[offLinks:]) == 0 && !c.orphans[ino] {
			if le.Uint16(b[offMode:]) != 0 && le.Uint32(b[offDtime:]) == 0 {
				c.bad("inode %d: deleted, but i_dtime is 0", ino)
			}
			continue
		}
		c.inode(ino, b)
	}
	if c.byIno[disk.RootIno] == nil || !c.byIno[disk.RootIno].Inode.IsDir() {
		c.bad("the root inode is no directory")
	}
}

// reserved looks at an inode that no name points to.
func (c *checker) reserved(ino uint32, b []byte) {
	n := &Node{Ino: ino, Inode: disk.DecodeInode(b, c.sb), last: -1}
	in := &n.Inode
	switch {
	case ino == disk.JournalIno && c.sb.JournalInum == ino:
		if !in.IsReg() || in.Links == 0 {
			c.bad("journal inode: i_mode 0%o, i_links_count %d", in.Mode, in.Links)
		}
		c.mapContent(n)
		if uint64(len(n.Content)) < in.Size/uint64(c.bs) {
			c.bad("journal inode: %d blocks, i_size %d", len(n.Content), in.Size)
		}
		c.checkBlocksCount(n)
	case ino == disk.ResizeIno && c.sb.HasCompat(disk.CompatResizeInode):
		c.mapContent(n)
		c.checkBlocksCount(n)
	case in.Links != 0 || in.Sectors != 0 && ino != disk.BadBlocksIno || in.Block[0] != 0 || in.Mode != 0:
		c.bad("inode %d is reserved, but has i_mode 0%o, i_links_count %d, i_blocks %d", ino, in.Mode, in.Links, in.Sectors)
	}
}

// inode looks at an inode in use.
func (c *checker) inode(ino uint32, b []byte) {
	n := &Node{Ino: ino, Inode: disk.DecodeInode(b, c.sb), Orphan: c.orphans[ino], last: -1}
	in := &n.Inode
	check := n.Inode
	if n.Orphan {
		check.Dtime, check.Links = 0, max(check.Links, 1)
	} else if in.Dtime != 0 {
		c.bad("inode %d: in use, but i_dtime is %d", ino, in.Dtime)
	}
	if n.Orphan && in.Links == 0 && in.IsSymlink() {
		check.Mode = in.Mode // its target may be gone already
	} else if err := check.CheckInode(ino, c.sb); err != nil {
		c.bad("%v", err)
	}
	if in.FragAddr != 0 || in.SectorsHi != 0 || le.Uint16(b[offFileACLHi:]) != 0 || in.Flags&disk.InodeIMagic != 0 {
		c.bad("inode %d: fields or flags are set that nothing here uses", ino)
	}
	c.byIno[ino] = n
	c.Nodes = append(c.Nodes, n)
	switch {
	case in.IsReg(), in.IsDir(), in.IsSymlink() && !in.FastSymlink(c.sb):
		c.mapContent(n)
	case in.IsSymlink():
	default:
		for i, p := range in.Block[4:] {
			if p != 0 {
				c.bad("inode %d: a special file with i_block[%d] %d", ino, i+4, p)
			}
		}
	}
	c.xattrs(n, b)
	c.checkBlocksCount(n)
	switch {
	case in.IsDir():
		c.dirs = append(c.dirs, n)
		if hi := le.Uint32(b[offSizeHi:]); hi != 0 {
			c.bad("directory %d: the high word of its size is %d", ino, hi)
		}
		if n.Orphan {
			return // removed: its size is 0, its blocks follow when nobody is in it
		}
		if n.last < 0 || in.Size != uint64(n.last+1)*uint64(c.bs) || len(n.Content) != int(n.last+1) {
			c.bad("directory %d: i_size is %d, it has %d blocks up to %d", ino, in.Size, len(n.Content), n.last)
		}
	case in.IsReg():
		if in.Size > c.maxSize() {
			c.bad("inode %d: i_size is %d, i_block reaches %d", ino, in.Size, c.maxSize())
		}
		if n.last > 0 && !n.Orphan && in.Size < uint64(n.last)*uint64(c.bs) {
			c.bad("inode %d: i_size is %d, there is a block at %d", ino, in.Size, n.last*c.bs)
		}
	case in.IsSymlink() && in.Links > 0:
		c.symlink(n)
	}
}

// maxSize is how far i_block reaches, in bytes.
func (c *checker) maxSize() uint64 {
	per := uint64(c.sb.AddrPerBlock())
	return (disk.NDirBlocks + per + per*per + per*per*per) * uint64(c.bs)
}

// symlink reads the target.
func (c *checker) symlink(n *Node) {
	in := &n.Inode
	target := in.SymlinkTarget()
	if !in.FastSymlink(c.sb) {
		if len(n.Content) != 1 || n.Content[0].Logical != 0 || in.Size >= uint64(c.bs) {
			c.bad("symbolic link %d: i_size is %d, it has %d blocks", n.Ino, in.Size, len(n.Content))
			return
		}
		b := c.block(n.Content[0].Block)
		target = b[:in.Size]
		if b[in.Size] != 0 {
			c.bad("symbolic link %d: the target does not end at i_size, %d", n.Ino, in.Size)
		}
	}
	if bytes.IndexByte(target, 0) >= 0 {
		c.bad("symbolic link %d: the target has a zero byte", n.Ino)
	}
	n.Target = string(target)
}

func (c *checker) checkBlocksCount(n *Node) {
	if want := uint64(n.blocks) * uint64(c.bs/512); n.Inode.Sectors512(c.sb) != want {
		c.bad("inode %d: i_blocks is %d, expected %d", n.Ino, n.Inode.Sectors512(c.sb), want)
	}
}

// own makes the inode the owner of a block; false when it cannot be.
func (c *checker) own(n *Node, b uint32, what string) bool {
	if !c.sb.ValidBlock(uint64(b)) {
		c.bad("inode %d: %s is block %d, out of range", n.Ino, what, b)
		return false
	}
	n.blocks++
	if c.owner[b] != 0 {
		if n.Ino == disk.ResizeIno && c.owner[b] == ownMeta {
			return true // room for descriptors, which is its content
		}
		c.bad("block %d has two owners: inode %d (%s) and %s", b, n.Ino, what, ownerName(c.owner[b]))
		return false
	}
	c.owner[b] = n.Ino
	return true
}

// mapContent follows i_block.
func (c *checker) mapContent(n *Node) {
	per := uint64(c.sb.AddrPerBlock())
	for i, p := range n.Inode.Block[:disk.NDirBlocks] {
		c.content(n, p, uint64(i), 0)
	}
	at := uint64(disk.NDirBlocks)
	span := uint64(1)
	for level := 1; level <= 3; level++ {
		span *= per
		c.content(n, n.Inode.Block[disk.NDirBlocks+level-1], at, level)
		at += span
	}
}

// content follows a pointer to a content block (level 0) or to a table.
func (c *checker) content(n *Node, p uint32, logical uint64, level int) {
	if p == 0 {
		return
	}
	if level == 0 {
		if c.own(n, p, "content") {
			n.Content = append(n.Content, Mapping{logical, p})
			n.last = int64(logical)
		}
		return
	}
	if !c.own(n, p, "table") {
		return
	}
	per := uint64(c.sb.AddrPerBlock())
	span := uint64(1)
	for range level - 1 {
		span *= per
	}
	b := c.block(p)
	for i := range per {
		if q := le.Uint32(b[4*i:]); q != 0 {
			c.content(n, q, logical+i*span, level-1)
		}
	}
}

// xattrs reads the attributes in the inode and in its block.
func (c *checker) xattrs(n *Node, b []byte) {
	in, err := disk.DecodeInodeXattrs(disk.InodeXattrArea(b, &n.Inode))
	if err != nil {
		c.bad("inode %d: %v", n.Ino, err)
	}
	n.Xattrs = in
	p := n.Inode.FileACL
	if p == 0 {
		return
	}
	if !c.sb.ValidBlock(uint64(p)) {
		return // CheckInode said it
	}
	n.blocks++
	c.refs[p]++
	entries, _, err := disk.DecodeXattrBlock(c.block(p))
	if err != nil {
		c.bad("inode %d, attribute block %d: %v", n.Ino, p, err)
		return
	}
	if c.refs[p] == 1 {
		if c.owner[p] != 0 {
			c.bad("block %d has two owners: inode %d (attributes) and %s", p, n.Ino, ownerName(c.owner[p]))
		}
		c.owner[p] = n.Ino
	}
	n.Xattrs = append(n.Xattrs, entries...)
}

// attributeBlocks holds the counts of users and the hashes against what was found.
func (c *checker) attributeBlocks() {
	for p, users := range c.refs {
		entries, h, err := disk.DecodeXattrBlock(c.block(p))
		if err != nil {
			continue // said already
		}
		if h.Refcount != users {
			c.bad("attribute block %d: h_refcount is %d, %d inodes use it", p, h.Refcount, users)
		}
		for _, e := range entries {
			if e.Hash != disk.XattrEntryHash(e.Name, e.Value) && e.Hash != disk.XattrEntryHashSigned(e.Name, e.Value) {
				c.bad("attribute block %d: the hash of %q is wrong", p, e.Name)
			}
		}
		if h.Hash != 0 && h.Hash != disk.XattrBlockHash(entries) {
			c.bad("attribute block %d: h_hash is %#x, expected %#x", p, h.Hash, disk.XattrBlockHash(entries))
		}
	}
}
