package ext2

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
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
	head uint32     // s_last_orphan
	at   map[uint32]orphanLinks
}

// orphanLinks are an orphan's neighbours on the list, 0 for none.
type orphanLinks struct{ prev, next uint32 }

func (l *orphanList) init() { l.at = map[uint32]orphanLinks{} }

// push puts an inode at the head.
func (l *orphanList) push(ino uint32) {
	if old, ok := l.at[l.head]; ok {
		l.at[l.head] = orphanLinks{prev: ino, next: old.next}
	}
	l.at[ino] = orphanLinks{next: l.head}
	l.head = ino
}

// remove takes an inode off.
func (l *orphanList) remove(ino uint32) {
	o := l.at[ino]
	if n, ok := l.at[o.next]; ok {
		l.at[o.next] = orphanLinks{prev: o.prev, next: n.next}
	}
	if p, ok := l.at[o.prev]; ok {
		l.at[o.prev] = orphanLinks{prev: p.prev, next: o.next}
	} else {
		l.head = o.next
	}
	delete(l.at, ino)
}

// addOrphanLocked puts the inode at the head of the list; the caller flushes it
// afterwards. The inode's lock is held, and an operation runs.
func (in *Inode) addOrphanLocked() error {
	l := &in.fs.orphans
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, there := l.at[in.ino]; there {
		return nil
	}
	if err := in.fs.changeSuper(func(sb *disk.Superblock) { sb.LastOrphan = in.ino }); err != nil {
		return err
	}
	l.push(in.ino)
	in.orphan = true
	return nil
}

// dropOrphanLocked takes the inode off the list; the caller flushes it afterwards. The
// inode's lock is held, and an operation runs.
func (in *Inode) dropOrphanLocked() error {
	fs, l := in.fs, &in.fs.orphans
	l.mu.Lock()
	defer l.mu.Unlock()
	o, there := l.at[in.ino]
	if !there {
		return nil
	}
	var err error
	if o.prev == 0 {
		err = fs.changeSuper(func(sb *disk.Superblock) { sb.LastOrphan = o.next })
	} else {
		err = fs.setDtime(o.prev, o.next)
	}
	if err != nil {
		return err
	}
	l.remove(in.ino)
	in.orphan = false
	return nil
}

// encodeOrphanLocked puts an inode that is on the list into its place in the inode table.
// The list's lock is held meanwhile, as a neighbour may leave and change i_dtime there.
func (in *Inode) encodeOrphanLocked(buf *cache.Buffer, off int) {
	l := &in.fs.orphans
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
	buf, _, err := fs.inodeBuffer(ino)
	if err != nil {
		return err
	}
	defer buf.Release()
	_, off := fs.inodeBlock(ino)
	modify(buf, func(b []byte) { binary.LittleEndian.PutUint32(b[off+dtimeOffset:], v) })
	return nil
}

// recoverOrphans works off the list that a daemon that died left behind. What is wrong
// with it, or with an inode on it, is logged and left to e2fsck.
func (fs *FS) recoverOrphans() error {
	if fs.sb.LastOrphan == 0 {
		return nil
	}
	found := fs.readOrphans()
	deleted, truncated := 0, 0
	for _, ino := range found {
		raw, err := fs.rawInode(ino)
		if err != nil {
			break
		}
		raw.Dtime = 0
		in := &Inode{fs: fs, ino: ino, raw: raw, typ: raw.Mode & disk.ModeFmt, orphan: true}
		count := &truncated
		if raw.Links == 0 {
			count, err = &deleted, in.delete()
		} else {
			err = in.finishTruncate()
		}
		if err == nil {
			*count++
		} else {
			fs.log.Error(fmt.Sprintf("orphaned inode %d: %v; run e2fsck", ino, err), "inode", ino)
		}
	}
	fs.log.Info(fmt.Sprintf("%d files left over from an unclean end: %d deleted, %d truncated", len(found), deleted, truncated))
	// Those that could not be dealt with leave the list: nobody will do better here.
	fs.orphans.init()
	fs.orphans.head = 0
	return fs.update(1, func() error {
		return fs.changeSuper(func(sb *disk.Superblock) { sb.LastOrphan = 0 })
	})
}

// readOrphans reads the list into memory, as far as it can be followed.
func (fs *FS) readOrphans() []uint32 {
	l := &fs.orphans
	var found []uint32
	for ino := fs.sb.LastOrphan; ino != 0; {
		raw, err := fs.orphanInode(ino)
		if err != nil {
			break
		}
		prev := uint32(0)
		if n := len(found); n > 0 {
			prev = found[n-1]
			l.at[prev] = orphanLinks{prev: l.at[prev].prev, next: ino}
		} else {
			l.head = ino
		}
		l.at[ino] = orphanLinks{prev: prev}
		found = append(found, ino)
		ino = raw.Dtime
	}
	return found
}

// orphanInode is the next inode of the list on disk, if it can be on it.
func (fs *FS) orphanInode(ino uint32) (raw disk.Inode, err error) {
	bad := func(why string) error {
		return fs.corrupt(&disk.CorruptError{What: "orphan list", Inode: ino, Offset: -1, Detail: why + "; run e2fsck"})
	}
	_, again := fs.orphans.at[ino]
	switch {
	case again:
		return raw, bad("a loop")
	case ino < fs.sb.FirstIno() || !fs.sb.ValidInode(ino):
		return raw, bad("no inode of a file")
	}
	used, err := fs.inodeUsed(ino)
	if err == nil && !used {
		err = bad("a free inode")
	}
	if err == nil {
		raw, err = fs.rawInode(ino)
	}
	if err != nil {
		return raw, err
	}
	check := raw
	check.Dtime, check.Links = 0, max(raw.Links, 1) // or it would count as deleted
	if err := check.CheckInode(ino, fs.sb); err != nil {
		return raw, fs.damage(err, ino, 0)
	}
	return raw, (&Inode{fs: fs, ino: ino, raw: raw}).checkXattrBlock()
}

// rawInode reads an inode from the table as it stands there.
func (fs *FS) rawInode(ino uint32) (disk.Inode, error) {
	buf, raw, err := fs.inodeBuffer(ino)
	if err != nil {
		return disk.Inode{}, err
	}
	defer buf.Release()
	buf.RLock()
	defer buf.RUnlock()
	return disk.DecodeInode(raw, fs.sb), nil
}

// all are the inodes on the list, in no order.
func (l *orphanList) all() []uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.at))
}
