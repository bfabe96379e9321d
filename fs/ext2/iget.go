package ext2

import (
	"fmt"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/cache"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// load reads the inode from the inode table and makes the checks of ext2_iget. Past
// them the rest of the package trusts mode, size and FileACL.
func (in *Inode) load() error {
	buf, raw, err := in.fs.inodeBuffer(in.ino)
	if err != nil {
		return err
	}
	buf.RLock()
	in.raw = disk.DecodeInode(raw, in.fs.sb)
	buf.RUnlock()
	block := buf.Block()
	buf.Release()
	if in.raw.Stale() {
		return ErrStale
	}
	return in.fs.damage(in.checkLoaded(), in.ino, block)
}

func (in *Inode) checkLoaded() error {
	fs := in.fs
	if err := in.raw.CheckInode(in.ino, fs.sb); err != nil {
		return err
	}
	if acl := in.raw.FileACL; acl != 0 {
		if _, why := fs.dataBlocks(uint64(acl), 1); why != "" {
			return badInode("i_file_acl is %d, %s", acl, why)
		}
	}
	// Without these features the flags mean nothing good: what i_block holds then is
	// no block map, and taking it for one would give somebody else's data.
	if in.raw.Flags&(disk.InodeExtents|disk.InodeInlineData) != 0 {
		return badInode("i_flags is 0x%x: extents or inline data on a file system without that feature", in.raw.Flags)
	}
	return nil
}

func badInode(format string, args ...any) error {
	return &disk.CorruptError{What: "inode", Offset: -1, Detail: fmt.Sprintf(format, args...)}
}

// inodeBlock is the inode table block of an inode and the inode's offset in it. The
// number is one of sb.ValidInode's.
func (fs *FS) inodeBlock(ino uint32) (block uint64, off int) {
	g, index := fs.sb.InodeGroup(ino)
	perBlock := fs.sb.InodesPerBlock()
	return uint64(fs.groups[g].inodeTable) + uint64(index/perBlock), int(index%perBlock) * fs.sb.InodeSize()
}

// inodeBuffer pins the inode table block of an inode; raw is the inode's InodeSize
// bytes in it. The caller takes the buffer's lock to read them and releases it.
func (fs *FS) inodeBuffer(ino uint32) (buf *cache.Buffer, raw []byte, err error) {
	if !fs.sb.ValidInode(ino) {
		return nil, nil, fs.corrupt(&disk.CorruptError{What: "inode number", Inode: ino, Offset: -1, Detail: fmt.Sprintf(
			"it must be %d or from %d to %d", RootIno, fs.sb.FirstIno(), fs.sb.InodesCount)})
	}
	block, off := fs.inodeBlock(ino)
	if !fs.cache.Cached(block) {
		fs.tableReadAhead(ino, block)
	}
	buf, err = fs.cache.Get(block, blockio.InodeTable)
	if err != nil {
		return nil, nil, fs.readError("inode table block", ino, block, err)
	}
	return buf, buf.Data()[off : off+fs.sb.InodeSize()], nil
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
