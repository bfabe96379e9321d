//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs

import (
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/ext2fuse/ext2fuse/fs/ext2"
)

// Adapter answers FUSE requests with what an ext2 file system says; but for READ, which
// conn answers.
type Adapter struct {
	fuse.RawFileSystem // ENOSYS for what is not ext2's business, such as locks

	fs        *ext2.FS
	owners    owners
	labelled  bool // see selinuxLabel
	noOpen    bool // the kernel takes ENOSYS to OPEN as "opens need no message"
	noDir     bool // likewise for OPENDIR
	writable  bool // mounted read-write, whatever became of it since
	writeback bool // the kernel collects writes and keeps the times of what it writes back

	// stats, if set, are what StatsXattr tells.
	stats func() *Stats

	// flush, if set, makes the kernel hand over what it collected of a node's content.
	flush func(node uint64)

	batches sync.Pool // of *batch, for READDIRPLUS
}

// New makes an adapter for a file system.
func New(fs *ext2.FS) *Adapter {
	return &Adapter{
		RawFileSystem: fuse.NewDefaultRawFileSystem(),
		fs:            fs,
		writable:      !fs.ReadOnly(),
		labelled:      labelled(fs),
		batches:       sync.Pool{New: func() any { return new(batch) }},
	}
}

// String names the file system in go-fuse's messages.
func (a *Adapter) String() string { return "ext2fuse" }

// init learns from the capabilities the kernel offered what it can do without. It is
// called before the first request.
func (a *Adapter) init(kernel uint64) {
	a.writeback = a.writeback && kernel&fuse.CAP_WRITEBACK_CACHE != 0
	a.noOpen = !a.writeback && kernel&fuse.CAP_NO_OPEN_SUPPORT != 0
	a.noDir = kernel&fuse.CAP_NO_OPENDIR_SUPPORT != 0
}

// nodeOf is the FUSE node of an inode number: the number itself, but that the root
// directory (2) and the bad blocks inode (1) change places.
func nodeOf(ino uint32) uint64 {
	switch ino {
	case ext2.RootIno:
		return fuse.FUSE_ROOT_ID
	case fuse.FUSE_ROOT_ID:
		return ext2.RootIno
	}
	return uint64(ino)
}

// inoOf is the inverse of nodeOf. A node that no inode can have gives 0, which no
// inode is.
func inoOf(node uint64) uint32 {
	switch node {
	case fuse.FUSE_ROOT_ID:
		return ext2.RootIno
	case ext2.RootIno:
		return fuse.FUSE_ROOT_ID
	}
	if node != uint64(uint32(node)) {
		return 0
	}
	return uint32(node)
}

// inode is the inode of a request's node, with a reference that the caller gives
// back. The kernel sends requests for nodes it holds, with the exception of NFS
// handles (see lookupHandle).
func (a *Adapter) inode(node uint64) (*ext2.Inode, fuse.Status) {
	in, err := a.fs.Inode(inoOf(node))
	if err != nil {
		return nil, status(err)
	}
	return in, fuse.OK
}

// status is the one way from an error to what the kernel is told.
func status(err error) fuse.Status {
	if err == nil {
		return fuse.OK
	}
	return fuse.Status(ext2.Errno(err))
}
