//go:build linux

package ext2

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// namedIno is an entry for crafted.dir.
type namedIno struct {
	name string
	ino  uint32
}

// dir makes inode ino a linear directory of "." and ".." and the entries, in fresh blocks,
// and returns its number.
func (c *crafted) dir(ino uint32, entries ...namedIno) uint32 {
	c.t.Helper()
	entries = append([]namedIno{{".", ino}, {"..", RootIno}}, entries...)
	var blocks [][]byte
	for len(entries) > 0 {
		block := make([]byte, c.blockSize)
		off, last := 0, 0
		for len(entries) > 0 && off+disk.RecLen(len(entries[0].name)) <= c.blockSize {
			e := entries[0]
			last = off
			disk.PutDirent(block, off, e.ino, disk.RecLen(len(e.name)), []byte(e.name), disk.TypeUnknown)
			off += disk.RecLen(len(e.name))
			entries = entries[1:]
		}
		d, _, _ := disk.NextDirent(block, last)
		disk.PutDirent(block, last, d.Inode, c.blockSize-last, append([]byte(nil), d.Name...), d.FileType)
		blocks = append(blocks, block)
	}
	return c.dirOf(ino, blocks...)
}

// dirOf makes inode ino a directory of the blocks given; nil is a hole.
func (c *crafted) dirOf(ino uint32, blocks ...[]byte) uint32 {
	c.t.Helper()
	var iblock [15]uint32
	for i, data := range blocks {
		if data == nil {
			continue
		}
		p := c.take()
		if i > 0 && i%7 == 0 {
			p = c.take() // not all in one piece
		}
		c.write(data, int64(p)*int64(c.blockSize))
		c.put(&iblock, int64(i), p)
	}
	c.inode(ino, func(in *disk.Inode) {
		*in = disk.Inode{Mode: disk.ModeDir | 0o755, Links: 2, Block: iblock, Size: uint64(len(blocks) * c.blockSize),
			Sectors: uint32(len(blocks) * c.blockSize / 512), ExtraSize: in.ExtraSize, Flags: in.Flags & disk.InodeIndex}
	})
	return ino
}

// dirBlock reads file block n of a directory with direct blocks only, for change.
func (c *crafted) dirBlock(ino uint32, n int, change func(b []byte)) {
	c.t.Helper()
	var p uint32
	c.inode(ino, func(in *disk.Inode) { p = in.Block[n] })
	at := int64(p) * int64(c.blockSize)
	b := c.dev.Bytes(at, int64(c.blockSize))
	change(b)
	c.write(b, at)
}

// htree makes inode ino an indexed directory of one level: leaves of the entries, by
// hash, per names each.
func (c *crafted) htree(ino uint32, per int, entries ...namedIno) uint32 {
	c.t.Helper()
	return c.htreeWith(ino, c.open(Options{}).hasher(), per, 0, entries...)
}

// htreeWith is htree with another hash and, unless perNode is 0, with a level of nodes,
// perNode leaves each.
func (c *crafted) htreeWith(ino uint32, h dirHasher, per, perNode int, entries ...namedIno) uint32 {
	c.t.Helper()
	leaves := splitByHash(&h, per, entries)
	root := make([]byte, c.blockSize)
	table := disk.InitDxRoot(root, ino, RootIno, true, h.version%3)
	var index []disk.DxEntry
	blocks := [][]byte{root}
	for i, leaf := range leaves {
		e := disk.DxEntry{Block: uint32(i + 1)}
		if i > 0 {
			_, e.Hash = h.pos([]byte(leaf[0].name))
			if _, before := h.pos([]byte(leaves[i-1][len(leaves[i-1])-1].name)); before == e.Hash {
				e.Hash |= 1
			}
		}
		index = append(index, e)
		blocks = append(blocks, packLeaf(c.blockSize, leaf))
	}
	if perNode > 0 {
		var top []disk.DxEntry
		for part := range slices.Chunk(index, perNode) {
			top = append(top, disk.DxEntry{Hash: part[0].Hash, Block: uint32(len(blocks))})
			block := make([]byte, c.blockSize)
			node := disk.InitDxNode(block)
			setTable(&node, part)
			blocks = append(blocks, block)
		}
		index = top
		table.SetLevels(root, 1)
	}
	setTable(&table.DxNode, index)
	c.inode(ino, func(in *disk.Inode) { in.Flags |= disk.InodeIndex })
	return c.dirOf(ino, blocks...)
}

func setTable(node *disk.DxNode, entries []disk.DxEntry) {
	node.SetCount(len(entries))
	for i, e := range entries {
		node.Set(i, e)
	}
}

func packLeaf(blockSize int, leaf []namedIno) []byte {
	block := make([]byte, blockSize)
	off := 0
	for i, e := range leaf {
		n := disk.RecLen(len(e.name))
		if i == len(leaf)-1 {
			n = blockSize - off
		}
		disk.PutDirent(block, off, e.ino, n, []byte(e.name), disk.TypeUnknown)
		off += n
	}
	return block
}

func put16(b []byte, off int, v uint16) { binary.LittleEndian.PutUint16(b[off:], v) }
func put32(b []byte, off int, v uint32) { binary.LittleEndian.PutUint32(b[off:], v) }

// splitByHash sorts entries by hash and cuts them into leaves.
func splitByHash(h *dirHasher, per int, entries []namedIno) (leaves [][]namedIno) {
	entries = slices.Clone(entries)
	slices.SortStableFunc(entries, func(a, b namedIno) int {
		_, x := h.pos([]byte(a.name))
		_, y := h.pos([]byte(b.name))
		return cmp.Compare(x, y)
	})
	for part := range slices.Chunk(entries, per) {
		leaves = append(leaves, part)
	}
	return leaves
}
