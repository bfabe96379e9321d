//go:build linux

package main

import (
	"fmt"
	"html"
	"strings"
)

// Measures of the picture of a file, in pixels.
const (
	svgWidth  = 960
	svgMargin = 20
	svgStrip  = svgWidth - 2*svgMargin
	svgRow    = 14 // height of a row of the disk
	svgRows   = 24 // so many at most
)

// svg draws the file as one strip, and the disk below it as rows of block groups. A block
// has the same colour in both: it goes from blue at the file's beginning to green at its
// end; indirect blocks are orange.
func (m *fileMap) svg() string {
	groups := (m.diskBlocks - min(m.firstBlock, m.diskBlocks) + m.perGroup - 1) / m.perGroup
	perRow := (groups + svgRows - 1) / svgRows // groups
	rows := (groups + perRow - 1) / perRow
	rowBlocks := perRow * m.perGroup
	const fileTop, diskTop = 62, 116
	height := diskTop + int(rows)*(svgRow+2) + 44
	var s strings.Builder
	fmt.Fprintf(&s, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n",
		svgWidth, height, svgWidth, height)
	fmt.Fprintf(&s, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", svgWidth, height)
	text := func(x, y int, format string, args ...any) {
		fmt.Fprintf(&s, `<text x="%d" y="%d" fill="#222">%s</text>`+"\n", x, y, html.EscapeString(fmt.Sprintf(format, args...)))
	}
	data, tables, holes := m.counts()
	text(svgMargin, 24, "%s: %s in %s, %d indirect, %s in holes", safe(m.Path), humanBytes(int64(data)*m.BlockSize),
		plural(m.Pieces, "piece"), tables, humanBytes(int64(holes)*m.BlockSize))

	end := uint64(1)
	for _, l := range m.Extents {
		end = max(end, l.File+l.Count)
	}
	text(svgMargin, fileTop-8, "the file, %s", humanBytes(m.Size))
	box := func(x, w float64, y, h int, fill, title string) {
		fmt.Fprintf(&s, `<rect x="%.2f" y="%d" width="%.2f" height="%d" fill="%s"><title>%s</title></rect>`+"\n",
			svgMargin+x, y, max(w, 1), h, fill, html.EscapeString(title))
	}
	box(0, svgStrip, fileTop, svgRow, "#eee", "holes")
	for _, l := range m.Extents {
		if l.Kind == "data" {
			box(scale(l.File, end), scale(l.Count, end), fileTop, svgRow, shade(l.File, end), "file blocks "+blockRange(l.File, l.Count))
		}
	}

	text(svgMargin, diskTop-8, "the disk, %s, %d block groups, %d in a row", humanBytes(int64(m.diskBlocks)*m.BlockSize), groups, perRow)
	for r := range rows {
		n := min(rowBlocks, m.diskBlocks-m.firstBlock-r*rowBlocks)
		box(0, scale(n, rowBlocks), diskTop+int(r)*(svgRow+2), svgRow, "#eee", fmt.Sprintf("block groups from %d on", r*perRow))
	}
	for _, l := range m.Extents {
		if l.Kind == "hole" {
			continue
		}
		fill := "#e8710a"
		if l.Kind == "data" {
			fill = shade(l.File, end)
		}
		title := fmt.Sprintf("%s: disk blocks %s", l.Kind, blockRange(l.Disk, l.Count))
		for at, left := l.Disk-m.firstBlock, l.Count; left > 0; {
			in := at % rowBlocks
			n := min(left, rowBlocks-in)
			box(scale(in, rowBlocks), scale(n, rowBlocks), diskTop+int(at/rowBlocks)*(svgRow+2), svgRow, fill, title)
			at, left = at+n, left-n
		}
	}
	legend := height - 16
	for i, l := range []struct{ fill, what string }{{shade(0, 1), "the file's beginning"}, {shade(1, 1), "its end"}, {"#e8710a", "indirect block"}, {"#eee", "anything else"}} {
		x := svgMargin + i*170
		fmt.Fprintf(&s, `<rect x="%d" y="%d" width="12" height="12" fill="%s"/>`+"\n", x, legend-10, l.fill)
		text(x+18, legend, "%s", l.what)
	}
	s.WriteString("</svg>\n")
	return s.String()
}

// scale is how far at is on a strip of whole, in pixels.
func scale(at, whole uint64) float64 { return svgStrip * float64(at) / float64(whole) }

// shade is the colour of a file block.
func shade(at, end uint64) string {
	f := float64(at) / float64(end)
	mix := func(a, b float64) int { return int(a + (b-a)*f) }
	return fmt.Sprintf("#%02x%02x%02x", mix(0x1a, 0x34), mix(0x56, 0xa8), mix(0xdb, 0x53))
}
