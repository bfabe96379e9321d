package cache

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Writer carries snapshots to the disk. One Write runs at a time.
type Writer interface {
	// MaxBlocks bounds the blocks of one snapshot; 0 is no bound.
	MaxBlocks() int
	// Write carries out a snapshot and returns when it is written, or durable if
	// s.Durable. It, or something that it leaves running, calls s.Settle once every
	// block is in its place on the device. After an error it does not: the blocks
	// stay in memory, which is then the only place that has them.
	Write(s *Snapshot) error
	// Close returns when everything that was written is in its place and durable.
	Close() error
}

// Tidier is a Writer that brings blocks to their places later than it writes them.
type Tidier interface {
	// Tidy does what is due of that, with nobody waiting; idle says that nothing was
	// written for a while. An error ends all writing, as one of Write does.
	Tidy(idle bool) error
}

// CheckpointOptions set a Checkpoint up. The functions may be nil.
type CheckpointOptions struct {
	MaxDirty   int           // blocks that one epoch may dirty, besides Writer.MaxBlocks
	Reserve    int           // blocks of those that BeforeSnapshot may dirty
	Background time.Duration // from the first change of an epoch to its snapshot; 0 is never
	Flush      time.Duration // from a change to its durability, with nobody asking; 0 is never
	Idle       time.Duration // from the last write to Tidier.Tidy; 0 is never
	// BeforeSnapshot runs under the exclusive checkpoint lock. It may change buffers.
	BeforeSnapshot func()
	// AfterDurable says that all epochs up to this one are durable.
	AfterDurable func(epoch uint64)
	// Failed is called once, with the error that ended all writing.
	Failed func(error)
	// Waiting is called before Begin or Commit waits.
	Waiting func()
	// After is time.AfterFunc, for tests. A timer that was stopped may come all the same.
	After func(time.Duration, func()) (stop func())
}

// Checkpoint cuts time into epochs and carries each to the disk as a whole.
//
// Operations run between Begin and End and hold the checkpoint lock shared. A
// snapshot takes it exclusively, for as long as it takes to move the dirty list
// aside; then it is written while the operations of the next epoch run.
type Checkpoint struct {
	c *Cache
	w Writer
	o CheckpointOptions

	gate         sync.RWMutex
	epoch        atomic.Uint64 // changes only with gate held exclusively, and mu
	credits      atomic.Int64  // of the operations of the running epoch
	content      content
	freshContent atomic.Bool
	unsynced     atomic.Bool // content was written since the last durable snapshot

	wake chan struct{} // capacity 1: the writer goroutine has something to do
	done chan struct{} // closed when it has ended

	stats checkpointStats

	mu         sync.Mutex
	changed    *sync.Cond    // any of the fields below, or the epoch
	promised   int           // credits of operations that have begun and not ended
	waiting    int           // operations that wait in Begin
	background timer         // of the running epoch, from its first change to its snapshot
	flush      timer         // of the oldest epoch that is to be durable some time
	armedIdl   bool          // the idle timer runs
	writes     uint64        // snapshots written so far
	wantTidy   bool          // nothing was written for a while
	busy       bool          // the writer goroutine writes or tidies
	cost       time.Duration // of the last snapshot that nobody waited for
	written    uint64        // epochs up to this one are written
	durable    uint64        // epochs up to this one are durable
	wantOut    uint64        // epochs up to this one shall be written
	wantDur    uint64        // epochs up to this one shall be durable
	closing    bool
	err        error // sticky
}

// ErrClosed is what operations get after Close.
var ErrClosed = errors.New("checkpoint is closed")

// NewCheckpoint starts the epochs of c.
func NewCheckpoint(c *Cache, w Writer, o CheckpointOptions) *Checkpoint {
	if o.After == nil {
		o.After = func(d time.Duration, f func()) (stop func()) {
			t := time.AfterFunc(d, f)
			return func() { t.Stop() }
		}
	}
	if m := w.MaxBlocks(); m > 0 && (o.MaxDirty == 0 || m < o.MaxDirty) {
		o.MaxDirty = m
	}
	if o.MaxDirty > 0 {
		o.MaxDirty = max(o.MaxDirty-o.Reserve, 1)
	}
	k := &Checkpoint{c: c, w: w, o: o, wake: make(chan struct{}, 1), done: make(chan struct{})}
	k.changed = sync.NewCond(&k.mu)
	k.epoch.Store(1)
	go k.run()
	return k
}

// Epoch is the number of the running epoch, from 1 on. It does not change while an
// operation runs.
func (k *Checkpoint) Epoch() uint64 { return k.epoch.Load() }

// Begin starts an operation that dirties at most credits blocks. It waits while the
// running epoch has no room for them, but not when ctx has ended: then it returns ctx's
// error. After a failed write, and after Close, it returns that error. With an error the
// operation must not run, and there is no End.
func (k *Checkpoint) Begin(ctx context.Context, credits int) error {
	k.mu.Lock()
	if err := k.room(ctx, credits); err != nil {
		k.mu.Unlock()
		return err
	}
	k.promised += credits
	k.mu.Unlock()
	k.gate.RLock()
	k.credits.Add(int64(credits))
	return nil
}

// room waits for room for credits blocks. k.mu is held.
func (k *Checkpoint) room(ctx context.Context, credits int) error {
	if k.err != nil || !k.full(credits) {
		return cmp.Or(k.err, ctx.Err())
	}
	k.waiting++
	defer func() { k.waiting-- }()
	return k.wait(ctx, func() bool {
		if !k.full(credits) {
			return true
		}
		k.wantOut = max(k.wantOut, k.epoch.Load())
		k.kick()
		return false
	})
}

