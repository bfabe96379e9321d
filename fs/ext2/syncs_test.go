//go:build linux

package ext2

import (
	"slices"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// cost is what a device is asked for to make something durable: syncs of everything, and
// durable writes.
type cost struct{ full, alone int }

// meter counts what a mount costs, step by step.
type meter struct {
	t      *testing.T
	dev    *blockiotest.Recorder
	fs     *FS
	timers handTimers
	seen   int
}

func newMeter(t *testing.T, m *blockiotest.Mem, o Options) *meter {
	d := &meter{t: t, dev: blockiotest.NewRecorder(m.Clone())}
	o.Logger, o.testing.After = quiet, d.timers.after
	d.fs = must(New(ctx, d.dev, o))(t)
	return d
}

// cost is that of what was done since the last call.
func (d *meter) cost() (c cost) {
	for _, e := range d.dev.Log()[d.seen:] {
		d.seen++
		switch {
		case e.FullSync():
			c.full++
		case e.Op == blockio.Sync:
			c.alone++
		}
	}
	return c
}

func (d *meter) want(what string, want cost) {
	d.t.Helper()
	if got := d.cost(); got != want {
		d.t.Errorf("%s: %d syncs and %d durable writes, want %d and %d", what, got.full, got.alone, want.full, want.alone)
	}
}

// whole says that a power cut can undo nothing.
func (d *meter) whole(what string) {
	d.t.Helper()
	if _, rest := blockiotest.AtRisk(d.dev.Log()); len(rest) > 0 {
		d.t.Errorf("%s: a power cut may undo %d writes, the first of them %v at %d", what, len(rest), rest[0].For, rest[0].Off)
	}
}

// waiting are the timers that are set off.
func (d *meter) waiting() []*func() {
	d.timers.mu.Lock()
	defer d.timers.mu.Unlock()
	return slices.Clone(d.timers.wait)
}

// come lets the time of timers come, whether or not they were stopped since.
func (d *meter) come(timers []*func()) {
	for _, f := range timers {
		(*f)()
		d.fs.ckpt.Quiesce()
	}
}

func (d *meter) create(name string) *Inode {
	root := must(d.fs.Root())(d.t)
	defer root.Put()
	return mustCreate(d.t, root, name, disk.ModeReg)
}

func (d *meter) close(what string, want cost) {
	d.t.Helper()
	if err := d.fs.Close(); err != nil {
		d.t.Fatal(err)
	}
	d.want(what, want)
	d.whole(what)
	wantWhole(d.t, what, d.dev.ImageAt(len(d.dev.Log())))
}

// TestSyncs: what each step of a life costs. What each sync of a mount and an unmount is for
// stands in docs/ARCHITECTURE.md; TestBrokenRules leaves them out.
func TestSyncs(t *testing.T) {
	ext2 := loadImage(t, loanImage)
	ext3 := loadImage(t, ext2test.Options{Size: 8 << 20, BlockSize: 1024, Inodes: 256, Type: "ext3"})
	none, one, alone, two := cost{}, cost{1, 0}, cost{0, 1}, cost{1, 1}
	for _, c := range []struct {
		name  string
		image *blockiotest.Mem
		o     Options

		mount, unused cost // unused: unmounting with nothing written
		create, write cost
		first, fsync  cost // the first fsync, and others
		idle          cost // what the background does when nothing is written any more
		unmount, late cost // right behind an fsync, and behind changes that nobody made durable
	}{
		{"borrowed", ext2, Options{}, cost{3, 0}, cost{3, 0}, none, none, alone, alone, two, cost{4, 0}, cost{4, 1}},
		{"ext3", ext3, Options{}, one, one, none, none, two, two, two, cost{2, 1}, cost{3, 2}},
		{"left over", useOnce(t, ext2.Clone(), Options{}), Options{}, cost{4, 0}, cost{4, 0}, none, none, two, alone, two, cost{4, 0}, cost{5, 1}},
		{"nojournal", ext2, Options{NoJournal: true}, one, one, none, none, one, one, none, one, cost{2, 0}},
		{"nojournal ext3", ext3, Options{NoJournal: true}, one, one, none, none, one, one, none, one, cost{2, 0}},
		{"nobarrier", ext2, Options{NoBarrier: true}, none, one, none, none, none, none, none, one, one},
		{"nobarrier ext3", ext3, Options{NoBarrier: true}, none, one, none, none, none, none, none, one, one},
		{"sync", ext2, Options{Sync: true}, cost{3, 0}, cost{3, 0}, alone, alone, none, none, two, cost{4, 0}, cost{4, 0}},
		{"sync ext3", ext3, Options{Sync: true}, one, one, two, two, none, none, two, cost{2, 1}, cost{2, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newMeter(t, c.image, c.o)
			d.want("mount", c.mount)
			if !c.o.NoBarrier && c.name != "left over" { // its journal may stay clean as well
				d.whole("mount")
			}
			d.close("unmount, nothing written", c.unused)

			d = newMeter(t, c.image, c.o)
			d.cost()
			in := d.create("f")
			d.want("create", c.create)
			for i, want := range []cost{c.first, c.fsync} {
				mustWrite(t, in, 5000)
				d.want("write", c.write)
				if err := in.Fsync(ctx); err != nil {
					t.Fatal(err)
				}
				d.want([]string{"first fsync", "second fsync"}[i], want)
			}
			for range 4 { // somebody writes, another one has it all made durable
				mustWrite(t, in, 5000)
				timers := d.waiting()
				if err := d.fs.Sync(ctx); err != nil {
					t.Fatal(err)
				}
				d.cost()
				mustWrite(t, in, 5000)
				d.want("write behind a sync", c.write)
				d.come(timers)
				d.want("timers of what is durable", none)
				if err := d.fs.Sync(ctx); err != nil {
					t.Fatal(err)
				}
				d.want("sync", c.fsync)
			}
			for range 4 {
				d.come(d.waiting())
			}
			d.want("idle", c.idle)
			mustWrite(t, in, 5000)
			if err := in.Fsync(ctx); err != nil {
				t.Fatal(err)
			}
			d.cost()
			in.Put()
			d.close("unmount behind an fsync", c.unmount)

			d = newMeter(t, c.image, c.o)
			in = d.create("f")
			mustWrite(t, in, 5000)
			in.Put()
			d.cost()
			d.close("unmount", c.late)
		})
	}
}
