// Package check looks at a whole ext2 image, as e2fsck -f -n does, in a fraction of a
// millisecond: tests judge hundreds of thousands of images with it. What it finds wrong
// it names, what it finds right it gives as a tree.
//
// It shares the decoders of package disk with the driver, and nothing else: how blocks
// are found, names looked up and space accounted for is written a second time here.
//
// e2fsck is the judge of this package (its tests hold the two against each other, on good
// images and on damaged ones). It is a little stricter: hashes of attribute blocks and the
// exact hash ranges of directory leaves must be right, too.
package check

import (
	"fmt"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// Source is an image in memory, in pieces that hold a block each. What View gives is not
// changed, and not used after Image returned except through the nodes of its Result.
type Source interface {
	View(off, n int64) []byte // n bytes from byte off on
	Size() int64              // bytes
}

// Options steer Image.
type Options struct {
	// Orphans: files on the orphan list (s_last_orphan) are in order. Without it the
	// list must be empty.
	Orphans bool
}

// Result is what was found.
type Result struct {
	Super    *disk.Superblock
	Problems []string // one line each, no more than a few dozen; none: the image is whole
	Nodes    []*Node  // inodes in use, by number; those that are reserved left out, the root not

	byIno []*Node
}

// Node is an inode in use.
type Node struct {
	Ino     uint32
	Inode   disk.Inode
	Orphan  bool
	Paths   []string  // from the root, "/" for the root itself; of a file without a name none
	Content []Mapping // where the content is, ascending
	Xattrs  []disk.XattrEntry
	Target  string // of a symbolic link

	names  int    // entries that point to the inode, "." and ".." included
	parent uint32 // of a directory: where its name stands
	dotdot uint32 // of a directory: what its ".." says
	kids   []kid
	blocks uint32 // content, tables and attribute block
	last   int64  // number of the last content block in the file; -1: none
}

// Mapping is one block of a file.
type Mapping struct {
	Logical uint64 // number of the block in the file
	Block   uint32 // block of the file system
}

// kid is a name in a directory.
type kid struct {
	name string
	ino  uint32
}

// Node is the inode of a number, nil when it is not in use.
func (r *Result) Node(ino uint32) *Node {
	if int(ino) >= len(r.byIno) {
		return nil
	}
	return r.byIno[ino]
}

// maxProblems ends the list: one wrong pointer may have thousands of consequences.
const maxProblems = 40

// checker is the state of one look at an image.
type checker struct {
	*Result
	o       Options
	src     Source
	sb      *disk.Superblock
	bs      int64
	groups  []disk.GroupDesc
	owner   []uint32 // inode that has the block, ownMeta, or 0
	refs    map[uint32]uint32
	orphans map[uint32]bool
	dirs    []*Node
}

// ownMeta owns what belongs to the file system itself.
const ownMeta = ^uint32(0)

func (c *checker) bad(format string, args ...any) {
	if len(c.Problems) < maxProblems {
		c.Problems = append(c.Problems, fmt.Sprintf(format, args...))
	}
}

func (c *checker) block(b uint32) []byte { return c.src.View(int64(b)*c.bs, c.bs) }

// Image looks at the image in src.
func Image(src Source, o Options) *Result {
	c := &checker{Result: &Result{}, o: o, src: src, refs: map[uint32]uint32{}, orphans: map[uint32]bool{}}
	if c.super() && c.descriptors() {
		c.ownBlocks()
		c.followOrphans()
		c.inodes()
		c.directories()
		c.paths()
		c.attributeBlocks()
		c.bitmaps()
	}
	return c.Result
}

// super reads the superblock; false when there is no going on.
func (c *checker) super() bool {
	sb, err := disk.DecodeSuperblock(c.src.View(disk.SuperblockOffset, disk.SuperblockSize))
	if err == nil {
		c.sb, c.Super = sb, sb
		_, err = sb.Check(c.src.Size(), true)
	}
	if err != nil {
		c.bad("superblock: %v", err)
		return false
	}
	c.bs = int64(sb.BlockSize())
	if hasJournal := sb.HasCompat(disk.CompatHasJournal); hasJournal != (sb.JournalInum != 0) {
		c.bad("superblock: has_journal is %v, s_journal_inum %d", hasJournal, sb.JournalInum)
	}
	return true
}

// descriptors reads the group descriptors.
func (c *checker) descriptors() bool {
	per := c.sb.DescPerBlock()
	c.groups = make([]disk.GroupDesc, c.sb.GroupCount())
	for g := range c.groups {
		b := c.block(uint32(c.sb.DescBlock(uint32(g) / per)))
		c.groups[g] = disk.DecodeGroupDesc(b[uint32(g)%per*disk.GroupDescSize:])
		if err := c.sb.CheckGroupDesc(uint32(g), c.groups[g]); err != nil {
			c.bad("group %d: %v", g, err)
			return false
		}
	}
	return true
}

// ownBlocks marks what the file system has for itself.
func (c *checker) ownBlocks() {
	c.owner = make([]uint32, c.sb.BlocksCount)
	mark := func(first uint64, n uint32) {
		for b := first; b < first+uint64(n); b++ {
			c.owner[b] = ownMeta
		}
	}
	for g, d := range c.groups {
		mark(c.sb.GroupFirstBlock(uint32(g)), c.sb.GroupOverhead(uint32(g)))
		mark(uint64(d.BlockBitmap), 1)
		mark(uint64(d.InodeBitmap), 1)
		mark(uint64(d.InodeTable), c.sb.InodeTableBlocks())
	}
}

// inodeBytes are the bytes of an inode in its table.
func (c *checker) inodeBytes(ino uint32) []byte {
	g, i := c.sb.InodeGroup(ino)
	size := int64(c.sb.InodeSize())
	return c.src.View(int64(c.groups[g].InodeTable)*c.bs+int64(i)*size, size)
}

// followOrphans reads the list of files to delete or to truncate.
func (c *checker) followOrphans() {
	if c.sb.LastOrphan != 0 && !c.o.Orphans {
		c.bad("superblock: s_last_orphan is %d, expected no orphans", c.sb.LastOrphan)
	}
	for ino := c.sb.LastOrphan; ino != 0; {
		if !c.sb.ValidInode(ino) || ino == disk.RootIno || c.orphans[ino] {
			c.bad("the orphan list has inode %d, out of range or twice", ino)
			return
		}
		c.orphans[ino] = true
		in := disk.DecodeInode(c.inodeBytes(ino), c.sb)
		if in.Mode == 0 || in.Links > 0 && !in.IsReg() {
			c.bad("inode %d on the orphan list has i_mode 0%o and i_links_count %d", ino, in.Mode, in.Links)
		}
		ino = in.Dtime
	}
}

// bitmaps holds bitmaps and counts against what was found to be in use.
func (c *checker) bitmaps() {
	var freeBlocks, freeInodes uint32
	for g, d := range c.groups {
		blocks, inodes := c.blockBitmap(uint32(g), d), c.inodeBitmap(uint32(g), d)
		if n := uint32(d.FreeBlocks); n != blocks {
			c.bad("group %d: bg_free_blocks_count is %d, %d are free", g, n, blocks)
		}
		if n := uint32(d.FreeInodes); n != inodes {
			c.bad("group %d: bg_free_inodes_count is %d, %d are free", g, n, inodes)
		}
		freeBlocks += blocks
		freeInodes += inodes
	}
	dirs := make([]uint32, len(c.groups))
	for _, n := range c.dirs {
		g, _ := c.sb.InodeGroup(n.Ino)
		dirs[g]++
	}
	for g, d := range c.groups {
		if uint32(d.UsedDirs) != dirs[g] {
			c.bad("group %d: bg_used_dirs_count is %d, there are %d", g, d.UsedDirs, dirs[g])
		}
	}
	if n := c.sb.FreeBlocksCount; n != freeBlocks {
		c.bad("superblock: s_free_blocks_count is %d, %d are free", n, freeBlocks)
	}
	if n := c.sb.FreeInodesCount; n != freeInodes {
		c.bad("superblock: s_free_inodes_count is %d, %d are free", n, freeInodes)
	}
}

func (c *checker) blockBitmap(g uint32, d disk.GroupDesc) (free uint32) {
	m := disk.Bitmap(c.block(d.BlockBitmap))
	n, first := int(c.sb.GroupBlocks(g)), int(c.sb.GroupFirstBlock(g))
	for i := range n {
		owner := c.owner[first+i]
		if owner == 0 {
			free++
		}
		if m.Test(i) == (owner == 0) {
			c.bad("block bitmap: block %d is marked in use: %v, but belongs to %s", first+i, owner == 0, ownerName(owner))
		}
	}
	if end := len(m) * 8; m.NextClear(n, end) != end {
		c.bad("block bitmap of group %d: padding is not set", g)
	}
	return free
}

func ownerName(owner uint32) string {
	switch owner {
	case 0:
		return "nobody"
	case ownMeta:
		return "the file system"
	}
	return fmt.Sprintf("inode %d", owner)
}

func (c *checker) inodeBitmap(g uint32, d disk.GroupDesc) (free uint32) {
	m := disk.Bitmap(c.block(d.InodeBitmap))
	n, first := int(c.sb.InodesPerGroup), g*c.sb.InodesPerGroup+1
	for i := range n {
		ino := first + uint32(i)
		used := ino < c.sb.FirstIno() || c.byIno[ino] != nil
		if !used {
			free++
		}
		if m.Test(i) != used {
			c.bad("inode bitmap: inode %d is marked in use: %v", ino, !used)
		}
	}
	if end := len(m) * 8; m.NextClear(n, end) != end {
		c.bad("inode bitmap of group %d: padding is not set", g)
	}
	return free
}
