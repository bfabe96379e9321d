//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs

import (
	"errors"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/ext2fuse/ext2fuse/fs/ext2"
)

// Lookup finds a name in a directory. A name that does not exist is an answer, too:
// node 0, valid for ever.
//
// The kernel asks for "." and ".." only on behalf of NFS and open_by_handle_at(2).
func (a *Adapter) Lookup(_ <-chan struct{}, header *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if name == "." {
		return a.lookupHandle(inoOf(header.NodeId), out)
	}
	dir, st := a.inode(header.NodeId)
	if st != fuse.OK {
		return st
	}
	defer dir.Put()
	in, err := dir.Lookup(name)
	if errors.Is(err, ext2.ErrNotExist) && name != ".." {
		out.EntryValid = forever
		return fuse.OK
	}
	if err != nil {
		return status(err)
	}
	a.fillEntry(out, in)
	return fuse.OK
}

// lookupHandle finds an inode by number alone, for a handle that was given out
// earlier, perhaps by a daemon that ran before this one. The kernel compares the
// generation. It turns ENOENT into ESTALE, and passes ESTALE on.
func (a *Adapter) lookupHandle(ino uint32, out *fuse.EntryOut) fuse.Status {
	in, err := a.fs.InodeByHandle(ino, 0)
	if err != nil {
		return status(err)
	}
	a.fillEntry(out, in)
	return fuse.OK
}

// Forget gives back what look-ups and READDIRPLUS entries took.
func (a *Adapter) Forget(node, n uint64) {
	a.fs.Forget(inoOf(node), n)
}

// Readlink gives the target of a symbolic link. The kernel keeps it.
func (a *Adapter) Readlink(_ <-chan struct{}, header *fuse.InHeader) ([]byte, fuse.Status) {
	in, st := a.inode(header.NodeId)
	if st != fuse.OK {
		return nil, st
	}
	defer in.Put()
	target, err := in.Readlink()
	if err != nil {
		return nil, status(err)
	}
	return []byte(target), fuse.OK
}
