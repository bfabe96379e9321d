//go:build linux

package jbd2

import (
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/cache"
)

// How many syncs a commit takes that somebody waits for: one where the checksum of the
// commit block shows whatever is missing, two where it does not, because there is fresh
// data, or because there are revoke records, which it does not cover.
func TestLogSyncs(t *testing.T) {
	dev := blockiotest.NewRecorder(blockiotest.NewMem(logModelSize * 1024))
	j, err := Create(logPlace(dev), Format{Checksum: ChecksumV1, Async: true, Revoke: true}, [16]byte{1}, 7)
	if err != nil {
		t.Fatal(err)
	}
	l, err := NewLog(j, LogOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Start(); err != nil {
		t.Fatal(err)
	}
	if err := dev.Sync(); err != nil {
		t.Fatal(err)
	}
	for epoch, c := range []struct {
		what    string
		fresh   bool
		revoked []uint64
		syncs   int
	}{
		{"blocks", false, nil, 1},
		{"blocks and fresh data", true, nil, 2},
		{"blocks and a revoke record", false, []uint64{41}, 2},
		{"blocks and a block freed that the log has no copy of", false, []uint64{77}, 1},
	} {
		s := &cache.Snapshot{Epoch: uint64(epoch + 1), Durable: true, AnyData: c.fresh, FreshData: c.fresh, Revoked: c.revoked}
		for _, b := range []uint64{40, 41} {
			if len(c.revoked) == 0 || b != c.revoked[0] {
				s.Blocks = append(s.Blocks, cache.DirtyBlock{Block: b, Data: blockOf(b, s.Epoch, 1)})
			}
		}
		before := len(dev.Log())
		if err := l.Write(s); err != nil {
			t.Fatal(err)
		}
		syncs := 0
		for _, e := range dev.Log()[before:] {
			if e.Op == blockio.Sync {
				syncs++
			}
		}
		if syncs != c.syncs {
			t.Errorf("%s: %d syncs, want %d", c.what, syncs, c.syncs)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
