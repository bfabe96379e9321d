//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs

import (
	"encoding/binary"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// The read-only ioctls that come through FUSE. The kernel passes as many bytes as the
// command number says, and does FS_IOC_GETFSUUID by itself, without asking: there is
// no way to give the UUID.
const (
	iocGetFlags   = 0x80086601 // FS_IOC_GETFLAGS: EXT2_*_FL of the inode
	iocGetXFlags  = 0x801c581f // FS_IOC_FSGETXATTR: struct fsxattr
	iocGetVersion = 0x80087601 // FS_IOC_GETVERSION: generation
	iocOldVersion = 0x80086603 // EXT4_IOC_GETVERSION: the same
	iocGetLabel   = 0x81009431 // FS_IOC_GETFSLABEL: char[256]

	maxLabel = 16 // bytes in s_volume_name
)

// Ioctl answers the ioctls of ext2.
func (a *Adapter) Ioctl(interrupted <-chan struct{}, in *fuse.IoctlIn, arg []byte, out *fuse.IoctlOut, buf []byte) fuse.Status {
	inode, st := a.inode(in.NodeId)
	if st != fuse.OK {
		return st
	}
	defer inode.Put()
	if st, done := a.setIoctl(interrupted, in, inode, arg, buf); done {
		return st
	}
	clear(buf) // it is recycled memory
	at := inode.Attr()
	switch {
	case in.Cmd == iocGetFlags && len(buf) >= 4:
		binary.NativeEndian.PutUint32(buf, at.Flags&disk.InodeFlagsVisible)
	case in.Cmd == iocGetXFlags && len(buf) >= 4:
		binary.NativeEndian.PutUint32(buf, xflags(at.Flags))
	case (in.Cmd == iocGetVersion || in.Cmd == iocOldVersion) && len(buf) >= 4:
		binary.NativeEndian.PutUint32(buf, at.Generation)
	case in.Cmd == iocGetLabel && len(buf) > 0:
		copy(buf[:len(buf)-1], a.fs.Superblock().Label())
	default:
		return fuse.Status(unix.ENOTTY)
	}
	return fuse.OK
}

// trimIoctl shortens the reply of n bytes in out to what the kernel's own drivers
// write for a command. That can be less than the command number says, and programs may
// have room for no more: e2fsprogs takes the version, 8 bytes by its number, into an
// int.
func trimIoctl(out []byte, n int, cmd uint32) int {
	size := n
	switch cmd {
	case iocGetVersion, iocOldVersion:
		size = outHeaderSize + ioctlOutSize + 4
	case iocGetLabel:
		size = outHeaderSize + ioctlOutSize + maxLabel + 1
	}
	if n <= size {
		return n
	}
	binary.NativeEndian.PutUint32(out, uint32(size))
	return size
}

// xflags translates inode flags to the form of struct fsxattr (FS_XFLAG_*).
func xflags(flags uint32) uint32 {
	var x uint32
	for _, f := range xflagBits {
		if flags&f.inode != 0 {
			x |= f.x
		}
	}
	return x
}

// xflagBits pairs the flags that both forms have. The right column is FS_XFLAG_* of
// linux/fs.h.
var xflagBits = [...]struct{ inode, x uint32 }{
	{disk.InodeImmutable, 0x08},
	{disk.InodeAppend, 0x10},
	{disk.InodeSync, 0x20},
	{disk.InodeNoAtime, 0x40},
	{disk.InodeNoDump, 0x80},
}
