//go:build linux

package main

import "slices"

// summary is what is told of a series of measurements.
type summary struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// summarize sums up a series; an empty one is all zero.
func summarize(series []float64) summary {
	if len(series) == 0 {
		return summary{}
	}
	sorted := slices.Sorted(slices.Values(series))
	half := len(sorted) / 2
	median := sorted[half]
	if len(sorted)%2 == 0 {
		median = (sorted[half-1] + sorted[half]) / 2
	}
	return summary{Median: median, Min: sorted[0], Max: sorted[len(sorted)-1]}
}
