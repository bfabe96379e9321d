package ext2

import (
	"sync"
	"sync/atomic"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/mpage"
)

// Inode is an inode in memory. There is at most one per inode number, shared by all
// who use it; each holds a reference and gives it back with Put. Its methods may be
// called from several goroutines at once.
type Inode struct {
	fs  *FS
	ino uint32
	typ uint16 // file type bits of i_mode; set when the inode is read
	dir dirState

	// mu guards raw: shared for look-ups and reads of file content, exclusive for
	// changes.
	mu       sync.RWMutex
	raw      disk.Inode
	alloc    allocState
	linkable bool        // made by Tmpfile and never named
	orphan   atomic.Bool // on the orphan list; changed under its lock

	stream stream     // the sequential reader, for read-ahead
	bets   mpage.Bets // the engine's

	// nameless: the last link is gone. The inode is deleted with its last reference.
	nameless atomic.Bool

	// Guarded by the lock of the inode's shard of the inode table.
	refs       uint64
	kept       uint64 // see Keep
	state      loadState
	err        error  // with loadFailed
	prev, next *Inode // in the shard's list of idle inodes, while refs is 0
}

// RootIno is the inode number of the root directory.
const RootIno = disk.RootIno

// Attr are the attributes of an inode, as stat(2) and statx(2) want them.
type Attr struct {
	Ino        uint32
	Mode       uint32 // type and permission bits, as in st_mode
	Nlink      uint32
	UID, GID   uint32
	RdevMajor  uint32 // devices only
	RdevMinor  uint32
	Size       int64  // bytes
	Blocks     uint64 // 512-byte units, indirect and attribute blocks included
	BlockSize  uint32 // bytes
	Atime      disk.Timespec
	Mtime      disk.Timespec
	Ctime      disk.Timespec
	Btime      disk.Timespec
	HasBtime   bool   // Btime is known: inodes of 128 bytes have none
	Flags      uint32 // EXT2_*_FL, as FS_IOC_GETFLAGS gives them
	Generation uint32
}

// Root is the root directory, with a reference taken.
func (fs *FS) Root() (*Inode, error) { return fs.Inode(RootIno) }

// Inode is the inode of a number, with a reference taken. It gives ErrStale for a
// deleted one, and a *disk.CorruptError for one that cannot be or for a number out of range.
func (fs *FS) Inode(ino uint32) (*Inode, error) { return fs.inodes.get(fs, ino) }

// InodeByHandle is Inode for a handle that was given out earlier (NFS): a number that
// no file can have, a deleted inode and another generation are all ErrStale.
// Generation 0 matches all.
func (fs *FS) InodeByHandle(ino, generation uint32) (*Inode, error) {
	if ino != RootIno && ino < fs.sb.FirstIno() || ino > fs.sb.InodesCount {
		return nil, ErrStale
	}
	in, err := fs.Inode(ino)
	if err != nil {
		return nil, err
	}
	if generation != 0 && in.Generation() != generation {
		in.Put()
		return nil, ErrStale
	}
	return in, nil
}

// Keep turns a reference into one to the inode's number alone, which Forget gives back. The
// inode lives on as if referenced, but need not stay in memory: a kernel that knows of
// a million files costs a few bytes for each.
func (in *Inode) Keep() { in.fs.inodes.keep(in) }

// Forget gives n of the references back that Keep made for an inode number.
func (fs *FS) Forget(ino uint32, n uint64) { fs.inodes.release(ino, n) }

// PrefetchInodes reads the inode table blocks of the inodes that are about to be
// wanted, with few large I/Os. Numbers out of range are passed over.
func (fs *FS) PrefetchInodes(inos []uint32) { fs.prefetchInodes(inos) }

// Ref takes one more reference. The caller holds one.
func (in *Inode) Ref() { in.fs.inodes.ref(in) }

// Put gives a reference back; the caller must not touch the inode any more. After the last
// one an inode may leave memory, and one without a name is deleted.
func (in *Inode) Put() { in.fs.inodes.put(in) }

// Ino is the inode number.
func (in *Inode) Ino() uint32 { return in.ino }

// FS is the file system the inode belongs to.
func (in *Inode) FS() *FS { return in.fs }

// Generation is the inode's version for NFS (i_generation).
func (in *Inode) Generation() uint32 {
	in.mu.RLock()
	defer in.mu.RUnlock()
	return in.raw.Generation
}

// IsDir, IsReg and IsSymlink tell the type, which never changes while an inode is
// referenced. They take no lock.
func (in *Inode) IsDir() bool     { return in.typ == disk.ModeDir }
func (in *Inode) IsReg() bool     { return in.typ == disk.ModeReg }
func (in *Inode) IsSymlink() bool { return in.typ == disk.ModeSymlink }

// Attr gives the attributes, all of the same moment.
func (in *Inode) Attr() Attr {
	in.mu.RLock()
	defer in.mu.RUnlock()
	return in.attrLocked()
}

func (in *Inode) attrLocked() Attr {
	raw := &in.raw
	a := Attr{
		Ino: in.ino, Mode: uint32(raw.Mode), Nlink: uint32(raw.Links), UID: raw.UID, GID: raw.GID,
		Size: int64(raw.Size), Blocks: raw.Sectors512(in.fs.sb), BlockSize: uint32(in.fs.blockSize),
		Atime: raw.Atime, Mtime: raw.Mtime, Ctime: raw.Ctime, Btime: raw.Btime, HasBtime: raw.HasBtime,
		Flags: raw.Flags, Generation: raw.Generation,
	}
	if raw.IsDevice() {
		a.RdevMajor, a.RdevMinor = raw.Rdev()
	}
	if in.fs.opts.NoUID32 {
		a.UID &= 0xFFFF
		a.GID &= 0xFFFF
	}
	return a
}
