package ext2

import (
	"slices"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// Extended attributes stand in the inode, if it is larger than 128 bytes, and in one
// block that several inodes may share. The inode's come first.

// maxXattrName is the longest attribute name without its prefix.
const maxXattrName = 255

// What is known of the attributes in an inode (dirState.inInode).
const (
	xattrsUnknown = iota
	xattrsNone    // nothing to be read
	xattrsSome
)

// Getxattr is the value of an extended attribute, by its full name ("user.mime_type").
// system.posix_acl_access and _default have the form getxattr(2) gives them. It gives
// ErrNoAttr when the inode has no such attribute, ErrNotSupported for a namespace that
// ext2 does not have or that the options hide, and ErrRange for too long a name. For an
// inode without attributes it costs no I/O.
func (in *Inode) Getxattr(name string) ([]byte, error) {
	index, short, ok := disk.XattrSplitName(name)
	switch {
	case !ok || !in.showsXattr(index):
		return nil, ErrNotSupported
	case len(short) > maxXattrName:
		return nil, ErrRange
	}
	in.mu.RLock()
	defer in.mu.RUnlock()
	var value []byte
	err := in.xattrsLocked(func(e *disk.XattrEntry) bool {
		if e.Index != index || e.Name != short {
			return true
		}
		value = slices.Clone(e.Value)
		if value == nil {
			value = []byte{}
		}
		return false
	})
	if err != nil {
		return nil, err
	}
	if value == nil {
		return nil, ErrNoAttr
	}
	if isACL(index) {
		return in.posixACL(value)
	}
	return value, nil
}

// Listxattr are the full names of the inode's extended attributes, those in the inode
// first, each part in the order of the image. Names in namespaces that ext2 does not
// have or that the options hide are left out. trusted.* is listed; whether a user may
// see it is for the caller to decide.
func (in *Inode) Listxattr() ([]string, error) {
	in.mu.RLock()
	defer in.mu.RUnlock()
	var names []string
	err := in.xattrsLocked(func(e *disk.XattrEntry) bool {
		if full, ok := disk.XattrFullName(e.Index, e.Name); ok && in.showsXattr(e.Index) {
			names = append(names, full)
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	return names, nil
}

// showsXattr tells whether attributes of a namespace exist as far as the mount options
// and the type of the inode go.
func (in *Inode) showsXattr(index uint8) bool {
	switch {
	case index == disk.XattrUser:
		return !in.fs.opts.NoUserXattr
	case isACL(index):
		return !in.fs.opts.NoACL && !in.IsSymlink()
	}
	return true
}

// xattrsLocked calls fn with the inode's attributes, until fn is false. The values are
// valid during the call only.
func (in *Inode) xattrsLocked(fn func(e *disk.XattrEntry) bool) error {
	more, err := in.inlineXattrsLocked(fn)
	if err != nil || !more || in.raw.FileACL == 0 {
		return err
	}
	return in.blockXattrsLocked(fn)
}

// blockXattrsLocked is xattrsLocked for those in the attribute block, which there is.
func (in *Inode) blockXattrsLocked(fn func(e *disk.XattrEntry) bool) error {
	fs, block := in.fs, uint64(in.raw.FileACL)
	buf, err := fs.cache.Get(block, blockio.Xattr)
	if err != nil {
		return fs.readError("attribute block", in.ino, block, err)
	}
	defer buf.Release()
	buf.RLock() // the block may be shared; its lock guards it, not the inode's
	defer buf.RUnlock()
	entries, _, err := disk.DecodeXattrBlock(buf.Data())
	if err != nil {
		return fs.damage(err, in.ino, block)
	}
	eachXattr(entries, fn)
	return nil
}

// inlineXattrsLocked is xattrsLocked for those in the inode; more tells whether fn was
// never false. It remembers when there are none.
func (in *Inode) inlineXattrsLocked(fn func(e *disk.XattrEntry) bool) (more bool, err error) {
	known := &in.dir.inInode
	if in.raw.ExtraSize == 0 || known.Load() == xattrsNone {
		return true, nil
	}
	buf, off, err := in.fs.inodeBuffer(in.ino)
	if err != nil {
		return false, err
	}
	defer buf.Release()
	buf.RLock()
	defer buf.RUnlock()
	entries, err := disk.DecodeInodeXattrs(disk.InodeXattrArea(buf.Data()[off:off+in.fs.sb.InodeSize()], &in.raw))
	if err != nil {
		return false, in.fs.damage(err, in.ino, buf.Block())
	}
	if known.Load() == xattrsUnknown {
		if len(entries) == 0 {
			known.Store(xattrsNone)
			return true, nil
		}
		known.Store(xattrsSome)
	}
	return eachXattr(entries, fn), nil
}

func eachXattr(entries []disk.XattrEntry, fn func(e *disk.XattrEntry) bool) bool {
	for i := range entries {
		if !fn(&entries[i]) {
			return false
		}
	}
	return true
}
