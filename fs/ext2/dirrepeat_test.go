package ext2

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestFirstRepeat looks for the first repeated block among runs that overlap in all ways, and
// that do not.
func TestFirstRepeat(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	repeats := 0
	for range 5000 {
		var runs []dirRun
		seen, want := map[uint64]bool{}, uint64(math.MaxUint64)
		file := uint64(0)
		for range 1 + rnd.IntN(6) {
			r := dirRun{block: rnd.Uint64N(60), file: file, n: 1 + rnd.Uint64N(8)}
			for i := range r.n {
				if seen[r.block+i] {
					want = min(want, file+i)
				}
				seen[r.block+i] = true
			}
			runs = append(runs, r)
			file += r.n + rnd.Uint64N(3) // there may be holes
		}
		if want != math.MaxUint64 {
			repeats++
		}
		before := slices.Clone(runs)
		if got := firstRepeat(runs); got != want {
			t.Fatalf("%v: %d, want %d", before, got, want)
		}
	}
	if repeats < 1000 || repeats > 4000 {
		t.Errorf("%d of 5000 with a repeat", repeats)
	}
}
