//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs

import (
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/ext2fuse/ext2fuse/fs/ext2"
)

// Write writes what the kernel sends: the data of a write(2), or with the kernel's
// write-back cache pages of that.
func (a *Adapter) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	inode, st := a.inode(in.NodeId)
	if st != fuse.OK {
		return 0, st
	}
	defer inode.Put()
	n, err := inode.Write(toTheEnd, data, int64(in.Offset), ext2.WriteOptions{
		Cred:     a.writer(in, inode),
		KillPriv: in.WriteFlags&fuse.WRITE_KILL_SUIDGID != 0,
		Opened:   a.writeback && in.WriteFlags&fuse.WRITE_CACHE != 0, // see Open
		// The kernel keeps the times of what it writes back, and sends them.
		KeepTimes: a.writeback && in.WriteFlags&fuse.WRITE_CACHE != 0,
	})
	if err != nil && (n == 0 || in.WriteFlags&fuse.WRITE_CACHE != 0) {
		// Pages that are written back: the kernel does not look at how many bytes of them were
		// written, and nobody meets the failure again by the rest.
		return 0, status(err)
	}
	return uint32(n), fuse.OK
}

// writer is on whose behalf a WRITE comes. Pages that the kernel writes back belong to
// nobody; the reserved blocks are then for files whose owner may use them.
func (a *Adapter) writer(in *fuse.WriteIn, inode *ext2.Inode) ext2.Cred {
	if in.WriteFlags&fuse.WRITE_CACHE != 0 {
		at := inode.Attr()
		return ext2.Cred{UID: at.UID, GID: at.GID}
	}
	return a.cred(&in.InHeader)
}

// Fallocate allocates, punches and zeroes. It writes zeros, so it may take long, and ends when
// who asked is killed.
func (a *Adapter) Fallocate(interrupted <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	inode, st := a.inode(in.NodeId)
	if st != fuse.OK {
		return st
	}
	defer inode.Put()
	ctx, stop := killable(interrupted, in.Pid)
	defer stop()
	return status(inode.Fallocate(ctx, in.Mode, int64(in.Offset), int64(in.Length), ext2.WriteOptions{
		Cred: a.cred(&in.InHeader), KillPriv: in.Uid != 0}))
}

// copyChunk bounds one COPY_FILE_RANGE, in bytes. The caller asks again for the rest.
const copyChunk = 8 << 20

// CopyFileRange copies inside the image, without the data's going through the kernel.
func (a *Adapter) CopyFileRange(_ <-chan struct{}, in *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	from, st := a.inode(in.NodeId)
	if st != fuse.OK {
		return 0, st
	}
	defer from.Put()
	to, st := a.inode(in.NodeIdOut)
	if st != fuse.OK {
		return 0, st
	}
	defer to.Put()
	buf := make([]byte, min(in.Len, maxRequest))
	done := uint64(0)
	for limit := min(in.Len, copyChunk); done < limit; {
		n, err := from.Read(toTheEnd, buf[:min(uint64(len(buf)), limit-done)], int64(in.OffIn+done))
		if n > 0 {
			n, err = to.Write(toTheEnd, buf[:n], int64(in.OffOut+done), ext2.WriteOptions{Cred: a.cred(&in.InHeader), KillPriv: in.Uid != 0})
		}
		done += uint64(n)
		if err != nil && done == 0 {
			return 0, status(err)
		}
		if n == 0 || err != nil {
			break
		}
	}
	return uint32(done), fuse.OK
}

// Fsync makes a file durable. On a read-only mount there is nothing to make durable, and
// the kernel need not ask again.
func (a *Adapter) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	if a.fs.ReadOnly() && !a.writable {
		return fuse.ENOSYS
	}
	inode, st := a.inode(in.NodeId)
	if st != fuse.OK {
		return st
	}
	defer inode.Put()
	return status(inode.Fsync(toTheEnd))
}

// FsyncDir makes a directory durable.
func (a *Adapter) FsyncDir(c <-chan struct{}, in *fuse.FsyncIn) fuse.Status { return a.Fsync(c, in) }
