package ext2

import (
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// orphanList is the list of inodes that are to be deleted or truncated when nobody
// finishes that: files unlinked while in use, files without a name yet, long truncates
// that run in several operations. On disk it begins at s_last_orphan and goes on in
// i_dtime, as ext3 has it; e2fsck -p works it off, and so does the next mount.
type orphanList struct {
	mu    sync.Mutex // below the file inode's lock, above the buffers'
	order []uint32   // as on disk, the head first
	at    map[uint32]bool
}

func (l *orphanList) init() { l.at = map[uint32]bool{} }

// next is the on-disk successor of an inode, and whether it is on the list at all.
func (l *orphanList) next(ino uint32) (uint32, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.at[ino] {
		return 0, false
	}
	for i, o := range l.order {
		if o == ino {
			if i+1 < len(l.order) {
				return l.order[i+1], true
			}
			return 0, true
		}
	}
	return 0, false
}

// addOrphan puts the inode at the head of the list; the caller flushes it afterwards.
// The inode's lock is held, and an operation runs.
func (in *Inode) addOrphanLocked() error {
	l := &in.fs.orphans
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.at[in.ino] {
		return nil
	}
	if err := in.fs.changeSuper(func(sb *disk.Superblock) { sb.LastOrphan = in.ino }); err != nil {
		return err
	}
	l.order = append([]uint32{in.ino}, l.order...)
	l.at[in.ino] = true
	return nil
}

// dropOrphanLocked takes the inode off the list; the caller flushes it afterwards. The
// inode's lock is held, and an operation runs.
func (in *Inode) dropOrphanLocked() error {
	fs, l := in.fs, &in.fs.orphans
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.at[in.ino] {
		return nil
	}
	i := 0
	for l.order[i] != in.ino {
		i++
	}
	next := uint32(0)
	if i+1 < len(l.order) {
		next = l.order[i+1]
	}
	if i == 0 {
		if err := fs.changeSuper(func(sb *disk.Superblock) { sb.LastOrphan = next }); err != nil {
			return err
		}
	} else if err := fs.setDtime(l.order[i-1], next); err != nil {
		return err
	}
	l.order = append(l.order[:i], l.order[i+1:]...)
	delete(l.at, in.ino)
	return nil
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

// recoverOrphans works off the list that a daemon that died left behind.
func (fs *FS) recoverOrphans() error {
	ino := fs.sb.LastOrphan
	if ino == 0 {
		return nil
	}
	var found []uint32
	seen := map[uint32]bool{}
	for ino != 0 {
		if !fs.sb.ValidInode(ino) || seen[ino] {
			return fs.corrupt(&disk.CorruptError{What: "orphan list", Inode: ino, Offset: -1, Detail: "not an inode, or a loop; run e2fsck"})
		}
		seen[ino] = true
		raw, err := fs.rawInode(ino)
		if err != nil {
			return err
		}
		found = append(found, ino)
		fs.orphans.at[ino] = true
		ino = raw.Dtime
		if raw.Links > 0 && !raw.IsReg() && !raw.IsDir() && !raw.IsSymlink() {
			ino = 0
		}
	}
	fs.orphans.order = found
	deleted := 0
	for _, ino := range found {
		in := &Inode{fs: fs, ino: ino}
		raw, err := fs.rawInode(ino)
		if err != nil {
			return err
		}
		raw.Dtime = 0
		in.raw, in.typ = raw, raw.Mode&disk.ModeFmt
		if raw.Links == 0 {
			deleted++
			err = in.delete()
		} else {
			err = in.finishTruncate()
		}
		if err != nil {
			return fmt.Errorf("orphaned inode %d: %w", ino, err)
		}
	}
	fs.log.Info(fmt.Sprintf("%d files left over from an unclean end: %d deleted, %d truncated", len(found), deleted, len(found)-deleted))
	return nil
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

// all are the inodes on the list.
func (l *orphanList) all() []uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]uint32(nil), l.order...)
}
