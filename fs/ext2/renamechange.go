package ext2

import (
	"github.com/ext2fuse/ext2fuse/cache"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// prepare pins all that will be written, so that nothing fails behind the first change but
// for want of room, which only adding the new name needs.
func (r *rename) prepare(p *places) (err error) {
	if err = p.pin(r.from, r.to, r.source, r.target); err != nil {
		return err
	}
	if r.oldBlock, err = p.pinEntry(r.from, r.oldPos); err != nil {
		return err
	}
	if r.target != nil {
		if r.newBlock, err = p.pinEntry(r.to, r.newPos); err != nil {
			return err
		}
	}
	if r.from == r.to {
		return nil
	}
	if r.source.IsDir() {
		if r.sourceUp, err = p.pinDotDot(r.source); err != nil {
			return err
		}
	}
	if r.flags&RenameExchange != 0 && r.target.IsDir() {
		r.targetUp, err = p.pinDotDot(r.target)
	}
	return err
}

// move is a rename that is no exchange.
func (r *rename) move() error {
	src := r.source
	srcType := disk.FileType(src.raw.Mode)
	var whiteout *Inode
	if r.flags&RenameWhiteout != 0 {
		var err error
		if whiteout, err = r.from.newInode(disk.ModeChar, 0, &r.cred); err != nil {
			return err
		}
		defer whiteout.Put()
		whiteout.raw.Links = 1
	}
	blocks := r.from.raw.Size >> r.fs.blockBits
	if r.target == nil {
		r.to.alloc.privileged = r.cred.reserved(r.fs)
		if err := r.to.addEntry(r.newName, src.ino, srcType); err != nil {
			if whiteout != nil {
				whiteout.dropNew()
			}
			_ = r.to.flushLocked()
			return err
		}
	} else {
		r.to.setEntry(r.newBlock, r.newPos, src.ino, srcType)
	}
	if err := r.leaveOld(whiteout, blocks); err != nil {
		return err
	}
	if src.IsDir() && r.from != r.to {
		src.setParent(&r.sourceUp, r.to.ino)
		r.from.loseSubdirLocked()
		r.to.raw.Links++
	}
	if r.target != nil {
		if r.target.IsDir() {
			r.to.loseSubdirLocked()
			r.target.dir.data(r.fs).parent.Store(0)
		}
		if err := r.target.unlinkLocked(); err != nil {
			return err
		}
	}
	return r.finish(src)
}

// leaveOld removes the old name or makes the whiteout stand under it. Adding the new
// name may have moved the old entry, when both are in one directory with an htree, within its
// block or to one of those that the directory got besides the blocks it had. All of them are
// in memory.
func (r *rename) leaveOld(whiteout *Inode, blocks uint64) error {
	buf, n := r.oldBlock, uint64(r.oldPos.off)>>r.fs.blockBits
	e, found := disk.FindDirent(buf.Data(), r.oldName)
	var p places
	defer p.release()
	for n2 := blocks; !found; n2++ {
		var err error
		n = n2
		if buf, err = p.pinEntry(r.from, entryPos{off: int64(n) << r.fs.blockBits}); err != nil {
			return err
		}
		e, found = disk.FindDirent(buf.Data(), r.oldName)
	}
	pos := entryPos{e.Inode, int64(n)<<r.fs.blockBits + int64(e.Off)}
	if whiteout == nil {
		r.from.removeEntry(buf, pos, r.oldName)
		return nil
	}
	if err := whiteout.flushLocked(); err != nil {
		return err
	}
	r.from.setEntry(buf, pos, whiteout.ino, disk.TypeChar)
	return nil
}

// exchange lets the two names change places.
func (r *rename) exchange() error {
	src, dst := r.source, r.target
	r.to.setEntry(r.newBlock, r.newPos, src.ino, disk.FileType(src.raw.Mode))
	r.from.setEntry(r.oldBlock, r.oldPos, dst.ino, disk.FileType(dst.raw.Mode))
	if r.from != r.to {
		if src.IsDir() {
			src.setParent(&r.sourceUp, r.to.ino)
			r.from.loseSubdirLocked()
			r.to.raw.Links++
		}
		if dst.IsDir() {
			dst.setParent(&r.targetUp, r.from.ino)
			r.to.loseSubdirLocked()
			r.from.raw.Links++
		}
	}
	return r.finish(src, dst)
}

// finish sets times and flushes all that changed.
func (r *rename) finish(changed ...*Inode) error {
	now := r.fs.now()
	for _, in := range changed {
		in.raw.Ctime = now
		if err := in.flushLocked(); err != nil {
			return err
		}
	}
	if r.from != r.to {
		if err := r.from.touchedLocked(); err != nil {
			return err
		}
	}
	return r.to.touchedLocked()
}

// dotDot is where ".." of a directory stands.
type dotDot struct {
	buf *cache.Buffer
	pos entryPos
}

// pinDotDot finds ".." of a directory and pins its block.
func (p *places) pinDotDot(in *Inode) (up dotDot, err error) {
	r := in.openDirLocked()
	pos, err := r.scan("..", 0, 1, 0)
	if err == nil && pos.ino == 0 {
		err = in.fs.corrupt(&disk.CorruptError{What: "directory", Inode: in.ino, Offset: -1, Detail: "it has no \"..\""})
	}
	if err != nil {
		return up, err
	}
	up.pos = pos
	up.buf, err = p.pinEntry(in, pos)
	return up, err
}

// setParent makes ".." of a directory lead elsewhere.
func (in *Inode) setParent(up *dotDot, ino uint32) {
	in.dir.data(in.fs).parent.Store(ino)
	in.setEntry(up.buf, up.pos, ino, disk.TypeDir)
}
