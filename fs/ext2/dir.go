package ext2

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// A directory is looked up in by the first of these that works:
//
//  1. its htree (dir_index), if it has one that can be followed;
//  2. linearly, if it has few blocks;
//  3. the name index in memory, made by the second lookup that would have read it
//     linearly.
//
// Blocks that are corrupt or cannot be read are passed over: what stands in the others
// is found. But a name that is not found is only then reported as not there when every
// block it could stand in was read; else the answer is the error.

// linearBytes is the size of a directory up to which it is looked up in linearly.
const linearBytes = 16 << 10

// entryPos is where an entry stands: its inode number, 0 if there is no such entry,
// and its byte offset in the directory file.
type entryPos struct {
	ino uint32
	off int64
}

// Lookup is the inode that name stands for in the directory, with a reference taken.
// "." and ".." are looked up, too. It gives ErrNotExist, ErrNotDir when the inode is no
// directory, ErrNameTooLong, or a *disk.CorruptError.
func (in *Inode) Lookup(name string) (*Inode, error) {
	if !in.IsDir() {
		return nil, ErrNotDir
	}
	if name == "." {
		in.Ref()
		return in, nil
	}
	child, err := in.lookup(name)
	if err != nil && child != nil {
		child.Put() // without the lock: the last reference may delete
		child = nil
	}
	return child, err
}

// lookup is Lookup's part under the lock. With an error, too, a child is the caller's.
func (in *Inode) lookup(name string) (*Inode, error) {
	in.mu.RLock()
	defer in.mu.RUnlock()
	pos, err := in.lookupLocked(name)
	if err != nil {
		return nil, err
	}
	if name == ".." {
		return in.fs.Inode(pos.ino)
	}
	return in.child(pos.ino, name)
}

// child is the inode that an entry leads to, with a reference taken: it is the caller's
// to give back with an error, too, and not inside an operation or under a lock.
func (in *Inode) child(ino uint32, name string) (*Inode, error) {
	child, err := in.fs.Inode(ino)
	if errors.Is(err, ErrStale) {
		return nil, in.fs.corrupt(&disk.CorruptError{What: "directory entry", Inode: in.ino, Offset: -1, Detail: fmt.Sprintf(
			"%q leads to inode %d, which is deleted", name, ino)})
	}
	if err != nil || !child.IsDir() {
		return child, err
	}
	return child, in.adopt(child, name)
}

// lookupIno is the inode number that name stands for in the directory. The inode is not
// looked at.
func (in *Inode) lookupIno(name string) (uint32, error) {
	if !in.IsDir() {
		return 0, ErrNotDir
	}
	in.mu.RLock()
	defer in.mu.RUnlock()
	pos, err := in.lookupLocked(name)
	return pos.ino, err
}

// adopt notes that directory child was found in in, or refuses it when it has another
// parent already or would be its own.
func (in *Inode) adopt(child *Inode, name string) error {
	if child.ino == in.ino || child.ino == RootIno {
		return in.fs.corrupt(&disk.CorruptError{What: "directory loop", Inode: in.ino, Offset: -1, Detail: fmt.Sprintf(
			"%q leads back to directory inode %d", name, child.ino)})
	}
	parent := &child.dir.data(in.fs).parent
	if parent.CompareAndSwap(0, in.ino) || parent.Load() == in.ino {
		return nil
	}
	return in.fs.corrupt(&disk.CorruptError{What: "directory loop", Inode: in.ino, Offset: -1, Detail: fmt.Sprintf(
		"%q leads to directory inode %d, which stands in directory inode %d already", name, child.ino, parent.Load())})
}

// lookupLocked finds the entry of a name.
func (in *Inode) lookupLocked(name string) (entryPos, error) {
	if err := checkName(name); err != nil {
		return entryPos{}, err
	}
	if name == "." {
		return entryPos{ino: in.ino}, nil
	}
	pos, err := in.findLocked(name)
	if err == nil && pos.ino == 0 {
		err = ErrNotExist
	}
	return pos, err
}

// findLocked is lookupLocked for names that are possible; no entry is no error.
func (in *Inode) findLocked(name string) (entryPos, error) {
	d := in.dir.data(in.fs)
	r := in.openDirLocked()
	if name == ".." {
		return r.scan(name, 0, min(r.total, 1), dirWindow)
	}
	if in.indexedLocked(d) {
		pos, done, err := r.dxFind(d, name)
		if done {
			return pos, err
		}
	}
	if r.total<<in.fs.blockBits <= linearBytes || d.hopeless.Load() {
		return r.scan(name, 0, r.total, dirWindow)
	}
	x := d.index.Load()
	if x == nil {
		if d.scans.Add(1) == 1 {
			return r.scan(name, 0, r.total, dirWindow)
		}
		if x = r.makeIndex(d); x == nil {
			return r.scan(name, 0, r.total, dirWholeWindow)
		}
	}
	in.fs.names.touch(x)
	return r.findByIndex(x, name)
}

