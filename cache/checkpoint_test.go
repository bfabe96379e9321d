package cache

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
)

// ctx is the context of calls that nothing ends.
var ctx = context.Background()

// ckptRig is a cache over a recorded device, with a Writer of the test's own that can
// be held up, and timers that fire when the test says.
type ckptRig struct {
	rec    *blockiotest.Recorder
	c      *Cache
	k      *Checkpoint
	hold   chan struct{} // not nil: Write waits for it
	begun  chan *Snapshot
	fail   atomic.Pointer[error]
	timers []*rigTimer
	mu     sync.Mutex
	snaps  []*Snapshot // Data copied at the time of Write
	plain  PlainWriter
	max    int
}

// rigTimer is a timer that the test lets come.
type rigTimer struct {
	after time.Duration
	come  func()
}

func (r *ckptRig) MaxBlocks() int { return r.max }
func (r *ckptRig) Close() error   { return r.plain.Close() }
func (r *ckptRig) Write(s *Snapshot) error {
	if r.begun != nil {
		r.begun <- s
	}
	if r.hold != nil {
		<-r.hold
	}
	if err := r.fail.Load(); err != nil {
		return *err
	}
	cp := *s
	cp.Blocks = slices.Clone(s.Blocks)
	for i := range cp.Blocks {
		cp.Blocks[i].Data = bytes.Clone(cp.Blocks[i].Data)
	}
	r.mu.Lock()
	r.snaps = append(r.snaps, &cp)
	r.mu.Unlock()
	return r.plain.Write(s)
}

const ckptBlock = 1024

func newRig(t *testing.T, o CheckpointOptions, set func(*ckptRig)) *ckptRig {
	r := &ckptRig{rec: blockiotest.NewRecorder(blockiotest.NewMem(1 << 20))}
	r.plain = PlainWriter{Dev: r.rec, BlockSize: ckptBlock}
	if set != nil {
		set(r)
	}
	r.c = New(r.rec, ckptBlock, 256<<10)
	o.After = func(d time.Duration, f func()) (stop func()) {
		r.mu.Lock()
		defer r.mu.Unlock()
		t := &rigTimer{d, f}
		r.timers = append(r.timers, t)
		return func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.timers = slices.DeleteFunc(r.timers, func(other *rigTimer) bool { return other == t })
		}
	}
	r.k = NewCheckpoint(r.c, r, o)
	return r
}

// put changes the first word of a block, inside an operation.
func (r *ckptRig) put(t *testing.T, block uint64, v uint32, what blockio.Purpose) {
	t.Helper()
	b, err := r.c.Get(block, what)
	if err != nil {
		t.Fatal(err)
	}
	b.Lock()
	binary.LittleEndian.PutUint32(b.Modify(), v)
	b.Unlock()
	b.Release()
}

func (r *ckptRig) op(t *testing.T, f func()) {
	t.Helper()
	if err := r.k.Begin(ctx, 4); err != nil {
		t.Fatal(err)
	}
	f()
	r.k.End(4)
}

func (r *ckptRig) onDevice(block uint64) uint32 {
	var b [4]byte
	r.rec.ReadvAt([][]byte{b[:]}, int64(block)*ckptBlock)
	return binary.LittleEndian.Uint32(b[:])
}

// TestSnapshotIsCopyOnWrite: what an epoch wrote goes out as it was when the epoch
// ended, whatever the next one does to the same buffers meanwhile.
func TestSnapshotIsCopyOnWrite(t *testing.T) {
	r := newRig(t, CheckpointOptions{}, func(r *ckptRig) {
		r.hold, r.begun = make(chan struct{}), make(chan *Snapshot, 1)
	})
	r.op(t, func() { r.put(t, 5, 1, blockio.Indirect) })
	done := make(chan error, 1)
	go func() { done <- r.k.Commit(ctx) }()
	<-r.begun // the snapshot is out, its Write held up
	r.op(t, func() { r.put(t, 5, 2, blockio.Indirect) })
	r.hold <- struct{}{}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := r.onDevice(5); got != 1 {
		t.Errorf("after the first epoch the device has %d, want 1", got)
	}
	go func() { done <- r.k.Commit(ctx) }()
	<-r.begun
	r.hold <- struct{}{}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := r.onDevice(5); got != 2 {
		t.Errorf("after the second epoch the device has %d, want 2", got)
	}
	close(r.hold)
	if err := r.k.Close(); err != nil {
		t.Fatal(err)
	}
	if n := r.c.Stats().Pinned; n != 0 {
		t.Errorf("%d buffers are still pinned", n)
	}
}

