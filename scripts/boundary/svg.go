//go:build linux

package main

import (
	"bytes"
	"fmt"
)

// Measures of the picture, in pixels.
const (
	cell   = 11                      // one block
	plot   = (fileBlocks + 1) * cell // a panel's square
	left   = 64
	top    = 58
	gap    = 46
	bottom = 44
)

// picture draws the panels side by side: blocks of the device upwards, first being
// the lowest, and to the right the order in which they went over the wire.
func picture(panels []panel, first, indirect int64) []byte {
	var b bytes.Buffer
	width, height := left+len(panels)*(plot+gap), top+plot+bottom
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="11">`+"\n", width, height, width, height)
	fmt.Fprintf(&b, `<title>The first %d blocks of a file, as the device sees them</title>`+"\n", fileBlocks)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", width, height)
	text(&b, left, 18, "#222", `font-size="13" font-weight="bold"`, "Reading the first %d blocks of an ext2 file", fileBlocks)
	for i, p := range panels {
		p.draw(&b, left+i*(plot+gap), first, indirect, i == 0)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func text(b *bytes.Buffer, x, y int, colour, style, format string, args ...any) {
	fmt.Fprintf(b, `<text x="%d" y="%d" fill="%s" %s>%s</text>`+"\n", x, y, colour, style, fmt.Sprintf(format, args...))
}

// draw draws one panel with its left edge at x.
func (p *panel) draw(b *bytes.Buffer, x int, first, indirect int64, labels bool) {
	row := func(block int64) int { return top + plot - int(block-first+1)*cell }
	text(b, x, top-20, "#222", "", "%s", p.title)
	fmt.Fprintf(b, `<rect x="%d" y="%d" width="%d" height="%d" fill="#f6f6f4" stroke="#ccc"/>`+"\n", x, top, plot, plot)
	fmt.Fprintf(b, `<rect x="%d" y="%d" width="%d" height="%d" fill="#fbe9d0"/>`+"\n", x, row(indirect), plot, cell)
	if labels {
		style := `text-anchor="end"`
		text(b, x-5, row(first)+cell-2, "#555", style, "block 0")
		text(b, x-5, row(indirect)+cell-2, "#c25e00", style, "indirect")
		text(b, x-5, row(first+fileBlocks)+cell-2, "#555", style, "block %d", fileBlocks-1)
	}
	at, back, head := x, 0, int64(-1)
	for i, l := range p.seen {
		from, n := l.Off/blockSize, l.Len/blockSize
		if head >= 0 && from != head {
			colour := "#999"
			if from < head {
				colour = "#d33"
				back++
			}
			fmt.Fprintf(b, `<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="%s" stroke-dasharray="3 2" stroke-width="1.5"/>`+"\n",
				at, row(head-1)+cell/2, at, row(from)+cell/2, colour)
		}
		for block := from; block < from+n; block++ {
			fill := "#3b7dd8"
			if block == indirect {
				fill = "#f08a24"
			}
			fmt.Fprintf(b, `<rect x="%d" y="%d" width="%d" height="%d" fill="%s"/>`+"\n", at+1, row(block)+1, cell-2, cell-2, fill)
			at += cell
		}
		// A request is one stroke along its blocks.
		fmt.Fprintf(b, `<rect x="%d" y="%d" width="%d" height="%d" rx="2" fill="none" stroke="#222" stroke-opacity=".35"/>`+"\n",
			at-int(n)*cell, row(from+n-1), int(n)*cell, int(n)*cell)
		text(b, at-int(n)*cell+2, row(from+n-1)-3, "#222", `font-size="10" fill-opacity=".7"`, "%d", i+1)
		head = from + n
	}
	summary := fmt.Sprintf("%d requests", len(p.seen))
	if len(p.seen) == 1 {
		summary = "1 request"
	}
	if back > 0 {
		summary += fmt.Sprintf(", %d × backwards", back)
	}
	text(b, x, top+plot+18, "#222", "", "%s", summary)
	text(b, x+plot, top+plot+34, "#888", `text-anchor="end" font-size="10"`, "time, in blocks transferred →")
}
