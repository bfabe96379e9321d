//go:build linux

package jbd2

import (
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/cache"
)

// A stream over what was content voids no copy of the metadata that the block holds now.
func TestContentBecomesMetadata(t *testing.T) {
	d := newLogDesk(t, sealing, LogOptions{})
	d.put(1, c)
	d.commit(1, meta, content(true, c))
	d.commit(2, []uint64{40, c}, nil)
	d.commit(3, meta, stream(false))
	d.holds("metadata that was content, and then a stream", c, 2)
}

// A log that holds nothing but content is given up when that is durable in its place, and
// the superblock that says so is durable, too.
func TestContentAloneEmptied(t *testing.T) {
	d := newLogDesk(t, sealing, LogOptions{})
	d.put(1, a)
	d.commit(1, nil, content(true, a))
	if err := d.log.Tidy(true); err != nil {
		t.Fatal(err)
	}
	d.holds("content alone, when the log is empty", a, 1)
	if _, rest := blockiotest.AtRisk(d.dev.Log()); len(rest) > 0 {
		t.Errorf("%d changes are at risk when the log was emptied", len(rest))
	}
}

// Content is counted when the log is asked for room, wherever its end is.
func TestContentNeedsRoom(t *testing.T) {
	var all []uint64
	for b := uint64(200); b < 230; b++ {
		all = append(all, b)
	}
	for fill := range uint32(12) {
		d := newLogDesk(t, sealing, LogOptions{})
		d.put(1, a)
		d.commit(1, meta, content(true, a))
		for d.log.j.Size()-d.log.used > 40+fill {
			d.commit(1, []uint64{40}, nil)
		}
		for v := uint64(2); v < 6; v++ {
			d.put(v, all...)
			d.commit(v, meta, content(true, all...))
			if d.log.used > d.log.j.Size() {
				t.Errorf("fill %d: %d blocks are used of %d", fill, d.log.used, d.log.j.Size())
			}
			d.holds("content at the end of the log", 201, v)
			d.holds("what the log has", a, 1)
		}
	}
}

// A transaction that alone becomes durable does so as a whole: with the zeros ahead of it, too.
func TestDurableAlone(t *testing.T) {
	d := newLogDesk(t, sealing, LogOptions{Strange: true})
	seen := 0
	for v := uint64(1); v < 150; v++ {
		before := len(d.dev.Log())
		if _, alone := d.commit(v, meta, nil); alone == 0 {
			continue
		}
		seen++
		if _, rest := blockiotest.AtRisk(d.dev.Log()[before:]); len(rest) > 0 {
			t.Fatalf("transaction %d: %v at %d+%d is at risk", v, rest[0].Op, rest[0].Off, rest[0].Len)
		}
	}
	if seen == 0 {
		t.Error("no transaction became durable alone")
	}
}

// What the host says once is told: a host that could not write content back reports that with
// the next durable write of the image, whatever its range, and then forgets it.
func TestWritebackErrorIsTold(t *testing.T) {
	d := newLogDesk(t, sealing, LogOptions{})
	d.put(1, a)
	d.fault.Fail(blockiotest.Rule{Op: blockio.Sync, Times: 1})
	s := &cache.Snapshot{Epoch: 1, Durable: true}
	for _, b := range meta {
		s.Blocks = append(s.Blocks, cache.DirtyBlock{Block: b, Data: blockOf(b, 1, 1)})
	}
	content(true, a)(s)
	if err := d.log.Write(s); err == nil {
		t.Error("the host said once that something could not be written, and nobody is told")
	}
}
