//go:build linux

package main

import (
	"fmt"
	"strings"
)

// margin is what two equal things may differ by in a measurement. It applies where the
// target is "no slower", not where it is a number.
const margin = 0.03

// Verdicts.
const (
	verdictReached = "reached"
	verdictMissed  = "missed"
	verdictUnknown = "not measured"
)

// target is a promise of the project and what became of it.
type target struct {
	Promise string `json:"promise"`
	Got     string `json:"got"`
	Verdict string `json:"verdict"`
}

// judge holds what was measured against the targets.
func (r *report) judge() []target {
	list := []target{
		r.atMost("sequential read, image cold: no slower than the kernel", "seq", cold, kernelName, 1+margin),
		r.atMost("sequential read, image cached: within 1.15 of the empty FUSE server", "seq", cached, emptyName, 1.15),
		r.timesFaster("sequential read, image cached: 1.5 times as fast as fuse2fs", "seq", cached, 1.5),
		r.atMost("random 4 KiB reads, image cached: faster than the kernel", "random", cached, kernelName, 1),
	}
	for _, s := range []state{cached, warm, cold} {
		for _, w := range []struct{ name, title string }{{"ls", "ls -l"}, {"tree", "small files"}} {
			list = append(list,
				r.atMost(fmt.Sprintf("%s, %s: at most twice the kernel's time", w.title, s), w.name, s, kernelName, 2),
				r.timesFaster(fmt.Sprintf("%s, %s: 3 times as fast as fuse2fs", w.title, s), w.name, s, 3))
		}
	}
	list = append(list, r.writeTargets()...)
	return append(list,
		r.nothingSlower(),
		r.below("mounting a sparse image of 1 TiB: below 50 ms", figureMountHuge, 0.050),
		r.below("its memory: below 64 MiB", figureMemoryHuge, 64<<20),
		r.below("idle memory: below 32 MiB", figureIdle, 32<<20),
		r.below("memory while reading: below 128 MiB", figureReadPeak, 128<<20),
		r.requests())
}

// writeTargets are the promises about writing.
func (r *report) writeTargets() []target {
	var list []target
	for _, w := range []struct {
		name, title string
		limit       float64
		faster      bool // and 3 times as fast as fuse2fs
	}{
		{"write", "sequential write", 1.3, false}, {"overwrite", "overwrite", 1.3, false}, {"write4k", "4 KiB writes", 1.3, false},
		{"untar", "untar", 2, true}, {"rm", "rm -rf", 2, true}, {"create", "creates", 2, true}, {"unlink", "unlinks", 2, true},
		{"fsync", "small files fsynced", 1.3, false},
	} {
		list = append(list, r.atMost(fmt.Sprintf("%s: at most %.1f times the kernel's time", w.title, w.limit), w.name, written, kernelName, w.limit))
		if w.faster {
			list = append(list, r.timesFaster(w.title+": 3 times as fast as fuse2fs", w.name, written, 3))
		}
	}
	return append(list, r.below("memory while writing: below 128 MiB", figureMemoryWrite, 128<<20))
}

// atMost: ext2fuse takes at most limit times the other's time.
func (r *report) atMost(promise, workload string, s state, other string, limit float64) target {
	ratio, ok := r.ratio(workload, s, ext2fuseName, other)
	return verdict(promise, fmt.Sprintf("%.2f x its time", ratio), ok, ratio <= limit)
}

// timesFaster: fuse2fs takes at least limit times ext2fuse's time.
func (r *report) timesFaster(promise, workload string, s state, limit float64) target {
	ratio, ok := r.ratio(workload, s, fuse2fsName, ext2fuseName)
	return verdict(promise, fmt.Sprintf("%.1f times as fast", ratio), ok, ratio >= limit)
}

// nothingSlower: no workload takes longer than with fuse2fs.
func (r *report) nothingSlower() target {
	var slower []string
	measured := 0
	for _, row := range r.Rows {
		ratio, ok := r.ratio(row.Workload, row.State, ext2fuseName, fuse2fsName)
		if !ok {
			continue
		}
		measured++
		if ratio > 1+margin {
			slower = append(slower, fmt.Sprintf("%s, %s: %.2f x", row.Workload, row.State, ratio))
		}
	}
	got := fmt.Sprintf("%d of %d slower", len(slower), measured)
	if len(slower) > 0 {
		got += " (" + strings.Join(slower, "; ") + ")"
	}
	return verdict("nothing slower than fuse2fs", got, measured > 0, len(slower) == 0)
}

// below: a figure's median is below a limit.
func (r *report) below(promise, name string, limit float64) target {
	f, ok := r.figure(name, ext2fuseName)
	return verdict(promise, quantity(f.Median, f.Unit), ok && len(f.Values) > 0, f.Median < limit)
}

// requests: the cold read of a contiguous file takes few requests.
func (r *report) requests() target {
	got, ok := r.figure(figureRequests, ext2fuseName)
	ideal, ok2 := r.figure(figureIdeal, ext2fuseName)
	return verdict("cold read of a contiguous file: at most 1.2 times the ideal number of requests",
		fmt.Sprintf("%.0f for %.0f", got.Median, ideal.Median), ok && ok2, got.Median <= 1.2*ideal.Median)
}

func verdict(promise, got string, measured, reached bool) target {
	switch {
	case !measured:
		return target{promise, "", verdictUnknown}
	case reached:
		return target{promise, got, verdictReached}
	}
	return target{promise, got, verdictMissed}
}
