//go:build linux

package main

import "testing"

// Nothing in a name reaches the terminal as a command.
func TestSafe(t *testing.T) {
	for name, want := range map[string]string{
		"plain":              "plain",
		"grün ☃":             "grün ☃",
		"a\nb":               `a\012b`,
		"\x1b[31m":           `\033[31m`,
		"\u009b31m":          `\302\23331m`, // CSI in one character
		"\x9b31m":            `\23331m`,     // the same to a terminal that is not in UTF-8
		"\xff\xfe odd name":  `\377\376 odd name`,
		"\u202egpj.exe":      `\342\200\256gpj.exe`, // shown from right to left
		"a\u2028b":           `a\342\200\250b`,
		"a\ufffeb":           `a\357\277\276b`, // no character of XML
		"delete\x7f and NUL": `delete\177 and NUL`,
	} {
		if got := safe(name); got != want {
			t.Errorf("%q is shown as %q, want %q", name, got, want)
		}
	}
}
