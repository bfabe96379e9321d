package histogram

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// Buckets follow each other without a gap, and every value lies in its own.
func TestBuckets(t *testing.T) {
	next := uint64(0)
	for i := range buckets {
		low, high := bounds(i)
		if low != next || high < low || index(low) != i || index(high) != i {
			t.Fatalf("bucket %d holds %d to %d (%d, %d), and begins at %d", i, low, high, index(low), index(high), next)
		}
		next = high + 1
	}
	if next != 0 {
		t.Errorf("the last bucket ends before %d", next)
	}
	if i := index(math.MaxUint64); i != buckets-1 {
		t.Errorf("the largest value is in bucket %d of %d", i, buckets)
	}
}

// Quantiles are those of the sorted values, and less than a fifth below them.
func TestQuantiles(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		var h Histogram
		values := make([]uint64, 1+rng.IntN(2000))
		sum := uint64(0)
		for i := range values {
			values[i] = uint64(math.Exp(rng.Float64() * 25))
			h.Record(values[i])
			sum += values[i]
		}
		slices.Sort(values)
		s := h.Summary()
		at := func(p int) uint64 { return values[(len(values)*p+99)/100-1] }
		for _, q := range []struct{ got, want uint64 }{{s.P50, at(50)}, {s.P90, at(90)}, {s.P99, at(99)}} {
			if q.got > q.want || float64(q.got) < 0.8*float64(q.want)-1 {
				t.Errorf("of %d values: got %d, want %d", len(values), q.got, q.want)
			}
		}
		last := values[len(values)-1]
		if s.Count != uint64(len(values)) || s.Sum != sum || s.Max != last {
			t.Errorf("%+v of %d values up to %d", s, len(values), last)
		}
	}
	if s := new(Histogram).Summary(); s != (Summary{}) || s.Mean() != 0 {
		t.Errorf("of nothing: %+v", s)
	}
}

func BenchmarkRecord(b *testing.B) {
	var h Histogram
	b.RunParallel(func(pb *testing.PB) {
		for v := uint64(1); pb.Next(); v = v*6364136223846793005 + 1 {
			h.Record(v >> 40)
		}
	})
}
