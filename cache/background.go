package cache

import "time"

// timer is one that was set off for an epoch, at its first change. Once that epoch has what the
// timer wants for it, it comes to nothing: what changed later has a timer of its own.
type timer struct {
	epoch uint64
	stop  func()
}

// set sets a timer off in the place of the one before: want reaches the epoch after d. k.mu is
// held.
func (k *Checkpoint) set(t *timer, epoch uint64, d time.Duration, want *uint64) {
	t.cancel()
	*t = timer{epoch, k.o.After(d, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		*want = max(*want, epoch)
		k.kick()
	})}
}

// cancel spares a timer that has nothing to do any more its coming.
func (t *timer) cancel() {
	if t.stop != nil {
		t.stop()
	}
}

// arm sets the timers off when there is something to write. k.mu is held.
func (k *Checkpoint) arm() {
	if k.closing || k.err != nil {
		return
	}
	if epoch := k.epoch.Load(); k.o.Background > 0 && k.background.epoch != epoch && k.c.dirtyBlocks() > 0 {
		k.set(&k.background, epoch, k.pace(), &k.wantOut)
	}
	// What the operation changed may be in a snapshot by now, but not durable. The timer of an
	// epoch before, as long as nobody asked for that, comes in time for this one, too.
	asked := max(k.durable, k.wantDur)
	if last := k.lastChanged(); k.o.Flush > 0 && k.flush.epoch <= asked && asked < last {
		k.set(&k.flush, last, k.o.Flush, &k.wantDur)
	}
}

// backgroundShare bounds the time that background snapshots take: one part in so many.
const backgroundShare = 10

// pace is the time from the first change of an epoch to its snapshot. Where snapshots are
// dear, because each has to wait for the data of a stream, say, they are fewer.
func (k *Checkpoint) pace() time.Duration {
	d := max(k.o.Background, k.cost*(backgroundShare-1))
	if k.o.Flush > 0 {
		d = min(d, max(k.o.Flush, k.o.Background))
	}
	return d
}

// armIdle sets the idle timer off. k.mu is held.
func (k *Checkpoint) armIdle() {
	if _, ok := k.w.(Tidier); !ok || k.armedIdl || k.o.Idle == 0 {
		return
	}
	k.armedIdl = true
	writes := k.writes
	k.o.After(k.o.Idle, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.armedIdl = false
		switch {
		case k.closing || k.err != nil:
		case k.writes != writes:
			k.armIdle()
		default:
			k.wantTidy = true
			k.kick()
		}
	})
}
