package cache

import (
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
)

// TestMadeAndFreed: what an epoch makes and frees again, over and over, takes no memory. Of
// the rest each block is written once.
func TestMadeAndFreed(t *testing.T) {
	r := newRig(t, CheckpointOptions{}, nil)
	r.op(t, func() {
		for range 1000 {
			for block := range uint64(8) {
				r.put(t, block, 7, blockio.Indirect)
			}
			for block := range uint64(8) {
				if block%3 != 1 {
					r.c.Forget(block)
				}
			}
			if n := r.c.Stats().Buffers; n != 3 {
				t.Fatalf("%d buffers in memory, want 3", n)
			}
		}
		if n := r.c.Stats().Dirty; n != 3*ckptBlock {
			t.Errorf("%d bytes are dirty, want 3 blocks", n)
		}
	})
	if err := r.k.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	written := map[uint64]int{}
	for _, b := range r.snaps[0].Blocks {
		written[b.Block]++
	}
	if len(written) != 3 || written[1] != 1 || written[4] != 1 || written[7] != 1 {
		t.Errorf("written are %v, want 1, 4 and 7, once each", written)
	}
	r.k.Close()
	if n := r.c.Stats().Pinned; n != 0 {
		t.Errorf("%d buffers are pinned at the end", n)
	}
}
