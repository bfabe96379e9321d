package ext2

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/ext2fuse/ext2fuse/cache"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// orphanList is the list of inodes that are to be deleted or truncated when nobody
// finishes that: files unlinked while in use, files without a name yet, long truncates
// that run in several operations. On disk it begins at s_last_orphan and goes on in
// i_dtime, as ext3 has it; e2fsck -p works it off, and so does the next mount.
type orphanList struct {
	mu   sync.Mutex // below the file inode's lock, above the buffers'
	head uint32
	at   map[uint32]orphanLinks
}

// orphanLinks are an inode's neighbours on the list; 0 is none.
type orphanLinks struct{ prev, next uint32 }

func (l *orphanList) init() { l.at = map[uint32]orphanLinks{} }

// any tells whether there is something to delete or to truncate.
func (l *orphanList) any() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head != 0
}

func (l *orphanList) has(ino uint32) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.at[ino]
	return ok
}

// addOrphanLocked puts the inode at the head of the list; the caller flushes it
// afterwards. The inode's lock is held, exclusively, and an operation runs.
func (in *Inode) addOrphanLocked() error {
	if in.orphan.Load() {
		return nil
	}
	l := &in.fs.orphans
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := in.fs.changeSuper(func(sb *disk.Superblock) { sb.LastOrphan = in.ino }); err != nil {
		return err
	}
	if next := l.head; next != 0 {
		l.at[next] = orphanLinks{in.ino, l.at[next].next}
	}
	l.at[in.ino] = orphanLinks{0, l.head}
	l.head = in.ino
	in.orphan.Store(true)
	return nil
}

// dropOrphanLocked takes the inode off the list; the caller flushes it afterwards. The
// inode's lock is held, exclusively, and an operation runs.
func (in *Inode) dropOrphanLocked() error {
	if !in.orphan.Load() {
		return nil
	}
	fs, l := in.fs, &in.fs.orphans
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.at[in.ino]
	if at.prev == 0 {
		if err := fs.changeSuper(func(sb *disk.Superblock) { sb.LastOrphan = at.next }); err != nil {
			return err
		}
		l.head = at.next
	} else {
		if err := fs.setDtime(at.prev, at.next); err != nil {
			return err
		}
		l.at[at.prev] = orphanLinks{l.at[at.prev].prev, at.next}
	}
	if at.next != 0 {
		l.at[at.next] = orphanLinks{at.prev, l.at[at.next].next}
	}
	delete(l.at, in.ino)
	in.orphan.Store(false)
	return nil
}

// pinOrphan pins what dropOrphanLocked writes, if the inode is on the list.
func (p *places) pinOrphan(in *Inode) error {
	if !in.orphan.Load() {
		return nil
	}
	l := &in.fs.orphans
	l.mu.Lock()
	prev := l.at[in.ino].prev
	l.mu.Unlock()
	if prev == 0 {
		return nil // the superblock, which always is
	}
	buf, _, err := in.fs.inodeBuffer(prev)
	if err == nil {
		p.add(buf)
	}
	return err
}

// encodeLocked puts an inode that is on the list into its place in the inode table:
// i_dtime is the next one. The inode's lock is held, exclusively; the list's is taken
// before the buffer's, so that the successor cannot change in between.
func (l *orphanList) encodeLocked(in *Inode, buf *cache.Buffer, off int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	raw := in.raw
	raw.Dtime = l.at[in.ino].next
	modify(buf, func(b []byte) { raw.Encode(b[off:], in.fs.sb) })
}

// dtimeOffset is where i_dtime stands in an inode.
const dtimeOffset = 20

// setDtime changes i_dtime in the inode table alone. The inode is on the orphan list,
// so that nothing else writes the field.
func (fs *FS) setDtime(ino, v uint32) error {
	buf, off, err := fs.inodeBuffer(ino)
	if err != nil {
		return err
	}
	defer buf.Release()
	modify(buf, func(b []byte) { binary.LittleEndian.PutUint32(b[off+dtimeOffset:], v) })
	return nil
}

// orphanBatch is how many orphans a mount takes into memory at a time: an image may have all
// of its inodes on the list.
const orphanBatch = 1024

// recoverOrphans works off the list that a daemon that died left behind. It takes the
// list as a hint: without a journal it may be older or newer than the inodes it names,
// so that what is no orphan ends it, and e2fsck has the rest. When ctx ends, so does it: the
// list then has what is left.
func (fs *FS) recoverOrphans(ctx context.Context) error {
	if fs.sb.LastOrphan == 0 || fs.readOnly.Load() { // damage was found already: e2fsck has it
		return nil
	}
	next := fs.sb.LastOrphan
	if fs.stateFound&disk.StateErrors != 0 {
		next = 0
		fs.log.Warn("files left over from an unclean end are not touched, as the file system has errors; run e2fsck")
	}
	var r orphanRecovery
	for more := true; more; more = next != 0 {
		var found []*Inode
		first := next
		found, next = fs.readOrphans(next)
		if err := fs.update(context.Background(), 2, func() error { return fs.adoptOrphans(first, found, next) }); err != nil {
			return err
		}
		if err := r.workOff(ctx, fs, found); err != nil {
			return err
		}
	}
	if r.deleted+r.truncated > 0 {
		fs.log.Info(fmt.Sprintf("%d files left over from an unclean end: %d deleted, %d truncated", r.deleted+r.truncated, r.deleted, r.truncated))
	}
	return nil
}

