package mpage

import (
	"cmp"
	"math"
	"slices"

	"github.com/ext2fuse/ext2fuse/blockio"
)

// maxAdvised bounds the stretches of the device that one Prefetch asks for.
const maxAdvised = 1024

// stretch is a range of device blocks.
type stretch struct{ block, count uint64 }

// Prefetch tells the host which blocks a read of the n bytes from off on, of a file of
// size bytes, will need, so that it fetches them in the background. It reads no file
// content, and errors are left for the read to find.
//
// Of indirect blocks it wants to read as few as it can, since each is a request of its
// own here and rides along for nothing in the read that follows: where the file has
// been one stretch so far and the next indirect block lies right behind, it takes the
// rest of the window to lie there too. So off should be where the reader stands, not
// where the window before ended: there the mapping is in memory already, and to ask
// again for what was asked for before costs next to nothing.
func (e *Engine) Prefetch(m Mapper, off, n, size int64) {
	if off < 0 || n <= 0 || off >= size {
		return
	}
	bs := e.blockSize
	b := uint64(off / bs)
	last := b + uint64((off%bs+min(n, size-off)+bs-1)/bs)
	var found []stretch
	for b < last && len(found) < maxAdvised {
		run, err := m.GetBlock(b, last-b, false)
		if err != nil || run.Count == 0 || run.Count > last-b {
			break
		}
		b += run.Count
		if run.Flags&(Mapped|Uptodate) == Mapped {
			found = addStretch(found, stretch{run.Block, run.Count})
		}
		if b < last && len(found) == 1 && e.guessable(m, &run) {
			rest := last - b
			found = addStretch(found, stretch{run.Next, rest + (rest-1)/run.Span + 1})
			break
		}
	}
	e.advise(found)
}

// guessable tells whether what follows the run may be taken to lie behind its indirect
// block.
func (e *Engine) guessable(m Mapper, run *Run) bool {
	return !e.noBets && e.buffers != nil &&
		run.Flags&(Mapped|Boundary) == Mapped|Boundary &&
		run.Next == run.Block+run.Count && run.Span > 0 &&
		!e.buffers.Cached(run.Next) && betsOf(m).Worth()
}

// addStretch adds a stretch, to the last one if it lies behind it. Up to one block in
// between does not matter: it is the indirect block.
func addStretch(list []stretch, s stretch) []stretch {
	if n := len(list); n > 0 {
		if end := list[n-1].block + list[n-1].count; s.block == end || s.block == end+1 {
			list[n-1].count = s.block + s.count - list[n-1].block
			return list
		}
	}
	return append(list, s)
}

// advise asks the host for the stretches, in the order of the device.
func (e *Engine) advise(found []stretch) {
	slices.SortFunc(found, func(a, b stretch) int { return cmp.Compare(a.block, b.block) })
	var merged []stretch
	for _, s := range found {
		merged = addStretch(merged, s)
	}
	size := e.dev.Size()
	most := uint64(math.MaxInt64 / e.blockSize)
	for _, s := range merged {
		if s.block >= most || int64(s.block)*e.blockSize >= size {
			continue
		}
		off := int64(s.block) * e.blockSize
		n := size - off
		if s.count < uint64(n/e.blockSize) {
			n = int64(s.count) * e.blockSize
		}
		e.dev.Advise(off, n, blockio.WillNeed)
	}
}
