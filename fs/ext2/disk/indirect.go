package disk

import "math"

// An indirect block is a table of block numbers; 0 is a hole.

// Ptr is pointer i of an indirect block.
func Ptr(b []byte, i int) uint32 { return le.Uint32(b[4*i:]) }

// SetPtr sets pointer i of an indirect block.
func SetPtr(b []byte, i int, p uint32) { le.PutUint32(b[4*i:], p) }

// SetPtrRun sets n pointers from i on to the blocks of a run that begins at first; with
// first 0 it makes holes of them.
func SetPtrRun(b []byte, i int, first uint32, n int) {
	step := uint32(1)
	if first == 0 {
		step = 0
	}
	for k := range n {
		SetPtr(b, i+k, first+uint32(k)*step)
	}
}

// PtrRun counts the pointers, from i on and at most limit, that make one run: blocks
// that follow each other on the device, or, when pointer i is 0, holes.
func PtrRun(b []byte, i, limit int) int {
	limit = min(limit, len(b)/4-i)
	if limit <= 0 {
		return 0
	}
	b = b[4*i : 4*(i+limit)]
	first := le.Uint32(b)
	step := uint32(1)
	if first == 0 {
		step = 0
	}
	want := first
	for off := 4; off+4 <= len(b); off += 4 {
		// A run ends before it would wrap around to block 0, the hole.
		if le.Uint32(b[off:]) != want+step || want == math.MaxUint32 {
			return off / 4
		}
		want += step
	}
	return limit
}
