//go:build linux

package main

import (
	"math/rand/v2"
	"testing"
)

func TestSummarize(t *testing.T) {
	for _, c := range []struct {
		series []float64
		want   summary
	}{
		{nil, summary{}},
		{[]float64{3}, summary{3, 3, 3}},
		{[]float64{4, 1}, summary{2.5, 1, 4}},
		{[]float64{9, 1, 5}, summary{5, 1, 9}},
		{[]float64{8, 2, 4, 100}, summary{6, 2, 100}},
	} {
		if got := summarize(c.series); got != c.want {
			t.Errorf("summarize(%v) = %v, want %v", c.series, got, c.want)
		}
	}
}

// The median is no smaller than half of the values and no larger than the other half,
// whatever their order, and the series is left as it was.
func TestSummarizeProperty(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		series := make([]float64, 1+random.IntN(20))
		for i := range series {
			series[i] = float64(random.IntN(10))
		}
		before := append([]float64(nil), series...)
		s := summarize(series)
		below, above := 0, 0
		for i, v := range series {
			if v != before[i] {
				t.Fatalf("%v became %v", before, series)
			}
			if v < s.Median {
				below++
			}
			if v > s.Median {
				above++
			}
			if v < s.Min || v > s.Max {
				t.Fatalf("%v is not within %v of %v", v, s, series)
			}
		}
		if 2*below > len(series) || 2*above > len(series) {
			t.Fatalf("%v is not the median of %v", s.Median, series)
		}
	}
}
