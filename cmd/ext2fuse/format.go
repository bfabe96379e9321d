//go:build linux

package main

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// humanBytes is a size with the unit that leaves it below 1024: "4 KiB", "1.5 GiB".
func humanBytes(n int64) string {
	units := []string{"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	v, u := float64(n), 0
	for v >= 1024 && u < len(units)-1 {
		v /= 1024
		u++
	}
	if u == 0 || v == float64(int64(v)) {
		return fmt.Sprintf("%d %s", int64(v), units[u])
	}
	return fmt.Sprintf("%.1f %s", v, units[u])
}

func percent(part, whole uint64) string {
	if whole == 0 {
		return "0 %"
	}
	return fmt.Sprintf("%.0f %%", 100*float64(part)/float64(whole))
}

// safe is a text without what a terminal would take for a command, or a reader for the end of
// the line or for another order of the letters: that, and what is no UTF-8, is in octal, as ls -b
// shows it.
func safe(text string) string {
	var s strings.Builder
	for len(text) > 0 {
		r, n := utf8.DecodeRuneInString(text)
		if isControl(r) || r == utf8.RuneError && n == 1 {
			for _, b := range []byte(text[:n]) {
				fmt.Fprintf(&s, "\\%03o", b)
			}
		} else {
			s.WriteString(text[:n])
		}
		text = text[n:]
	}
	return s.String()
}

// isControl tells a character that is more than its shape to a terminal or a reader, or that XML
// does not have.
func isControl(r rune) bool {
	return r == 0xfffe || r == 0xffff || unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp, unicode.Bidi_Control)
}

// name is a name of an image where names are all that is printed: as it is for programs, and on a
// terminal safe, and so that no two look the same.
func (c *call) name(name string) string {
	if !c.terminal {
		return name
	}
	return safe(strings.ReplaceAll(name, `\`, `\\`))
}

// rawBytes is what JSON, which is UTF-8, cannot have of a string: all of it, in base64, where
// it is not UTF-8, and nothing otherwise.
func rawBytes(s string) []byte {
	if utf8.ValidString(s) {
		return nil
	}
	return []byte(s)
}

// printTable prints rows in columns, aligned to the right ("r") or left ("l"); columns
// past the end of align are to the left.
func (c *call) printTable(rows [][]string, align string) {
	var width []int
	for _, r := range rows {
		for i, cell := range r {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for _, r := range rows {
		var line strings.Builder
		for i, cell := range r {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if i > 0 {
				line.WriteString("  ")
			}
			if i < len(align) && align[i] == 'r' {
				line.WriteString(pad + cell)
			} else {
				line.WriteString(cell + pad)
			}
		}
		c.printf("%s\n", strings.TrimRight(line.String(), " "))
	}
}