// orphanRecovery counts what recoverOrphans does.
type orphanRecovery struct{ deleted, truncated int }

func (r *orphanRecovery) workOff(ctx context.Context, fs *FS, found []*Inode) (err error) {
	for _, in := range found {
		if in.raw.Links == 0 {
			r.deleted++
			err = in.delete(ctx)
		} else {
			r.truncated++
			err = in.finishTruncate(ctx)
		}
		if err != nil && (fs.readOnly.Load() || isEnd(ctx, err)) {
			return in.stopped(ctx, err, "finishing the deletion or truncation of")
		}
		if err != nil {
			fs.log.Error(fmt.Sprintf("orphaned inode %d: %v; run e2fsck", in.ino, err), "inode", in.ino)
		}
	}
	return nil
}

// adoptOrphans makes the list in memory what was found on disk from inode first on, with which
// it ends in memory, up to inode next, which is to be read yet; 0 is none. An operation runs.
func (fs *FS) adoptOrphans(first uint32, found []*Inode, next uint32) error {
	l := &fs.orphans
	l.mu.Lock()
	defer l.mu.Unlock()
	tail := l.at[first].prev // what could not be worked off
	delete(l.at, first)
	last := tail
	for _, in := range append(found, &Inode{ino: next}) {
		if last == 0 {
			l.head = in.ino
		} else {
			l.at[last] = orphanLinks{l.at[last].prev, in.ino}
		}
		if in.ino != 0 {
			l.at[in.ino] = orphanLinks{prev: last}
		}
		last = in.ino
	}
	switch {
	case tail == 0:
		return fs.changeSuper(func(sb *disk.Superblock) { sb.LastOrphan = l.head })
	case len(found) == 0: // the list ends before what is none
		return fs.setDtime(tail, next)
	}
	return nil
}

// readOrphans follows the list on disk from inode ino on, as far as it names inodes that can be
// orphans, and tells where to go on; 0 is nowhere.
func (fs *FS) readOrphans(ino uint32) (found []*Inode, next uint32) {
	stop := func(why string) ([]*Inode, uint32) {
		fs.log.Warn(fmt.Sprintf("the list of files left over from an unclean end stops at inode %d, %s; run e2fsck", ino, why), "inode", ino)
		return found, 0
	}
	seen := map[uint32]bool{}
	for ino != 0 && len(found) < orphanBatch {
		in, why := fs.readOrphan(ino)
		if in == nil {
			return stop(why)
		}
		seen[ino] = true
		found = append(found, in)
		ino, in.raw.Dtime = in.raw.Dtime, 0
		if _, waits := fs.orphans.at[ino]; waits || seen[ino] {
			return stop("which stands on it twice")
		}
	}
	return found, ino
}

// readOrphan reads an inode that stands on the list, or says why it cannot.
func (fs *FS) readOrphan(ino uint32) (in *Inode, why string) {
	if !fs.sb.ValidInode(ino) || ino == RootIno {
		return nil, "which no file can have"
	}
	used, err := fs.inodeUsed(ino)
	if err != nil {
		return nil, err.Error()
	}
	if !used {
		return nil, "which is free"
	}
	raw, err := fs.rawInode(ino)
	if err != nil {
		return nil, err.Error()
	}
	in = &Inode{fs: fs, ino: ino, raw: raw, typ: raw.Mode & disk.ModeFmt}
	in.orphan.Store(true)
	if raw.Links > 0 && !in.IsReg() {
		return nil, "which is in use"
	}
	check := raw
	check.Links, check.Dtime = max(raw.Links, 1), 0 // or it would count as deleted
	if err := errors.Join(check.CheckInode(ino, fs.sb), in.checkXattrBlock()); err != nil {
		return nil, err.Error()
	}
	return in, ""
}

// rawInode reads an inode from the table as it stands there.
func (fs *FS) rawInode(ino uint32) (disk.Inode, error) {
	buf, off, err := fs.inodeBuffer(ino)
	if err != nil {
		return disk.Inode{}, err
	}
	defer buf.Release()
	buf.RLock()
	defer buf.RUnlock()
	return disk.DecodeInode(buf.Data()[off:off+fs.sb.InodeSize()], fs.sb), nil
}

// all are the inodes on the list.
func (l *orphanList) all() (inos []uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for ino := l.head; ino != 0; ino = l.at[ino].next {
		inos = append(inos, ino)
	}
	return inos
}
