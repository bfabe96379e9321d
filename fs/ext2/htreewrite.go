package ext2

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/ext2fuse/ext2fuse/cache"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// dxAdd adds an entry to a directory with an htree. done is false when the htree is damaged
// and cannot be followed. A leaf without room is split in two by hash; a full table above it is
// split, too, and a full root gets a level of nodes below it.
func (dir *Inode) dxAdd(d *dirData, e *disk.Dirent) (done bool, err error) {
	for range 1 + disk.MaxDxLevels {
		r := dir.openDirLocked()
		var t dxTree
		n, hash, err := t.find(d, &r, e.Name)
		var fault *readFault
		switch {
		case errors.As(err, &fault):
			return true, err // it may be read again
		case err != nil:
			return false, nil
		}
		again, err := dir.dxAddLeaf(d, &t, n, hash, e)
		t.close()
		if !again || err != nil {
			return true, err
		}
	}
	return true, ErrNoSpace
}

// dxAddLeaf adds to leaf n, splitting it if it must. again says that a table was split
// to make room for that, and everything is to be looked up anew.
func (dir *Inode) dxAddLeaf(d *dirData, t *dxTree, n uint64, hash uint32, e *disk.Dirent) (again bool, err error) {
	leaf, err := t.r.read(n)
	if err != nil {
		return false, err
	}
	defer leaf.Release()
	if putEntry(leaf, e) >= 0 {
		return false, nil
	}
	low := &t.levels[t.depth-1]
	if low.node.Count == low.node.Limit {
		return true, dir.dxSplitTable(t)
	}
	return false, dir.dxSplitLeaf(t, leaf, hash, e)
}

// hashedEntry is an entry of a leaf that is being split.
type hashedEntry struct {
	disk.Dirent
	hash uint32
	size int
}

// hashEntries are the entries of a directory block, by hash; names are copies. The block was
// checked when it was read. One that is somebody else's table, too, may have become anything
// since, such as entries that need more room than they had.
func (dir *Inode) hashEntries(buf *cache.Buffer, version uint8, skipDots bool) (all []hashedEntry, err error) {
	room := 0
	dirEntries(buf.Data(), func(e disk.Dirent) bool {
		if skipDots && isDots(e.Name) {
			return true
		}
		e.Name = slices.Clone(e.Name)
		hash, _ := disk.DirHash(version, dir.fs.sb.HashSeed, e.Name)
		all = append(all, hashedEntry{e, hash, disk.RecLen(len(e.Name))})
		room += disk.RecLen(len(e.Name))
		return true
	})
	if room > dir.fs.blockSize {
		return nil, dir.fs.corrupt(&disk.CorruptError{What: "directory block", Inode: dir.ino, Block: buf.Block(), Offset: -1,
			Detail: fmt.Sprintf("its entries take %d bytes", room)})
	}
	slices.SortStableFunc(all, func(a, b hashedEntry) int { return cmp.Compare(a.hash, b.hash) })
	return all, nil
}

// packEntries makes a directory block of entries, the last of which takes what is left.
func packEntries(b []byte, entries []hashedEntry) {
	clear(b)
	if len(entries) == 0 {
		disk.PutDirent(b, 0, 0, len(b), nil, disk.TypeUnknown)
		return
	}
	off := 0
	for i, e := range entries {
		size := e.size
		if i == len(entries)-1 {
			size = len(b) - off
		}
		disk.PutDirent(b, off, e.Inode, size, e.Name, e.FileType)
		off += size
	}
}

// splitPoint is where to cut entries so that the halves take about the same room.
func splitPoint(entries []hashedEntry, blockSize int) int {
	size, at := 0, len(entries)
	for at > 0 && size+entries[at-1].size/2 <= blockSize/2 {
		at--
		size += entries[at].size
	}
	return min(max(at, 1), len(entries)-1)
}

