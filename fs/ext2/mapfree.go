package ext2

import (
	"math/bits"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// freeStep bounds what one operation of freeing does: runs of blocks given back, each
// of which may change a bitmap and a descriptor of its own.
const freeStep = 64

// freeCredits are the blocks that a step may dirty: bitmap and descriptor a run and a
// table, where the last run, the tables above it and the direct blocks may pass the
// bound; tables that lose some of their pointers; the inode, the superblock.
const freeCredits = 2*(freeStep+1+maxDepth+disk.NDirBlocks) + 2*maxDepth + 2

// freeRange frees file blocks [first, end) and the tables that become empty, from the
// end on, so that what is left at any moment is a file. It stops after freeStep runs
// and then returns more. The inode's lock is held exclusively; the caller writes the
// inode, after an error, too.
//
// Damage does not stop it, or a damaged file could never be deleted: a table that is none
// is let go of when all of it is to be freed, and e2fsck finds the blocks below. One that
// part of is to stay, or that could not be read, stays as it is, and the error is returned
// after the rest was done, or by a step that found nothing but errors: the next would, too.
func (m *blockMap) freeRange(first, end uint64) (more bool, err error) {
	f := freer{m: m, budget: freeStep, perBits: uint(bits.TrailingZeros32(m.fs.sb.AddrPerBlock()))}
	base := [maxDepth + 1]uint64{0, disk.NDirBlocks}
	for d := 1; d < maxDepth; d++ {
		base[d+1] = base[d] + 1<<(f.perBits*uint(d))
	}
	for depth := maxDepth; depth > 0 && f.budget > 0; depth-- {
		slot := disk.IndBlock + depth - 1
		span := uint64(1) << (f.perBits * uint(depth))
		if m.raw.Block[slot] == 0 || end <= base[depth] || first >= base[depth]+span {
			continue
		}
		a, b := max(first, base[depth])-base[depth], min(end-base[depth], span)
		if f.child(m.raw.Block[slot], depth-1, a, b) {
			m.raw.Block[slot] = 0
		}
	}
	switch {
	case f.budget > 0:
	case f.progress:
		return true, nil
	default:
		return false, f.err
	}
	for i := int(min(end, disk.NDirBlocks)) - 1; i >= int(first); i-- {
		if b := m.raw.Block[i]; b != 0 {
			f.add(b)
			m.raw.Block[i] = 0
		}
	}
	f.flush()
	return false, f.err
}

// freer collects blocks into runs and gives them back.
type freer struct {
	m        *blockMap
	perBits  uint
	budget   int
	progress bool   // something is gone
	first    uint32 // the run collected: it grows downwards as files are freed from the end
	n        uint32
	err      error // why part of the range could not be freed
}

// add takes one content block.
func (f *freer) add(block uint32) {
	switch {
	case f.n > 0 && block == f.first-1:
		f.first--
		f.n++
	case f.n > 0 && block == f.first+f.n:
		f.n++
	default:
		f.flush()
		f.first, f.n = block, 1
	}
}

// flush gives the collected run back. Damage met on the way was reported where it was
// found; the pointers are gone either way.
func (f *freer) flush() {
	if f.n == 0 {
		return
	}
	f.budget--
	if good, _ := f.m.fs.dataBlocks(uint64(f.first), uint64(f.n)); !f.m.raw.IsReg() && good == uint64(f.n) {
		for i := range f.n { // directory blocks live in the cache
			f.m.fs.cache.Forget(uint64(f.first + i))
		}
	}
	f.m.fs.freeBlocks(uint64(f.first), f.n)
	f.uncount(f.n)
	f.n, f.progress = 0, true
}

// table gives back an indirect block.
func (f *freer) table(block uint32) {
	f.flush()
	f.m.fs.cache.Forget(uint64(block))
	f.budget--
	f.progress = true
	f.m.fs.freeBlocks(uint64(block), 1)
	f.uncount(1)
}

func (f *freer) uncount(n uint32) {
	raw := &f.m.raw
	raw.Sectors -= min(n*f.m.sectorsPerBlock(), raw.Sectors)
}

// child frees blocks [a, b) of the subtree below the table that ptr points to, level
// tables above the content, and the table when it is empty then. It tells whether the
// pointer to it is to go.
func (f *freer) child(ptr uint32, level int, a, b uint64) (gone bool) {
	empty, err := f.tree(ptr, level, a, b)
	if err != nil {
		f.budget--
		if isCorrupt(err) && a == 0 && b >= 1<<(f.perBits*uint(level+1)) {
			f.progress = true
			return true
		}
		f.err = err
		return false
	}
	if empty {
		f.table(ptr)
	}
	return empty
}

// tree is child but for the table itself. It tells whether the table is empty now.
func (f *freer) tree(ptr uint32, level int, a, b uint64) (empty bool, err error) {
	var path treePath
	buf, err := f.m.table(&path, 0, ptr)
	if err != nil {
		return false, err
	}
	defer buf.Release()
	// A table that stands in the map twice was freed when it was met first. What the
	// device has of it still must not be followed again and again.
	if used, err := f.m.fs.blockUsed(uint64(ptr)); err != nil || !used {
		if err == nil {
			err = f.m.badPointer("indirect block pointer", 0, uint64(ptr), "a free block")
		}
		return false, err
	}
	if level == 0 {
		i := int(b)
		for ; i > int(a) && f.budget > 0; i-- {
			if p := disk.Ptr(buf.Data(), i-1); p != 0 {
				f.add(p)
			}
		}
		modify(buf, func(t []byte) { disk.SetPtrRun(t, i, 0, int(b)-i) })
		f.flush()
		return f.empty(buf.Data()), nil
	}
	shift := f.perBits * uint(level)
	for i := int((b - 1) >> shift); i >= int(a>>shift) && f.budget > 0; i-- {
		child := disk.Ptr(buf.Data(), i)
		if child == 0 {
			continue
		}
		base := uint64(i) << shift
		ca, cb := max(a, base)-base, min(b-base, 1<<shift)
		if f.child(child, level-1, ca, cb) {
			modify(buf, func(t []byte) { disk.SetPtrRun(t, i, 0, 1) })
		}
	}
	return f.empty(buf.Data()), nil
}

// empty tells a table without pointers.
func (f *freer) empty(table []byte) bool {
	per := 1 << f.perBits
	return disk.Ptr(table, 0) == 0 && disk.PtrRun(table, 0, per) == per
}
