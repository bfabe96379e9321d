package mpage_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/mpage"
)

var seedFlag = flag.Uint64("mpage.seed", 0, "seed of the property test; 0 picks one")

// minimum is the smallest number of I/Os that the layout allows for a read of the n
// bytes at off, without bets. It knows the rules, not the engine:
//
//   - what is wanted between two boundaries is a set of device ranges; each stretch of it
//     is one I/O, in whatever order the file has it;
//   - at a boundary whose next table is unknown the set ends, and takes the table along
//     if it lies right behind the last block;
//   - each other unknown table is an I/O by itself;
//   - at a boundary whose table is known, the set goes on, over the table if that is all
//     that is in between.
//
// known is what tables are in memory; it is updated.
func (f *file) minimum(off, n int64, known map[uint64]bool) int {
	memory := off + n // where it ends
	n = min(n, f.size-off)
	if n <= 0 {
		return 0
	}
	bs := f.im.bs
	first, last := off/bs, (off+n-1)/bs
	var ranges [][2]int64
	total := 0
	merge := func() {
		total += stretches(ranges)
		ranges = nil
	}
	read := func(tables []uint64) {
		for _, t := range tables {
			total++
			known[t] = true
		}
	}
	read(f.unknown(first, known))
	for b := first; b <= last; b++ {
		d := int64(f.blocks[b])
		if d == 0 {
			read(f.unknown(b, known))
			continue
		}
		read(f.unknown(b, known)) // only behind a hole; else it was done at the boundary
		lo, hi := d*bs, (d+1)*bs
		if b == first {
			lo += off - first*bs
		}
		whole := true
		if b == last && memory < (b+1)*bs {
			hi = d*bs + memory - b*bs // the request ends in the middle of a block
			whole = false
		}
		ranges = append(ranges, [2]int64{lo, hi})
		if !f.boundaryBehind(b) || b+1 >= int64(len(f.blocks)) {
			continue
		}
		path := f.path(b + 1)
		if len(path) == 0 {
			continue
		}
		missing := f.unknown(b+1, known)
		leaf := int64(path[len(path)-1])
		switch {
		case len(missing) == 0:
			next := b + 1 // block with data
			for next < last && f.blocks[next] == 0 {
				next++
			}
			if next <= last && leaf == d+1 && int64(f.blocks[next]) == leaf+1 {
				ranges = append(ranges, [2]int64{leaf * bs, (leaf + 1) * bs})
			}
		case int64(missing[0]) == d+1 && whole:
			ranges = append(ranges, [2]int64{(d + 1) * bs, (d + 2) * bs})
			known[missing[0]] = true
			if b < last {
				merge()
				read(missing[1:])
			}
		case b < last:
			merge()
			read(missing)
		}
	}
	merge()
	return total
}

// stretches counts the pieces of a set of ranges.
func stretches(ranges [][2]int64) int {
	slices.SortFunc(ranges, func(a, b [2]int64) int { return int(a[0]/512 - b[0]/512) })
	n := 0
	var end int64 = -1
	for _, r := range ranges {
		if r[0] != end {
			n++
		}
		end = r[1]
	}
	return n
}

// boundaryBehind tells whether block b is the last one its table can hold.
func (f *file) boundaryBehind(b int64) bool {
	return b == 11 || b >= 12 && (uint64(b)-12+1)%f.per == 0
}

// path is the tables on the way to block b, top first, as far as there are any.
func (f *file) path(b int64) []uint64 {
	if b < 12 {
		return nil
	}
	l := (uint64(b) - 12) / f.per
	var path []uint64
	if l > 0 && f.tops[1] != 0 {
		path = append(path, f.tops[1])
	}
	if f.leaves[l] != 0 {
		path = append(path, f.leaves[l])
	}
	return path
}

func (f *file) unknown(b int64, known map[uint64]bool) []uint64 {
	var list []uint64
	for _, t := range f.path(b) {
		if !known[t] {
			list = append(list, t)
		}
	}
	return list
}

