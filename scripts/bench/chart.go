//go:build linux

package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

// Measures of the chart, in pixels.
const (
	chartTimes  = 8             // bars are cut there, in times of the kernel's
	chartScale  = 56            // the kernel's time
	chartBar    = 10            // a bar, with the pixel between two
	chartGap    = 6             // between two rows
	chartMargin = 16            // around everything
	chartState  = 52            // the column that names the caches
	chartValue  = 34            // to the right of the plot: the number of a bar that is cut
	chartLine   = 15            // a line of text
	chartGlyph  = float64(6.25) // a character of 11 pixels in a wide sans-serif, on average
)

// chartDrivers are those that get a bar, from the top.
var chartDrivers = []struct{ name, colour, legend string }{
	{ext2fuseName, "#3b7dd8", "ext2fuse"},
	{fuse2fsName, "#f08a24", "fuse2fs"},
	{emptyName, "#9a9a94", "empty FUSE server, which answers from memory"},
}

// chartNotes explain the picture where it stands alone.
var chartNotes = []string{
	"cached: fresh mount, image in the page cache · warm: the same once more on that mount · cold: image in no cache",
	fmt.Sprintf("written: empty image, until it is unmounted · shorter is faster · bars are cut at %d", chartTimes),
}

// chart is a picture in the making.
type chart struct {
	bytes.Buffer
	plot int // left edge of the plot: time 0
}

