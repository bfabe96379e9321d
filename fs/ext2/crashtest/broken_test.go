//go:build linux

package crashtest

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/cache"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
	"github.com/ext2fuse/ext2fuse/fs/ext2/jbd2"
)

// brokenWriter is a journal that breaks a rule.
type brokenWriter struct {
	cache.Writer
	write func(w cache.Writer, s *cache.Snapshot) error
}

func (b brokenWriter) Write(s *cache.Snapshot) error { return b.write(b.Writer, s) }

func (b brokenWriter) Tidy(idle bool) error { return tidy(b.Writer, idle) }

// lateContent is a device that content reaches only behind the sync that follows it.
type lateContent struct {
	blockio.Device
	mu   sync.Mutex
	late []*blockio.Bio
}

func (l *lateContent) Submit(bios ...*blockio.Bio) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range bios {
		switch {
		case b.Op == blockio.Write && b.For == blockio.Data:
			var n int64
			later := &blockio.Bio{Op: b.Op, For: b.For, Off: b.Off}
			for _, v := range b.Vecs {
				later.Vecs = append(later.Vecs, slices.Clone(v))
				n += int64(len(v))
			}
			l.late = append(l.late, later)
			b.Complete(n, nil)
			continue
		case b.Op == blockio.Read:
			l.flush()
		}
		l.Device.Submit(b)
	}
}

func (l *lateContent) Sync() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.Device.Sync()
	l.flush()
	return err
}

func (l *lateContent) flush() {
	l.Device.Submit(l.late...)
	l.late = nil
}

// leaveOut turns the syncs of a log that unwanted finds into nothing.
func leaveOut(unwanted func(log []blockiotest.Event, i int) bool) func(log []blockiotest.Event) {
	return func(log []blockiotest.Event) {
		var all []int
		for i, e := range log {
			if e.Op == blockio.Sync && unwanted(log, i) {
				all = append(all, i)
			}
		}
		for _, i := range all {
			log[i] = blockiotest.Event{Op: blockio.Write}
		}
	}
}

// syncNumber makes a setup leave out one sync, of a device or of what a durable write wrote:
// the nth from the beginning, which is 0, or from the end, which is -1, of a life in which two
// files are made durable.
func syncNumber(n int) func(s *setup) {
	return func(s *setup) {
		s.work = workload{"few", func(d *driver) {
			for _, p := range []string{"/f", "/g"} {
				d.file(p)
				d.write(p, 0, 5000)
				d.fsync(p)
			}
		}}
		s.prefixes, s.cuts = 100, 300
		s.edit = func(log []blockiotest.Event) {
			var all []int
			for i, e := range log {
				if e.Op == blockio.Sync {
					all = append(all, i)
				}
			}
			log[all[(n+len(all))%len(all)]] = blockiotest.Event{Op: blockio.Write}
		}
	}
}

// ext3 makes a setup begin with an image that has a journal.
func ext3(s *setup) {
	s.name, s.image.Type, s.image.Args = "ext3-1k", "ext3", []string{"-J", "size=1"}
}

// preened makes a setup ask e2fsck -p each time.
func preened(s *setup) { s.prefixes, s.cuts, s.fsckEvery = 20, 80, 1 }

// journalBlock is the type of a block that the journal wrote, 0 if it is none.
func journalBlock(e blockiotest.Event) uint32 {
	if e.For != blockio.Journal || len(e.Data) < 8 || binary.BigEndian.Uint32(e.Data) != jbd2.Magic {
		return 0
	}
	return binary.BigEndian.Uint32(e.Data[4:])
}

// followed tells whether the first write behind event i is a journal block of a kind.
func followed(log []blockiotest.Event, i int, kinds ...uint32) bool {
	return i+1 < len(log) && slices.Contains(kinds, journalBlock(log[i+1]))
}

// Types of journal blocks.
const (
	commitBlock  = 2
	superV1Block = 3
	superV2Block = 4
)

