package ext2

import (
	"math"
	"math/rand/v2"
	"testing"
)

// len is how many inodes have a count.
func (k *keptCounts) len() (n int) {
	for i := range k.stripes {
		for _, p := range k.stripes[i].pages {
			for _, c := range p.counts {
				if c > 0 {
					n++
				}
			}
		}
	}
	return n
}

// Counts are those of a map, large and small ones, and what is 0 takes no memory.
func TestKeptCounts(t *testing.T) {
	var k keptCounts
	model := map[uint32]uint32{}
	r := rand.New(rand.NewPCG(1, 2))
	inos := []uint32{1, 2, 63, 64, 65, 1023, 1024, 4000, 1 << 20, math.MaxUint32}
	counts := []uint32{0, 0, 1, 2, 254, 255, 256, 100_000, math.MaxUint32}
	for step := range 20_000 {
		ino, n := inos[r.IntN(len(inos))], counts[r.IntN(len(counts))]
		k.set(ino, n)
		if model[ino] = n; n == 0 {
			delete(model, ino)
		}
		for _, i := range append(inos, 3, 66) {
			if got := k.get(i); got != model[i] {
				t.Fatalf("step %d: inode %d has %d, want %d", step, i, got, model[i])
			}
		}
		if k.len() != len(model) {
			t.Fatalf("step %d: %d inodes have a count, want %d", step, k.len(), len(model))
		}
	}
	for _, ino := range inos {
		k.set(ino, 0)
	}
	for i := range k.stripes {
		if s := &k.stripes[i]; len(s.pages)+len(s.many) > 0 {
			t.Errorf("stripe %d has %d pages and %d counts left", i, len(s.pages), len(s.many))
		}
	}
}
