//go:build linux

package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// chartOf draws rows of a made-up run and takes the picture apart: the texts in it, and
// the widths of the bars by colour.
func chartOf(t *testing.T, rows ...*row) (texts []string, bars map[string][]string) {
	t.Helper()
	svg, ok := madeUp(rows...).chart()
	if !ok {
		t.Fatal("no chart")
	}
	bars = map[string][]string{}
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return texts, bars
		}
		if err != nil {
			t.Fatalf("%v in:\n%s", err, svg)
		}
		switch e := token.(type) {
		case xml.CharData:
			texts = append(texts, string(e))
		case xml.StartElement:
			a := map[string]string{}
			for _, attr := range e.Attr {
				a[attr.Name.Local] = attr.Value
			}
			if e.Name.Local == "rect" && a["height"] == "9" {
				bars[a["fill"]] = append(bars[a["fill"]], a["width"])
			}
		}
	}
}

// madeUp is the report of a run that never was.
func madeUp(rows ...*row) *report {
	r := reportOf(rows...)
	r.Date, r.Rounds = "2026-01-02", 5
	r.Machine = machine{CPU: "A & B <fast>", CPUs: 2, Memory: 8 << 30, System: "Debian", Kernel: "Linux 6.1", Storage: "ext4"}
	for _, name := range columns {
		r.Drivers = append(r.Drivers, driverInfo{Name: name})
	}
	return r
}

func TestChart(t *testing.T) {
	const blue, orange, grey = "#3b7dd8", "#f08a24", "#9a9a94"
	for _, c := range []struct {
		name  string
		rows  []*row
		texts []string            // that are there
		none  []string            // that are not
		bars  map[string][]string // 56 is the kernel's time
	}{
		{
			name: "three bars, and two below them",
			rows: []*row{
				{Workload: "seq", Title: "sequential read", State: cached, Seconds: times(0.2, 0.8, 0.1, 0.4)},
				{Workload: "seq", Title: "sequential read", State: cold, Seconds: times(0.2, 0.3, 0.25, 0)},
			},
			texts: []string{
				"sequential read", "cached", "cold", "0.50", "4.00", "2.00", "1.25", "1.50",
				"ext2fuse", "fuse2fs", "kernel", "empty FUSE server, which answers from memory",
				"sequential read, cached: fuse2fs 800 ms, kernel 200 ms",
				"2026-01-02, medians of 5 rounds: A & B <fast>, 2 CPUs, 8 GiB, Debian, Linux 6.1, image on ext4",
			},
			bars: map[string][]string{blue: {"28", "70"}, orange: {"224", "84"}, grey: {"112"}},
		},
		{
			name:  "longer than the plot",
			rows:  []*row{{Workload: "find", Title: "find", State: warm, Seconds: times(0.01, 1.234, 0.0801, 0)}},
			texts: []string{"123", "8.01"},
			bars:  map[string][]string{blue: {"448"}, orange: {"448"}},
		},
		{
			name:  "a title that looks like a tag",
			rows:  []*row{{Workload: "x", Title: `a </text> & "b"`, State: cached, Seconds: times(1, 20, 12.34, 0)}},
			texts: []string{`a </text> & "b"`, "20.0", "12.3"},
			bars:  map[string][]string{blue: {"448"}, orange: {"448"}},
		},
		{
			name: "what the kernel did not take part in",
			rows: []*row{
				{Workload: "x", Title: "without", State: cached, Seconds: map[string][]float64{ext2fuseName: {1}}},
				{Workload: "y", Title: "with", State: cached, Seconds: map[string][]float64{ext2fuseName: {3}, kernelName: {2}}},
			},
			texts: []string{"with", "1.50"},
			none:  []string{"without"},
			bars:  map[string][]string{blue: {"84"}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			texts, bars := chartOf(t, c.rows...)
			for _, want := range c.texts {
				if !slices.Contains(texts, want) {
					t.Errorf("no %q among %q", want, texts)
				}
			}
			for _, bad := range c.none {
				if slices.Contains(texts, bad) {
					t.Errorf("%q is in the picture", bad)
				}
			}
			for _, colour := range []string{blue, orange, grey} {
				if !slices.Equal(bars[colour], c.bars[colour]) {
					t.Errorf("bars of %s are %s wide, want %s", colour, bars[colour], c.bars[colour])
				}
			}
		})
	}
}

// The lines above the chart fit it, and no word gets lost.
func TestChartHead(t *testing.T) {
	r := madeUp()
	whole := strings.Join(r.chartHead(10_000), "|")
	lines := r.chartHead(300)
	if len(lines) < 2 || strings.Join(lines, " ") != whole {
		t.Errorf("%q, want the words of %q", lines, whole)
	}
	for _, line := range lines {
		if len(line) > 48 {
			t.Errorf("%q is longer than 300 pixels", line)
		}
	}
}

// The chart of a run is the chart of its JSON file. Without the kernel there is none:
// the one that was there stays.
func TestFromJSON(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	command := func(args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		if code := run(t.Context(), args, &out, &errs); code != exitDone {
			t.Fatalf("%s: exit %d: %s", args, code, &errs)
		}
		return out.String()
	}
	read := func(name string) string {
		t.Helper()
		data, err := os.ReadFile(path(name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	r := madeUp(&row{Workload: "seq", Title: "sequential read", State: cached, Seconds: times(0.2, 0.8, 0.1, 0.4)})
	if err := r.publish(&config{jsonFile: path("r.json"), svgFile: path("a.svg")}, io.Discard); err != nil {
		t.Fatal(err)
	}
	text := command("-from-json", path("r.json"), "-svg", path("b.svg"))
	if read("a.svg") != read("b.svg") || !strings.Contains(text, "sequential read") {
		t.Errorf("another chart:\n%s\nor no table:\n%s", read("b.svg"), text)
	}
	if svg := command("-from-json", path("r.json"), "-svg", "-"); svg != read("a.svg") {
		t.Errorf("standard output gets:\n%s", svg)
	}

	r = madeUp(&row{Workload: "seq", State: cached, Seconds: map[string][]float64{ext2fuseName: {1}}})
	if err := r.publish(&config{jsonFile: path("r.json")}, io.Discard); err != nil {
		t.Fatal(err)
	}
	text = command("-from-json", path("r.json"), "-svg", path("b.svg"))
	if read("a.svg") != read("b.svg") || !strings.Contains(text, "left out: the chart") {
		t.Errorf("the chart is overwritten, or nothing is said:\n%s", text)
	}

	for _, bad := range []string{"", "{}", "[]", `{"workloads":[null]}`, `{"workloads":{}}`} {
		if err := os.WriteFile(path("bad.json"), []byte(bad), 0o644); err != nil {
			t.Fatal(err)
		}
		if r, err := readReport(path("bad.json")); err == nil {
			t.Errorf("%q is the report %+v", bad, r)
		}
	}
}
