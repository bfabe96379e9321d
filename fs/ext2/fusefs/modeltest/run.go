package modeltest

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Pair is two equal, freshly mounted file systems: ours and the oracle.
type Pair struct {
	Ours, Theirs string // mount points
	NoHoles      bool   // see Side
	// Remount unmounts both, checks both images and mounts them again.
	Remount func() error
	// Done unmounts both and checks both images.
	Done func() error
}

// Divergence is where the two sides parted.
type Divergence struct {
	Worker, Step int
	Op           Op
	Ours, Theirs Result
	Trees        []string // final trees differ: the differing lines
	Err          error    // the check of an image failed
}

func (d *Divergence) Error() string {
	switch {
	case d.Err != nil:
		return fmt.Sprintf("worker %d step %d: %v", d.Worker, d.Step, d.Err)
	case d.Trees != nil:
		return fmt.Sprintf("trees differ in %d lines (- ours, + theirs):\n%s", len(d.Trees), strings.Join(d.Trees[:min(20, len(d.Trees))], "\n"))
	}
	return fmt.Sprintf("worker %d step %d: %v\n  ours:   %v\n  theirs: %v", d.Worker, d.Step, d.Op, d.Ours, d.Theirs)
}

// Sequence makes the operations of each worker. Workers have directories of their
// own, so that what each sees does not depend on timing.
func Sequence(seed uint64, workers, steps int, p Profile) [][]Op {
	all := make([][]Op, workers)
	for w := range all {
		q := p
		if workers > 1 {
			q.Root = fmt.Sprintf("w%d", w)
			all[w] = append(all[w], Op{Kind: Mkdir, Path: q.Root, Mode: 0o777})
		}
		g := NewGenerator(seed+uint64(w)*0x9e3779b97f4a7c15, q)
		for len(all[w]) < steps {
			all[w] = append(all[w], g.Next())
		}
	}
	return all
}

// Run applies the sequences to a pair, one goroutine a worker, and compares. full
// says that the image may fill up: the two sides may then run out at different
// moments, and a file on which they disagree for that reason is emptied on both.
func Run(p *Pair, seqs [][]Op, full bool) *Divergence {
	var wg sync.WaitGroup
	found := make([]*Divergence, len(seqs))
	for w, ops := range seqs {
		wg.Add(1)
		go func() { // ends locked to its thread, which ends with it
			defer wg.Done()
			found[w] = runWorker(p, w, ops, full)
		}()
	}
	wg.Wait()
	for _, d := range found {
		if d != nil {
			if err := p.Done(); err != nil {
				d.Err = fmt.Errorf("%v: ours %v, theirs %v; and then: %w", d.Op, d.Ours, d.Theirs, err)
			}
			return d
		}
	}
	return compareTrees(p)
}

func runWorker(p *Pair, w int, ops []Op, full bool) *Divergence {
	ours, theirs := NewSide(p.Ours), NewSide(p.Theirs)
	theirs.FillHoles = true
	ours.NoHoles, theirs.NoHoles = p.NoHoles, p.NoHoles
	defer ours.Close()
	defer theirs.Close()
	for i, o := range ops {
		if o.Kind == RemountAll {
			ours.Close()
			theirs.Close()
			if err := p.Remount(); err != nil {
				return &Divergence{Worker: w, Step: i, Op: o, Err: err}
			}
			continue
		}
		a, b := ours.Apply(o), theirs.Apply(o)
		if a == b && !(o.Kind == Fallocate && ranOut(o, a)) || refusedEarlier(o, a, b) {
			continue // a fallocate that ran out may have come to different lengths
		}
		if full && (ranOut(o, a) || ranOut(o, b)) {
			settle(ours, o)
			settle(theirs, o)
			continue
		}
		return &Divergence{Worker: w, Step: i, Op: o, Ours: a, Theirs: b}
	}
	return nil
}

// refusedEarlier tells a rename or removal that both refuse, for different reasons that both hold.
// The kernel's FUSE client checks types before it asks; it does not know of the flags
// that forbid a change, which the kernel's own driver checks first.
func refusedEarlier(o Op, ours, theirs Result) bool {
	switch o.Kind {
	case Rename, Unlink, UnlinkAs, Rmdir:
		return theirs.Errno == syscall.EPERM && (ours.Errno == syscall.EISDIR || ours.Errno == syscall.ENOTDIR)
	}
	return false
}

// ranOut tells a result that a full file system explains.
func ranOut(o Op, r Result) bool {
	if r.Errno == syscall.ENOSPC {
		return true
	}
	return r.Errno == 0 && (o.Kind == PWrite || o.Kind == Append || o.Kind == WriteAs) && r.N < o.Len
}

// settle brings a file on which the sides disagree back to a state they share.
func settle(s *Side, o Op) {
	if o.usesSlot() {
		s.Apply(Op{Kind: FTruncate, Slot: o.Slot})
		s.Apply(Op{Kind: FTruncate, Slot: o.Slot2})
		return
	}
	for _, path := range []string{o.Path, o.Path2} {
		if path != "" {
			s.Apply(Op{Kind: Unlink, Path: path})
			s.Apply(Op{Kind: Rmdir, Path: path})
		}
	}
}

func compareTrees(p *Pair) *Divergence {
	a, err := Tree(p.Ours)
	if err != nil {
		return &Divergence{Err: errors.Join(fmt.Errorf("ours: %w", err), p.Done())}
	}
	b, err := Tree(p.Theirs)
	if err != nil {
		return &Divergence{Err: errors.Join(fmt.Errorf("theirs: %w", err), p.Done())}
	}
	diff := Diff(a, b)
	if err := p.Done(); err != nil {
		return &Divergence{Err: err}
	}
	if len(diff) > 0 {
		return &Divergence{Trees: diff}
	}
	return nil
}

// Shrink looks for a short sequence that still diverges, running candidates on
// pairs from fresh, at most budget of them for each worker and none after the deadline.
// The divergence is nil if it never happened again.
func Shrink(seqs [][]Op, fresh func() (*Pair, error), full bool, budget int, deadline time.Time) ([][]Op, *Divergence) {
	var last *Divergence
	fails := func(s [][]Op) bool {
		p, err := fresh()
		if err != nil {
			return false
		}
		d := Run(p, s, full)
		if d != nil {
			last = d
		}
		return d != nil
	}
	for w := range seqs { // whole workers first
		try := append([][]Op{}, seqs...)
		try[w] = nil
		if len(seqs) > 1 && time.Now().Before(deadline) && fails(try) {
			seqs = try
		}
	}
	for w := range seqs {
		left := budget
		for size := max(len(seqs[w])/2, 1); size >= 1 && left > 0; size /= 2 {
			for at := 0; at < len(seqs[w]) && left > 0 && time.Now().Before(deadline); left-- {
				cut := append([]Op{}, seqs[w][:at]...)
				cut = append(cut, seqs[w][min(at+size, len(seqs[w])):]...)
				try := append([][]Op{}, seqs...)
				try[w] = cut
				if fails(try) {
					seqs = try
				} else {
					at += size
				}
			}
		}
	}
	return seqs, last
}