// chart draws the times relative to the kernel's as an SVG picture: a row of bars for
// each workload and state. ok is false if the kernel took part in none of them.
func (r *report) chart() (svg []byte, ok bool) {
	var rows []*row
	longest := 40 // title, in characters; no fewer, for the lines above and below the plot
	for _, w := range r.Rows {
		if w.Summary[kernelName].Median > 0 {
			rows = append(rows, w)
			longest = max(longest, utf8.RuneCountInString(w.Title))
		}
	}
	if rows == nil {
		return nil, false
	}
	c := &chart{plot: chartMargin + int(chartGlyph*float64(longest)) + chartState}
	width := c.plot + chartTimes*chartScale + chartValue + chartMargin
	head := r.chartHead(width - 2*chartMargin)
	top := chartMargin + (len(head)+4)*chartLine + 4
	bottom := top
	for i := range rows {
		bottom += rowHeight(rows, i)
	}
	height := bottom + (len(chartNotes)+2)*chartLine + chartMargin

	fmt.Fprintf(c, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="11">`+"\n", width, height, width, height)
	c.WriteString("<title>ext2fuse, fuse2fs and an empty FUSE server beside the kernel's ext2 driver</title>\n")
	fmt.Fprintf(c, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", width, height)
	c.text(chartMargin, chartMargin+10, "#222", `font-size="14" font-weight="bold"`, "Time relative to the kernel's ext2 driver (loop mount = 1)")
	for i, line := range head {
		c.text(chartMargin, chartMargin+10+(i+1)*chartLine, "#555", "", line)
	}
	if r.Quick {
		c.text(width-chartMargin, chartMargin+10, "#d33", `text-anchor="end" font-weight="bold"`, "-quick: the figures mean nothing")
	}
	c.legend(r, top-2*chartLine-5)
	c.axis(top, bottom)
	y := top
	for i, w := range rows {
		if first(rows, i) && i > 0 {
			fmt.Fprintf(c, `<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="#ccc"/>`+"\n", chartMargin, y, c.plot+chartTimes*chartScale, y)
		}
		c.row(w, y+chartGap/2+1, first(rows, i))
		y += rowHeight(rows, i)
	}
	// Over the bars, so that it is seen how far they reach past it.
	fmt.Fprintf(c, `<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="#222" stroke-width="1.5"/>`+"\n", c.plot+chartScale, top-4, c.plot+chartScale, bottom+4)
	for i, note := range chartNotes {
		c.text(chartMargin, bottom+(i+2)*chartLine+8, "#777", `font-size="10"`, note)
	}
	c.WriteString("</svg>\n")
	return c.Bytes(), true
}

// first tells whether a row is the first of its workload.
func first(rows []*row, i int) bool { return i == 0 || rows[i-1].Workload != rows[i].Workload }

// rowHeight is how much room a row takes; the last one of a workload leaves a little
// more below it.
func rowHeight(rows []*row, i int) int {
	bars := 0
	for _, d := range chartDrivers {
		if _, ok := rows[i].Summary[d.name]; ok {
			bars++
		}
	}
	height := max(bars*chartBar, chartLine) + chartGap
	if i+1 == len(rows) || first(rows, i+1) {
		height += 2
	}
	return height
}

// chartHead is when and where it was measured, in lines that fit the width.
func (r *report) chartHead(width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(fmt.Sprintf("%s, medians of %d rounds: %s", r.Date, r.Rounds, r.Machine)) {
		longer := strings.TrimSpace(line + " " + word)
		if line != "" && chartGlyph*float64(utf8.RuneCountInString(longer)) > float64(width) {
			lines, longer = append(lines, line), word
		}
		line = longer
	}
	return append(lines, line)
}

// legend tells the colours of those who took part.
func (c *chart) legend(r *report, y int) {
	x := chartMargin
	for _, d := range chartDrivers {
		if r.driver(d.name).Name == "" {
			continue
		}
		fmt.Fprintf(c, `<rect x="%d" y="%d" width="10" height="10" fill="%s"/>`+"\n", x, y-9, d.colour)
		c.text(x+15, y, "#222", "", d.legend)
		x += 40 + int(chartGlyph*float64(len(d.legend)))
	}
	fmt.Fprintf(c, `<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="#222" stroke-width="1.5"/>`+"\n", x, y-11, x, y+2)
	c.text(x+7, y, "#222", "", "kernel")
}

// axis draws the plot without its bars.
func (c *chart) axis(top, bottom int) {
	fmt.Fprintf(c, `<rect x="%d" y="%d" width="%d" height="%d" fill="#f6f6f4"/>`+"\n", c.plot, top, chartTimes*chartScale, bottom-top)
	for i := range chartTimes + 1 {
		x := c.plot + i*chartScale
		fmt.Fprintf(c, `<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="#ddd"/>`+"\n", x, top, x, bottom)
		for _, y := range []int{top - 7, bottom + chartLine} {
			c.text(x, y, "#555", `text-anchor="middle" font-size="10"`, fmt.Sprint(i))
		}
	}
}

// row draws the bars of a row, the first one with its top at y.
func (c *chart) row(w *row, y int, titled bool) {
	if titled {
		c.text(chartMargin, y+chartBar, "#222", "", w.Title)
	}
	c.text(c.plot-6, y+chartBar, "#777", `text-anchor="end" font-size="10"`, string(w.State))
	kernel := w.Summary[kernelName].Median
	for _, d := range chartDrivers {
		sum, ok := w.Summary[d.name]
		if !ok {
			continue
		}
		ratio := sum.Median / kernel
		long := int(math.Round(min(ratio, chartTimes) * chartScale))
		fmt.Fprintf(c, `<rect x="%d" y="%d" width="%d" height="%d" fill="%s"><title>`, c.plot, y, long, chartBar-1, d.colour)
		c.escaped(fmt.Sprintf("%s, %s: %s %s, kernel %s", w.Title, w.State, d.name, duration(sum.Median), duration(kernel)))
		c.WriteString("</title></rect>\n")
		if ratio > chartTimes {
			// Two strokes across it: the bar goes on.
			for _, x := range []int{c.plot + long - 14, c.plot + long - 9} {
				fmt.Fprintf(c, `<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="#fff" stroke-width="2"/>`+"\n", x, y+chartBar, x+4, y-1)
			}
		}
		c.text(c.plot+max(long, chartScale)+4, y+chartBar-2, "#333", `font-size="9"`, threeDigits(ratio))
		y += chartBar
	}
}

// threeDigits is a ratio as text.
func threeDigits(ratio float64) string {
	switch {
	case ratio >= 99.95:
		return fmt.Sprintf("%.0f", ratio)
	case ratio >= 9.995:
		return fmt.Sprintf("%.1f", ratio)
	}
	return fmt.Sprintf("%.2f", ratio)
}

// text writes a line of text that begins, or as its style says, at x.
func (c *chart) text(x, y int, colour, style, text string) {
	fmt.Fprintf(c, `<text x="%d" y="%d" fill="%s" %s>`, x, y, colour, style)
	c.escaped(text)
	c.WriteString("</text>\n")
}

// escaped writes text so that it stays text.
func (c *chart) escaped(text string) { _ = xml.EscapeText(c, []byte(text)) }
