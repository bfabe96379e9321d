//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// Open tells the kernel that opening a file needs no message. A kernel that cannot do
// without gets an answer that keeps its page cache.
//
// Where the kernel collects writes it asks, because what an immutable or append-only
// file forbids cannot be refused later: the write has succeeded by then, and pages that
// are written back do not tell an append from an overwrite.
func (a *Adapter) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if a.noOpen {
		return fuse.ENOSYS
	}
	if in.Flags&unix.O_ACCMODE != unix.O_RDONLY {
		inode, st := a.inode(in.NodeId)
		if st != fuse.OK {
			return st
		}
		flags := inode.Attr().Flags
		inode.Put()
		if flags&disk.InodeImmutable != 0 || flags&disk.InodeAppend != 0 && in.Flags&unix.O_APPEND == 0 {
			return fuse.EPERM
		}
	}
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE | fuse.FOPEN_NOFLUSH
	return fuse.OK
}

// Release has nothing to release.
func (a *Adapter) Release(<-chan struct{}, *fuse.ReleaseIn) {}

// Flush tells the kernel that closing a file needs no message.
func (a *Adapter) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.ENOSYS }

// Lseek answers SEEK_DATA and SEEK_HOLE; the kernel does the other kinds by itself. It
// asks without writing back what it collected, which may fill holes and lie past the end
// of the file that we know: whoever copies a file by its data would lose some.
func (a *Adapter) Lseek(_ <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	if a.writeback {
		// What the kernel has not written back yet is a hole to us. It then takes all of
		// a file for data, which is never wrong.
		return fuse.ENOSYS
	}
	inode, st := a.inode(in.NodeId)
	if st != fuse.OK {
		return st
	}
	defer inode.Put()
	if a.flush != nil && inode.IsReg() {
		a.flush(in.NodeId)
	}
	var at int64
	var err error
	switch in.Whence {
	case unix.SEEK_DATA:
		at, err = inode.SeekData(toTheEnd, int64(in.Offset))
	case unix.SEEK_HOLE:
		at, err = inode.SeekHole(toTheEnd, int64(in.Offset))
	default:
		err = ext2.ErrInvalid
	}
	out.Offset = uint64(at)
	return status(err)
}
