//go:build linux

package hostile

import (
	"encoding/binary"
	"fmt"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// survey finds the structures of the image, which is a good one.
func (im *Image) survey() (err error) {
	im.sb, err = disk.DecodeSuperblock(im.dev.Bytes(disk.SuperblockOffset, disk.SuperblockSize))
	if err != nil {
		return err
	}
	sb := im.sb
	im.bs = int64(sb.BlockSize())
	im.pointers = []uint32{0, 1, 2, 7, 8, 11, 12, sb.InodesCount, sb.InodesCount + 1, sb.BlocksCount, sb.BlocksCount - 1,
		1 << 31, 1<<31 - 1, 1<<32 - 1, uint32(im.bs), uint32(im.bs) - 1, 0xFFFF, 0x7FFF, 255, 256, 32000, 32001}
	bitmaps := map[uint32]disk.Bitmap{}
	var tables []int64
	for g := range sb.GroupCount() {
		at := int64(sb.DescBlock(g/sb.DescPerBlock()))*im.bs + int64(g%sb.DescPerBlock())*disk.GroupDescSize
		d := disk.DecodeGroupDesc(im.dev.Bytes(at, disk.GroupDescSize))
		im.groups = append(im.groups, at)
		im.bitmaps = append(im.bitmaps, int64(d.BlockBitmap)*im.bs, int64(d.InodeBitmap)*im.bs)
		im.pointers = append(im.pointers, d.BlockBitmap, d.InodeBitmap, d.InodeTable, uint32(sb.GroupFirstBlock(g)))
		bitmaps[g] = disk.Bitmap(im.dev.Bytes(int64(d.InodeBitmap)*im.bs, im.bs))
		tables = append(tables, int64(d.InodeTable)*im.bs)
	}
	for ino := uint32(1); ino <= sb.InodesCount; ino++ {
		g, index := sb.InodeGroup(ino)
		if !bitmaps[g].Test(int(index)) {
			continue
		}
		at := tables[g] + int64(index)*int64(sb.InodeSize())
		raw := disk.DecodeInode(im.dev.Bytes(at, int64(sb.InodeSize())), sb)
		if raw.Stale() {
			continue
		}
		im.surveyInode(ino, at, &raw)
	}
	if len(im.tables) == 0 || len(im.entries) < 20 || len(im.inodes) < 20 {
		return fmt.Errorf("too little in it: %d tables, %d directory entries, %d inodes", len(im.tables), len(im.entries), len(im.inodes))
	}
	return nil
}

func (im *Image) surveyInode(ino uint32, at int64, raw *disk.Inode) {
	im.inodes = append(im.inodes, at)
	im.pointers = append(im.pointers, ino)
	if raw.FileACL != 0 {
		im.xattrs = append(im.xattrs, int64(raw.FileACL)*im.bs)
		im.pointers = append(im.pointers, raw.FileACL)
	}
	if !raw.IsDir() && !raw.IsReg() && (!raw.IsSymlink() || raw.FastSymlink(im.sb)) {
		return
	}
	var blocks []int64
	for i, p := range raw.Block {
		im.surveyTree(p, max(0, i-disk.IndBlock+1), &blocks)
	}
	switch {
	case ino == disk.JournalIno:
		im.journal = blocks
	case raw.IsDir():
		im.dirs = append(im.dirs, blocks...)
		if raw.Flags&disk.InodeIndex != 0 {
			im.roots = append(im.roots, blocks[0])
		}
		for _, at := range blocks {
			im.surveyEntries(at)
		}
	}
}

// surveyTree collects the blocks below pointer p, which is depth tables away from them.
func (im *Image) surveyTree(p uint32, depth int, blocks *[]int64) {
	if p == 0 {
		return
	}
	at := int64(p) * im.bs
	if depth == 0 {
		*blocks = append(*blocks, at)
		if len(*blocks) <= 3 {
			im.pointers = append(im.pointers, p)
		}
		return
	}
	im.tables = append(im.tables, at)
	im.pointers = append(im.pointers, p)
	table := im.dev.Bytes(at, im.bs)
	for i := 0; i < len(table); i += 4 {
		im.surveyTree(binary.LittleEndian.Uint32(table[i:]), depth-1, blocks)
	}
}

func (im *Image) surveyEntries(at int64) {
	block := im.dev.Bytes(at, im.bs)
	for off := 0; off < len(block); {
		_, next, ok := disk.NextDirent(block, off)
		if !ok || next <= off {
			return
		}
		im.entries = append(im.entries, at+int64(off))
		off = next
	}
}
