//go:build linux

package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// columns are the drivers in the order of the tables.
var columns = []string{kernelName, fuse2fsName, ext2fuseName, emptyName}

// line is a row in one line, for the progress.
func (w *row) line() string {
	text := fmt.Sprintf("%s, %s:", w.Title, w.State)
	for _, name := range columns {
		if sum, ok := w.Summary[name]; ok {
			text += fmt.Sprintf("  %s %s", name, duration(sum.Median))
		}
	}
	return text
}

// ratios are ext2fuse's time to the kernel's, fuse2fs's to ext2fuse's and ext2fuse's
// to the empty server's, as text; a dash where there is none.
func (r *report) ratios(w *row) [3]string {
	text := func(a, b, format string) string {
		if ratio, ok := r.ratio(w.Workload, w.State, a, b); ok {
			return fmt.Sprintf(format, ratio)
		}
		return "–"
	}
	return [3]string{
		text(ext2fuseName, kernelName, "%.2f"),
		text(fuse2fsName, ext2fuseName, "%.1f"),
		text(ext2fuseName, emptyName, "%.2f"),
	}
}

// text is the report for a terminal.
func (r *report) text() string {
	var s strings.Builder
	fmt.Fprintf(&s, "\n%s\n%s, %d rounds, load %.2f at the start\n\n", r.Machine, r.Date, r.Rounds, r.Machine.Load)
	for _, d := range r.Drivers {
		fmt.Fprintf(&s, "  %-9s %s\n", d.Name, d.Version)
	}
	for _, what := range r.LeftOut {
		fmt.Fprintf(&s, "  left out: %s\n", what)
	}
	s.WriteString("\nMedians (smallest to largest):\n\n")
	t := tabwriter.NewWriter(&s, 0, 8, 2, ' ', 0)
	fmt.Fprintf(t, "workload\tcaches\t%s\text2fuse:kernel\tfuse2fs:ext2fuse\text2fuse:empty\n", strings.Join(columns, "\t"))
	for _, w := range r.Rows {
		fmt.Fprintf(t, "%s\t%s\t", w.Title, w.State)
		for _, name := range columns {
			fmt.Fprintf(t, "%s\t", spread(w, name))
		}
		ratios := r.ratios(w)
		fmt.Fprintln(t, strings.Join(ratios[:], "\t"))
	}
	t.Flush()
	s.WriteString("\n")
	for _, f := range r.Figures {
		fmt.Fprintf(t, "%s\t%s\t%s\n", f.Name, f.Driver, quantity(f.Median, f.Unit))
	}
	t.Flush()
	s.WriteString("\nTargets:\n\n")
	for _, g := range r.Targets {
		fmt.Fprintf(t, "%s\t%s\t%s\n", g.Verdict, g.Promise, g.Got)
	}
	t.Flush()
	s.WriteString("\nHow it was measured:\n\n")
	for _, line := range r.Method {
		fmt.Fprintf(&s, "- %s\n", line)
	}
	return s.String()
}

// spread is a driver's cell of a row: the median, and the range it lies in.
func spread(w *row, name string) string {
	sum, ok := w.Summary[name]
	if !ok {
		return "–"
	}
	lowest, _, _ := strings.Cut(duration(sum.Min), " ")
	if (sum.Min < inSeconds) != (sum.Max < inSeconds) {
		lowest = duration(sum.Min)
	}
	return fmt.Sprintf("%s (%s–%s)", duration(sum.Median), lowest, duration(sum.Max))
}

// markdown is the part of the report that the README shows.
func (r *report) markdown() string {
	var s strings.Builder
	fmt.Fprintf(&s, "Measured on %s: %s. Medians of %d rounds, in turns, on one image; `make bench` repeats it.\n\n", r.Date, r.Machine, r.Rounds)
	if r.Quick {
		s.WriteString("**Made with -quick: the figures mean nothing.**\n\n")
	}
	s.WriteString("| workload | caches | kernel | fuse2fs | **ext2fuse** | empty FUSE server | ext2fuse : kernel | fuse2fs : ext2fuse | ext2fuse : empty |\n")
	s.WriteString("|---|---|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, w := range r.Rows {
		fmt.Fprintf(&s, "| %s | %s |", w.Title, w.State)
		for _, name := range columns {
			cell := "–"
			if sum, ok := w.Summary[name]; ok {
				cell = duration(sum.Median)
			}
			if name == ext2fuseName {
				cell = "**" + cell + "**"
			}
			fmt.Fprintf(&s, " %s |", cell)
		}
		ratios := r.ratios(w)
		fmt.Fprintf(&s, " %s |\n", strings.Join(ratios[:], " | "))
	}
	s.WriteString("\n| | kernel | fuse2fs | **ext2fuse** |\n|---|--:|--:|--:|\n")
	for _, name := range []string{figureMountHuge, figureMemoryHuge, figureIdle, figureUsed, figureReadPeak} {
		fmt.Fprintf(&s, "| %s |", name)
		for _, d := range columns[:3] {
			cell := "–"
			if f, ok := r.figure(name, d); ok {
				cell = quantity(f.Median, f.Unit)
			}
			fmt.Fprintf(&s, " %s |", cell)
		}
		s.WriteString("\n")
	}
	s.WriteString("\n| target | measured | |\n|---|---|---|\n")
	for _, g := range r.Targets {
		fmt.Fprintf(&s, "| %s | %s | %s |\n", g.Promise, g.Got, g.Verdict)
	}
	s.WriteString("\nHow:\n\n")
	for _, line := range r.Method {
		fmt.Fprintf(&s, "- %s\n", line)
	}
	for _, d := range r.Drivers {
		fmt.Fprintf(&s, "- %s: %s\n", d.Name, d.Version)
	}
	for _, what := range r.LeftOut {
		fmt.Fprintf(&s, "- left out: %s\n", what)
	}
	return s.String()
}

// inSeconds is the time, in seconds, from which on times are given in seconds.
const inSeconds = 0.9995

// duration is a time in three digits.
func duration(seconds float64) string {
	switch {
	case seconds >= 9.995:
		return fmt.Sprintf("%.1f s", seconds)
	case seconds >= inSeconds:
		return fmt.Sprintf("%.2f s", seconds)
	case seconds >= 0.0995:
		return fmt.Sprintf("%.0f ms", 1000*seconds)
	case seconds >= 0.00995:
		return fmt.Sprintf("%.1f ms", 1000*seconds)
	}
	return fmt.Sprintf("%.2f ms", 1000*seconds)
}

// quantity is a figure with its unit.
func quantity(v float64, unit string) string {
	switch unit {
	case "seconds":
		return duration(v)
	case "bytes":
		return fmt.Sprintf("%.1f MiB", v/(1<<20))
	}
	return fmt.Sprintf("%.0f %s", v, unit)
}
