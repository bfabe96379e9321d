//go:build linux

package main

import (
	"strings"
	"testing"
)

// reportOf makes a report of medians: workload, state and, by driver, seconds.
func reportOf(rows ...*row) *report {
	r := &report{}
	for _, row := range rows {
		row.Summary = map[string]summary{}
		for name, series := range row.Seconds {
			row.Summary[name] = summarize(series)
		}
		r.Rows = append(r.Rows, row)
	}
	return r
}

func times(kernel, fuse2fs, ext2fuse, empty float64) map[string][]float64 {
	m := map[string][]float64{kernelName: {kernel}, fuse2fsName: {fuse2fs}, ext2fuseName: {ext2fuse}}
	if empty > 0 {
		m[emptyName] = []float64{empty}
	}
	return m
}

func find(t *testing.T, r *report, promise string) target {
	t.Helper()
	for _, g := range r.judge() {
		if strings.Contains(g.Promise, promise) {
			return g
		}
	}
	t.Fatalf("no target says %q", promise)
	return target{}
}

func TestTargets(t *testing.T) {
	r := reportOf(
		&row{Workload: "seq", State: cached, Seconds: times(0.2, 0.58, 0.40, 0.36)},
		&row{Workload: "seq", State: cold, Seconds: times(1.00, 2, 1.02, 0)},
		&row{Workload: "random", State: cached, Seconds: times(0.5, 0.9, 0.5001, 0)},
		&row{Workload: "ls", State: cached, Seconds: times(0.1, 0.61, 0.2, 0)},
		&row{Workload: "ls", State: warm, Seconds: times(0.1, 0.5, 0.21, 0)},
	)
	for promise, want := range map[string]string{
		"image cold: no slower":          verdictReached, // 1.02, within the margin
		"within 1.15":                    verdictReached, // 1.11
		"1.5 times as fast":              verdictMissed,  // 1.45
		"random 4 KiB":                   verdictMissed,  // 1.0002, no margin: faster it has to be
		"ls -l, cached: at most twice":   verdictReached, // 2.0
		"ls -l, cached: 3 times":         verdictReached, // 3.05
		"ls -l, warm: at most twice":     verdictMissed,
		"ls -l, warm: 3 times":           verdictMissed,
		"ls -l, cold: 3 times":           verdictUnknown,
		"small files, cached: 3 times":   verdictUnknown,
		"nothing slower than fuse2fs":    verdictReached,
		"1 TiB":                          verdictUnknown,
		"idle memory":                    verdictUnknown,
		"cold read of a contiguous file": verdictUnknown,
	} {
		if g := find(t, r, promise); g.Verdict != want {
			t.Errorf("%s: %s (%s), want %s", g.Promise, g.Verdict, g.Got, want)
		}
	}
	r.Targets = r.judge()
	if n := r.missed(); n != 4 {
		t.Errorf("%d missed, want 4", n)
	}
}

func TestNothingSlowerNames(t *testing.T) {
	r := reportOf(
		&row{Workload: "seq", State: cached, Seconds: times(1, 1, 1.02, 0)},
		&row{Workload: "tree", State: cold, Seconds: times(1, 1, 1.5, 0)},
		&row{Workload: "ls", State: cold, Seconds: map[string][]float64{ext2fuseName: {1}}},
	)
	g := find(t, r, "nothing slower")
	if g.Verdict != verdictMissed || g.Got != "1 of 2 slower (tree, cold: 1.50 x)" {
		t.Errorf("%s: %q", g.Verdict, g.Got)
	}
}

func TestFigureTargets(t *testing.T) {
	r := &report{}
	r.addFigure(figureMountHuge, ext2fuseName, "seconds", 0.02, 0.9, 0.03)
	r.addFigure(figureMemoryHuge, ext2fuseName, "bytes", 64<<20)
	r.addFigure(figureIdle, ext2fuseName, "bytes", 5<<20)
	r.addFigure(figureRequests, ext2fuseName, "requests", 77)
	r.addFigure(figureIdeal, ext2fuseName, "requests", 64)
	for promise, want := range map[string]target{
		"below 50 ms":      {"", "30.0 ms", verdictReached},
		"below 64 MiB":     {"", "64.0 MiB", verdictMissed},
		"idle memory":      {"", "5.0 MiB", verdictReached},
		"ideal number of ": {"", "77 for 64", verdictMissed},
	} {
		if g := find(t, r, promise); g.Got != want.Got || g.Verdict != want.Verdict {
			t.Errorf("%s: %s, %s; want %s, %s", g.Promise, g.Got, g.Verdict, want.Got, want.Verdict)
		}
	}
}

func TestMarkdown(t *testing.T) {
	r := reportOf(
		&row{Workload: "seq", Title: "sequential read", State: cached, Seconds: times(0.2, 0.8, 0.4, 0.4)},
		&row{Workload: "ls", Title: "ls -l", State: cached, Seconds: map[string][]float64{ext2fuseName: {0.05}}},
	)
	text := r.markdown()
	for _, line := range []string{
		"| sequential read | cached | 200 ms | 800 ms | **400 ms** | 400 ms | 2.00 | 2.0 | 1.00 |",
		"| ls -l | cached | – | – | **50.0 ms** | – | – | – | – |",
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("missing: %s\nin:\n%s", line, text)
		}
	}
}
