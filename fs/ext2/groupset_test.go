//go:build linux

package ext2

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// A groupSet against a list of the same members.
func TestGroupSet(t *testing.T) {
	for _, n := range []int{1, 63, 64, 65, 1000} {
		rnd := rand.New(rand.NewPCG(uint64(n), 1))
		s, members := newGroupSet(n), make([]bool, n)
		for range 2000 {
			g, in := rnd.IntN(n), rnd.IntN(n) < 3
			s.put(uint32(g), in)
			members[g] = in
			from := rnd.IntN(n)
			want := from
			for want < n && !members[want] {
				want++
			}
			if got := s.gap(uint32(from)); got != uint32(want-from) {
				t.Fatalf("%d groups: the gap from %d on is %d, want %d", n, from, got, want-from)
			}
			var all []uint32
			for i := range n {
				if g := (from + i) % n; members[g] {
					all = append(all, uint32(g))
				}
			}
			if got := slices.Collect(s.from(uint32(from))); !slices.Equal(got, all) {
				t.Fatalf("%d groups: from %d on %v, want %v", n, from, got, all)
			}
		}
	}
}
