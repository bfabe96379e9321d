package jbd2

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sort"
)

// Extent is a run of blocks of the journal that are adjacent in the file system.
type Extent struct {
	Start  uint64 // file system block
	Blocks uint32
}

// blockMap says where the blocks of the journal are.
type blockMap struct {
	extents []Extent
	first   []uint32 // journal block that each extent begins with
	blocks  uint32
	byHome  []Extent // sorted by Start
}

// newBlockMap takes the extents in the order of the journal's blocks. Each lies below
// limit, the number of blocks of the file system, and no two overlap.
func newBlockMap(extents []Extent, limit uint64) (*blockMap, error) {
	m := &blockMap{}
	total := uint64(0)
	for _, e := range extents {
		if e.Blocks == 0 {
			continue
		}
		if e.Start >= limit || uint64(e.Blocks) > limit-e.Start {
			return nil, corrupt("journal", -1, "its blocks %d to %d lie outside of the file system of %d blocks", e.Start, e.Start+uint64(e.Blocks)-1, limit)
		}
		if n := len(m.extents); n > 0 && m.extents[n-1].Start+uint64(m.extents[n-1].Blocks) == e.Start {
			m.extents[n-1].Blocks += e.Blocks
		} else {
			m.extents = append(m.extents, e)
			m.first = append(m.first, uint32(total))
		}
		if total += uint64(e.Blocks); total > math.MaxUint32 {
			return nil, corrupt("journal", -1, "it has %d blocks, more than a journal can have", total)
		}
	}
	m.blocks = uint32(total)
	m.byHome = slices.SortedFunc(slices.Values(m.extents), func(a, b Extent) int { return cmp.Compare(a.Start, b.Start) })
	for i := 1; i < len(m.byHome); i++ {
		if a, b := m.byHome[i-1], m.byHome[i]; a.Start+uint64(a.Blocks) > b.Start {
			return nil, corrupt("journal", -1, "block %d belongs to it twice", b.Start)
		}
	}
	return m, nil
}

// run is where block i, which exists, is, and how many of the blocks from it on are
// adjacent there.
func (m *blockMap) run(i uint32) (home uint64, n uint32) {
	if i >= m.blocks {
		panic(fmt.Sprintf("jbd2: block %d of a journal of %d", i, m.blocks))
	}
	k := sort.Search(len(m.first), func(k int) bool { return m.first[k] > i }) - 1
	rel := i - m.first[k]
	return m.extents[k].Start + uint64(rel), m.extents[k].Blocks - rel
}

// owns tells whether a file system block is part of the journal.
func (m *blockMap) owns(home uint64) bool {
	k := sort.Search(len(m.byHome), func(k int) bool { return m.byHome[k].Start > home }) - 1
	return k >= 0 && home-m.byHome[k].Start < uint64(m.byHome[k].Blocks)
}