// dxSplitLeaf moves the upper half of a leaf's hashes to a new block and adds the entry
// to whichever half it belongs to. Names with the hash at the cut may stand in both
// halves; the lowest bit of the new range's hash says so.
func (dir *Inode) dxSplitLeaf(t *dxTree, leaf *cache.Buffer, hash uint32, e *disk.Dirent) error {
	all, err := dir.hashEntries(leaf, t.version, false)
	if err != nil {
		return err
	}
	if len(all) < 2 {
		return ErrNoSpace // cannot be: two of the longest names fit into any block
	}
	n, fresh, err := dir.appendDirBlock()
	if err != nil {
		return err
	}
	defer fresh.Release()
	cut := splitPoint(all, dir.fs.blockSize)
	from := all[cut].hash
	continued := uint32(0)
	if all[cut-1].hash == from {
		continued = 1
	}
	modify(leaf, func(b []byte) { packEntries(b, all[:cut]) })
	modify(fresh, func(b []byte) { packEntries(b, all[cut:]) })
	low := &t.levels[t.depth-1]
	dxInsert(low, from|continued, uint32(n))
	to := leaf
	if hash >= from {
		to = fresh
	}
	if putEntry(to, e) < 0 {
		return ErrNoSpace
	}
	return nil
}

// dxInsert puts an entry behind the current one of a table that has room.
func dxInsert(l *dxLevel, hash, block uint32) {
	l.buf.Lock()
	defer l.buf.Unlock()
	node := l.node.In(l.buf.Modify())
	for i := node.Count; i > l.i+1; i-- {
		node.Set(i, node.At(i-1))
	}
	node.Set(l.i+1, disk.DxEntry{Hash: hash, Block: block})
	node.SetCount(node.Count + 1)
	l.node = node
}

// dxSplitTable makes room in the lowest table of the way: a full root hands its entries
// to a node below it, a full node hands half of its own to a new one.
func (dir *Inode) dxSplitTable(t *dxTree) error {
	root := &t.levels[0]
	if t.depth > 1 && root.node.Count == root.node.Limit {
		return ErrNoSpace // ext2 has two levels, and both are full
	}
	n, fresh, err := dir.appendDirBlock()
	if err != nil {
		return err
	}
	defer fresh.Release()
	low := &t.levels[t.depth-1]
	move := 0 // entries from here on go to the new node
	if t.depth > 1 {
		move = low.node.Count / 2
	}
	hash := low.node.At(move).Hash
	modify(fresh, func(b []byte) {
		node := disk.InitDxNode(b)
		for i := move; i < low.node.Count; i++ {
			node.Set(i-move, low.node.At(i))
		}
		node.SetCount(low.node.Count - move)
	})
	if t.depth > 1 {
		low.buf.Lock()
		node := low.node.In(low.buf.Modify())
		node.SetCount(move)
		low.buf.Unlock()
		dxInsert(root, hash, uint32(n))
		return nil
	}
	modify(root.buf, func(b []byte) {
		node := root.node.In(b)
		node.Set(0, disk.DxEntry{Block: uint32(n)})
		node.SetCount(1)
		disk.SetDxLevels(b, 1)
	})
	return nil
}

// makeIndexed gives a directory of one full block an htree: its names move to two
// leaves, and the block becomes the root. done is false when the block is not in shape
// for it.
func (dir *Inode) makeIndexed(d *dirData, e *disk.Dirent) (done bool, err error) {
	fs := dir.fs
	r := dir.openDirLocked()
	root, err := r.read(0)
	if err != nil {
		return false, err
	}
	defer root.Release()
	dot, next, ok := disk.NextDirent(root.Data(), 0)
	dotdot, _, ok2 := disk.NextDirent(root.Data(), next)
	if !ok || !ok2 || string(dot.Name) != "." || string(dotdot.Name) != ".." {
		return false, nil
	}
	hasher := fs.hasher()
	all, err := dir.hashEntries(root, hasher.version, true)
	if err != nil {
		return false, err
	}
	n, leaf, err := dir.appendDirBlock()
	if err != nil {
		return false, err
	}
	defer leaf.Release()
	parent := dotdot.Inode
	onDisk := fs.sb.DefHashVersion
	if onDisk > disk.HashTEA {
		onDisk = disk.HashHalfMD4
	}
	modify(leaf, func(b []byte) { packEntries(b, all) })
	modify(root, func(b []byte) {
		node := disk.InitDxRoot(b, dir.ino, parent, fs.sb.HasIncompat(disk.IncompatFiletype), onDisk)
		node.Set(0, disk.DxEntry{Block: uint32(n)})
	})
	dir.raw.Flags |= disk.InodeIndex
	d.badIndex.Store(false)
	fs.names.drop(d) // blocks of 64 KiB have one before they have an htree
	return dir.dxAdd(d, e)
}
