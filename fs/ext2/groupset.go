package ext2

import (
	"iter"
	"math/bits"
	"sync/atomic"
)

// groupSet are the groups that have something free, so that whoever looks for room passes
// over thousands of full ones at once. A member changes under its group's lock; who looks
// without it takes what the set says for a hint.
type groupSet struct {
	words []atomic.Uint64
	n     uint32
}

func newGroupSet(n int) groupSet {
	return groupSet{words: make([]atomic.Uint64, (n+63)/64), n: uint32(n)}
}

// put makes group g a member, or takes it out.
func (s *groupSet) put(g uint32, member bool) {
	word, bit := &s.words[g/64], uint64(1)<<(g%64)
	switch was := word.Load()&bit != 0; {
	case member && !was:
		word.Or(bit)
	case was && !member:
		word.And(^bit)
	}
}

// gap is how many groups from g on, up to the last one, lie before the next member.
func (s *groupSet) gap(g uint32) uint32 {
	for at := g; at < s.n; at = at&^63 + 64 {
		if w := s.words[at/64].Load() >> (at % 64); w != 0 {
			return at + uint32(bits.TrailingZeros64(w)) - g
		}
	}
	return s.n - g
}

// from are the members from group first on, and then those before it.
func (s *groupSet) from(first uint32) iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for _, part := range [2][2]uint32{{first, s.n}, {0, first}} {
			for g := part[0] + s.gap(part[0]); g < part[1]; g += 1 + s.gap(g+1) {
				if !yield(g) {
					return
				}
			}
		}
	}
}
