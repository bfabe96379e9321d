package ext2

import (
	"slices"
	"sort"
	"sync"
)

// window is a range of blocks that one growing file has to itself while others look
// for room: it reserves nothing on disk and is given up when room gets scarce.
type window struct {
	start, end uint64 // blocks [start, end)
	owner      uint32 // inode number
	used       uint64 // tick of the last use
}

// windows are the reservation windows of a file system, disjoint and sorted. The
// kernel tells nobody of a last close when opens cost no message, so windows are not
// dropped at close but when they are the longest unused of too many.
type windows struct {
	mu     sync.Mutex // a leaf
	sorted []window
	tick   uint64
}

// Sizes of windows in blocks, and how many there are at most.
const (
	minReserve  = 64
	maxReserve  = 8192
	maxReserves = 256
)

// next is the first part of [from, to) that lies in no window of somebody else than
// owner; empty (a == b) when there is none.
func (w *windows) next(from, to uint64, owner uint32) (a, b uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := sort.Search(len(w.sorted), func(i int) bool { return w.sorted[i].end > from })
	for ; from < to; i++ {
		if i == len(w.sorted) || w.sorted[i].start >= to {
			return from, to
		}
		v := &w.sorted[i]
		if v.owner == owner {
			continue
		}
		if v.start > from {
			// An own window may lie in between; the part before v is free of others.
			return from, v.start
		}
		from = v.end
	}
	return to, to
}

// size is the length of owner's window and whether block is its first: the file goes
// on where the window says that it would.
func (w *windows) size(owner uint32, block uint64) (n uint64, at bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.sorted {
		if v := &w.sorted[i]; v.owner == owner {
			return v.end - v.start, v.start == block
		}
	}
	return 0, false
}

// set makes [start, end), cut short where another window begins, the window of owner
// in place of the one it has.
func (w *windows) set(owner uint32, start, end uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dropLocked(owner)
	i := sort.Search(len(w.sorted), func(i int) bool { return w.sorted[i].end > start })
	if i < len(w.sorted) {
		end = min(end, w.sorted[i].start)
	}
	if end <= start {
		return
	}
	w.tick++
	if len(w.sorted) == maxReserves {
		old := 0
		for j := range w.sorted {
			if w.sorted[j].used < w.sorted[old].used {
				old = j
			}
		}
		w.sorted = slices.Delete(w.sorted, old, old+1)
		if old < i {
			i--
		}
	}
	w.sorted = slices.Insert(w.sorted, i, window{start, end, owner, w.tick})
}

// drop gives up the window of owner, if it has one.
func (w *windows) drop(owner uint32) {
	w.mu.Lock()
	w.dropLocked(owner)
	w.mu.Unlock()
}

func (w *windows) dropLocked(owner uint32) {
	w.sorted = slices.DeleteFunc(w.sorted, func(v window) bool { return v.owner == owner })
}

// dropAll gives up all windows: room got scarce.
func (w *windows) dropAll() {
	w.mu.Lock()
	w.sorted = w.sorted[:0]
	w.mu.Unlock()
}
