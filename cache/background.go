package cache

import "time"

// arm sets the timers off when there is something to write. k.mu is held.
func (k *Checkpoint) arm() {
	if k.closing || k.err != nil {
		return
	}
	if !k.armed && k.o.Background > 0 && k.c.dirtyBlocks() > 0 {
		k.armed = true
		k.o.After(k.pace(), func() {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.armed = false
			if k.c.dirtyBlocks() > 0 { // else somebody else had it written meanwhile
				k.wantOut = max(k.wantOut, k.epoch.Load())
				k.kick()
			}
		})
	}
	// What the operation changed may be in a snapshot by now, but not durable.
	if !k.armedDur && k.o.Flush > 0 && k.durable < k.lastChanged() {
		k.armedDur = true
		k.o.After(k.o.Flush, func() {
			k.mu.Lock()
			k.armedDur = false
			k.wantDur = max(k.wantDur, k.lastChanged())
			k.kick()
			k.mu.Unlock()
		})
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
