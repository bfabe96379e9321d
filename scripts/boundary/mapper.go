//go:build linux

package main

import (
	"errors"
	"os"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/cache"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/mpage"
)

// direct is how many blocks an inode points to by itself.
const direct = 12

// mapper maps a file that has at most one indirect block. It is the file system's
// block map without its general case, so that the rule can be switched off.
type mapper struct {
	pointers [15]uint32
	cache    *cache.Cache
	rule     bool // tell boundaries
}

// GetBlock implements mpage.Mapper.
func (m *mapper) GetBlock(iblock, most uint64, _ bool) (mpage.Run, error) {
	if iblock >= direct {
		return m.indirect(iblock-direct, most)
	}
	run := mpage.Run{Block: uint64(m.pointers[iblock]), Count: 1, Flags: mpage.Mapped}
	for run.Count < most && iblock+run.Count < direct && uint64(m.pointers[iblock+run.Count]) == run.Block+run.Count {
		run.Count++
	}
	if m.rule && iblock+run.Count == direct {
		run.Flags |= mpage.Boundary
		run.Next, run.Span = uint64(m.pointers[direct]), blockSize/4
	}
	return run, nil
}

// indirect maps from pointer i of the indirect block on.
func (m *mapper) indirect(i, most uint64) (mpage.Run, error) {
	buf, err := m.cache.Get(uint64(m.pointers[direct]), blockio.Indirect)
	if err != nil {
		return mpage.Run{}, err
	}
	defer buf.Release()
	buf.RLock()
	defer buf.RUnlock()
	table := buf.Data()
	run := mpage.Run{Block: uint64(disk.Ptr(table, int(i))), Count: 1, Flags: mpage.Mapped}
	for run.Count < most && i+run.Count < blockSize/4 && uint64(disk.Ptr(table, int(i+run.Count))) == run.Block+run.Count {
		run.Count++
	}
	return run, nil
}

// filePointers reads the block pointers of the image's one file, its first
// unreserved inode but one (lost+found is the first).
func filePointers(img string) ([15]uint32, error) {
	b, err := os.ReadFile(img)
	if err != nil {
		return [15]uint32{}, err
	}
	sb, err := disk.DecodeSuperblock(b[disk.SuperblockOffset:][:1024])
	if err != nil {
		return [15]uint32{}, err
	}
	group := disk.DecodeGroupDesc(b[sb.DescBlock(0)*blockSize:][:32])
	at := int(group.InodeTable)*blockSize + int(sb.FirstIno())*sb.InodeSize()
	in := disk.DecodeInode(b[at:][:sb.InodeSize()], sb)
	if !in.IsReg() || in.Size != fileBlocks*blockSize {
		return [15]uint32{}, errors.New("mke2fs put the file elsewhere than expected")
	}
	return in.Block, nil
}
