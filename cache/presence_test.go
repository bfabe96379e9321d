package cache_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/cache"
)

// Drop takes the blocks of its range and no others, wherever the range begins and ends.
func TestDropRange(t *testing.T) {
	dev, _ := newDevice(1024, 300)
	for first := range uint64(40) {
		for _, n := range []uint64{0, 1, 2, 15, 16, 17, 33, 100} {
			c := cache.New(dev, 1024, 1<<20)
			for b := range uint64(200) {
				get(t, c, b).Release()
			}
			c.Drop(first, n)
			for b := range uint64(200) {
				if in := b >= first && b < first+n; c.Cached(b) == in {
					t.Fatalf("%d blocks from %d on were dropped: block %d cached: %v", n, first, b, c.Cached(b))
				}
			}
			if got, want := c.Present(), 200-int(n); got != want {
				t.Fatalf("%d blocks from %d on were dropped: %d counted present, want %d", n, first, got, want)
			}
		}
	}
}

// revokes is a writer that keeps what snapshots revoke.
type revokes struct {
	cache.PlainWriter
	list []uint64
}

func (w *revokes) Write(s *cache.Snapshot) error {
	w.list = append(w.list, s.Revoked...)
	return w.PlainWriter.Write(s)
}

// What an operation changed in a block that became data is not written over the data, nor
// is what a journal may have of it; a block that was only read is none of its business.
func TestDropDirty(t *testing.T) {
	rec := blockiotest.NewRecorder(blockiotest.NewMem(1 << 20))
	c := cache.New(rec, 1024, 256<<10)
	w := &revokes{PlainWriter: cache.PlainWriter{Dev: rec, BlockSize: 1024}}
	k := cache.NewCheckpoint(c, w, cache.CheckpointOptions{})
	if err := k.Begin(context.Background(), 4); err != nil {
		t.Fatal(err)
	}
	for _, block := range []uint64{20, 21, 40} {
		b, err := c.Get(block, blockio.Directory)
		if err != nil {
			t.Fatal(err)
		}
		b.Lock()
		b.Modify()[0] = 1
		b.Unlock()
		b.Release()
	}
	clean, err := c.Get(12, blockio.Directory)
	if err != nil {
		t.Fatal(err)
	}
	clean.Release()
	c.Drop(10, 15)
	k.End(4)
	if err := k.Commit(context.Background()); err != nil {
		t.Fatal(err)
	}
	var blocks []int64
	for _, e := range rec.Log() {
		if e.Op == blockio.Write {
			blocks = append(blocks, e.Off/1024)
		}
	}
	if want := []int64{40}; !slices.Equal(blocks, want) {
		t.Errorf("the checkpoint wrote blocks %v, want %v", blocks, want)
	}
	if want := []uint64{20, 21}; !slices.Equal(w.list, want) {
		t.Errorf("revoked: %v, want %v", w.list, want)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	if s := c.Stats(); s.Pinned != 0 {
		t.Errorf("%d buffers stay pinned", s.Pinned)
	}
}

// BenchmarkDrop drops what a write of 1 MiB into new blocks drops, from a cache that is
// full of metadata as it lies on a disk: blocks in rows, at regular distances, and one
// indirect block for each so many blocks of data.
func BenchmarkDrop(b *testing.B) {
	for _, bs := range []int64{1024, 4096} {
		b.Run(fmt.Sprint(bs), func(b *testing.B) {
			c := cache.New(blockiotest.NewMem(1<<40), int(bs), 64<<20)
			group, per := uint64(bs*8), uint64(bs/4)
			for g := range uint64(20) {
				for i := range uint64(514) { // bitmaps and inode table
					get0(b, c, g*group+i)
				}
				for i := uint64(600); i < group; i += per + 1 {
					get0(b, c, g*group+i)
				}
			}
			n := uint64(1<<20) / uint64(bs)
			at := uint64(601)
			b.ReportAllocs()
			for b.Loop() {
				for left := n; left > 0; { // run by run, as the data lies between the tables
					k := min(left, per)
					c.Drop(at, k)
					left -= k
					at += per + 1
				}
				if at > 18*group {
					at = 601
				}
			}
		})
	}
}

func get0(b *testing.B, c *cache.Cache, block uint64) {
	buf, err := c.Get(block, blockio.Indirect)
	if err != nil {
		b.Fatal(err)
	}
	buf.Release()
}

// newest keeps the content that snapshots have of a block, each of them.
type newest struct {
	cache.PlainWriter
	seen map[uint64][]byte // the first byte of each copy
}

func (w *newest) Write(s *cache.Snapshot) error {
	for _, b := range s.Blocks {
		w.seen[b.Block] = append(w.seen[b.Block], b.Data[0])
	}
	return w.PlainWriter.Write(s)
}

// A block that is made afresh is in the snapshot once, as it was made, even if the same epoch
// had changed it as something else, which happens in damaged images.
func TestFreshOverDirty(t *testing.T) {
	dev := blockiotest.NewMem(1 << 20)
	c := cache.New(dev, 1024, 256<<10)
	w := &newest{cache.PlainWriter{Dev: dev, BlockSize: 1024}, map[uint64][]byte{}}
	k := cache.NewCheckpoint(c, w, cache.CheckpointOptions{})
	if err := k.Begin(context.Background(), 4); err != nil {
		t.Fatal(err)
	}
	old, err := c.Get(20, blockio.Indirect)
	if err != nil {
		t.Fatal(err)
	}
	old.Lock()
	old.Modify()[0] = 1
	old.Unlock()
	b, err := c.Fresh(20, blockio.Directory)
	if err != nil {
		t.Fatal(err)
	}
	b.Lock()
	b.Modify()[0] = 2
	b.Unlock()
	b.Release()
	old.Release()
	k.End(4)
	if err := k.Commit(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := w.seen[20]; len(got) != 1 || got[0] != 2 {
		t.Errorf("the snapshot has %d of the block, want [2]", got)
	}
	if got := dev.Bytes(20*1024, 1)[0]; got != 2 {
		t.Errorf("the device has %d", got)
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
}
