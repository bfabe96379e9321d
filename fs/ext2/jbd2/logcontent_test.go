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

// The records that revoke all copies of content are counted, too.
func TestRevokesNeedRoom(t *testing.T) {
	for left := uint32(3); left < 12; left++ {
		d := newLogDesk(t, sealing, LogOptions{})
		for first := uint64(200); first < 470; first += 30 { // more than one revoke block has room for
			blocks := row(first, 30)
			d.put(1, blocks...)
			d.commit(1, meta, content(true, blocks...))
		}
		for {
			room := d.log.j.Size() - d.log.used - left
			if room == 0 {
				break
			}
			n := min(room, 60) // of log blocks: a descriptor, copies, a commit block
			if rest := room - n; rest > 0 && rest < 3 {
				n -= 3
			}
			d.commit(1, row(820, int(n-2)), nil)
		}
		d.put(2, 201)
		d.commit(2, meta, stream(false))
		if d.log.used > d.log.j.Size() {
			t.Errorf("with room for %d: %d blocks are used of %d", left, d.log.used, d.log.j.Size())
		}
		d.holds("content that is revoked", 201, 2)
		d.holds("metadata", 820, 1)
	}
}

// row are n blocks from first on.
func row(first uint64, n int) (blocks []uint64) {
	for i := range n {
		blocks = append(blocks, first+uint64(i))
	}
	return blocks
}

// A transaction that is sealed lies where the log has zeros, durably, its content and the
// block behind it included: else a replay would take what an earlier journal left there for
// the transaction behind a torn one, and refuse the log.
func TestSealedAmongZeros(t *testing.T) {
	crossed := false
	for n := 1; n < 256; n++ {
		d := newLogDesk(t, sealing, LogOptions{Strange: true})
		d.commit(1, meta[:1], nil)
		zeros := d.log.ready.upTo
		data := row(200, 20)
		d.put(2, data...)
		if s, _ := d.commit(2, row(240, n), content(true, data...)); s == 0 && d.log.head >= zeros {
			t.Fatalf("%d blocks of metadata: the sealed transaction ends at log block %d, and zeros before block %d only were durable", n, d.log.head, zeros)
		} else if s > 0 {
			crossed = true
		}
	}
	if !crossed {
		t.Error("no transaction was too long for what was ready")
	}
}
