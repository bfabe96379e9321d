package ext2

import (
	"context"
	"errors"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// nameCredits: a new inode with its ACLs, a name for it, its first block, two inodes.
const nameCredits = newInodeCredits + xattrCredits + dirCredits + 2 + maxDepth + 4

// CreateOptions says what a new object is.
type CreateOptions struct {
	Mode         uint32 // type and permission bits, as in st_mode
	Umask        uint32 // counts where the directory has no default ACL
	Major, Minor uint32 // of a device
	Target       string // of a symbolic link
	Cred         Cred
}

// Create makes a new object of any type under a name, and returns it with a reference
// taken. Permission checks are the caller's.
func (dir *Inode) Create(ctx context.Context, name string, o CreateOptions) (*Inode, error) {
	if !dir.IsDir() {
		return nil, ErrNotDir
	}
	mode := uint16(o.Mode)
	if disk.FileType(mode) == disk.TypeUnknown {
		return nil, ErrInvalid
	}
	var in *Inode
	err := dir.fs.update(ctx, nameCredits, func() (err error) {
		dir.mu.Lock()
		defer dir.mu.Unlock()
		if err := dir.mayAddLocked(name); err != nil {
			return err
		}
		var p places
		defer p.release()
		if err := p.pin(dir); err != nil {
			return err
		}
		if err := checkTarget(mode, o.Target, dir.fs.blockSize); err != nil {
			return err
		}
		dir.alloc.privileged = o.Cred.reserved(dir.fs)
		isDir := mode&disk.ModeFmt == disk.ModeDir
		if isDir && dir.raw.Links >= disk.MaxLinks {
			return ErrTooManyLinks
		}
		if in, err = dir.newInode(mode, uint16(o.Umask), &o.Cred); err != nil {
			return err
		}
		in.mu.Lock()
		defer in.mu.Unlock()
		if err = in.fillNew(dir, &o); err == nil {
			err = dir.addEntry(name, in.ino, disk.FileType(mode))
		}
		if err != nil {
			if in.hasBlocks() { // else i_block holds a device number or a target
				_, _ = (*blockMap)(in).freeRange(0, disk.NDirBlocks) // the first error counts
			}
			in.dropNew()
			_ = dir.flushLocked() // blocks it may have got
			return err
		}
		if isDir {
			in.dir.data(dir.fs).parent.Store(dir.ino)
			dir.raw.Links++
		}
		if err := in.flushLocked(); err != nil {
			return err
		}
		return dir.touchedLocked()
	})
	if err == nil {
		if err = dir.settle(ctx); err != nil {
			in.Put()
		}
	}
	if err != nil {
		return nil, dir.stopped(ctx, err, "creating a name in")
	}
	return in, nil
}

// checkTarget refuses targets that a symbolic link cannot have.
func checkTarget(mode uint16, target string, blockSize int) error {
	if mode&disk.ModeFmt != disk.ModeSymlink {
		return nil
	}
	switch {
	case target == "":
		return ErrNotExist
	case len(target) > maxTarget || len(target) >= blockSize:
		return ErrNameTooLong
	}
	return nil
}

// mayAddLocked tells whether a name can be added: the directory is one still, may be
// changed, and has no such name.
func (dir *Inode) mayAddLocked(name string) error {
	if name != "" && checkName(name) == ErrNotExist {
		return ErrInvalid // it could never be looked up
	}
	pos, err := dir.lookupLocked(name)
	switch {
	case err == nil && pos.ino != 0:
		return ErrExist
	case err != ErrNotExist && err != nil:
		return err
	case name == "":
		return ErrNotExist
	case dir.raw.Links == 0:
		return ErrNotExist
	case dir.raw.Flags&disk.InodeImmutable != 0:
		return ErrPerm
	}
	return nil
}

// fillNew gives a new inode what its type needs besides a name.
func (in *Inode) fillNew(dir *Inode, o *CreateOptions) error {
	in.raw.Links = 1
	switch {
	case in.IsDir():
		in.raw.Links = 2
		return in.makeDots(dir.ino)
	case in.IsSymlink():
		return in.writeTarget(o.Target)
	case in.raw.IsDevice():
		in.raw.SetRdev(o.Major, o.Minor)
	}
	return nil
}

// dotDotOff is where ".." stands in the first block of a new directory, behind ".".
const dotDotOff = 12

// makeDots gives a new directory its first block.
func (in *Inode) makeDots(parent uint32) error {
	_, buf, err := in.appendDirBlock()
	if err != nil {
		return err
	}
	defer buf.Release()
	t := uint8(disk.TypeUnknown)
	if in.fs.sb.HasIncompat(disk.IncompatFiletype) {
		t = disk.TypeDir
	}
	modify(buf, func(b []byte) {
		disk.PutDirent(b, 0, in.ino, dotDotOff, []byte("."), t)
		disk.PutDirent(b, dotDotOff, parent, len(b)-dotDotOff, []byte(".."), t)
	})
	return nil
}

// writeTarget stores the target of a new symbolic link: in the inode if it fits, else in
// a block.
func (in *Inode) writeTarget(target string) error {
	if len(target) < disk.FastSymlinkBytes {
		in.raw.SetSymlinkTarget([]byte(target))
		in.raw.Size = uint64(len(target))
		return nil
	}
	in.alloc.begin(1, in.alloc.privileged)
	p := append([]byte(target), 0)
	_, err := in.fs.engine.Write((*blockMap)(in), p, 0, int64(len(p)))
	in.markContentLocked()
	if err != nil {
		return err
	}
	in.raw.Size = uint64(len(target))
	return nil
}

// touchedLocked notes that the directory's names changed.
func (dir *Inode) touchedLocked() error {
	dir.raw.Mtime = dir.fs.now()
	dir.raw.Ctime = dir.raw.Mtime
	return dir.flushLocked()
}

// Tmpfile makes a file without a name in the directory's group, deleted when its last
// user lets go of it unless Link gave it a name.
func (dir *Inode) Tmpfile(ctx context.Context, o CreateOptions) (*Inode, error) {
	if !dir.IsDir() {
		return nil, ErrNotDir
	}
	var in *Inode
	err := dir.fs.update(ctx, nameCredits, func() (err error) {
		dir.mu.Lock()
		defer dir.mu.Unlock()
		switch {
		case dir.raw.Links == 0:
			return ErrNotExist
		case dir.raw.Flags&disk.InodeImmutable != 0:
			return ErrPerm
		}
		if in, err = dir.newInode(uint16(o.Mode), uint16(o.Umask), &o.Cred); err != nil {
			return err
		}
		in.mu.Lock()
		defer in.mu.Unlock()
		in.linkable = true
		if err := in.addOrphanLocked(); err != nil {
			in.dropNew()
			return err
		}
		in.nameless.Store(true)
		return in.flushLocked()
	})
	if err != nil {
		return nil, dir.stopped(ctx, err, "making a file without a name for")
	}
	return in, nil
}

// Link gives an inode that is not a directory another name.
func (dir *Inode) Link(ctx context.Context, name string, in *Inode, cred Cred) error {
	if !dir.IsDir() {
		return ErrNotDir
	}
	if in.IsDir() {
		return ErrPerm
	}
	return dir.settleAfter(ctx, dir.fs.update(ctx, nameCredits, func() error {
		dir.mu.Lock()
		defer dir.mu.Unlock()
		if err := dir.mayAddLocked(name); err != nil {
			return err
		}
		in.mu.Lock()
		defer in.mu.Unlock()
		switch {
		case in.raw.Flags&(disk.InodeImmutable|disk.InodeAppend) != 0:
			return ErrPerm
		case in.raw.Links == 0 && !in.linkable:
			return ErrNotExist
		case in.raw.Links >= disk.MaxLinks:
			return ErrTooManyLinks
		}
		var p places
		defer p.release()
		if err := errors.Join(p.pin(dir, in), p.pinOrphan(in)); err != nil {
			return err
		}
		dir.alloc.privileged = cred.reserved(dir.fs)
		if err := dir.addEntry(name, in.ino, disk.FileType(in.raw.Mode)); err != nil {
			_ = dir.flushLocked()
			return err
		}
		if in.raw.Links == 0 {
			if err := in.dropOrphanLocked(); err != nil {
				return err
			}
			in.nameless.Store(false)
			in.linkable = false
		}
		in.raw.Links++
		in.raw.Ctime = dir.fs.now()
		if err := in.flushLocked(); err != nil {
			return err
		}
		return dir.touchedLocked()
	}), "adding a name to")
}

// Unlink takes a name away from an inode that is not a directory.
func (dir *Inode) Unlink(ctx context.Context, name string) error { return dir.remove(ctx, name, false) }

// Rmdir removes an empty directory.
func (dir *Inode) Rmdir(ctx context.Context, name string) error { return dir.remove(ctx, name, true) }

func (dir *Inode) remove(ctx context.Context, name string, wantDir bool) error {
	if !dir.IsDir() {
		return ErrNotDir
	}
	var held []*Inode // put back outside of the operation: the last reference deletes
	err := dir.fs.update(ctx, nameCredits, func() (err error) {
		dir.mu.Lock()
		defer dir.mu.Unlock()
		pos, err := dir.lookupLocked(name)
		if err != nil {
			return err
		}
		if name == "." || name == ".." {
			return ErrInvalid
		}
		in, err := dir.child(pos.ino, name)
		if in != nil {
			held = append(held, in)
		}
		if err != nil {
			return err
		}
		in.mu.Lock()
		defer in.mu.Unlock()
		if err := dir.mayRemoveLocked(in, wantDir); err != nil {
			return err
		}
		var p places
		defer p.release()
		if err := p.pin(dir, in); err != nil {
			return err
		}
		buf, err := p.pinEntry(dir, pos)
		if err != nil {
			return err
		}
		dir.removeEntry(buf, pos, name)
		if wantDir {
			dir.loseSubdirLocked()
			in.dir.data(dir.fs).parent.Store(0)
		}
		if err := in.unlinkLocked(); err != nil {
			return err
		}
		return dir.touchedLocked()
	})
	for _, in := range held {
		in.Put()
	}
	return dir.settleAfter(ctx, err, "removing a name from")
}

// loseSubdirLocked takes the link off that the ".." of a subdirectory was. Counts that
// were wrong before never reach zero: the directory would count as deleted.
func (dir *Inode) loseSubdirLocked() {
	if dir.raw.Links > 2 {
		dir.raw.Links--
	}
}

// mayRemoveLocked tells whether in, which stands in dir, may be removed.
func (dir *Inode) mayRemoveLocked(in *Inode, wantDir bool) error {
	const guarded = disk.InodeImmutable | disk.InodeAppend
	switch {
	case dir.raw.Flags&guarded != 0 || in.raw.Flags&guarded != 0:
		return ErrPerm
	case wantDir && !in.IsDir():
		return ErrNotDir
	case !wantDir && in.IsDir():
		return ErrIsDir
	}
	if !wantDir {
		return nil
	}
	empty, err := in.isEmptyDir()
	if err == nil && !empty {
		err = ErrNotEmpty
	}
	return err
}

// unlinkLocked drops a link, of a directory the last two. An inode without links is
// deleted with its last reference; until then it stands on the orphan list.
func (in *Inode) unlinkLocked() error {
	if in.IsDir() {
		in.raw.Links, in.raw.Size = 0, 0
		in.fs.names.dropBatch(in.ino)
		in.fs.names.drop(in.dir.data(in.fs))
	} else if in.raw.Links > 0 {
		in.raw.Links--
	}
	in.raw.Ctime = in.fs.now()
	if in.raw.Links == 0 {
		in.nameless.Store(true)
		if err := in.addOrphanLocked(); err != nil {
			return err
		}
	}
	return in.flushLocked()
}
