package ext2

import (
	"math/rand/v2"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// Flags of i_flags that a new object takes over from its directory, and those of them
// that make sense for files, and for everything else.
const (
	flagsInherited = disk.InodeSecRm | disk.InodeUnrm | disk.InodeCompr | disk.InodeSync | disk.InodeNoDump |
		disk.InodeNoAtime | disk.InodeJournalData | disk.InodeNoTail | disk.InodeDirSync | 0x400 // NOCOMPR
	flagsOfFiles  = flagsInherited &^ disk.InodeDirSync
	flagsOfOthers = disk.InodeNoDump | disk.InodeNoAtime
)

// newInodeCredits: inode bitmap with descriptor, inode table block, attribute block with
// bitmap and descriptor, superblock.
const newInodeCredits = 7

// newInode makes an inode for a new object in dir: owner, group, mode, flags and ACLs as
// the directory and cred say. It has no links yet and is not flushed; a caller that
// fails later undoes it with dropNew. mode has the type; umask counts where there is no
// default ACL. The directory's lock is held, exclusively, and an operation runs.
func (dir *Inode) newInode(mode uint16, umask uint16, cred *Cred) (*Inode, error) {
	fs := dir.fs
	isDir := mode&disk.ModeFmt == disk.ModeDir
	ino, err := fs.allocInode(dir, isDir)
	if err != nil {
		return nil, err
	}
	if err := fs.checkFree(ino, isDir); err != nil {
		return nil, err
	}
	in := &Inode{fs: fs, ino: ino, typ: mode & disk.ModeFmt}
	now := fs.now()
	in.raw = disk.Inode{Mode: mode, UID: cred.UID, GID: cred.GID, Atime: now, Mtime: now, Ctime: now, Btime: now,
		Generation: rand.Uint32(), ExtraSize: fs.extraSize()}
	in.raw.HasBtime = in.raw.ExtraSize != 0
	in.alloc.privileged = cred.reserved(fs)
	in.inheritOwner(dir, cred)
	in.inheritFlags(dir)
	if !fs.inodes.insert(in) {
		return nil, fs.inodeInUse(ino)
	}
	if err := in.clearSlot(); err != nil {
		in.dropNew()
		return nil, err
	}
	if mode&disk.ModeFmt != disk.ModeSymlink {
		err = in.inheritACLs(dir, umask)
	}
	if err != nil {
		in.dropNew()
		return nil, err
	}
	return in, nil
}

// checkFree tells whether the place of an inode that was just taken is free in the inode
// table, too: else the bitmap lies, and there is a file to lose.
func (fs *FS) checkFree(ino uint32, dir bool) error {
	raw, err := fs.rawInode(ino)
	if err != nil {
		_ = fs.freeInode(ino, dir) // what it needs is at hand, as it was just taken
		return err
	}
	if raw.Links > 0 && raw.Mode != 0 {
		return fs.inodeInUse(ino)
	}
	return nil
}

// inodeInUse reports an inode that the bitmap had free wrongly. Its bit stays set: that
// much of the bitmap is right now.
func (fs *FS) inodeInUse(ino uint32) error {
	return fs.corrupt(&disk.CorruptError{What: "inode bitmap", Inode: ino, Offset: -1, Detail: "it has an inode free that is in use"})
}

// extraSize is i_extra_isize of new inodes.
func (fs *FS) extraSize() uint16 {
	if fs.sb.InodeSize() == disk.GoodOldInodeSize {
		return 0
	}
	want := max(fs.sb.WantExtraIsize, fs.sb.MinExtraIsize)
	if want == 0 || int(want) > fs.sb.InodeSize()-disk.GoodOldInodeSize || want&3 != 0 {
		return 32
	}
	return want
}

// inheritOwner gives the directory's group where it hands it down: with set-group-ID,
// or grpid.
func (in *Inode) inheritOwner(dir *Inode, cred *Cred) {
	switch {
	case dir.raw.Mode&modeSetGID != 0:
		in.raw.GID = dir.raw.GID
		if in.IsDir() {
			in.raw.Mode |= modeSetGID
		}
	case in.fs.opts.GrpID:
		in.raw.GID = dir.raw.GID
	}
	if !in.IsDir() && in.raw.Mode&(modeSetGID|0o010) == modeSetGID|0o010 && !cred.privileged() && !cred.inGroup(in.raw.GID) {
		in.raw.Mode &^= modeSetGID
	}
}

func (in *Inode) inheritFlags(dir *Inode) {
	in.raw.Flags = dir.raw.Flags & flagsInherited
	switch {
	case in.IsDir():
	case in.IsReg():
		in.raw.Flags &= flagsOfFiles
	default:
		in.raw.Flags &= flagsOfOthers
	}
}

func (in *Inode) inheritACLs(dir *Inode, umask uint16) error {
	mode, access, def, err := dir.inheritACL(in.raw.Mode, umask, in.IsDir())
	if err != nil {
		return err
	}
	in.raw.Mode = mode
	if def != nil {
		if err := in.setXattrLocked(disk.XattrACLDefault, "", def, 0); err != nil {
			return err
		}
	}
	if access != nil {
		return in.setXattrLocked(disk.XattrACLAccess, "", access, 0)
	}
	return nil
}

// clearSlot zeroes the inode's place in the inode table: somebody else's attributes may
// stand there. It leaves i_extra_isize, which says where attributes begin.
func (in *Inode) clearSlot() error {
	buf, off, err := in.fs.inodeBuffer(in.ino)
	if err != nil {
		return err
	}
	defer buf.Release()
	modify(buf, func(b []byte) {
		b = b[off : off+in.fs.sb.InodeSize()]
		clear(b)
		in.raw.Encode(b, in.fs.sb)
	})
	return nil
}

// dropNew undoes newInode.
func (in *Inode) dropNew() {
	// What fails here was reported, and e2fsck mends it; the caller has an error to give.
	_ = in.freeXattrBlockLocked()
	in.raw.Links, in.raw.Dtime = 0, uint32(in.fs.now().Sec)
	_ = in.flushLocked()
	_ = in.fs.freeInode(in.ino, in.IsDir())
	in.fs.inodes.forget(in)
}