// wait returns when ready is true, which is asked at every change, or with why it will not
// be: the end of all writing, or of ctx. k.mu is held.
func (k *Checkpoint) wait(ctx context.Context, ready func() bool) error {
	stop := context.AfterFunc(ctx, func() {
		k.mu.Lock()
		k.changed.Broadcast()
		k.mu.Unlock()
	})
	defer stop()
	for {
		if err := cmp.Or(k.err, ctx.Err()); err != nil || ready() {
			return err
		}
		if k.o.Waiting != nil {
			k.o.Waiting()
		}
		k.changed.Wait()
	}
}

// full tells that credits more blocks may not fit. One operation alone always may
// run: its credits are below every bound.
func (k *Checkpoint) full(credits int) bool {
	if k.o.MaxDirty == 0 {
		return false
	}
	n := k.c.dirtyBlocks() + k.promised
	return n > 0 && n+credits > k.o.MaxDirty
}

// End ends the operation that Begin started with the same credits.
func (k *Checkpoint) End(credits int) {
	k.gate.RUnlock()
	k.mu.Lock()
	k.promised -= credits
	if k.waiting > 0 {
		k.changed.Broadcast()
	}
	k.arm()
	k.mu.Unlock()
}

// dirty tells that the running epoch has something to write.
func (k *Checkpoint) dirty() bool { return k.c.dirtyBlocks() > 0 || k.unsynced.Load() }

// lastChanged is the newest epoch with something in it. k.mu is held: a snapshot takes
// what the epoch changed and ends it in one step under that lock.
func (k *Checkpoint) lastChanged() uint64 {
	e := k.epoch.Load()
	if !k.dirty() {
		e--
	}
	return e
}

// Commit returns when everything that operations changed before the call is durable.
// All who wait for the same epoch share one write. It must not be called inside an
// operation. When ctx ends it waits no longer and returns ctx's error; what it asked for
// goes on.
func (k *Checkpoint) Commit(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	target := k.lastChanged()
	return k.wait(ctx, func() bool {
		if k.durable >= target {
			return true
		}
		if k.wantDur < target {
			k.wantDur = target
			k.kick()
		}
		return false
	})
}

// Quiesce returns when all that was asked for, by timers and full epochs, too, is done.
// Only tests want to know.
func (k *Checkpoint) Quiesce() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for k.err == nil && (k.busy || k.wantTidy || k.wantOut > k.written || k.wantDur > k.durable) {
		k.changed.Wait()
	}
}

// Close writes what is dirty, makes it durable and closes the writer. Operations have
// ended; those that begin later fail with ErrClosed.
func (k *Checkpoint) Close() error {
	err := k.Commit(context.Background())
	k.mu.Lock()
	k.closing = true
	k.background.cancel()
	k.flush.cancel()
	if k.err == nil {
		k.err = ErrClosed
	}
	k.changed.Broadcast()
	k.kick()
	k.mu.Unlock()
	<-k.done
	return errors.Join(err, k.w.Close())
}

func (k *Checkpoint) kick() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// run is the writer goroutine.
func (k *Checkpoint) run() {
	defer close(k.done)
	for range k.wake {
		for {
			k.mu.Lock()
			if k.closing || k.err != nil {
				k.mu.Unlock()
				return
			}
			due := k.wantOut > k.written || k.wantDur > k.durable
			idle := k.wantTidy && !due
			k.wantTidy = false
			if k.busy = due || idle; !k.busy {
				k.changed.Broadcast()
			}
			k.mu.Unlock()
			switch {
			case due:
				k.writeOne()
				k.tidy(false)
			case idle:
				k.tidy(true)
			}
			if !due && !idle {
				break
			}
		}
	}
}

// tidy lets the writer bring blocks to their places.
func (k *Checkpoint) tidy(idle bool) {
	t, ok := k.w.(Tidier)
	k.mu.Lock()
	ok = ok && k.err == nil
	k.mu.Unlock()
	if !ok {
		return
	}
	if err := t.Tidy(idle); err != nil {
		k.fail(err)
	}
}

// fail ends all writing.
func (k *Checkpoint) fail(err error) {
	if k.o.Failed != nil {
		k.o.Failed(err)
	}
	k.mu.Lock()
	k.err = err
	k.changed.Broadcast()
	k.mu.Unlock()
}

// writeOne takes a snapshot of the running epoch and carries it out.
func (k *Checkpoint) writeOne() {
	s := k.snapshot()
	start := time.Now()
	err := k.w.Write(s)
	k.stats.wasWritten(s, start)
	if err != nil {
		k.fail(err)
		return
	}
	// Those who wait for the epoch find what follows from it done.
	if s.Durable && k.o.AfterDurable != nil {
		k.o.AfterDurable(s.Epoch)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.written = s.Epoch
	if s.Durable {
		k.durable = s.Epoch
	} else {
		k.cost = time.Since(start)
	}
	k.writes++
	k.armIdle()
	k.changed.Broadcast()
}

// snapshot closes the running epoch.
func (k *Checkpoint) snapshot() *Snapshot {
	defer k.stats.wasStopped(time.Now())
	k.gate.Lock()
	defer k.gate.Unlock()
	if k.o.BeforeSnapshot != nil && k.c.dirtyBlocks() > 0 {
		k.o.BeforeSnapshot()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	epoch := k.epoch.Load()
	s := k.c.snapshot(epoch)
	s.Durable = k.wantDur > k.durable
	s.Content, s.MoreContent = k.content.take()
	s.FreshContent = k.freshContent.Swap(false)
	s.Credits = int(k.credits.Swap(0)) + k.o.Reserve
	if s.Durable {
		k.unsynced.Store(false)
		k.wantDur = max(k.wantDur, epoch) // perhaps only an epoch before was asked for
	}
	k.epoch.Store(epoch + 1)
	k.changed.Broadcast() // the new epoch has room
	return s
}
