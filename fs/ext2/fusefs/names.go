//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs

import (
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/ext2fuse/ext2fuse/fs/ext2"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// create makes an object and answers with its entry.
func (a *Adapter) create(header *fuse.InHeader, name string, o ext2.CreateOptions, out *fuse.EntryOut) fuse.Status {
	dir, st := a.inode(header.NodeId)
	if st != fuse.OK {
		return st
	}
	defer dir.Put()
	o.Cred = a.cred(header)
	in, err := dir.Create(toTheEnd, name, o)
	if err != nil {
		return status(err)
	}
	a.fillEntry(out, in)
	return fuse.OK
}

// Create tells the kernel to make files with MKNOD: as opening needs no message, that is
// one message, where CREATE would be followed by a RELEASE.
func (a *Adapter) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	if a.noOpen {
		return fuse.ENOSYS
	}
	st := a.create(&in.InHeader, name, ext2.CreateOptions{Mode: in.Mode&0o7777 | disk.ModeReg, Umask: in.Umask}, &out.EntryOut)
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE | fuse.FOPEN_NOFLUSH
	return st
}

// Mknod makes files, devices, FIFOs and sockets.
func (a *Adapter) Mknod(_ <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	return a.create(&in.InHeader, name, ext2.CreateOptions{Mode: in.Mode, Umask: in.Umask,
		Major: in.Rdev >> 8 & 0xfff, Minor: in.Rdev&0xff | in.Rdev>>12&^0xff}, out)
}

// Mkdir makes a directory.
func (a *Adapter) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	return a.create(&in.InHeader, name, ext2.CreateOptions{Mode: in.Mode&0o7777 | disk.ModeDir, Umask: in.Umask}, out)
}

// Symlink makes a symbolic link.
func (a *Adapter) Symlink(_ <-chan struct{}, header *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	return a.create(header, name, ext2.CreateOptions{Mode: disk.ModeSymlink | 0o777, Target: target}, out)
}

// Tmpfile makes a file without a name.
func (a *Adapter) Tmpfile(_ <-chan struct{}, in *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	dir, st := a.inode(in.NodeId)
	if st != fuse.OK {
		return st
	}
	defer dir.Put()
	tmp, err := dir.Tmpfile(toTheEnd, ext2.CreateOptions{Mode: in.Mode&0o7777 | disk.ModeReg, Umask: in.Umask, Cred: a.cred(&in.InHeader)})
	if err != nil {
		return status(err)
	}
	a.fillEntry(&out.EntryOut, tmp)
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE | fuse.FOPEN_NOFLUSH
	return fuse.OK
}

// Link gives a file another name.
func (a *Adapter) Link(_ <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	dir, st := a.inode(in.NodeId)
	if st != fuse.OK {
		return st
	}
	defer dir.Put()
	inode, st := a.inode(in.Oldnodeid)
	if st != fuse.OK {
		return st
	}
	if err := dir.Link(toTheEnd, name, inode, a.cred(&in.InHeader)); err != nil {
		inode.Put()
		return status(err)
	}
	a.fillEntry(out, inode) // with the reference that a.inode took
	return fuse.OK
}

// Unlink removes a name.
func (a *Adapter) Unlink(_ <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	dir, st := a.inode(header.NodeId)
	if st != fuse.OK {
		return st
	}
	defer dir.Put()
	return status(dir.Unlink(toTheEnd, name))
}

// Rmdir removes a directory.
func (a *Adapter) Rmdir(_ <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	dir, st := a.inode(header.NodeId)
	if st != fuse.OK {
		return st
	}
	defer dir.Put()
	return status(dir.Rmdir(toTheEnd, name))
}

// Rename moves a name.
func (a *Adapter) Rename(_ <-chan struct{}, in *fuse.RenameIn, oldName, newName string) fuse.Status {
	dir, st := a.inode(in.NodeId)
	if st != fuse.OK {
		return st
	}
	defer dir.Put()
	newDir, st := a.inode(in.Newdir)
	if st != fuse.OK {
		return st
	}
	defer newDir.Put()
	return status(dir.Rename(toTheEnd, oldName, newDir, newName, in.Flags, a.cred(&in.InHeader)))
}
