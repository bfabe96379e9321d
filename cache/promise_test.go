package cache

import (
	"encoding/binary"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/ext2fuse/ext2fuse/blockio"
)

// fire runs the timers armed so far, as if their time had come.
func (r *ckptRig) fire() {
	r.mu.Lock()
	timers := r.timers
	r.timers = nil
	r.mu.Unlock()
	for _, t := range timers {
		t.come()
	}
}

// TestCommitNeverReturnsEarly: however commits and background checkpoints meet, what an
// operation changed before a Commit is on the device, behind which a sync came, when it
// returns.
func TestCommitNeverReturnsEarly(t *testing.T) {
	r := newRig(t, CheckpointOptions{}, nil)
	var wg sync.WaitGroup
	for w := range uint64(4) {
		wg.Go(func() {
			for v := uint32(1); v <= 400; v++ {
				r.op(t, func() { r.put(t, 50+w, v, blockio.Indirect) })
				if err := r.k.Commit(ctx); err != nil {
					t.Error(err)
					return
				}
				if got := r.onDevice(50 + w); got != v {
					t.Errorf("block %d: %d on the device after the commit of %d", 50+w, got, v)
					return
				}
			}
		})
	}
	wg.Wait()
	r.k.Close()
	state, durable := map[int64]uint32{}, map[int64]uint32{}
	for _, e := range r.rec.Log() {
		if e.Op == blockio.Sync {
			for b, v := range state {
				durable[b] = v
			}
		} else {
			for at := int64(0); at < e.Len; at += ckptBlock {
				state[(e.Off+at)/ckptBlock] = binary.LittleEndian.Uint32(e.Data[at:])
			}
		}
	}
	for b := int64(50); b < 54; b++ {
		if durable[b] != 400 {
			t.Errorf("block %d: only %d is durable", b, durable[b])
		}
	}
}

// TestBackgroundFollowsEveryEpoch: changes that come while the timer runs for an epoch
// which a commit ended meanwhile do not wait for the next change.
func TestBackgroundFollowsEveryEpoch(t *testing.T) {
	wrote := make(chan *Snapshot, 8)
	r := newRig(t, CheckpointOptions{Background: time.Second}, func(r *ckptRig) { r.begun = wrote })
	r.op(t, func() { r.put(t, 1, 1, blockio.Indirect) })
	if err := r.k.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	<-wrote
	r.op(t, func() { r.put(t, 2, 7, blockio.Indirect) })
	r.fire()
	s := <-wrote
	if len(s.Blocks) != 1 || s.Blocks[0].Block != 2 || s.Durable {
		t.Errorf("the timer brought %d blocks, durable %v", len(s.Blocks), s.Durable)
	}
	r.fire() // none armed, or nothing to do
	r.k.Close()
	if len(wrote) > 1 {
		t.Errorf("%d more writes with nothing changed", len(wrote))
	}
}

// TestTimersAreAsked: the first change of an epoch arms the timers with the delays asked
// for, later ones do not arm them again, and data alone needs the flush only.
func TestTimersAreAsked(t *testing.T) {
	var mu sync.Mutex
	var armed []time.Duration
	c := New(newRig(t, CheckpointOptions{}, nil).rec, ckptBlock, 64<<10)
	k := NewCheckpoint(c, &PlainWriter{Dev: c.dev, BlockSize: ckptBlock}, CheckpointOptions{
		Background: 200 * time.Millisecond, Flush: 5 * time.Second,
		After: func(d time.Duration, _ func()) func() {
			mu.Lock()
			armed = append(armed, d)
			mu.Unlock()
			return func() {}
		},
	})
	op := func(f func()) {
		if err := k.Begin(ctx, 1); err != nil {
			t.Fatal(err)
		}
		f()
		k.End(1)
	}
	op(func() {})
	if len(armed) != 0 {
		t.Errorf("an operation that changed nothing armed %v", armed)
	}
	op(func() { k.MarkContent(true, Extent{7, 1}) })
	if len(armed) != 1 || armed[0] != 5*time.Second {
		t.Errorf("data alone armed %v", armed)
	}
	for range 3 {
		op(func() {
			b, err := c.Get(4, blockio.Indirect)
			if err != nil {
				t.Fatal(err)
			}
			b.Lock()
			b.Modify()[0]++
			b.Unlock()
			b.Release()
		})
	}
	if len(armed) != 2 || armed[1] != 200*time.Millisecond {
		t.Errorf("armed: %v", armed)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestFailureKeepsMemory: what a failed checkpoint could not write stays in memory, and
// is what Get gives, however much else is read afterwards.
func TestFailureKeepsMemory(t *testing.T) {
	r := newRig(t, CheckpointOptions{}, nil)
	boom := errors.New("boom")
	r.fail.Store(&boom)
	r.op(t, func() { r.put(t, 3, 99, blockio.Indirect) })
	if err := r.k.Commit(ctx); !errors.Is(err, boom) {
		t.Fatal(err)
	}
	for b := uint64(100); b < 900; b++ {
		buf, err := r.c.Get(b, blockio.Indirect)
		if err != nil {
			t.Fatal(err)
		}
		buf.Release()
	}
	buf, err := r.c.Get(3, blockio.Indirect)
	if err != nil {
		t.Fatal(err)
	}
	defer buf.Release()
	buf.RLock()
	defer buf.RUnlock()
	if v := binary.LittleEndian.Uint32(buf.Data()); v != 99 {
		t.Errorf("memory has %d, want what could not be written, 99", v)
	}
	if err := r.k.Close(); !errors.Is(err, boom) {
		t.Errorf("Close gives %v", err)
	}
}

// TestCredits: a snapshot knows what its operations had announced, the reserve of
// BeforeSnapshot included, and the two together stay in the bound.
func TestCredits(t *testing.T) {
	var r *ckptRig
	r = newRig(t, CheckpointOptions{Reserve: 1, BeforeSnapshot: func() { r.put(t, 700, 1, blockio.Super) }},
		func(r *ckptRig) { r.max = 9 })
	for i := range uint64(40) {
		r.op(t, func() {
			for j := range uint64(4) {
				r.put(t, 4*i+j, 1, blockio.Indirect)
			}
		})
	}
	r.k.Close()
	for _, s := range r.snaps {
		if len(s.Blocks) > s.Credits || len(s.Blocks) > 9 {
			t.Errorf("epoch %d: %d blocks, %d credits, bound 9", s.Epoch, len(s.Blocks), s.Credits)
		}
	}
}

// TestNoBarrier: without barriers the device is synced once, at the end.
func TestNoBarrier(t *testing.T) {
	r := newRig(t, CheckpointOptions{}, func(r *ckptRig) { r.plain.NoBarrier = true })
	syncs := func() (n int) {
		for _, e := range r.rec.Log() {
			if e.Op == blockio.Sync {
				n++
			}
		}
		return n
	}
	r.op(t, func() { r.put(t, 3, 5, blockio.Indirect) })
	if err := r.k.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	if n, got := syncs(), r.onDevice(3); n != 0 || got != 5 {
		t.Errorf("after a commit: %d syncs, the block is %d", n, got)
	}
	r.k.Close()
	if n := syncs(); n != 1 {
		t.Errorf("%d syncs at the end, want 1", n)
	}
}
