package ext2

import (
	"encoding/binary"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/cache"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// Changing directories: entries go in where a gap has room for them, and never move
// unless an htree splits a block. All of it runs inside an operation, with the
// directory's lock held exclusively; whoever calls flushes the directory's inode.

// dirCredits bounds what adding a name dirties: an htree of two levels with leaf, node
// and root split or made, three new blocks with bitmap, descriptor and tables each.
const dirCredits = 6 + 3*(2+maxDepth+1)

// addEntry adds a name, which is not there yet, for an inode.
func (dir *Inode) addEntry(name string, ino uint32, fileType uint8) error {
	if !dir.fs.sb.HasIncompat(disk.IncompatFiletype) {
		fileType = disk.TypeUnknown
	}
	e := disk.Dirent{Inode: ino, Name: []byte(name), FileType: fileType}
	d := dir.dir.data(dir.fs)
	dir.fs.names.dropBatch(dir.ino)
	if dir.indexedLocked(d) {
		done, err := dir.dxAdd(d, &e)
		if done || err != nil {
			return err
		}
		// The index cannot be followed: what is added now would not be found by it.
		dir.raw.Flags &^= disk.InodeIndex
	}
	return dir.linearAdd(d, &e)
}

// linearAdd adds an entry to the first block with room, or to a new one. A directory
// that outgrows its first block gets an htree if the file system has those.
func (dir *Inode) linearAdd(d *dirData, e *disk.Dirent) error {
	r := dir.openDirLocked()
	need := disk.RecLen(len(e.Name))
	x := d.index.Load()
	if x == nil && r.total<<dir.fs.blockBits > linearBytes && !d.hopeless.Load() {
		x = r.makeIndex(d)
	}
	if x != nil {
		for n, ok := x.room.find(need); ok; n, ok = x.room.find(need) {
			done, err := r.addTo(n, e, x, d)
			if done || err != nil {
				return err
			}
		}
	} else {
		for n := uint64(0); n < r.full; n++ {
			r.ahead(n, dirWindow)
			if done, err := r.addTo(n, e, nil, d); done || err != nil {
				return err
			}
		}
	}
	if r.full == 1 && dir.fs.sb.HasCompat(disk.CompatDirIndex) {
		done, err := dir.makeIndexed(d, e)
		if done || err != nil {
			return err
		}
	}
	n, buf, err := dir.appendDirBlock()
	if err != nil {
		return err
	}
	defer buf.Release()
	modify(buf, func(b []byte) { disk.PutDirent(b, 0, e.Inode, len(b), e.Name, e.FileType) })
	if x != nil {
		x.added(d, n, 0, e.Name, buf.Data())
	}
	return nil
}

// addTo adds an entry to file block n if there is room.
func (r *dirReader) addTo(n uint64, e *disk.Dirent, x *nameIndex, d *dirData) (done bool, err error) {
	buf, err := r.read(n)
	if err != nil {
		return false, err
	}
	defer buf.Release()
	off := putEntry(buf, e)
	if x != nil {
		if off < 0 {
			x.room.set(n, dirGap(buf.Data()))
		} else {
			x.added(d, n, off, e.Name, buf.Data())
		}
	}
	return off >= 0, nil
}

// putEntry puts an entry into a directory block and returns its offset, or -1 when
// there is no room.
func putEntry(buf *cache.Buffer, e *disk.Dirent) int {
	off, used, length, ok := disk.FindRoom(buf.Data(), disk.RecLen(len(e.Name)))
	if !ok {
		return -1
	}
	modify(buf, func(b []byte) {
		if used > 0 {
			disk.SetRecLen(b, off, used)
		}
		disk.PutDirent(b, off+used, e.Inode, length-used, e.Name, e.FileType)
	})
	return off + used
}

// dirGap is the longest name record that a block has room for, in bytes.
func dirGap(block []byte) int {
	gap := 0
	for off := 0; off < len(block); {
		d, next, ok := disk.NextDirent(block, off)
		if !ok {
			break
		}
		free := d.RecLen
		if d.Inode != 0 {
			free -= disk.RecLen(len(d.Name))
		}
		gap, off = max(gap, free), next
	}
	return gap
}

// appendDirBlock makes the directory one block longer, with alloc.privileged saying whether
// a reserved block will do. The block is one free entry.
func (dir *Inode) appendDirBlock() (n uint64, buf *cache.Buffer, err error) {
	fs := dir.fs
	r := dir.openDirLocked()
	if err := r.refuseRepeats(); err != nil {
		return 0, nil, err
	}
	n = dir.raw.Size >> fs.blockBits
	if (n+1)<<fs.blockBits > 1<<32-uint64(fs.blockSize) {
		return 0, nil, ErrNoSpace // i_size of a directory has 32 bits
	}
	dir.alloc.begin(1, dir.alloc.privileged)
	run, err := (*blockMap)(dir).GetBlock(n, 1, true)
	if err != nil {
		return 0, nil, err
	}
	buf, err = fs.cache.Fresh(run.Block, blockio.Directory)
	if err != nil {
		_, _ = (*blockMap)(dir).freeRange(n, n+1) // the first error counts
		return 0, nil, err
	}
	modify(buf, func(b []byte) { disk.PutDirent(b, 0, 0, len(b), nil, disk.TypeUnknown) })
	dir.raw.Size += uint64(fs.blockSize)
	return n, buf, nil
}

// pinEntry pins the block of the entry at pos.
func (p *places) pinEntry(dir *Inode, pos entryPos) (*cache.Buffer, error) {
	r := dir.openDirLocked()
	buf, err := r.read(uint64(pos.off) >> dir.fs.blockBits)
	if err == nil {
		p.add(buf)
	}
	return buf, err
}

// removeEntry takes the entry at pos, which is in buf, out: the one before it takes over its
// room, or it becomes a free entry at the start of its block.
func (dir *Inode) removeEntry(buf *cache.Buffer, pos entryPos, name string) {
	fs := dir.fs
	fs.names.dropBatch(dir.ino)
	n := uint64(pos.off) >> fs.blockBits
	at, prev := int(pos.off)&(fs.blockSize-1), -1
	for off := 0; off < at; {
		_, next, ok := disk.NextDirent(buf.Data(), off)
		if !ok {
			break
		}
		prev, off = off, next
	}
	modify(buf, func(b []byte) {
		if prev < 0 {
			binary.LittleEndian.PutUint32(b[at:], 0)
			return
		}
		_, next, _ := disk.NextDirent(b, at)
		disk.SetRecLen(b, prev, next-prev)
		clear(b[at : at+disk.DirentHeaderBytes])
	})
	if x := dir.dir.data(fs).index.Load(); x != nil {
		x.remove(fs.names.hash([]byte(name)), pos.off)
		x.room.set(n, dirGap(buf.Data()))
	}
}

// setEntry makes the entry at pos, which is in buf, stand for another inode.
func (dir *Inode) setEntry(buf *cache.Buffer, pos entryPos, ino uint32, fileType uint8) {
	fs := dir.fs
	fs.names.dropBatch(dir.ino)
	if !fs.sb.HasIncompat(disk.IncompatFiletype) {
		fileType = disk.TypeUnknown
	}
	at := int(pos.off) & (fs.blockSize - 1)
	modify(buf, func(b []byte) {
		binary.LittleEndian.PutUint32(b[at:], ino)
		b[at+7] = fileType
	})
}

// isEmptyDir tells whether the directory has no names but "." and "..".
func (dir *Inode) isEmptyDir() (bool, error) {
	r := dir.openDirLocked()
	if err := r.refuseRepeats(); err != nil {
		return false, err
	}
	for n := uint64(0); n < r.full; n++ {
		if holes := r.hole(n); holes > 0 {
			n += holes - 1
			continue
		}
		r.ahead(n, dirWindow)
		buf, err := r.read(n)
		if err != nil {
			return false, err
		}
		empty := true
		dirEntries(buf.Data(), func(e disk.Dirent) bool {
			empty = n == 0 && isDots(e.Name)
			return empty
		})
		buf.Release()
		if !empty {
			return false, nil
		}
	}
	return true, nil
}
