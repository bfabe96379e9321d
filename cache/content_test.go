package cache

import (
	"fmt"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
)

// sink keeps snapshots.
type sink struct{ got []*Snapshot }

func (s *sink) MaxBlocks() int             { return 0 }
func (s *sink) Close() error               { return nil }
func (s *sink) Write(snap *Snapshot) error { s.got = append(s.got, snap); snap.Settle(); return nil }

// TestContentTold: a snapshot tells where its epoch wrote content, if that is little, and
// no other epoch's.
func TestContentTold(t *testing.T) {
	var w sink
	k := NewCheckpoint(New(blockiotest.NewMem(1<<20), 1024, 1<<20), &w, CheckpointOptions{})
	each := func(n, gap uint64) (all []Extent) {
		for i := range n {
			all = append(all, Extent{1000 + i*gap, 1})
		}
		return all
	}
	for _, c := range []struct {
		what  string
		marks [][]Extent
		want  string
		more  bool
	}{
		{"nothing", nil, "[]", false},
		{"one block", [][]Extent{{{7, 1}}}, "[{7 1}]", false},
		{"the same again and again", [][]Extent{{{7, 2}}, {{7, 1}}, {{8, 1}}, {{7, 2}}}, "[{7 2}]", false},
		{"one behind the other", [][]Extent{{{7, 1}}, {{8, 1}}, {{20, 1}}, {{9, 3}}}, "[{7 5} {20 1}]", false},
		{"what begins inside and goes on", [][]Extent{{{7, 4}}, {{9, 6}}}, "[{7 8}]", false},
		{"as much as may be", [][]Extent{{{100, 128}}}, "[{100 128}]", false},
		{"one block more", [][]Extent{{{100, 128}}, {{300, 1}}}, "[]", true},
		{"and more behind that", [][]Extent{{{100, 129}}, {{300, 1}}}, "[]", true},
		{"as many pieces as may be", [][]Extent{each(64, 2)}, fmt.Sprint(each(64, 2)), false},
		{"one more", [][]Extent{each(65, 2)}, "[]", true},
		{"the epoch behind it", [][]Extent{{{7, 1}}}, "[{7 1}]", false},
	} {
		w.got = nil
		if err := k.Begin(ctx, 0); err != nil {
			t.Fatal(err)
		}
		for _, m := range c.marks {
			k.MarkContent(false, m...)
		}
		k.End(0)
		if err := k.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		if c.marks == nil {
			if len(w.got) > 0 {
				t.Errorf("%s: a snapshot", c.what)
			}
			continue
		}
		if len(w.got) != 1 {
			t.Fatalf("%s: %d snapshots", c.what, len(w.got))
		}
		s := w.got[0]
		if got := fmt.Sprint(s.Content); got != c.want || s.MoreContent != c.more || !s.HasContent() {
			t.Errorf("%s: %s, more %t; want %s, %t", c.what, got, s.MoreContent, c.want, c.more)
		}
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
}
