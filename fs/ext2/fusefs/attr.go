//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2"
)

// forever is the time names and attributes stay valid, in seconds: a hundred years.
const forever = 100 * 365 * 86400

// fillAttr converts attributes to the protocol's form. Seconds before 1970 pass as
// their two's complement, which is how the kernel reads them.
func (a *Adapter) fillAttr(out *fuse.Attr, at *ext2.Attr) {
	out.Ino = uint64(at.Ino)
	out.Size = uint64(at.Size)
	out.Blocks = at.Blocks
	out.Atime, out.Atimensec = uint64(at.Atime.Sec), at.Atime.Nsec
	out.Mtime, out.Mtimensec = uint64(at.Mtime.Sec), at.Mtime.Nsec
	out.Ctime, out.Ctimensec = uint64(at.Ctime.Sec), at.Ctime.Nsec
	out.Mode = at.Mode
	out.Nlink = at.Nlink
	out.Uid, out.Gid = a.owners.shown(at)
	out.Rdev = encodeDev(at.RdevMajor, at.RdevMinor)
	out.Blksize = at.BlockSize
}

// encodeDev packs a device number as the kernel's 32-bit dev_t: 12 bits of major
// between the low 8 and the high 12 bits of minor.
func encodeDev(major, minor uint32) uint32 {
	return minor&0xff | major<<8 | minor&^0xff<<12
}

// fillEntry completes an entry with the node and its attributes, valid for ever. The
// reference to the inode becomes the kernel's.
func (a *Adapter) fillEntry(out *fuse.EntryOut, in *ext2.Inode) {
	at := in.Attr()
	in.Keep()
	out.NodeId = nodeOf(at.Ino)
	out.Generation = uint64(at.Generation)
	out.EntryValid = forever
	out.AttrValid = forever
	a.fillAttr(&out.Attr, &at)
}

// GetAttr answers stat(2) for what the kernel does not have in its cache.
func (a *Adapter) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	inode, st := a.inode(in.NodeId)
	if st != fuse.OK {
		return st
	}
	defer inode.Put()
	at := inode.Attr()
	out.AttrValid = forever
	a.fillAttr(&out.Attr, &at)
	return fuse.OK
}

// Statx answers statx(2) when the time of birth is asked for; the rest goes by
// GetAttr. Inodes of 128 bytes have no time of birth.
func (a *Adapter) Statx(_ <-chan struct{}, in *fuse.StatxIn, out *fuse.StatxOut) fuse.Status {
	inode, st := a.inode(in.NodeId)
	if st != fuse.OK {
		return st
	}
	defer inode.Put()
	at := inode.Attr()
	out.AttrValid = forever
	out.Mask = unix.STATX_BASIC_STATS
	out.Blksize = at.BlockSize
	out.Nlink = at.Nlink
	out.Uid, out.Gid = a.owners.shown(&at)
	out.Mode = uint16(at.Mode)
	out.Ino = uint64(at.Ino)
	out.Size = uint64(at.Size)
	out.Blocks = at.Blocks
	out.Atime.Sec, out.Atime.Nsec = uint64(at.Atime.Sec), at.Atime.Nsec
	out.Mtime.Sec, out.Mtime.Nsec = uint64(at.Mtime.Sec), at.Mtime.Nsec
	out.Ctime.Sec, out.Ctime.Nsec = uint64(at.Ctime.Sec), at.Ctime.Nsec
	if at.HasBtime {
		out.Mask |= unix.STATX_BTIME
		out.Btime.Sec, out.Btime.Nsec = uint64(at.Btime.Sec), at.Btime.Nsec
	}
	out.RdevMajor, out.RdevMinor = at.RdevMajor, at.RdevMinor
	return fuse.OK
}

// StatFs answers statfs(2).
func (a *Adapter) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	s := a.fs.Statfs()
	out.Blocks = s.Blocks
	out.Bfree = s.FreeBlocks
	out.Bavail = s.Available
	out.Files = s.Inodes
	out.Ffree = s.FreeInodes
	out.Bsize = s.BlockSize
	out.Frsize = s.BlockSize
	out.NameLen = s.NameLen
	return fuse.OK
}

// Access is never asked with default_permissions, where the kernel checks by itself.
func (a *Adapter) Access(<-chan struct{}, *fuse.AccessIn) fuse.Status { return fuse.ENOSYS }
