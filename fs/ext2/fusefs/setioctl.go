//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs

import (
	"bytes"
	"context"
	"encoding/binary"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// The ioctls that change something. The kernel passes the bytes that the command
// number says; whether the caller owns the file it leaves to us for some of them.
const (
	iocSetFlags   = 0x40086602 // FS_IOC_SETFLAGS
	iocSetXFlags  = 0x401c5820 // FS_IOC_FSSETXATTR: struct fsxattr
	iocSetVersion = 0x40087602 // FS_IOC_SETVERSION
	iocOldSetVers = 0x40086604 // EXT4_IOC_SETVERSION: the same
	iocSetLabel   = 0x41009432 // FS_IOC_SETFSLABEL: char[256]
	iocTrim       = 0xc0185879 // FITRIM: struct fstrim_range
)

// setIoctl carries out an ioctl that changes something; done is false for the others.
func (a *Adapter) setIoctl(interrupted <-chan struct{}, in *fuse.IoctlIn, inode *ext2.Inode, arg, buf []byte) (st fuse.Status, done bool) {
	c := a.cred(&in.InHeader)
	at := inode.Attr()
	shown, _ := a.owners.shown(&at)
	owner := c.UID == 0 || c.UID == shown
	switch in.Cmd {
	case iocSetFlags, iocSetXFlags, iocSetVersion, iocOldSetVers:
		switch {
		case len(arg) < 4:
			return fuse.EINVAL, true
		case a.fs.ReadOnly():
			return fuse.EROFS, true
		case !owner:
			return fuse.EPERM, true
		}
		v := binary.NativeEndian.Uint32(arg)
		switch in.Cmd {
		case iocSetFlags:
			return status(inode.SetFlags(toTheEnd, v, c)), true
		case iocSetXFlags:
			return setXFlags(inode, v, c), true
		}
		return status(inode.SetGeneration(toTheEnd, v)), true
	case iocSetLabel, iocTrim:
		if c.UID != 0 {
			return fuse.EPERM, true
		}
		if in.Cmd == iocTrim {
			ctx, stop := killable(interrupted, in.Pid)
			defer stop()
			return a.trim(ctx, arg, buf), true
		}
		label, _, ok := bytes.Cut(arg, []byte{0})
		if !ok {
			return fuse.EINVAL, true
		}
		return status(a.fs.SetLabel(toTheEnd, string(label))), true
	}
	return fuse.OK, false
}

// setXFlags sets the flags that struct fsxattr can express and leaves the others.
func setXFlags(inode *ext2.Inode, x uint32, c ext2.Cred) fuse.Status {
	flags := inode.Attr().Flags & disk.InodeFlagsVisible
	for _, f := range xflagBits {
		flags &^= f.inode
		if x&f.x != 0 {
			flags |= f.inode
			x &^= f.x
		}
	}
	if x != 0 {
		return fuse.Status(unix.EOPNOTSUPP)
	}
	return status(inode.SetFlags(toTheEnd, flags, c))
}

// trim answers FITRIM: start, length and least run in bytes; the reply has the bytes
// trimmed in place of the length.
func (a *Adapter) trim(ctx context.Context, arg, buf []byte) fuse.Status {
	if len(arg) < 24 || len(buf) < 24 {
		return fuse.EINVAL
	}
	u64 := binary.NativeEndian.Uint64
	n, err := a.fs.Trim(ctx, u64(arg), u64(arg[8:]), u64(arg[16:]))
	if err != nil {
		return status(err)
	}
	copy(buf, arg[:24])
	binary.NativeEndian.PutUint64(buf[8:], n)
	return fuse.OK
}
