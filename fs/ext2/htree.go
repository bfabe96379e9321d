package ext2

import (
	"fmt"

	"github.com/ext2fuse/ext2fuse/cache"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// dxTree is a position in the htree of a directory: the root, which stands in file
// block 0 behind "." and "..", on trees of two levels one node below it, and in the
// lowest of them the entry of one leaf. A leaf is an ordinary directory block that
// holds the names of one range of hashes.
//
// A block that was checked as a directory block need not be one of an index, so tables
// are checked when they are pinned: their bounds each time, the order of the hashes once.
type dxTree struct {
	r       dirReader
	version uint8 // of the hash, signedness included
	levels  [1 + disk.MaxDxLevels]dxLevel
	depth   int    // levels in use
	gone    uint64 // leaves that next has gone on to
}

// The checks of tables that are remembered with their buffers.
const (
	checkDxRoot = iota
	checkDxNode
)

type dxLevel struct {
	buf  *cache.Buffer
	node disk.DxNode // aliases buf
	i    int         // entry of node that is the way down
}

// indexedLocked tells whether the directory has an htree that may be followed.
func (in *Inode) indexedLocked(d *dirData) bool {
	return in.raw.Flags&disk.InodeIndex != 0 && in.fs.sb.HasCompat(disk.CompatDirIndex) && !d.badIndex.Load()
}

// badIndex reports, once, an index that cannot be followed, and makes everyone read
// the directory linearly from now on.
func (r *dirReader) badIndex(d *dirData, n uint64, err error) error {
	d.badIndex.Store(true)
	block, _ := r.in.bmapLocked(n)
	return r.in.fs.damage(err, r.in.ino, block)
}

func badDx(format string, args ...any) error {
	return &disk.CorruptError{What: "directory index", Offset: -1,
		Detail: fmt.Sprintf(format, args...) + "; the directory is read linearly"}
}

// open pins the root. After an error nothing is pinned.
func (t *dxTree) open(d *dirData, r *dirReader) error {
	t.r, t.depth = *r, 0
	buf, err := r.read(0)
	if err != nil {
		return err
	}
	root, err := disk.DecodeDxRoot(buf.Data())
	if err == nil {
		err = buf.Checked(checkDxRoot, root.CheckOrder)
	}
	if err != nil {
		buf.Release()
		return r.badIndex(d, 0, err)
	}
	t.version = r.in.fs.sb.HashVersion(root.HashVersion)
	t.levels[0] = dxLevel{buf: buf, node: root.DxNode}
	t.depth = 1 + int(root.IndirectLevels)
	return nil
}

// find opens the htree and moves to the leaf for a name. With an error nothing stays open.
func (t *dxTree) find(d *dirData, r *dirReader, name []byte) (leaf uint64, hash uint32, err error) {
	if err := t.open(d, r); err != nil {
		return 0, 0, err
	}
	hash, _ = disk.DirHash(t.version, r.in.fs.sb.HashSeed, name)
	if err = t.seek(d, hash); err == nil {
		leaf, err = t.leaf(d)
	}
	if err != nil {
		t.close()
	}
	return leaf, hash, err
}

// close unpins what the position holds.
func (t *dxTree) close() {
	for i := range t.levels {
		if buf := t.levels[i].buf; buf != nil {
			buf.Release()
			t.levels[i] = dxLevel{}
		}
	}
}

// seek moves to the leaf that holds names of a hash, or the first of them.
func (t *dxTree) seek(d *dirData, hash uint32) error {
	t.levels[0].i = t.levels[0].node.Search(hash)
	for level := 1; level < t.depth; level++ {
		if err := t.descend(d, level); err != nil {
			return err
		}
		t.levels[level].i = t.levels[level].node.Search(hash)
	}
	return nil
}

// descend pins the node of a level that the level above points to, at its first entry.
func (t *dxTree) descend(d *dirData, level int) error {
	n, err := t.pointer(d, level-1)
	if err != nil {
		return err
	}
	buf, err := t.r.read(n)
	if err != nil {
		return err
	}
	node, err := disk.DecodeDxNode(buf.Data())
	if err == nil {
		err = buf.Checked(checkDxNode, node.CheckOrder)
	}
	if err != nil {
		buf.Release()
		return t.r.badIndex(d, n, err)
	}
	if old := t.levels[level].buf; old != nil {
		old.Release()
	}
	t.levels[level] = dxLevel{buf: buf, node: node}
	return nil
}

// pointer is the file block that the current entry of a level points to.
func (t *dxTree) pointer(d *dirData, level int) (uint64, error) {
	l := &t.levels[level]
	n := uint64(l.node.At(l.i).Block)
	if n == 0 || n >= t.r.full || t.r.hole(n) > 0 {
		return 0, t.r.badIndex(d, 0, badDx("entry %d of a table of level %d points to file block %d of %d", l.i, level, n, t.r.full))
	}
	return n, nil
}

// leaf is the file block of the leaf.
func (t *dxTree) leaf(d *dirData) (uint64, error) { return t.pointer(d, t.depth-1) }

// hash is where the leaf's range of hashes begins. If it is odd, names of the hash one
// less are in this leaf and in the one before.
func (t *dxTree) hash() uint32 {
	for level := t.depth - 1; level >= 0; level-- {
		if l := &t.levels[level]; l.i > 0 {
			return l.node.At(l.i).Hash
		}
	}
	return 0
}

// peek is where the next leaf's range begins; ok is false on the last leaf.
func (t *dxTree) peek() (hash uint32, ok bool) {
	for level := t.depth - 1; level >= 0; level-- {
		if l := &t.levels[level]; l.i+1 < l.node.Count {
			return l.node.At(l.i + 1).Hash, true
		}
	}
	return 0, false
}

// next moves to the next leaf, which peek said there is.
func (t *dxTree) next(d *dirData) error {
	if t.gone++; t.gone >= t.r.full {
		return t.r.badIndex(d, 0, badDx("it goes on to more leaves than the directory has blocks"))
	}
	level := t.depth - 1
	for level > 0 && t.levels[level].i+1 >= t.levels[level].node.Count {
		level--
	}
	t.levels[level].i++
	for level++; level < t.depth; level++ {
		if err := t.descend(d, level); err != nil {
			return err
		}
	}
	return nil
}

// verify pins every table once, so that damage in any is found.
func (t *dxTree) verify(d *dirData) error {
	root := &t.levels[0]
	if err := root.node.CheckBlocks(t.r.full); err != nil {
		return t.r.badIndex(d, 0, err)
	}
	if t.depth == 1 {
		return nil
	}
	for root.i = 0; root.i < root.node.Count; root.i++ {
		if err := t.descend(d, 1); err != nil {
			return err
		}
		if err := t.levels[1].node.CheckBlocks(t.r.full); err != nil {
			return t.r.badIndex(d, uint64(root.node.At(root.i).Block), err)
		}
	}
	return nil
}

// dxFind looks a name up by the htree. done is false when the htree cannot be followed
// and the name has to be looked for by other means.
func (r *dirReader) dxFind(d *dirData, name string) (pos entryPos, done bool, err error) {
	var t dxTree
	if t.open(d, r) != nil {
		return pos, false, nil
	}
	defer t.close()
	var space [disk.MaxNameLen]byte
	hash, _ := disk.DirHash(t.version, r.in.fs.sb.HashSeed, space[:copy(space[:], name)])
	if t.seek(d, hash) != nil {
		return pos, false, nil
	}
	var bad error
	for {
		n, err := t.leaf(d)
		if err != nil {
			return pos, false, nil
		}
		if pos, err = r.scan(name, n, n+1, 0); pos.ino != 0 {
			return pos, true, nil
		}
		if err != nil && bad == nil {
			bad = err
		}
		if after, ok := t.peek(); !ok || after&^1 != hash {
			return pos, true, bad
		}
		if t.next(d) != nil {
			return pos, false, nil
		}
	}
}