// scan looks for a name in the file blocks from first to before end, reading window
// bytes at once.
func (r *dirReader) scan(name string, first, end uint64, window int) (entryPos, error) {
	var bad error
	for n := first; n < end; n++ {
		if window > 0 {
			r.ahead(n, window)
		}
		buf, err := r.read(n)
		if err != nil {
			if bad == nil {
				bad = err
			}
			n += r.skip(n) - 1
			continue
		}
		d, ok := disk.FindDirent(buf.Data(), name)
		buf.Release()
		if ok {
			return entryPos{d.Inode, int64(n)<<r.in.fs.blockBits + int64(d.Off)}, nil
		}
	}
	return entryPos{}, bad
}

// makeIndex makes the directory's name index, or waits for whoever is at it. It is nil
// when the directory is too large for one, or a table of it cannot be read for the time being.
func (r *dirReader) makeIndex(d *dirData) *nameIndex {
	d.building.Lock()
	defer d.building.Unlock()
	if x := d.index.Load(); x != nil || d.hopeless.Load() {
		return x
	}
	names := &r.in.fs.names
	// An entry takes at least 12 bytes and mostly 16 to 40.
	x := newNameIndex(int(min(r.full<<r.in.fs.blockBits/32, uint64(names.maxBytes)/(2*nameSlotBytes))))
	seen := make(map[uint64]struct{})
	for n := uint64(0); n < r.total; n++ {
		r.ahead(n, dirWholeWindow)
		buf, err := r.read(n)
		if err != nil {
			skip := r.skip(n)
			if skip > 1 && !isCorrupt(err) {
				return nil // a table, which may be read again
			}
			x.miss(n, err, skip > 1 || r.hole(n) > 0)
			n += skip - 1
			continue
		}
		if _, again := seen[buf.Block()]; again {
			// Whoever made this image wants the directory to have no end.
			x.damage = r.in.fs.corrupt(&disk.CorruptError{What: "directory", Inode: r.in.ino, Block: buf.Block(), Offset: -1,
				Detail: fmt.Sprintf("the block stands in it twice, once as file block %d", n)})
			buf.Release()
			break
		}
		seen[buf.Block()] = struct{}{}
		if int64(n)*roomBlockBytes > names.maxBytes { // behind a hole it may be any block
			buf.Release()
			d.hopeless.Store(true)
			return nil
		}
		base := int64(n) << r.in.fs.blockBits
		dirEntries(buf.Data(), func(e disk.Dirent) bool {
			x.add(names.hash(e.Name), base+int64(e.Off))
			return true
		})
		x.room.set(n, dirGap(buf.Data()))
		buf.Release()
		if x.bytes()+int64(len(seen))*16 > names.maxBytes {
			d.hopeless.Store(true)
			return nil
		}
	}
	names.keep(d, x)
	return x
}

// findByIndex looks a name up in the directory's name index.
func (r *dirReader) findByIndex(x *nameIndex, name string) (pos entryPos, err error) {
	var space [disk.MaxNameLen]byte
	key := space[:copy(space[:], name)]
	x.find(r.in.fs.names.hash(key), func(off int64) bool {
		buf, e := r.read(uint64(off) >> r.in.fs.blockBits)
		if e != nil {
			err = e
			return false
		}
		block := buf.Data()
		at := int(off) & (len(block) - 1)
		if entryIs(block[at:], name) {
			pos = entryPos{binary.LittleEndian.Uint32(block[at:]), off}
		}
		buf.Release()
		return pos.ino != 0
	})
	if pos.ino != 0 {
		return pos, nil
	}
	if err != nil {
		return pos, err
	}
	for _, n := range x.unread {
		if pos, err := r.scan(name, n, n+1, 0); err != nil || pos.ino != 0 {
			return pos, err
		}
	}
	return pos, x.damage
}

// entryIs tells whether the entry that begins b has the name.
func entryIs(b []byte, name string) bool {
	return len(b) >= disk.DirentHeaderBytes+len(name) && int(b[6]) == len(name) &&
		string(b[disk.DirentHeaderBytes:disk.DirentHeaderBytes+len(name)]) == name
}
