package ext2

import (
	"encoding/binary"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// Statfs are the numbers of statfs(2). Blocks are of BlockSize bytes.
type Statfs struct {
	BlockSize  uint32
	Blocks     uint64 // what files can have: without the file system's own structures, unless MinixDF
	FreeBlocks uint64
	Available  uint64 // to those for whom no blocks are reserved
	Inodes     uint64
	FreeInodes uint64
	FSID       uint64 // both halves of the UUID, one over the other
	NameLen    uint32
}

// Statfs tells size and use of the file system. Free counts are sums over the group
// descriptors, as the kernel's are; those in the superblock may be out of date.
func (fs *FS) Statfs() Statfs {
	sb := fs.sb
	s := Statfs{
		BlockSize:  uint32(fs.blockSize),
		Blocks:     uint64(sb.BlocksCount),
		FreeBlocks: fs.counts.freeBlocks,
		Inodes:     uint64(sb.InodesCount),
		FreeInodes: fs.counts.freeInodes,
		FSID:       binary.LittleEndian.Uint64(sb.UUID[:8]) ^ binary.LittleEndian.Uint64(sb.UUID[8:]),
		NameLen:    disk.MaxNameLen,
	}
	if fs.ckpt != nil {
		s.FreeBlocks = uint64(max(fs.space.freeBlocks.Load(), 0)) + fs.journal.borrowed()
		s.FreeInodes = uint64(max(fs.space.freeInodes.Load(), 0))
	}
	if !fs.opts.MinixDF {
		s.Blocks -= min(fs.overhead(), s.Blocks)
	}
	// A borrowed journal is counted as free, as it will be.
	if r := fs.reserved() + fs.journal.borrowed(); s.FreeBlocks > r {
		s.Available = s.FreeBlocks - r
	}
	return s
}

// overhead is how many blocks the file system's own structures take.
func (fs *FS) overhead() uint64 {
	sb := fs.sb
	if o := uint64(sb.OverheadClusters); o != 0 && o <= uint64(sb.BlocksCount) {
		return o
	}
	perGroup := 2 + uint64(sb.InodeTableBlocks())
	return uint64(sb.FirstDataBlock) + fs.counts.base + uint64(len(fs.groups))*perGroup
}
