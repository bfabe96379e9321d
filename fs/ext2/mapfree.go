package ext2

import (
	"math/bits"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// freeStep bounds what one operation of freeing does: runs of blocks given back, each
// of which may change a bitmap and a descriptor of its own.
const freeStep = 64

// freeCredits are the blocks that a step may dirty: bitmap and descriptor a run, the
// tables on the way and those emptied, the inode.
const freeCredits = 2*freeStep + 2*maxDepth + 2

// freeRange frees file blocks [first, end) and the tables that become empty, from the
// end on, so that what is left at any moment is a file. It stops after freeStep runs
// and then returns more. The inode's lock is held exclusively; the caller writes the
// inode.
func (m *blockMap) freeRange(first, end uint64) (more bool, err error) {
	f := freer{m: m, budget: freeStep, perBits: uint(bits.TrailingZeros32(m.fs.sb.AddrPerBlock()))}
	base := [maxDepth + 1]uint64{0, disk.NDirBlocks}
	for d := 1; d < maxDepth; d++ {
		base[d+1] = base[d] + 1<<(f.perBits*uint(d))
	}
	for depth := maxDepth; depth > 0; depth-- {
		slot := disk.IndBlock + depth - 1
		span := uint64(1) << (f.perBits * uint(depth))
		if m.raw.Block[slot] == 0 || end <= base[depth] || first >= base[depth]+span {
			continue
		}
		a, b := max(first, base[depth])-base[depth], min(end-base[depth], span)
		empty, err := f.tree(m.raw.Block[slot], depth-1, a, b)
		if empty && err == nil {
			f.table(m.raw.Block[slot])
			m.raw.Block[slot] = 0
		}
		if err != nil || f.budget <= 0 {
			return true, err
		}
	}
	for i := int(min(end, disk.NDirBlocks)) - 1; i >= int(first); i-- {
		if b := m.raw.Block[i]; b != 0 {
			f.add(b)
			m.raw.Block[i] = 0
		}
	}
	f.flush()
	return false, nil
}

// freer collects blocks into runs and gives them back.
type freer struct {
	m       *blockMap
	perBits uint
	budget  int
	first   uint32 // the run collected: it grows downwards as files are freed from the end
	n       uint32
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
	if !f.m.raw.IsReg() {
		for i := range f.n { // directory blocks live in the cache
			f.m.fs.cache.Forget(uint64(f.first + i))
		}
	}
	f.m.fs.freeBlocks(uint64(f.first), f.n)
	f.uncount(f.n)
	f.n = 0
}

// table gives back an indirect block.
func (f *freer) table(block uint32) {
	f.flush()
	f.m.fs.cache.Forget(uint64(block))
	f.budget--
	f.m.fs.freeBlocks(uint64(block), 1)
	f.uncount(1)
}

func (f *freer) uncount(n uint32) {
	raw := &f.m.raw
	raw.Sectors -= min(n*f.m.sectorsPerBlock(), raw.Sectors)
}

// tree frees blocks [a, b) of the subtree below the table that ptr points to, level
// tables above the content. It tells whether the table is empty now.
func (f *freer) tree(ptr uint32, level int, a, b uint64) (empty bool, err error) {
	var path treePath
	buf, err := f.m.table(&path, 0, ptr)
	if err != nil {
		return false, err
	}
	defer buf.Release()
	if level == 0 {
		modify(buf, func(t []byte) {
			for i := int(b) - 1; i >= int(a) && f.budget > 0; i-- {
				if p := disk.Ptr(t, i); p != 0 {
					f.add(p)
					disk.SetPtrRun(t, i, 0, 1)
				}
			}
		})
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
		gone, err := f.tree(child, level-1, ca, cb)
		if err != nil {
			return false, err
		}
		if gone {
			modify(buf, func(t []byte) { disk.SetPtrRun(t, i, 0, 1) })
			f.table(child)
		}
	}
	return f.empty(buf.Data()), nil
}

// empty tells a table without pointers.
func (f *freer) empty(table []byte) bool {
	per := 1 << f.perBits
	return disk.Ptr(table, 0) == 0 && disk.PtrRun(table, 0, per) == per
}