// TestBrokenRules breaks the rules of the journal, one at a time. Each has to be found
// out, or it would be no use to find nothing with the rules kept.
func TestBrokenRules(t *testing.T) {
	small := ext2test.Options{Size: 6 << 20, BlockSize: 1024, Inodes: 256, InodeSize: 256}
	for _, c := range []struct {
		name string
		work string
		set  func(s *setup)
		says string // part of what the harness says then
	}{
		{"no sync before the commit block", "write-fsync", func(s *setup) {
			s.edit = leaveOut(func(log []blockiotest.Event, i int) bool { return followed(log, i, commitBlock) })
		}, "from a block that was free"},
		{"no sync before a commit block without checksums", "names", func(s *setup) {
			ext3(s)
			s.edit = leaveOut(func(log []blockiotest.Event, i int) bool { return followed(log, i, commitBlock) })
		}, ""},
		{"no sync at all", "save", func(s *setup) {
			s.edit = leaveOut(func(log []blockiotest.Event, i int) bool { return i > 20 })
		}, ""},
		{"log blocks used again before what they held is in its place", "mix", func(s *setup) {
			s.edit = leaveOut(func(log []blockiotest.Event, i int) bool { return followed(log, i, superV1Block, superV2Block) })
		}, ""},
		{"content behind the commit block", "write-fsync", func(s *setup) {
			s.device = func(dev blockio.Device) blockio.Device { return &lateContent{Device: dev} }
		}, "from a block that was free"},
		{"in place before the commit block", "trees", func(s *setup) {
			var dev blockio.Device
			s.device = func(d blockio.Device) blockio.Device { dev = d; return d }
			s.hooks.Wrap = broken(func(w cache.Writer, snap *cache.Snapshot) error {
				blocks := slices.Clone(snap.Blocks)
				slices.SortFunc(blocks, func(a, b cache.DirtyBlock) int { return int(a.Block) - int(b.Block) })
				if err := cache.WriteBlocks(dev, s.image.BlockSize, blocks); err != nil {
					return err
				}
				return w.Write(snap)
			})
		}, "damaged"},
		{"no revoke records", "reuse", func(s *setup) {
			s.hooks.Wrap = broken(func(w cache.Writer, snap *cache.Snapshot) error {
				snap.Revoked = nil
				return w.Write(snap)
			})
		}, "never was"},
		{"old data copies are not revoked", "small", func(s *setup) {
			s.hooks.Wrap = broken(func(w cache.Writer, snap *cache.Snapshot) error {
				if snap.MoreContent || !snap.Durable { // the log is told nothing, but syncs content as if it were fresh
					snap.FreshContent = snap.FreshContent || snap.HasContent()
					snap.Content, snap.MoreContent = nil, false
				}
				return w.Write(snap)
			})
		}, "the target does not end at i_size"},
		{"blocks used again before their release is durable", "", func(s *setup) {
			lie := false // not while the journal is borrowed or given back
			s.work = workload{"takeover", func(d *driver) { lie = true; takeover(d); lie = false }}
			s.hooks.Wrap = broken(func(w cache.Writer, snap *cache.Snapshot) error {
				durable := snap.Durable
				snap.Durable = durable && !lie
				err := w.Write(snap)
				snap.Durable = durable
				return err
			})
		}, "somebody else's"},
		// The syncs of a life that borrows its journal, in order. The last ones of the mount and
		// of the unmount make true what was promised: TestSyncs sees that nothing is at risk then.
		{"what is borrowed marked used before VALID is cleared", "", syncNumber(0), "belongs to nobody"},
		{"has_journal before there is one", "", syncNumber(1), "i_mode 00"},
		{"the first commit not durable", "", syncNumber(3), "is missing"},
		{"has_journal cleared before all is in its place", "", syncNumber(-4), "from a block that was free"},
		{"inode 8 cleared before has_journal", "", syncNumber(-3), "i_mode 00"},
		{"VALID before what was borrowed is free", "", syncNumber(-2), "inode 8 is reserved"},
		// And of one with a journal of the file system's own.
		{"the log begins before needs_recovery is set", "", func(s *setup) { ext3(s); syncNumber(0)(s); preened(s) }, "journal has data"},
		{"the first commit before the log begins", "", func(s *setup) { ext3(s); syncNumber(1)(s) }, ""},
		{"the log ends before all is in its place", "", func(s *setup) { ext3(s); syncNumber(-3)(s) }, ""},
		{"needs_recovery cleared before the log ends", "", func(s *setup) { ext3(s); syncNumber(-2)(s); preened(s) }, "journal has data"},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			s := setup{name: "borrow-1k", image: small, seed: 3, scale: 3, prefixes: 1000, cuts: 3000, quiet: true}
			for _, w := range workloads {
				if w.name == c.work {
					s.work = w
				}
			}
			c.set(&s)
			r := s.run(t)
			states := r.row.prefixes + r.row.cuts
			t.Logf("found after %d states: %s", states, r.first)
			if r.row.violations == 0 {
				t.Errorf("not found out in %d states", states)
			}
			if !strings.Contains(r.first, c.says) {
				t.Errorf("found something else")
			}
		})
	}
}

func broken(write func(w cache.Writer, s *cache.Snapshot) error) func(cache.Writer) cache.Writer {
	return func(w cache.Writer) cache.Writer { return brokenWriter{w, write} }
}

// takeover deletes files and writes others in their place, with nobody waiting for
// anything.
func takeover(d *driver) {
	for i := range 40 {
		p := fmt.Sprint("/f", i%4)
		d.unlink(p)
		d.tick()
		d.tick()
		d.file(p)
		d.write(p, 0, 800_000)
		d.tick()
	}
}
