//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs

import (
	"errors"
	"strings"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/ext2fuse/ext2fuse/fs/ext2"
)

// selinuxLabel is asked for by every `ls -l`, for every file, each time: the kernel
// does not keep the answer. On a file system that SELinux never labelled, which is
// one whose root has no label, a file without it is answered with EOPNOTSUPP where the
// kernel's own driver says ENODATA: both mean that there is none, but after the former
// ls does not ask again. (Where SELinux runs, it answers by itself and we are not
// asked.)
const selinuxLabel = "security.selinux"

// labelled tells whether the root directory carries a SELinux label.
func labelled(fs *ext2.FS) bool {
	root, err := fs.Root()
	if err != nil {
		return false
	}
	defer root.Put()
	_, err = root.Getxattr(selinuxLabel)
	return err == nil
}

// GetXAttr copies the value of an extended attribute into dest and gives its size.
// An empty dest asks for the size alone.
func (a *Adapter) GetXAttr(_ <-chan struct{}, header *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	value, st := a.xattr(header, name)
	if st != fuse.OK {
		return 0, st
	}
	if len(dest) == 0 {
		return uint32(len(value)), fuse.OK
	}
	if len(value) > len(dest) {
		return 0, fuse.ERANGE
	}
	return uint32(copy(dest, value)), fuse.OK
}

func (a *Adapter) xattr(header *fuse.InHeader, name string) ([]byte, fuse.Status) {
	if name == StatsXattr && header.NodeId == fuse.FUSE_ROOT_ID && a.stats != nil {
		return a.statsXattr(header)
	}
	in, st := a.inode(header.NodeId)
	if st != fuse.OK {
		return nil, st
	}
	defer in.Put()
	value, err := in.Getxattr(name)
	if err != nil {
		if name == selinuxLabel && !a.labelled && errors.Is(err, ext2.ErrNoAttr) {
			err = ext2.ErrNotSupported
		}
		return nil, status(err)
	}
	return value, fuse.OK
}

// ListXAttr copies the names of an inode's extended attributes into dest, each with a
// zero byte behind it. An empty dest asks for the size alone. Names of the trusted
// namespace are shown to root only, as the kernel's own driver does.
func (a *Adapter) ListXAttr(_ <-chan struct{}, header *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	in, st := a.inode(header.NodeId)
	if st != fuse.OK {
		return 0, st
	}
	defer in.Put()
	names, err := in.Listxattr()
	if err != nil {
		return 0, status(err)
	}
	size := 0
	for _, name := range names {
		if strings.HasPrefix(name, "trusted.") && header.Uid != 0 {
			continue
		}
		if len(dest) > 0 {
			if size+len(name)+1 > len(dest) {
				return 0, fuse.ERANGE
			}
			dest[size+copy(dest[size:], name)] = 0
		}
		size += len(name) + 1
	}
	return uint32(size), fuse.OK
}
