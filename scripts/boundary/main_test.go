//go:build linux

package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOrder holds the three ways to read the file against what they must look like on
// the device; block 12 is the indirect block.
func TestOrder(t *testing.T) {
	img, content, err := makeImage(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	pointers, err := filePointers(img)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		panel
		want string
	}{
		{panel{rule: false}, "12-12 0-11 13-17"},
		{panel{rule: true}, "0-11 12-12 13-17"},
		{panel{rule: true, ride: true}, "0-17"},
	} {
		if err := c.read(img, pointers, content); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, l := range c.seen {
			first := l.Off/blockSize - int64(pointers[0])
			got = append(got, fmt.Sprintf("%d-%d", first, first+l.Len/blockSize-1))
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("rule %v, ride %v: %s, want %s", c.rule, c.ride, s, c.want)
		}
	}
}

// TestPicture draws it, and lets an XML parser judge.
func TestPicture(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out.svg")
	if err := draw(dir, out); err != nil {
		t.Fatal(err)
	}
	svg, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"3 requests, 1 × backwards", ">3 requests<", ">1 request<"} {
		if !bytes.Contains(svg, []byte(want)) {
			t.Errorf("no %q in the picture", want)
		}
	}
}