// TestEpochsAreWholeOperations: operations that change two blocks to the same value run
// beside commits; every snapshot has both changes of an operation or none.
func TestEpochsAreWholeOperations(t *testing.T) {
	r := newRig(t, CheckpointOptions{}, nil)
	const pairs, rounds = 4, 200
	var wg sync.WaitGroup
	for p := range uint64(pairs) {
		wg.Go(func() {
			for v := uint32(1); v <= rounds; v++ {
				if err := r.k.Begin(ctx, 2); err != nil {
					t.Error(err)
					return
				}
				r.put(t, 10+2*p, v, blockio.Directory)
				r.put(t, 11+2*p, v, blockio.InodeTable)
				r.k.End(2)
				if v%16 == 0 {
					if err := r.k.Commit(ctx); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if err := r.k.Close(); err != nil {
		t.Fatal(err)
	}
	state := map[uint64]uint32{}
	for _, s := range r.snaps {
		for _, b := range s.Blocks {
			state[b.Block] = binary.LittleEndian.Uint32(b.Data)
		}
		for p := range uint64(pairs) {
			if state[10+2*p] != state[11+2*p] {
				t.Fatalf("epoch %d: pair %d is %d and %d", s.Epoch, p, state[10+2*p], state[11+2*p])
			}
		}
	}
	for b := uint64(10); b < 10+2*pairs; b++ {
		if r.onDevice(b) != rounds {
			t.Errorf("block %d is %d on the device, want %d", b, r.onDevice(b), rounds)
		}
	}
}

// TestCommitIsShared: all who wait for the same epoch share one write and one sync.
func TestCommitIsShared(t *testing.T) {
	r := newRig(t, CheckpointOptions{}, func(r *ckptRig) {
		r.hold, r.begun = make(chan struct{}), make(chan *Snapshot, 16)
	})
	r.op(t, func() { r.put(t, 1, 1, blockio.Indirect) })
	first := make(chan error, 1)
	go func() { first <- r.k.Commit(ctx) }()
	<-r.begun
	const waiters = 8
	r.op(t, func() { r.put(t, 2, 1, blockio.Indirect) }) // epoch 2, while epoch 1 is on its way
	rest := make(chan error, waiters)
	for range waiters {
		go func() { rest <- r.k.Commit(ctx) }()
	}
	close(r.hold)
	for _, err := range []error{<-first, <-rest} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for range waiters - 1 {
		if err := <-rest; err != nil {
			t.Fatal(err)
		}
	}
	if n := len(r.snaps); n != 2 {
		t.Errorf("%d writes for two epochs", n)
	}
	syncs := 0
	for _, e := range r.rec.Log() {
		if e.Op == blockio.Sync {
			syncs++
		}
	}
	if syncs != 2 {
		t.Errorf("%d syncs for two epochs", syncs)
	}
	if err := r.k.Commit(ctx); err != nil || len(r.snaps) != 2 {
		t.Errorf("a commit with nothing to do wrote: %v, %d writes", err, len(r.snaps))
	}
	r.k.Close()
}

// TestDataAloneIsSynced: file data that went to the device by itself is made durable
// though no metadata changed, once.
func TestDataAloneIsSynced(t *testing.T) {
	r := newRig(t, CheckpointOptions{}, nil)
	r.op(t, func() { r.k.MarkContent(false, Extent{7, 1}) })
	for range 2 {
		if err := r.k.Commit(ctx); err != nil {
			t.Fatal(err)
		}
	}
	log := r.rec.Log()
	if len(log) != 1 || log[0].Op != blockio.Sync {
		t.Errorf("the device got %v, want one sync", log)
	}
	r.k.Close()
}

// TestTimers: the first change arms both timers; the background one writes without
// making durable, the flush one makes durable, and releases follow durability alone.
func TestTimers(t *testing.T) {
	durable := make(chan uint64, 8)
	wrote := make(chan *Snapshot, 8)
	r := newRig(t, CheckpointOptions{Background: 1, Flush: 1, AfterDurable: func(e uint64) { durable <- e }},
		func(r *ckptRig) { r.begun = wrote })
	r.op(t, func() { r.put(t, 1, 7, blockio.BlockBitmap) })
	r.mu.Lock()
	timers := r.timers
	r.mu.Unlock()
	if len(timers) != 2 {
		t.Fatalf("%d timers armed, want 2", len(timers))
	}
	timers[0].come()
	if s := <-wrote; s.Durable {
		t.Error("the background checkpoint was a durable one")
	}
	timers[1].come()
	if s := <-wrote; !s.Durable || len(s.Blocks) != 0 {
		t.Errorf("flush: durable %v with %d blocks, want durable with none", s.Durable, len(s.Blocks))
	}
	if e := <-durable; e < 1 {
		t.Errorf("durable up to %d", e)
	}
	if len(durable) != 0 {
		t.Error("a checkpoint that was not durable let releases go")
	}
	r.k.Close()
}

// TestBeginWaitsForRoom: an epoch never outgrows its bound, and an operation that must
// wait goes on once the epoch was closed, before that is written.
func TestBeginWaitsForRoom(t *testing.T) {
	const bound = 8
	r := newRig(t, CheckpointOptions{}, func(r *ckptRig) { r.max = bound })
	var wg sync.WaitGroup
	for w := range uint64(4) {
		wg.Go(func() {
			for i := range uint64(100) {
				if err := r.k.Begin(ctx, 3); err != nil {
					t.Error(err)
					return
				}
				for j := range uint64(3) {
					r.put(t, w*100+(i*3+j)%90, uint32(i), blockio.Indirect)
				}
				r.k.End(3)
			}
		})
	}
	wg.Wait()
	r.k.Close()
	for _, s := range r.snaps {
		if len(s.Blocks) > bound {
			t.Errorf("epoch %d has %d blocks, bound %d", s.Epoch, len(s.Blocks), bound)
		}
	}
}

// TestFailureSticks: after a failed write nothing begins any more, every waiter gets
// the error, and Failed is called once.
func TestFailureSticks(t *testing.T) {
	var calls atomic.Int32
	r := newRig(t, CheckpointOptions{Failed: func(error) { calls.Add(1) }}, nil)
	boom := errors.New("boom")
	r.fail.Store(&boom)
	r.op(t, func() { r.put(t, 1, 1, blockio.Indirect) })
	for range 2 {
		if err := r.k.Commit(ctx); !errors.Is(err, boom) {
			t.Errorf("commit gives %v", err)
		}
	}
	if err := r.k.Begin(ctx, 1); !errors.Is(err, boom) {
		t.Errorf("begin gives %v", err)
	}
	if calls.Load() != 1 {
		t.Errorf("Failed was called %d times", calls.Load())
	}
	r.k.Close()
}

// TestForget: a freed block is not written, is listed as revoked, and its number can be
// a fresh block later.
func TestForget(t *testing.T) {
	r := newRig(t, CheckpointOptions{}, nil)
	r.op(t, func() {
		r.put(t, 3, 9, blockio.Indirect)
		r.put(t, 4, 9, blockio.Indirect)
		r.c.Forget(3)
	})
	r.k.Commit(ctx)
	s := r.snaps[0]
	if len(s.Blocks) != 1 || s.Blocks[0].Block != 4 || !slices.Equal(s.Revoked, []uint64{3}) {
		t.Fatalf("snapshot has %d blocks, revoked %v", len(s.Blocks), s.Revoked)
	}
	r.op(t, func() {
		b, err := r.c.Fresh(3, blockio.Directory)
		if err != nil {
			t.Fatal(err)
		}
		b.Lock()
		if !bytes.Equal(b.Data(), make([]byte, ckptBlock)) {
			t.Error("a fresh block is not zero")
		}
		b.Modify()[0] = 1
		b.Unlock()
		b.Release()
	})
	r.k.Close()
	if s := r.snaps[1]; len(s.Blocks) != 1 || !s.Blocks[0].Fresh || s.Blocks[0].For != blockio.Directory || len(s.Revoked) != 0 {
		t.Errorf("second snapshot: %+v", s)
	}
	if n := r.c.Stats().Pinned; n != 0 {
		t.Errorf("%d buffers are still pinned", n)
	}
}

// TestPlainOrder: what nothing points to goes first, then names, inodes and counts, each
// sorted, adjacent blocks as one write.
func TestPlainOrder(t *testing.T) {
	r := newRig(t, CheckpointOptions{}, nil)
	r.op(t, func() {
		for block, what := range map[uint64]blockio.Purpose{
			1: blockio.Super, 2: blockio.GroupDesc, 3: blockio.BlockBitmap, 4: blockio.InodeBitmap, 7: blockio.InodeTable,
			8: blockio.InodeTable, 20: blockio.Directory, 30: blockio.Indirect, 31: blockio.Indirect,
		} {
			r.put(t, block, 1, what)
		}
		b, _ := r.c.Fresh(21, blockio.Directory)
		b.Release()
	})
	r.k.Commit(ctx)
	var got []int64
	for _, e := range r.rec.Log() {
		if e.Op == blockio.Write {
			got = append(got, e.Off/ckptBlock, int64(len(e.Data))/ckptBlock)
		}
	}
	want := []int64{3, 2, 21, 1, 30, 2, 20, 1, 7, 2, 1, 2}
	if !slices.Equal(got, want) {
		t.Errorf("writes (block, count): %v, want %v", got, want)
	}
	r.k.Close()
}

// TestCheckpointModel holds random operations and commits against a map: after each
// commit the device has exactly what the operations before it left.
func TestCheckpointModel(t *testing.T) {
	const seed = 4
	rnd := rand.New(rand.NewPCG(seed, 0))
	r := newRig(t, CheckpointOptions{MaxDirty: 40}, nil)
	model := map[uint64]uint32{}
	for step := range 3000 {
		switch rnd.IntN(12) {
		case 0:
			if err := r.k.Commit(ctx); err != nil {
				t.Fatal(err)
			}
			for _, b := range slices.Sorted(maps.Keys(model)) {
				if got := r.onDevice(b); got != model[b] {
					t.Fatalf("seed %d, step %d: block %d is %d on the device, want %d", seed, step, b, got, model[b])
				}
			}
		case 1:
			b := rnd.Uint64N(600)
			r.op(t, func() { r.c.Forget(b) })
			delete(model, b)
		default:
			b, v := rnd.Uint64N(600), rnd.Uint32()
			r.op(t, func() { r.put(t, b, v, blockio.Indirect) })
			model[b] = v
		}
	}
	if err := r.k.Close(); err != nil {
		t.Fatal(err)
	}
	if s := r.c.Stats(); s.Pinned != 0 || s.Bytes > s.Limit {
		t.Errorf("afterwards: %+v", s)
	}
}

// TestFailedCheckKeepsChanges: a block that was changed stays in memory when somebody who
// takes it for something else finds it bad; the device has an older version.
func TestFailedCheckKeepsChanges(t *testing.T) {
	r := newRig(t, CheckpointOptions{}, nil)
	bad := errors.New("no directory block")
	r.op(t, func() {
		r.put(t, 5, 1, blockio.Indirect)
		if _, err := r.c.GetChecked(5, blockio.Directory, func([]byte) error { return bad }); err != bad {
			t.Errorf("the check's error is %v", err)
		}
		b, err := r.c.Get(5, blockio.Indirect)
		if err != nil {
			t.Fatal(err)
		}
		b.RLock()
		if got := binary.LittleEndian.Uint32(b.Data()); got != 1 {
			t.Errorf("the block has %d, want 1", got)
		}
		b.RUnlock()
		b.Release()
	})
	if err := r.k.Close(); err != nil {
		t.Fatal(err)
	}
	if got := r.onDevice(5); got != 1 {
		t.Errorf("the device has %d, want 1", got)
	}
	if n := r.c.Stats().Pinned; n != 0 {
		t.Errorf("%d buffers are still pinned", n)
	}
}
