package mpage_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/cache"
	"github.com/ext2fuse/ext2fuse/mpage"
)

// BenchmarkWriteNew writes 1 MiB into new blocks of a real file, over a cache that is full
// of metadata, so that the cost of dropping aliases can be told from that of writing.
func BenchmarkWriteNew(b *testing.B) {
	for _, bs := range []int64{1024, 4096} {
		for _, drop := range []bool{false, true} {
			b.Run(fmt.Sprintf("%d/drop=%v", bs, drop), func(b *testing.B) {
				path := filepath.Join(b.TempDir(), "image")
				if err := os.WriteFile(path, nil, 0o600); err != nil {
					b.Fatal(err)
				}
				if err := os.Truncate(path, 1<<30); err != nil {
					b.Fatal(err)
				}
				dev, err := blockio.Open(context.Background(), path, blockio.OpenOptions{})
				if err != nil {
					b.Fatal(err)
				}
				defer dev.Close()
				c := cache.New(dev, int(bs), 64<<20)
				for i := range uint64(1<<30/bs) / 64 { // an indirect block, or so, here and there
					if buf, err := c.Get(i*64, blockio.Indirect); err == nil {
						buf.Release()
					}
				}
				var buffers mpage.Buffers
				if drop {
					buffers = c
				}
				e := mpage.New(dev, int(bs), buffers)
				m := &newRun{oneRun{block: 4096}}
				src := make([]byte, 1<<20)
				b.SetBytes(1 << 20)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := e.Write(m, src, 0, 4<<20); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// newRun is a run whose blocks are new each time.
type newRun struct{ oneRun }

func (m *newRun) GetBlock(iblock, max uint64, create bool) (mpage.Run, error) {
	r, err := m.oneRun.GetBlock(iblock, max, create)
	r.Flags |= mpage.Allocated
	return r, err
}

func BenchmarkWrite(b *testing.B) {
	for _, n := range []int{4096, 128 << 10, 1 << 20} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			e := mpage.New(nullDevice{blockiotest.NewMem(8 << 20)}, 4096, nil)
			m := &oneRun{block: 5}
			src := make([]byte, n)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := e.Write(m, src, 0, 4<<20); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
