// Package histogram counts values by size: latencies, lengths of I/Os. A Histogram is a
// fixed array of counters, each for a quarter of a power of two, so that recording costs
// one atomic addition whatever was recorded before. A quantile is told as the lower bound of
// its counter: exact for powers of two, and else by less than a fifth too small.
package histogram

import (
	"math/bits"
	"sync/atomic"
)

// Values below 4 have a bucket each; above, each power of two has four.
const (
	subBits = 2
	sub     = 1 << subBits
	buckets = (64 - subBits + 1) * sub
)

// Histogram counts values. The zero value is ready for use, by several goroutines at once.
type Histogram struct {
	counts [buckets]atomic.Uint64
	sum    atomic.Uint64
	max    atomic.Uint64
}

// Record counts a value.
func (h *Histogram) Record(v uint64) {
	h.counts[index(v)].Add(1)
	h.sum.Add(v)
	for {
		m := h.max.Load()
		if v <= m || h.max.CompareAndSwap(m, v) {
			return
		}
	}
}

func index(v uint64) int {
	if v < sub {
		return int(v)
	}
	shift := bits.Len64(v) - 1 - subBits
	return (shift+1)*sub + int(v>>shift) - sub
}

// bounds are the smallest and the largest value of a bucket.
func bounds(i int) (low, high uint64) {
	if i < sub {
		return uint64(i), uint64(i)
	}
	shift := i/sub - 1
	low = uint64(i%sub+sub) << shift
	return low, low + 1<<shift - 1
}

// Summary is what a histogram says at one moment. All but Count are in the unit of what was
// recorded.
type Summary struct {
	Count         uint64 // values recorded
	Sum           uint64
	P50, P90, P99 uint64 // the lower bounds of what holds the quantiles
	Max           uint64
}

// Mean is the mean value; 0 of nothing.
func (s Summary) Mean() uint64 {
	if s.Count == 0 {
		return 0
	}
	return s.Sum / s.Count
}

// Summary reads the histogram. Values that arrive meanwhile may be in it or not.
func (h *Histogram) Summary() Summary {
	var counts [buckets]uint64
	s := Summary{Sum: h.sum.Load(), Max: h.max.Load()}
	for i := range counts {
		counts[i] = h.counts[i].Load()
		s.Count += counts[i]
	}
	quantile := func(percent uint64) uint64 {
		rank := (s.Count*percent + 99) / 100 // of the value looked for, from 1 on
		for i, n := range counts {
			if n >= rank && n > 0 {
				low, _ := bounds(i)
				return low
			}
			rank -= min(n, rank)
		}
		return 0
	}
	s.P50, s.P90, s.P99 = quantile(50), quantile(90), quantile(99)
	return s
}
