package blockiotest

import (
	"slices"
	"sync"

	"github.com/ext2fuse/ext2fuse/blockio"
)

// Event is one change of a recorded device that succeeded, or one sync. A durable write
// is two: the write, and a sync of its range.
type Event struct {
	Op   blockio.Op // Write, Discard or Sync
	For  blockio.Purpose
	Off  int64  // bytes
	Len  int64  // bytes; 0 for a Sync of everything
	Data []byte // Write only; must not be changed
}

// FullSync tells a sync of everything from others.
func (e Event) FullSync() bool { return e.Op == blockio.Sync && e.Len == 0 }

// Divide cuts a change where the range of a later sync begins and ends: into what that
// makes durable, and the rest.
func (e Event) Divide(sync Event) (durable, rest []Event) {
	if sync.FullSync() {
		return []Event{e}, nil
	}
	from, to := max(e.Off, sync.Off), min(e.Off+e.Len, sync.Off+sync.Len)
	if from >= to {
		return nil, []Event{e}
	}
	if e.Off < from {
		rest = append(rest, e.part(e.Off, from))
	}
	if to < e.Off+e.Len {
		rest = append(rest, e.part(to, e.Off+e.Len))
	}
	return []Event{e.part(from, to)}, rest
}

// part is what a change does between two places on the device.
func (e Event) part(from, to int64) Event {
	p := Event{Op: e.Op, For: e.For, Off: from, Len: to - from}
	if e.Op == blockio.Write {
		p.Data = e.Data[from-e.Off : to-e.Off]
	}
	return p
}

// AtRisk divides the changes of a log into those that a sync made durable and those that a
// power cut at its end may undo, each in order.
func AtRisk(log []Event) (durable, atRisk []Event) {
	for _, e := range log {
		if e.Op != blockio.Sync {
			atRisk = append(atRisk, e)
			continue
		}
		var left []Event
		for _, change := range atRisk {
			done, rest := change.Divide(e)
			durable, left = append(durable, done...), append(left, rest...)
		}
		atRisk = left
	}
	return durable, atRisk
}

// Split cuts a write or discard at multiples of unit bytes on the device: the pieces
// that a power cut may leave done or not. A Sync stays whole.
func (e Event) Split(unit int64) []Event {
	if e.Op == blockio.Sync {
		return []Event{e}
	}
	var out []Event
	for off, end := e.Off, e.Off+e.Len; off < end; {
		next := min(end, (off/unit+1)*unit)
		out = append(out, e.part(off, next))
		off = next
	}
	return out
}

// Recorder is a Device over a Mem that keeps a log of all that changes it, in the
// order in which it was done, so that the image can be rebuilt as of any moment.
type Recorder struct {
	mem  *Mem
	base *Mem

	mu  sync.Mutex // held while a change is done, so that the log has the order
	log []Event
}

var (
	_ blockio.Device    = (*Recorder)(nil)
	_ blockio.Unwrapper = (*Recorder)(nil)
)

// NewRecorder records what happens to mem, which it takes over, from now on.
func NewRecorder(mem *Mem) *Recorder {
	return &Recorder{mem: mem, base: mem.Clone()}
}

// Unwrap gives the device below.
func (r *Recorder) Unwrap() blockio.Device { return r.mem }

// Log is a copy of the log.
func (r *Recorder) Log() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.log)
}

// Base is the image as it was when the recording began. It must not be changed:
// Clone it.
func (r *Recorder) Base() *Mem { return r.base }

// ImageAt is the image as of the first n events of the log.
func (r *Recorder) ImageAt(n int) *Mem {
	m := r.base.Clone()
	Apply(m, r.Log()[:n]...)
	return m
}

// Prefixes calls fn with the image as of each prefix of the log, from the empty one
// on, until fn returns false. The image is one and the same, brought forward each
// time: fn may read it during the call, and must Clone it to change or keep it.
func (r *Recorder) Prefixes(fn func(n int, image *Mem) bool) {
	m := r.base.Clone()
	log := r.Log()
	for n := 0; fn(n, m) && n < len(log); n++ {
		Apply(m, log[n])
	}
}

// Apply does events to an image.
func Apply(m *Mem, events ...Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range events {
		switch e.Op {
		case blockio.Write:
			m.put(e.Data, e.Off)
		case blockio.Discard:
			if e.Len > 0 {
				m.zero(e.Off, e.Len)
			}
		}
	}
}

// Submit implements blockio.Device.
func (r *Recorder) Submit(bios ...*blockio.Bio) {
	for _, b := range bios {
		if b.Op == blockio.Read {
			r.mem.Submit(b)
			continue
		}
		below := *b
		below.Done = nil
		r.record(&below)
		b.Cold = false
		b.Complete(below.N, below.Err)
	}
}

func (r *Recorder) record(b *blockio.Bio) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mem.Submit(b)
	if b.Err != nil || b.N == 0 && b.Op != blockio.Sync {
		return
	}
	e := Event{Op: b.Op, For: b.For, Off: b.Off, Len: b.N}
	if b.Op == blockio.Write {
		e.Data = slices.Concat(head(b.Vecs, b.N)...)
	}
	r.log = append(r.log, e)
	if b.Op == blockio.Write && b.Durable {
		r.log = append(r.log, Event{Op: blockio.Sync, For: b.For, Off: b.Off, Len: b.N})
	}
}

// ReadvAt implements blockio.Device.
func (r *Recorder) ReadvAt(iov [][]byte, off int64) (int, error) { return r.mem.ReadvAt(iov, off) }

// WritevAt implements blockio.Device.
func (r *Recorder) WritevAt(iov [][]byte, off int64) (int, error) {
	return submitOne(r, blockio.Bio{Op: blockio.Write, Off: off, Vecs: iov})
}

// Sync implements blockio.Device.
func (r *Recorder) Sync() error {
	_, err := submitOne(r, blockio.Bio{Op: blockio.Sync})
	return err
}

// Discard implements blockio.Device.
func (r *Recorder) Discard(off, n int64) error {
	_, err := submitOne(r, blockio.Bio{Op: blockio.Discard, Off: off, Len: n})
	return err
}

// Advise implements blockio.Device.
func (r *Recorder) Advise(off, n int64, a blockio.Advice) { r.mem.Advise(off, n, a) }

// Size implements blockio.Device.
func (r *Recorder) Size() int64 { return r.mem.Size() }

// ReadOnly implements blockio.Device.
func (r *Recorder) ReadOnly() bool { return r.mem.ReadOnly() }

// Close implements blockio.Device.
func (r *Recorder) Close() error { return r.mem.Close() }
