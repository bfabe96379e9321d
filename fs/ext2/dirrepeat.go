package ext2

import (
	"cmp"
	"math"
	"slices"
	"sort"

	"github.com/ext2fuse/ext2fuse/mpage"
)

// manyBlocks is how many blocks a directory may have without anybody's looking whether they
// are all different. With a few shared tables, an image of some blocks has directories of
// millions, which nobody could list, or remove a name from, in the time that he has.
const manyBlocks = 1024

// dirRun is a run of blocks of a directory.
type dirRun struct{ block, file, n uint64 }

// repeatLocked is the first of the directory's n file blocks that stands in it before, and
// math.MaxUint64 if none does. It costs what the blocks cost that are different.
func (in *Inode) repeatLocked(n uint64) uint64 {
	d := in.dir.data(in.fs)
	if known := d.repeat.Load(); known != 0 {
		return known
	}
	m := (*blockMap)(in)
	first := uint64(math.MaxUint64)
	var runs []dirRun
	for at, next := uint64(0), manyBlocks; at < n && first == math.MaxUint64; {
		run, err := m.GetBlock(at, n-at, false)
		switch {
		case err != nil:
			at += m.lost(at)
			continue
		case run.Flags&mpage.Mapped != 0:
			runs = append(runs, dirRun{run.Block, at, run.Count})
		}
		if at += run.Count; len(runs) >= next || at >= n {
			first = firstRepeat(runs)
			next = 2 * len(runs)
		}
	}
	d.repeat.Store(first)
	return first
}

// firstRepeat is the first file block of runs, which are in the order of the file, whose block
// stands in them before.
func firstRepeat(runs []dirRun) uint64 {
	if !overlap(runs) {
		return math.MaxUint64
	}
	i := sort.Search(len(runs), func(i int) bool { return overlap(runs[:i+1]) })
	last, first := runs[i], uint64(math.MaxUint64)
	for _, r := range runs[:i] {
		if r.block < last.block+last.n && last.block < r.block+r.n {
			first = min(first, last.file+max(r.block, last.block)-last.block)
		}
	}
	return first
}

// overlap tells whether a block stands in two of the runs.
func overlap(runs []dirRun) bool {
	runs = slices.Clone(runs)
	slices.SortFunc(runs, func(a, b dirRun) int { return cmp.Compare(a.block, b.block) })
	for i := 1; i < len(runs); i++ {
		if runs[i-1].block+runs[i-1].n > runs[i].block {
			return true
		}
	}
	return false
}

// lost is how many file blocks from iblock on, which cannot be mapped, are out of reach with
// it: those below the pointer to a table that cannot be one, or cannot be read. A device may
// take its time to say so.
func (m *blockMap) lost(iblock uint64) uint64 {
	p, err := m.find(iblock)
	if err == nil || p.depth == 0 {
		return 1
	}
	span, at := uint64(1), uint64(0) // of the blocks below the pointer, which the path leads to
	for i := p.depth - 1; i >= p.have; i-- {
		at += uint64(p.index[i]) * span
		span *= uint64(m.fs.sb.AddrPerBlock())
	}
	return span - at
}

// refuseRepeats is the damage of a directory that has a block twice, which therefore must not
// grow, nor count as empty.
func (r *dirReader) refuseRepeats() error {
	if !r.again {
		return nil
	}
	_, err := r.read(r.full)
	return err
}
