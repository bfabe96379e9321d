package blockiotest

import (
	"sync"
	"syscall"

	"github.com/ext2fuse/ext2fuse/blockio"
)

// Rule chooses requests that a Fault makes fail.
type Rule struct {
	Op    blockio.Op
	AnyOp bool                    // instead of Op: all operations
	Match func(*blockio.Bio) bool // further condition; nil: none. Must not keep the bio
	From  int64                   // the first matching request to fail, counted from 1; 0 is 1
	Times int64                   // how many fail; 0: all from then on
	Err   error                   // nil: EIO
	Short int64                   // bytes that are transferred all the same, from the first on
}

// Fault is a Device that lets chosen requests fail and passes the others on. It sits
// on top of another device, which it takes over. A durable write counts as a write and,
// if that succeeds, a sync.
type Fault struct {
	dev blockio.Device

	mu     sync.Mutex
	rules  []*ruleState
	counts map[blockio.Op]int64
	failed int64
}

type ruleState struct {
	Rule
	seen int64
}

var (
	_ blockio.Device    = (*Fault)(nil)
	_ blockio.Unwrapper = (*Fault)(nil)
)

// NewFault returns a device that passes everything on to dev.
func NewFault(dev blockio.Device) *Fault {
	return &Fault{dev: dev, counts: make(map[blockio.Op]int64)}
}

// Fail adds a rule. Of several that match a request, the first added decides.
func (f *Fault) Fail(r Rule) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(f.rules, &ruleState{Rule: r})
}

// Heal drops all rules.
func (f *Fault) Heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = nil
}

// Seen is the number of requests of one kind that came, failed ones included. A
// test that fails "each one in turn" learns from it how many there are.
func (f *Fault) Seen(op blockio.Op) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts[op]
}

// Failed is the number of requests that a rule made fail.
func (f *Fault) Failed() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed
}

// Unwrap gives the device below.
func (f *Fault) Unwrap() blockio.Device { return f.dev }

// verdict counts a request and finds the rule that fails it.
func (f *Fault) verdict(b *blockio.Bio) *Rule {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts[b.Op]++
	var hit *Rule
	for _, r := range f.rules {
		if !r.AnyOp && r.Op != b.Op || r.Match != nil && !r.Match(b) {
			continue
		}
		r.seen++
		from := max(r.From, 1)
		if hit == nil && r.seen >= from && (r.Times == 0 || r.seen < from+r.Times) {
			hit = &r.Rule
		}
	}
	if hit != nil {
		f.failed++
	}
	return hit
}

// Submit implements blockio.Device.
func (f *Fault) Submit(bios ...*blockio.Bio) {
	for _, b := range bios {
		vecs, n, err := b.Begin(f.dev.Size(), f.dev.ReadOnly())
		below := *b // after Begin: what an earlier use of the bio transferred does not count
		below.Done = nil
		if err != nil || n == 0 && b.Op != blockio.Sync {
			f.dev.Submit(&below) // refuses it, or has nothing to do
			b.Complete(below.N, below.Err)
			continue
		}
		rule := f.verdict(b)
		if rule == nil && b.Op == blockio.Write && b.Durable {
			if rule = f.verdict(&blockio.Bio{Op: blockio.Sync, For: b.For, Off: b.Off}); rule != nil {
				below.Durable = false
				f.dev.Submit(&below)
				b.Complete(below.N, rule.error(blockio.Sync, f.dev, b.Off, n))
				continue
			}
		}
		if rule == nil {
			f.dev.Submit(&below)
			b.Cold = below.Cold
			b.Complete(below.N, below.Err)
			continue
		}
		if short := min(rule.Short, n); short > 0 && b.Op != blockio.Sync {
			below.Vecs, below.Len = head(vecs, short), short
			f.dev.Submit(&below)
		}
		b.Complete(below.N, rule.error(b.Op, f.dev, b.Off, n))
	}
}

// error is what a request fails with.
func (r *Rule) error(op blockio.Op, dev blockio.Device, off, n int64) error {
	reason := r.Err
	if reason == nil {
		reason = syscall.EIO
	}
	return &blockio.Error{Op: op, Path: blockio.NameOf(dev), Off: off, Len: n, Err: reason}
}

// head is the first n bytes of vecs.
func head(vecs [][]byte, n int64) [][]byte {
	var out [][]byte
	for _, v := range vecs {
		v = v[:min(int64(len(v)), n)]
		out = append(out, v)
		n -= int64(len(v))
	}
	return out
}

// ReadvAt implements blockio.Device.
func (f *Fault) ReadvAt(iov [][]byte, off int64) (int, error) {
	return submitOne(f, blockio.Bio{Op: blockio.Read, Off: off, Vecs: iov})
}

// WritevAt implements blockio.Device.
func (f *Fault) WritevAt(iov [][]byte, off int64) (int, error) {
	return submitOne(f, blockio.Bio{Op: blockio.Write, Off: off, Vecs: iov})
}

// Sync implements blockio.Device.
func (f *Fault) Sync() error {
	_, err := submitOne(f, blockio.Bio{Op: blockio.Sync})
	return err
}

// Discard implements blockio.Device.
func (f *Fault) Discard(off, n int64) error {
	_, err := submitOne(f, blockio.Bio{Op: blockio.Discard, Off: off, Len: n})
	return err
}

// Advise implements blockio.Device.
func (f *Fault) Advise(off, n int64, a blockio.Advice) { f.dev.Advise(off, n, a) }

// Size implements blockio.Device.
func (f *Fault) Size() int64 { return f.dev.Size() }

// ReadOnly implements blockio.Device.
func (f *Fault) ReadOnly() bool { return f.dev.ReadOnly() }

// Close implements blockio.Device.
func (f *Fault) Close() error { return f.dev.Close() }
