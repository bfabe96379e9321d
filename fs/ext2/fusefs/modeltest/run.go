//go:build linux && !386 && !arm && !mips && !mipsle

package modeltest

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Pair is two equal, freshly mounted file systems: ours and the oracle.
type Pair struct {
	Ours, Theirs string // mount points
	WriteBack    bool   // see Side
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
	Before       []string // what the worker did last, and what came of it
}

// history is how many operations before a divergence are shown. One that depends on
// timing may not be had again.
const history = 40

func (d *Divergence) Error() string {
	switch {
	case d.Err != nil:
		return fmt.Sprintf("worker %d step %d: %v", d.Worker, d.Step, d.Err)
	case d.Trees != nil:
		return fmt.Sprintf("trees differ in %d lines (- ours, + theirs):\n%s", len(d.Trees), strings.Join(d.Trees[:min(20, len(d.Trees))], "\n"))
	}
	return fmt.Sprintf("worker %d step %d: %v\n  ours:   %v\n  theirs: %v\nbefore that\n%s", d.Worker, d.Step, d.Op, d.Ours, d.Theirs, strings.Join(d.Before, "\n"))
}

// Sequence makes the operations of each worker. Workers have directories of their
// own, so that what each sees does not depend on timing.
func Sequence(seed uint64, workers, steps int, p Profile) [][]Op {
	all := make([][]Op, workers)
	for w := range all {
		q := p
		if workers > 1 {
			q.Root = workerDir(w)
			all[w] = append(all[w], Op{Kind: Mkdir, Path: q.Root, Mode: 0o777})
		}
		g := NewGenerator(seed+uint64(w)*0x9e3779b97f4a7c15, q)
		for len(all[w]) < steps {
			all[w] = append(all[w], g.Next())
		}
	}
	return all
}

func workerDir(w int) string { return fmt.Sprintf("w%d", w) }

// Run applies the sequences to a pair, one goroutine a worker, and compares. full
// says that the image may fill up: the two sides may then run out at different
// moments, and what they disagree on for that reason is emptied on both.
func Run(p *Pair, seqs [][]Op, full bool) *Divergence {
	var wg sync.WaitGroup
	found := make([]*Divergence, len(seqs))
	for w, ops := range seqs {
		wg.Add(1)
		go func() { // ends locked to its thread, which ends with it
			defer wg.Done()
			top := ""
			if len(seqs) > 1 {
				top = workerDir(w)
			}
			found[w] = runWorker(p, w, ops, top, full)
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

func runWorker(p *Pair, w int, ops []Op, top string, full bool) *Divergence {
	ours, theirs := NewSide(p.Ours), NewSide(p.Theirs)
	theirs.FillHoles, theirs.SinglePages = true, true
	ours.WriteBack, theirs.WriteBack = p.WriteBack, p.WriteBack
	defer ours.Close()
	defer theirs.Close()
	var before []string
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
		before = append(before[max(0, len(before)-history):], fmt.Sprintf("  %d: %v: %v | %v", i, o, a, b))
		switch {
		case full && (ranOut(o, a) || ranOut(o, b)) && (a != b || o.leavesPart()):
			if err := errors.Join(settle(ours, o, top), settle(theirs, o, top)); err != nil {
				return &Divergence{Worker: w, Step: i, Op: o, Err: err}
			}
		case a != b && !refusedEarlier(o, a, b):
			return &Divergence{Worker: w, Step: i, Op: o, Ours: a, Theirs: b, Before: before}
		}
	}
	return nil
}

// refusedEarlier tells a change of names that both refuse, for different reasons that both hold.
// The kernel's FUSE client checks types, and whether a file without names may get one,
// before it asks; it does not know of the flags that forbid a change, which the kernel's own
// driver checks first.
func refusedEarlier(o Op, ours, theirs Result) bool {
	if theirs.Errno != syscall.EPERM {
		return false
	}
	switch o.Kind {
	case Rename, Unlink, UnlinkAs, Rmdir:
		return ours.Errno == syscall.EISDIR || ours.Errno == syscall.ENOTDIR
	case LinkFd:
		return ours.Errno == syscall.ENOENT
	}
	return false
}

// ranOut tells a result that a full file system explains.
func ranOut(o Op, r Result) bool {
	if r.Errno == syscall.ENOSPC {
		return true
	}
	switch o.Kind {
	case PWrite, Append, WriteAs, CopyRange:
		return r.Errno == 0 && r.N < o.Len
	}
	return false
}

// settle brings two sides that disagree, because one of them ran out of space, back to a
// state they share. Where only the content of an open file can differ, that file is
// emptied. Else the worker's directory is: a file that one side has not, or whose
// attributes differ, may have other names, be open, or be a directory with files in it.
func settle(s *Side, o Op, top string) error {
	var err error
	switch o.Kind {
	case PWrite, Append, MmapWrite, Fallocate:
		err = unix.Ftruncate(s.fd(o.Slot), 0)
	case CopyRange:
		err = unix.Ftruncate(s.fd(o.Slot2), 0)
	default:
		s.Close()
		err = empty(s.abs(top))
	}
	if err != nil {
		return fmt.Errorf("settling %v below %s: %w", o, s.Root, err)
	}
	return nil
}

// empty removes all there is in a directory, which ends with new times and no flags.
func empty(dir string) error {
	if err := clearFlags(dir); err != nil {
		return err
	}
	names, err := listDir(dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		p := dir + "/" + n
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		switch {
		case n == "lost+found":
		case st.Mode&unix.S_IFMT == unix.S_IFDIR:
			err = errors.Join(empty(p), unix.Rmdir(p))
		default:
			err = unix.Unlink(p)
		}
		if err != nil {
			return err
		}
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, dir, nil, 0)
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
