package ext2

import (
	"context"
	"slices"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// Flags of Setxattr.
const (
	XattrCreate  = 1 // fail with ErrExist if the attribute is there
	XattrReplace = 2 // fail with ErrNoAttr if it is not
)

// xattrCredits: the block with bitmap and descriptor, that of the block it replaces,
// the inode, the superblock.
const xattrCredits = 8

// Setxattr sets an extended attribute, by its full name. An ACL is given in the form
// setxattr(2) takes; an access ACL changes the mode, too. It gives ErrNoSpace when inode
// and attribute block have no room.
func (in *Inode) Setxattr(ctx context.Context, name string, value []byte, flags int, cred Cred) error {
	return in.changeXattr(ctx, name, cred, func(index uint8, short string) error {
		if isACL(index) {
			return in.setACLLocked(index, value, cred)
		}
		return in.setXattrLocked(index, short, value, flags)
	})
}

// Removexattr removes an extended attribute; ErrNoAttr says that there is none.
func (in *Inode) Removexattr(ctx context.Context, name string, cred Cred) error {
	return in.changeXattr(ctx, name, cred, func(index uint8, short string) error {
		err := in.setXattrLocked(index, short, nil, XattrReplace)
		if err == ErrNoAttr && isACL(index) {
			return nil // removing an ACL that is not there is no error
		}
		return err
	})
}

// changeXattr is the operation that changes the attribute of a full name: change does it,
// with the inode's lock held.
func (in *Inode) changeXattr(ctx context.Context, name string, cred Cred, change func(index uint8, short string) error) error {
	return in.settleAfter(ctx, in.alter(ctx, xattrCredits, func() error {
		index, short, ok := disk.XattrSplitName(name)
		switch {
		case in.raw.Flags&(disk.InodeImmutable|disk.InodeAppend) != 0:
			return ErrPerm
		case !ok || !in.showsXattr(index):
			return ErrNotSupported
		case len(short) > maxXattrName:
			return ErrRange
		}
		in.alloc.privileged = cred.reserved(in.fs)
		if err := change(index, short); err != nil {
			return err
		}
		in.raw.Ctime = in.fs.now()
		return in.flushLocked()
	}), "changing an extended attribute of")
}

// xattrSet is an inode's attributes taken into memory.
type xattrSet struct {
	inline, block []disk.XattrEntry // values are copies
}

func findXattr(set []disk.XattrEntry, index uint8, name string) int {
	return slices.IndexFunc(set, func(e disk.XattrEntry) bool { return e.Index == index && e.Name == name })
}

// setXattrLocked sets an attribute, or removes it when value is nil. It goes into the
// inode if there is room, else into the block.
func (in *Inode) setXattrLocked(index uint8, name string, value []byte, flags int) error {
	set, err := in.loadXattrsLocked()
	if err != nil {
		return err
	}
	i, b := findXattr(set.inline, index, name), findXattr(set.block, index, name)
	there := i >= 0 || b >= 0
	switch {
	case flags&XattrCreate != 0 && there:
		return ErrExist
	case flags&XattrReplace != 0 && !there:
		return ErrNoAttr
	case value == nil && !there:
		return nil
	}
	entry := disk.XattrEntry{Index: index, Name: name, Value: value}
	without := func(s []disk.XattrEntry, at int) []disk.XattrEntry {
		if at < 0 {
			return s
		}
		return slices.Delete(slices.Clone(s), at, at+1)
	}
	inline, block := without(set.inline, i), without(set.block, b)
	if value == nil {
		return in.storeXattrsLocked(inline, block, i >= 0, b >= 0)
	}
	if in.inlineRoom() >= disk.XattrSize(append(slices.Clone(inline), entry), true) {
		if i >= 0 {
			inline = slices.Insert(inline, i, entry) // where it stood
		} else {
			inline = append(inline, entry)
		}
		return in.storeXattrsLocked(inline, block, true, b >= 0)
	}
	block = append(block, entry)
	if disk.XattrSize(block, false) > in.fs.blockSize {
		return ErrNoSpace
	}
	return in.storeXattrsLocked(inline, block, i >= 0, true)
}

// inlineRoom is the size of the area for attributes in the inode.
func (in *Inode) inlineRoom() int {
	if in.raw.ExtraSize == 0 {
		return 0
	}
	return max(in.fs.sb.InodeSize()-disk.GoodOldInodeSize-int(in.raw.ExtraSize), 0)
}

// loadXattrsLocked takes the attributes into memory.
func (in *Inode) loadXattrsLocked() (set xattrSet, err error) {
	collect := func(into *[]disk.XattrEntry) func(*disk.XattrEntry) bool {
		return func(e *disk.XattrEntry) bool {
			c := *e
			c.Value = append([]byte{}, e.Value...)
			*into = append(*into, c)
			return true
		}
	}
	if _, err := in.inlineXattrsLocked(collect(&set.inline)); err != nil {
		return set, err
	}
	if in.raw.FileACL == 0 {
		return set, nil
	}
	return set, in.blockXattrsLocked(collect(&set.block))
}

// storeXattrsLocked writes the parts that changed.
func (in *Inode) storeXattrsLocked(inline, block []disk.XattrEntry, inlineChanged, blockChanged bool) error {
	if blockChanged {
		if err := in.storeXattrBlockLocked(block); err != nil {
			return err
		}
	}
	if !inlineChanged {
		return nil
	}
	buf, off, err := in.fs.inodeBuffer(in.ino)
	if err != nil {
		return err
	}
	defer buf.Release()
	modify(buf, func(b []byte) {
		err = disk.EncodeInodeXattrs(disk.InodeXattrArea(b[off:off+in.fs.sb.InodeSize()], &in.raw), inline)
	})
	in.dir.inInode.Store(xattrsUnknown)
	return err
}
