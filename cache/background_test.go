package cache

import (
	"slices"
	"testing"
	"time"

	"github.com/ext2fuse/ext2fuse/blockio"
)

// Delays that tell timers from each other.
const background, flush = 200 * time.Millisecond, 5 * time.Second

// timer is the one of a delay that waits; nil: none does, or several.
func (r *ckptRig) timer(after time.Duration) (found *rigTimer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.timers {
		switch {
		case t.after != after:
		case found != nil:
			return nil
		default:
			found = t
		}
	}
	return found
}

// TestTimersBelongToTheirEpoch: a timer whose epoch was made durable before it came takes
// nothing of the next one, which has timers of its own, from its own first change on; and
// however many epochs there are, two timers wait.
func TestTimersBelongToTheirEpoch(t *testing.T) {
	r := newRig(t, CheckpointOptions{Background: background, Flush: flush}, nil)
	var old []*rigTimer
	for v := range uint32(5) {
		r.op(t, func() { r.put(t, 1, v, blockio.Indirect) })
		old = append(old, r.timer(background), r.timer(flush))
		if slices.Contains(old, nil) {
			t.Fatalf("after %d commits and a change %d timers wait", v, len(r.timers))
		}
		if err := r.k.Commit(ctx); err != nil {
			t.Fatal(err)
		}
	}
	r.op(t, func() { r.put(t, 1, 5, blockio.Indirect) })
	for _, t := range old { // those that were stopped, too: that may be too late
		t.come()
	}
	r.k.Quiesce()
	if n := len(r.snaps); n != 5 {
		t.Fatalf("%d epochs were written, 5 were asked for", n)
	}
	r.timer(background).come()
	r.k.Quiesce()
	if n := len(r.snaps); n != 6 || r.snaps[5].Durable {
		t.Errorf("the background took %d epochs", n-5)
	}
	r.timer(flush).come()
	r.k.Quiesce()
	if n := len(r.snaps); n != 7 || !r.snaps[6].Durable {
		t.Errorf("making it durable took %d epochs", n-6)
	}
	r.op(t, func() { r.put(t, 1, 6, blockio.Indirect) })
	r.k.Close()
	if n := len(r.timers); n > 0 {
		t.Errorf("%d timers wait when all is over", n)
	}
}

// TestFlushTimerIsTheOldest: the time to durability counts from the first change that is not
// durable and for which nobody asked for that: one timer does for all epochs that the background
// wrote, and another begins at once with what changes while they are being made durable.
func TestFlushTimerIsTheOldest(t *testing.T) {
	waits := make(chan struct{}, 1)
	o := CheckpointOptions{Background: background, Flush: flush, Waiting: func() {
		select {
		case waits <- struct{}{}:
		default:
		}
	}}
	r := newRig(t, o, func(r *ckptRig) { r.hold, r.begun = make(chan struct{}), make(chan *Snapshot) })
	change := func(v uint32) { r.op(t, func() { r.put(t, 1, v, blockio.Indirect) }) }

	change(1)
	first := r.timer(flush)
	r.timer(background).come()
	<-r.begun
	change(2) // in epoch 2, while the background writes the first
	if first == nil || r.timer(flush) != first {
		t.Error("the second epoch has a timer of its own, though the first is not durable")
	}
	r.hold <- struct{}{}
	r.timer(background).come()
	<-r.begun
	done := make(chan error, 1)
	go func() { done <- r.k.Commit(ctx) }() // asks for epoch 2
	<-waits
	change(3)
	third := r.timer(flush)
	if third == nil || third == first {
		t.Error("a change behind a commit that waits has no timer")
	}
	r.hold <- struct{}{}
	if s := <-r.begun; s.Epoch != 3 || !s.Durable {
		t.Errorf("epoch %d is written, durable %v; the commit takes the third", s.Epoch, s.Durable)
	}
	change(4)
	if fourth := r.timer(flush); fourth == nil || fourth == third {
		t.Error("a change while all before it is being made durable has no timer")
	}
	close(r.hold)
	go func() {
		for range r.begun {
		}
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
	r.k.Close()
	close(r.begun)
}
