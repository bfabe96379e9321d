package ext2

import (
	"errors"
	"fmt"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/cache"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// load reads the inode from the inode table and makes the checks of ext2_iget. Past
// them the rest of the package trusts mode, size and FileACL.
func (in *Inode) load() error {
	buf, off, err := in.fs.inodeBuffer(in.ino)
	if err != nil {
		return err
	}
	buf.RLock()
	in.raw = disk.DecodeInode(buf.Data()[off:off+in.fs.sb.InodeSize()], in.fs.sb)
	buf.RUnlock()
	in.typ = in.raw.Mode & disk.ModeFmt
	block := buf.Block()
	buf.Release()
	if in.fs.orphans.has(in.ino) {
		if in.raw.Links == 0 {
			return ErrStale // its deletion failed
		}
		in.raw.Dtime = 0
		in.orphan.Store(true)
		in.alloc.shrinking = true // a truncate that failed, before the inode left memory or at mount
	}
	err = in.raw.CheckInode(in.ino, in.fs.sb)
	if err == nil {
		err = in.checkXattrBlock()
	}
	if errors.Is(err, disk.ErrStaleInode) {
		return ErrStale
	}
	return in.fs.damage(err, in.ino, block)
}

// checkXattrBlock tells whether i_file_acl points where data can be.
func (in *Inode) checkXattrBlock() error {
	acl := in.raw.FileACL
	if acl == 0 {
		return nil
	}
	if _, why := in.fs.dataBlocks(uint64(acl), 1); why != "" {
		return &disk.CorruptError{What: "inode", Inode: in.ino, Offset: -1, Detail: fmt.Sprintf("i_file_acl is block %d, %s", acl, why)}
	}
	return nil
}

// inodeBlock is the inode table block of an inode and the inode's offset in it. The
// number is one of sb.ValidInode's.
func (fs *FS) inodeBlock(ino uint32) (block uint64, off int) {
	g, index := fs.sb.InodeGroup(ino)
	perBlock := fs.sb.InodesPerBlock()
	return uint64(fs.groups[g].inodeTable) + uint64(index/perBlock), int(index%perBlock) * fs.sb.InodeSize()
}

// inodeBuffer pins the inode table block of an inode, which begins at byte off of it.
// The caller takes the buffer's lock to look at it and releases it.
func (fs *FS) inodeBuffer(ino uint32) (buf *cache.Buffer, off int, err error) {
	if !fs.sb.ValidInode(ino) {
		return nil, 0, fs.corrupt(&disk.CorruptError{What: "inode number", Inode: ino, Offset: -1, Detail: fmt.Sprintf(
			"it must be %d or from %d to %d", RootIno, fs.sb.FirstIno(), fs.sb.InodesCount)})
	}
	block, off := fs.inodeBlock(ino)
	if !fs.cache.Cached(block) {
		fs.tableReadAhead(ino, block)
	}
	buf, err = fs.cache.Get(block, blockio.InodeTable)
	if err != nil {
		return nil, 0, fs.structureError("inode table block", ino, block, err)
	}
	return buf, off, nil
}

// tableWindow is how many inode table blocks are read at once when inodes are read in
// a row, and tableBatch how many at most for one PrefetchInodes.
const (
	tableWindow = 32
	tableBatch  = 1024
)

// tableReadAhead is called when an inode table block is not in memory. If the last
// such block was near, somebody is walking: the aligned window of the table around
// the block is read at once.
func (fs *FS) tableReadAhead(ino uint32, block uint64) {
	last := fs.lastTable.Swap(block)
	if last == block || last+tableWindow < block || block+tableWindow < last {
		return
	}
	g, _ := fs.sb.InodeGroup(ino)
	table := uint64(fs.groups[g].inodeTable)
	from := table + (block-table)/tableWindow*tableWindow
	to := min(from+tableWindow, table+uint64(fs.sb.InodeTableBlocks()))
	var blocks [tableWindow]uint64
	n := 0
	for b := from; b < to; b++ {
		blocks[n] = b
		n++
	}
	fs.cache.Prefetch(blocks[:n], blockio.InodeTable)
}

func (fs *FS) prefetchInodes(inos []uint32) {
	blocks := make([]uint64, 0, min(len(inos), tableBatch))
	for _, ino := range inos {
		if !fs.sb.ValidInode(ino) {
			continue
		}
		block, _ := fs.inodeBlock(ino)
		if n := len(blocks); n > 0 && blocks[n-1] == block {
			continue
		}
		if len(blocks) == tableBatch {
			break
		}
		blocks = append(blocks, block)
	}
	fs.cache.Prefetch(blocks, blockio.InodeTable)
}
