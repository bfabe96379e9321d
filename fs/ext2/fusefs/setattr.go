//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs

import (
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/ext2fuse/ext2fuse/fs/ext2"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// settable are the attributes that SETATTR can change, but the time of change.
const settable = fuse.FATTR_MODE | fuse.FATTR_UID | fuse.FATTR_GID | fuse.FATTR_SIZE |
	fuse.FATTR_ATIME | fuse.FATTR_MTIME | fuse.FATTR_ATIME_NOW | fuse.FATTR_MTIME_NOW

// SetAttr changes mode, owner, size and times. The kernel has checked permissions.
func (a *Adapter) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	inode, st := a.inode(in.NodeId)
	if st != fuse.OK {
		return st
	}
	defer inode.Put()
	s := ext2.SetAttr{
		AtimeNow: in.Valid&fuse.FATTR_ATIME_NOW != 0,
		MtimeNow: in.Valid&fuse.FATTR_MTIME_NOW != 0,
		// The times that the kernel keeps for what it writes back come like this.
		Kept: a.writeback && in.Valid&(settable|fuse.FATTR_CTIME) == fuse.FATTR_MTIME|fuse.FATTR_CTIME,
		// A chown(2) that names no owner drops the set-id bits, too. It comes as a change
		// of nothing, or of the time of change alone.
		KillPriv: in.Valid&fuse.FATTR_KILL_SUIDGID != 0 || in.Valid&settable == 0,
	}
	if in.Valid&fuse.FATTR_MODE != 0 {
		s.Mode = &in.Mode
	}
	if in.Valid&fuse.FATTR_UID != 0 {
		s.UID = &in.Uid
	}
	if in.Valid&fuse.FATTR_GID != 0 {
		s.GID = &in.Gid
	}
	if !a.owners.settable(&s) {
		return fuse.EPERM
	}
	if in.Valid&fuse.FATTR_SIZE != 0 {
		size := int64(in.Size)
		s.Size = &size
	}
	for _, t := range []struct {
		bit  uint32
		now  bool
		sec  uint64
		nsec uint32
		to   **disk.Timespec
	}{
		{fuse.FATTR_ATIME, s.AtimeNow, in.Atime, in.Atimensec, &s.Atime},
		{fuse.FATTR_MTIME, s.MtimeNow, in.Mtime, in.Mtimensec, &s.Mtime},
		{fuse.FATTR_CTIME, false, in.Ctime, in.Ctimensec, &s.Ctime},
	} {
		if in.Valid&t.bit != 0 && !t.now {
			*t.to = &disk.Timespec{Sec: int64(t.sec), Nsec: t.nsec}
		}
	}
	if err := inode.SetAttr(toTheEnd, s); err != nil {
		return status(err)
	}
	at := inode.Attr()
	out.AttrValid = forever
	a.fillAttr(&out.Attr, &at)
	return fuse.OK
}

// SetXAttr sets an extended attribute. The kernel leaves it to us whether somebody may
// set a POSIX ACL's set-group-ID bit.
func (a *Adapter) SetXAttr(_ <-chan struct{}, in *fuse.SetXAttrIn, name string, data []byte) fuse.Status {
	inode, st := a.inode(in.NodeId)
	if st != fuse.OK {
		return st
	}
	defer inode.Put()
	return status(inode.Setxattr(toTheEnd, name, data, int(in.Flags), a.cred(&in.InHeader)))
}

// RemoveXAttr removes an extended attribute.
func (a *Adapter) RemoveXAttr(_ <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	inode, st := a.inode(header.NodeId)
	if st != fuse.OK {
		return st
	}
	defer inode.Put()
	return status(inode.Removexattr(toTheEnd, name, a.cred(header)))
}