// randomFile lays out a file with the habits of real ones: stretches, jumps, holes, and
// tables behind the data or elsewhere. No two blocks share a place.
func randomFile(rng *rand.Rand, im *image, space uint64) *file {
	per := []uint64{3, 4, 8, 16, uint64(im.bs / 4)}[rng.IntN(5)]
	maxBlocks := int64(12 + per + per*per)
	blocks := 1 + rng.Int64N(min(maxBlocks, 200, 4<<20/im.bs))
	size := blocks*im.bs - rng.Int64N(im.bs)
	jump, hole, behind := rng.IntN(30), rng.IntN(20), rng.IntN(4)
	used := map[uint64]bool{}
	var next uint64 = 1 + rng.Uint64N(space/2)
	alloc := func(table bool, _ uint64) uint64 {
		if rng.IntN(31) < jump || table && behind == 0 {
			next = 1 + rng.Uint64N(space-1)
		}
		for used[next%space] || next%space == 0 {
			next++
		}
		used[next%space] = true
		next++
		return (next - 1) % space
	}
	inHole := false
	return newFile(im, size, per, alloc, func(uint64) bool {
		if rng.IntN(40) < hole {
			inHole = !inHole
		}
		return inHole
	})
}

// property reads a random file in random pieces and compares the bytes with the naive
// reader's and the number of I/Os with the minimum.
func property(t *testing.T, seed uint64, bs int64) {
	rng := rand.New(rand.NewPCG(seed, uint64(bs)))
	const space = 1200 // blocks
	im := newImage(bs, space*bs)
	f := randomFile(rng, im, space)
	bets := rng.IntN(2) == 0
	var opts []mpage.Option
	if !bets {
		opts = append(opts, mpage.NoBets())
	}
	r := newRig(t, im, opts...)
	m := r.mapper(f)
	known := map[uint64]bool{}
	for range 12 {
		off, n := rng.Int64N(f.size), 1+rng.Int64N(min(f.size+2*bs, 1<<20))
		switch rng.IntN(4) {
		case 0:
			off, n = off&^4095, (n+4095)&^4095
		case 1: // sectors, as direct I/O has it
			off, n = off&^511, (n+511)&^511
		}
		if rng.IntN(5) == 0 {
			off = 0
		}
		if rng.IntN(6) == 0 { // as good as a new cache
			clear(known)
			clear(r.bufs.blocks)
		}
		r.dev.take()
		r.read(m, off, int(n))
		reads := r.dev.take()
		want := f.minimum(off, n, known)
		for _, s := range reads {
			if s.off+s.len > space*bs {
				t.Fatalf("a bio passes the end of the device: %+v", s)
			}
			if s.what == blockio.Unknown {
				t.Fatalf("a bio that does not say what for: %+v", s)
			}
		}
		if len(reads) > want || !bets && len(reads) != want {
			t.Fatalf("seed %d, block size %d, read of %d at %d of %d (%d pointers per table, bets %v): %d I/Os, the minimum is %d: %v",
				seed, bs, n, off, f.size, f.per, bets, len(reads), want, reads)
		}
		for tab := range known { // what the model knows, the engine must have brought in
			if !r.bufs.Cached(tab) {
				if len(reads) < want { // a bet that was won took the table's I/O along, and not the table
					delete(known, tab)
					continue
				}
				t.Fatalf("seed %d, block size %d: table %d did not reach the cache", seed, bs, tab)
			}
		}
		if bets { // what was read on a bet may be more than what was wanted
			for tab := range r.bufs.blocks {
				known[tab] = true
			}
		}
	}
}

func TestRandomLayouts(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("repeat with -mpage.seed=%d", seed)
	rounds := 40
	if testing.Short() || raceEnabled {
		rounds = 10
	}
	for _, bs := range []int64{1024, 2048, 4096, 8192, 16384, 32768, 65536} {
		t.Run(fmt.Sprint(bs), func(t *testing.T) {
			for i := range rounds {
				property(t, seed+uint64(i), bs)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	for i := range uint64(7) {
		f.Add(i*1000, uint8(i))
	}
	f.Fuzz(func(t *testing.T, seed uint64, size uint8) {
		property(t, seed, 1024<<(size%7))
	})
}
