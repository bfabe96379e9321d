package ext2

import (
	"context"
	"errors"

	"github.com/ext2fuse/ext2fuse/cache"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// Flags of Rename, as renameat2(2) numbers them.
const (
	RenameNoReplace = 1 // fail with ErrExist when the new name is there
	RenameExchange  = 2 // the two names change places
	RenameWhiteout  = 4 // leave a whiteout (character device 0:0) under the old name
)

// renameCredits: two directories that change, a whiteout, the inodes.
const renameCredits = 2*dirCredits + newInodeCredits + xattrCredits + 8

// Rename gives what stands under oldName in dir the name newName in newDir, in one step:
// whoever looks finds the old or the new state.
func (dir *Inode) Rename(ctx context.Context, oldName string, newDir *Inode, newName string, flags uint32, cred Cred) error {
	switch {
	case !dir.IsDir() || !newDir.IsDir():
		return ErrNotDir
	case flags&^(RenameNoReplace|RenameExchange|RenameWhiteout) != 0,
		flags&RenameExchange != 0 && flags&(RenameNoReplace|RenameWhiteout) != 0,
		isDots([]byte(oldName)) || isDots([]byte(newName)):
		return ErrInvalid
	}
	r := rename{fs: dir.fs, from: dir, to: newDir, oldName: oldName, newName: newName, flags: flags, cred: cred}
	if dir != newDir {
		dir.fs.renameMu.Lock()
		defer dir.fs.renameMu.Unlock()
	}
	defer r.release()
	err := dir.fs.update(ctx, renameCredits, r.run)
	if err == nil {
		err = errors.Join(dir.settle(ctx), newDir.settle(ctx))
	}
	return dir.stopped(ctx, err, "renaming from")
}

// rename is one call of Rename on its way.
type rename struct {
	fs               *FS
	from, to         *Inode
	oldName, newName string
	flags            uint32
	cred             Cred

	oldIno, newIno           uint32 // what the names mean, found without locks
	sourceAbove, targetAbove bool   // the one is above the other's directory, or is it

	oldPos, newPos entryPos
	source, target *Inode // target is nil when the new name is free
	held           []*Inode

	// Pinned by prepare.
	oldBlock, newBlock *cache.Buffer
	sourceUp, targetUp dotDot
}

// run is the operation. Who is above whom is found out before anything is locked, since
// it takes the locks of directories from below; it stays true for the inodes it was found
// out for, as fs.renameMu is held, but the names may come to mean others.
func (r *rename) run() error {
	for {
		if err := r.relate(); err != nil {
			return err
		}
		unlock := r.lockDirs()
		err := r.find()
		same := err != nil || r.source.ino == r.oldIno && (r.target == nil && r.newIno == 0 || r.target != nil && r.target.ino == r.newIno)
		if same && err == nil {
			err = r.locked()
		}
		unlock()
		if same {
			return err
		}
	}
}

// relate looks the names up without keeping locks and finds out about loops.
func (r *rename) relate() error {
	if r.from == r.to {
		r.oldIno, _ = r.from.lookupIno(r.oldName)
		r.newIno, _ = r.to.lookupIno(r.newName)
		return nil
	}
	var err error
	if r.oldIno, err = r.from.lookupIno(r.oldName); err != nil {
		return err
	}
	if r.newIno, err = r.to.lookupIno(r.newName); err != nil && err != ErrNotExist {
		return err
	}
	r.sourceAbove = r.contains(r.oldIno, r.to)
	r.targetAbove = r.newIno != 0 && r.contains(r.newIno, r.from)
	return nil
}

// locked is the part of the operation for which the directories are locked.
func (r *rename) locked() error {
	if r.target == r.source {
		return nil // two names of one inode: nothing to do, says POSIX
	}
	unlockInodes, err := r.lockInodes()
	if err != nil {
		return err
	}
	defer unlockInodes()
	if err := r.check(); err != nil {
		return err
	}
	var p places
	defer p.release()
	if err := r.prepare(&p); err != nil {
		return err
	}
	if r.flags&RenameExchange != 0 {
		return r.exchange()
	}
	return r.move()
}

// lockDirs locks the two directories: the one that contains the other first, else by
// number. fs.renameMu keeps the tree's shape when there are two.
func (r *rename) lockDirs() (unlock func()) {
	if r.from == r.to {
		r.from.mu.Lock()
		return r.from.mu.Unlock
	}
	first, second := r.from, r.to
	switch {
	case r.contains(r.to.ino, r.from):
		first, second = r.to, r.from
	case r.contains(r.from.ino, r.to):
	case r.to.ino < r.from.ino:
		first, second = r.to, r.from
	}
	first.mu.Lock()
	second.mu.Lock()
	return func() {
		second.mu.Unlock()
		first.mu.Unlock()
	}
}

// contains tells whether directory inode ino is in, or above it. fs.renameMu is held.
func (r *rename) contains(ino uint32, in *Inode) bool {
	at, mark := in.ino, in.ino
	for step := 1; ; step++ {
		if at == ino {
			return true
		}
		if at == RootIno {
			return false
		}
		d, err := r.get(at)
		if err != nil {
			return false
		}
		up, err := d.lookupIno("..")
		if err != nil || up == at {
			return false
		}
		if at = up; at == mark {
			return true // it goes round: refuse what would make a loop
		}
		if step&(step-1) == 0 { // each mark stays for as long as the way to it was
			mark = at
		}
	}
}

// get takes a reference that release gives back: the last one deletes, which is an
// operation of its own.
func (r *rename) get(ino uint32) (*Inode, error) {
	in, err := r.fs.Inode(ino)
	if err == nil {
		r.held = append(r.held, in)
	}
	return in, err
}

// getChild is get for what an entry of dir leads to.
func (r *rename) getChild(dir *Inode, ino uint32, name string) (*Inode, error) {
	in, err := dir.child(ino, name)
	if in != nil {
		r.held = append(r.held, in)
	}
	return in, err
}

func (r *rename) release() {
	for _, in := range r.held {
		in.Put()
	}
}

// find looks both names up and takes references.
func (r *rename) find() (err error) {
	r.source, r.target = nil, nil
	if r.oldPos, err = r.from.lookupLocked(r.oldName); err != nil {
		return err
	}
	if r.newPos, err = r.to.lookupLocked(r.newName); err != nil && err != ErrNotExist {
		return err
	}
	if r.source, err = r.getChild(r.from, r.oldPos.ino, r.oldName); err != nil {
		return err
	}
	if r.newPos.ino != 0 {
		if r.flags&RenameNoReplace != 0 {
			return ErrExist
		}
		r.target, err = r.getChild(r.to, r.newPos.ino, r.newName)
		return err
	}
	switch {
	case r.newName != "" && checkName(r.newName) == ErrNotExist:
		return ErrInvalid // it could never be looked up
	case r.flags&RenameExchange != 0 || r.to.raw.Links == 0 || r.newName == "":
		return ErrNotExist
	}
	return nil
}

// lockInodes locks source and target, by number, unless one of them is above a
// directory involved or is one, which no rename can be about.
func (r *rename) lockInodes() (unlock func(), err error) {
	switch {
	case r.source == r.to || r.source == r.from, r.source.IsDir() && r.sourceAbove:
		return nil, ErrInvalid // into itself
	case r.target != nil && (r.target == r.from || r.target == r.to || r.target.IsDir() && r.targetAbove):
		if r.flags&RenameExchange != 0 {
			return nil, ErrInvalid
		}
		return nil, ErrNotEmpty
	}
	first, second := r.source, r.target
	if second != nil && second.ino < first.ino {
		first, second = second, first
	}
	first.mu.Lock()
	if second != nil {
		second.mu.Lock()
	}
	return func() {
		if second != nil {
			second.mu.Unlock()
		}
		first.mu.Unlock()
	}, nil
}

// check refuses what types, flags and link counts forbid.
func (r *rename) check() error {
	const guarded = disk.InodeImmutable | disk.InodeAppend
	src, dst := r.source, r.target
	exchange := r.flags&RenameExchange != 0
	switch {
	case (r.from.raw.Flags|src.raw.Flags)&guarded != 0:
		return ErrPerm
	case dst == nil && r.to.raw.Flags&disk.InodeImmutable != 0:
		return ErrPerm
	case dst != nil && (r.to.raw.Flags|dst.raw.Flags)&guarded != 0:
		return ErrPerm
	case dst != nil && !exchange && src.IsDir() && !dst.IsDir():
		return ErrNotDir
	case dst != nil && !exchange && !src.IsDir() && dst.IsDir():
		return ErrIsDir
	}
	if r.from != r.to && src.IsDir() && (dst == nil || exchange && !dst.IsDir()) && r.to.raw.Links >= disk.MaxLinks {
		return ErrTooManyLinks
	}
	if exchange && r.from != r.to && dst.IsDir() && !src.IsDir() && r.from.raw.Links >= disk.MaxLinks {
		return ErrTooManyLinks
	}
	if dst != nil && !exchange && dst.IsDir() {
		empty, err := dst.isEmptyDir()
		if err == nil && !empty {
			err = ErrNotEmpty
		}
		return err
	}
	return nil
}
