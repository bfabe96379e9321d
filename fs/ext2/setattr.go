package ext2

import (
	"context"
	"errors"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// SetAttr says what of an inode's attributes changes; nil and false leave things alone.
type SetAttr struct {
	Mode         *uint32 // permission and set-id bits
	UID, GID     *uint32
	Size         *int64
	Atime, Mtime *disk.Timespec
	Ctime        *disk.Timespec // nil: now
	AtimeNow     bool
	MtimeNow     bool
	// KillPriv drops the set-id bits, as a truncate by somebody without CAP_FSETID does.
	KillPriv bool
	// Kept: these are times that the caller kept for writes already made, which the
	// inode's flags do not forbid any more.
	Kept bool
}

// setAttrCredits: a step of freeing, the attribute block for an ACL, the tail.
const setAttrCredits = freeCredits + xattrCredits

// SetAttr changes attributes, all of them or none. Whether the caller may is for him
// to know; what the inode's flags forbid is refused. Making a large file shorter takes a
// while, as its blocks are freed; when ctx ends meanwhile, the new attributes stand, and
// the rest is freed by the next change of the content, by Close, or when the file system is
// opened next.
func (in *Inode) SetAttr(ctx context.Context, s SetAttr) error {
	more := false
	err := in.change(ctx, setAttrCredits, func() (err error) {
		more, err = in.setAttrLocked(&s)
		return err
	})
	if err == nil && more {
		err = in.finishTruncate(ctx)
	}
	return in.settleAfter(ctx, err, "setting attributes of")
}

func (in *Inode) setAttrLocked(s *SetAttr) (more bool, err error) {
	if err := in.maySetLocked(s); err != nil {
		return false, err
	}
	now := in.fs.now()
	// The ACL may find no room, which must have changed nothing; so it comes first.
	if s.Mode != nil {
		mode := in.raw.Mode&disk.ModeFmt | uint16(*s.Mode&0o7777)
		in.alloc.privileged = true // a mode has room always; its ACL shall, too
		if err := in.chmodACLLocked(mode); err != nil {
			return false, err
		}
		in.raw.Mode = mode
	}
	if s.Size != nil {
		if more, err = in.truncateLocked(*s.Size); err != nil {
			return false, errors.Join(err, in.flushLocked())
		}
		in.raw.Mtime = now
	}
	if s.UID != nil {
		in.raw.UID = *s.UID
	}
	if s.GID != nil {
		in.raw.GID = *s.GID
	}
	if s.KillPriv || (s.UID != nil || s.GID != nil) && s.Mode == nil {
		in.killPrivLocked()
	}
	in.setTimesLocked(s, now)
	return more, in.flushLocked()
}

// maySetLocked refuses a size that cannot be, and what an immutable or append-only inode
// does not allow.
func (in *Inode) maySetLocked(s *SetAttr) error {
	switch {
	case s.Size == nil:
	case in.IsDir():
		return ErrIsDir
	case !in.IsReg() || *s.Size < 0:
		return ErrInvalid
	case *s.Size > in.fs.sb.MaxFileSize():
		return ErrTooBig
	}
	if s.Kept {
		return nil
	}
	sets := s.Mode != nil || s.UID != nil || s.GID != nil || s.Atime != nil || s.Mtime != nil || s.Size != nil
	if in.raw.Flags&disk.InodeImmutable != 0 || in.raw.Flags&disk.InodeAppend != 0 && sets {
		return ErrPerm
	}
	return nil
}

func (in *Inode) setTimesLocked(s *SetAttr, now disk.Timespec) {
	set := func(to *disk.Timespec, v *disk.Timespec, useNow bool) {
		if v != nil {
			*to = in.fs.clampTime(*v)
		} else if useNow {
			*to = now
		}
	}
	set(&in.raw.Atime, s.Atime, s.AtimeNow)
	set(&in.raw.Mtime, s.Mtime, s.MtimeNow)
	set(&in.raw.Ctime, s.Ctime, s.Ctime == nil)
}

// clampTime brings a time into what inodes can hold, as utimensat(2) does.
func (fs *FS) clampTime(t disk.Timespec) disk.Timespec {
	first, last := fs.sb.TimeRange()
	switch {
	case t.Sec <= first:
		return disk.Timespec{Sec: first}
	case t.Sec >= last:
		return disk.Timespec{Sec: last}
	}
	if fs.sb.InodeSize() == disk.GoodOldInodeSize {
		t.Nsec = 0
	}
	return t
}

// SetFlags changes the flags that chattr(1) shows (FS_IOC_SETFLAGS): of those in flags,
// the ones that may be changed.
func (in *Inode) SetFlags(ctx context.Context, flags uint32, cred Cred) error {
	return in.settleAfter(ctx, in.alter(ctx, 1, func() error {
		const guarded = disk.InodeImmutable | disk.InodeAppend
		const changeable = disk.InodeFlagsModify
		flags &= changeable
		change := flags ^ in.raw.Flags&changeable
		switch {
		case flags&^in.possibleFlags() != 0:
			return ErrNotSupported
		case change&guarded != 0 && !cred.privileged():
			return ErrPerm
		case flags&in.raw.Flags&disk.InodeImmutable != 0 && change != 0:
			return ErrPerm
		}
		in.raw.Flags = in.raw.Flags&^disk.InodeFlagsModify | flags&disk.InodeFlagsModify
		in.raw.Ctime = in.fs.now()
		return in.flushLocked()
	}), "setting flags of")
}

// possibleFlags are the flags that an inode of its type can have.
func (in *Inode) possibleFlags() uint32 {
	switch {
	case in.IsDir():
		return disk.InodeFlagsModify
	case in.IsReg():
		return disk.InodeFlagsModify &^ (disk.InodeDirSync | disk.InodeTopDir)
	}
	return flagsOfOthers
}

// SetGeneration changes i_generation (FS_IOC_SETVERSION).
func (in *Inode) SetGeneration(ctx context.Context, v uint32) error {
	return in.settleAfter(ctx, in.alter(ctx, 1, func() error {
		in.raw.Generation, in.raw.Ctime = v, in.fs.now()
		return in.flushLocked()
	}), "setting the generation of")
}

// SetLabel changes the volume name: at most 16 bytes, or it is ErrInvalid.
func (fs *FS) SetLabel(ctx context.Context, label string) error {
	if len(label) > len(fs.sb.VolumeName) {
		return ErrInvalid
	}
	return stopped(ctx, fs.update(ctx, 1, func() error {
		return fs.changeSuper(func(sb *disk.Superblock) {
			sb.VolumeName = [16]byte{}
			copy(sb.VolumeName[:], label)
		})
	}), "setting the volume name")
}
