//go:build linux

package main

import (
	"fmt"
	"io"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"
)

// difference is one thing in which the two sides differ.
type difference struct {
	path   string // as it is; "" for statfs
	what   string // the field
	values [2]string
}

// compare lists the differences of two trees, by path, then by field. Fields in
// ignore are left out, as are groups of them (statfs, xattr).
func compare(a, b *tree, ignore map[string]bool) []difference {
	var diffs []difference
	note := func(path, what, va, vb string) {
		group, _, _ := strings.Cut(what, " ")
		if va != vb && !ignore[what] && !ignore[group] {
			diffs = append(diffs, difference{path, what, [2]string{va, vb}})
		}
	}
	compareStatfs(a, b, note)
	for _, path := range union(a.nodes, b.nodes) {
		na, nb := a.nodes[path], b.nodes[path]
		switch {
		case na == nil:
			note(path, "name", "is not there", "is there: "+nb.brief())
		case nb == nil:
			note(path, "name", "is there: "+na.brief(), "is not there")
		default:
			compareNodes(path, na, nb, note)
		}
	}
	return diffs
}

type noteFunc func(path, what, va, vb string)

func compareStatfs(a, b *tree, note noteFunc) {
	for _, key := range union(a.statfs, b.statfs) {
		va, oka := a.statfs[key]
		vb, okb := b.statfs[key]
		if oka && okb {
			note("", "statfs "+key, strconv.FormatUint(va, 10), strconv.FormatUint(vb, 10))
		}
	}
}

func compareNodes(path string, a, b *node, note noteFunc) {
	for f := range nFields {
		va, vb := a.fields[f], b.fields[f]
		switch {
		case va == "" || vb == "" || va == vb:
		case f == fXattrs:
			// Each attribute is told by itself below, unless they could not be listed.
			if a.xattrs == nil || b.xattrs == nil {
				note(path, f.String(), va, vb)
			}
		case f == fDtype && vb == dtypeUnknown && va == a.fields[fType]:
			// The image does not say, the driver found out: that is fine.
		case f == fContent && a.pages != nil && b.pages != nil:
			index, count := firstDifference(a.pages, b.pages)
			where := fmt.Sprintf(" (%d pages of 4 KiB differ, the first from byte %d on)", count, index*pageSize)
			note(path, f.String(), va+where, vb)
		default:
			note(path, f.String(), va, vb)
		}
	}
	if a.xattrs == nil || b.xattrs == nil {
		return
	}
	for _, name := range union(a.xattrs, b.xattrs) {
		note(path, "xattr "+quote(name), shownXattr(a.xattrs, name), shownXattr(b.xattrs, name))
	}
}

// shownXattr shows the value of an attribute.
func shownXattr(attrs map[string]string, name string) string {
	value, ok := attrs[name]
	switch {
	case !ok:
		return "not set"
	case strings.HasPrefix(value, "error: "):
		return value
	case printable(value):
		return fmt.Sprintf("%d bytes %s", len(value), strconv.Quote(value))
	}
	return fmt.Sprintf("%d bytes %x", len(value), value)
}

// brief tells what a file is.
func (n *node) brief() string {
	return fmt.Sprintf("%s, inode %s, mode %s, size %s", n.fields[fType], n.fields[fIno], n.fields[fMode], n.fields[fSize])
}

// union is the sorted keys of two maps.
func union[V any](a, b map[string]V) []string {
	keys := make([]string, 0, len(a))
	for k := range a {
		keys = append(keys, k)
	}
	for k := range b {
		if _, ok := a[k]; !ok {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	return keys
}

// quote shows a name so that it stays on one line and is told from any other.
func quote(s string) string {
	if s != "" && printable(s) && !strings.ContainsAny(s, "\"\\ :") {
		return s
	}
	return strconv.Quote(s)
}

func printable(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if !strconv.IsPrint(r) {
			return false
		}
	}
	return true
}

// report writes the differences, at most limit of them if limit is not 0, and
// returns one line that sums them up.
func report(out io.Writer, a, b *tree, diffs []difference, limit int) string {
	width := max(len(a.label), len(b.label))
	paths, fields := map[string]bool{}, map[string]int{}
	for i, d := range diffs {
		paths[d.path] = true
		what, _, _ := strings.Cut(d.what, " ")
		fields[what]++
		switch {
		case limit == 0 || i < limit:
			where := "the file system"
			if d.path != "" {
				where = quote(d.path)
			}
			fmt.Fprintf(out, "%s: %s\n    %-*s  %s\n    %-*s  %s\n", where, d.what, width, a.label, d.values[0], width, b.label, d.values[1])
		case i == limit:
			fmt.Fprintf(out, "… and %d more (-max 0 shows all)\n", len(diffs)-limit)
		}
	}
	skipped := ""
	if n := a.skipped + b.skipped; n > 0 {
		skipped = fmt.Sprintf("; %d fields not compared: permission denied", n)
	}
	if len(diffs) == 0 {
		return fmt.Sprintf("same: %s and %s agree on %d files, %d bytes of content%s", a.label, b.label, len(a.nodes), a.bytes, skipped)
	}
	var counts []string
	for what, n := range fields {
		counts = append(counts, fmt.Sprintf("%s %d", what, n))
	}
	sort.Strings(counts)
	return fmt.Sprintf("differs: %s and %s in %d places of %d files (%s)%s", a.label, b.label, len(diffs), len(paths), strings.Join(counts, ", "), skipped)
}
