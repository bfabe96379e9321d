//go:build linux

package ext2

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
	"github.com/ext2fuse/ext2fuse/fs/ext2/internal/testhook"
)

// recorded opens an image on a recording device, with timers that never come by
// themselves.
func recorded(t *testing.T, img ext2test.Options, o Options) (*FS, *blockiotest.Recorder, *handTimers) {
	t.Helper()
	dev := blockiotest.NewRecorder(loadImage(t, img))
	var timers handTimers
	o.Logger, o.testing.After = quiet, timers.after
	fs, err := New(ctx, dev, o)
	if err != nil {
		t.Fatal(err)
	}
	return fs, dev, &timers
}

// handTimers are timers that fire when the test says.
type handTimers struct {
	mu   sync.Mutex
	wait []*func()
}

func (h *handTimers) after(_ time.Duration, f func()) (stop func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wait = append(h.wait, &f)
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.wait = slices.DeleteFunc(h.wait, func(t *func()) bool { return t == &f })
	}
}

// fire lets one that waits come, if there is one.
func (h *handTimers) fire() {
	h.mu.Lock()
	var f *func()
	if len(h.wait) > 0 {
		f, h.wait = h.wait[0], h.wait[1:]
	}
	h.mu.Unlock()
	if f != nil {
		(*f)()
	}
}

var small = ext2test.Options{Size: 4 << 20, BlockSize: 1024, Inodes: 256, InodeSize: 256}

func mustCreate(t *testing.T, dir *Inode, name string, mode uint32) *Inode {
	t.Helper()
	in, err := dir.Create(ctx, name, CreateOptions{Mode: mode | 0o755})
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func mustWrite(t *testing.T, in *Inode, n int) {
	t.Helper()
	if got, err := in.Write(ctx, make([]byte, n), 0, WriteOptions{}); err != nil || got != n {
		t.Fatalf("write: %d, %v", got, err)
	}
}

// blocksOf are the device blocks of a file's content.
func blocksOf(t *testing.T, in *Inode) map[uint64]bool {
	t.Helper()
	in.mu.Lock()
	defer in.mu.Unlock()
	all := map[uint64]bool{}
	for ib := uint64(0); ib < in.raw.Size>>in.fs.blockBits; ib++ {
		b, err := in.bmapLocked(ib)
		if err != nil {
			t.Fatal(err)
		}
		all[b] = true
	}
	return all
}

// TestDataGoesFirst: content is on the device before anything that points to it.
func TestDataGoesFirst(t *testing.T) {
	fs, dev, _ := recorded(t, small, Options{})
	root, _ := fs.Root()
	in := mustCreate(t, root, "f", disk.ModeReg)
	start := len(dev.Log())
	mustWrite(t, in, 60<<10)
	blocks := blocksOf(t, in)
	if err := in.Fsync(ctx); err != nil {
		t.Fatal(err)
	}
	data, pointers := 0, 0
	for i, e := range dev.Log()[start:] {
		switch {
		case e.For == blockio.Data:
			for off := int64(0); off < e.Len; off += 1024 {
				if blocks[uint64((e.Off+off)>>10)] {
					data = i
				}
			}
		case pointers == 0 && (e.For == blockio.InodeTable || e.For == blockio.Indirect):
			pointers = i
		}
	}
	if pointers == 0 || data >= pointers {
		t.Errorf("content until event %d, what points to it from %d on", data, pointers)
	}
	in.Put()
	root.Put()
	if err := fs.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestReuseWaits: blocks and inodes that were freed are not handed out again before the
// release is durable, and are afterwards.
func TestReuseWaits(t *testing.T) {
	fs, _, timers := recorded(t, small, Options{})
	root, _ := fs.Root()
	defer root.Put()
	old := mustCreate(t, root, "old", disk.ModeReg)
	mustWrite(t, old, 40<<10)
	blocks, ino := blocksOf(t, old), old.Ino()
	if err := fs.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	if err := root.Unlink(ctx, "old"); err != nil {
		t.Fatal(err)
	}
	old.Put() // deletes it
	timers.fire()
	timers.fire() // written, but nobody knows how durably
	reused := func(name string) (inode bool, n int) {
		in := mustCreate(t, root, name, disk.ModeReg)
		defer in.Put()
		mustWrite(t, in, 40<<10)
		for b := range blocksOf(t, in) {
			if blocks[b] {
				n++
			}
		}
		return in.Ino() == ino, n
	}
	inode, n := reused("new")
	fs.space.mu.Lock()
	pending := len(fs.space.releases) // still, after all that
	fs.space.mu.Unlock()
	if pending > 0 && (inode || n > 0) {
		t.Errorf("reused too early: inode %v, %d blocks", inode, n)
	}
	if err := fs.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	if fs.space.pending.Load() != 0 || fs.space.pendingIno.Load() != 0 || len(fs.space.releases) != 0 {
		t.Errorf("after a commit %d blocks, %d inodes are pending", fs.space.pending.Load(), fs.space.pendingIno.Load())
	}
	if inode, _ := reused("newer"); !inode {
		t.Error("the free inode is not used again")
	}
}

// TestNoSpaceWaitsForReleases: on a full file system, what was deleted a moment ago can be
// used again at once; only when that is used up, too, there is no space.
func TestNoSpaceWaitsForReleases(t *testing.T) {
	fs, dev, _ := recorded(t, ext2test.Options{Size: 1 << 20, BlockSize: 1024, Inodes: 32}, Options{})
	root, _ := fs.Root()
	for round := range 5 {
		in := mustCreate(t, root, "big", disk.ModeReg)
		n, err := in.Write(ctx, make([]byte, 2<<20), 0, WriteOptions{})
		if !errors.Is(err, ErrNoSpace) || n < 800<<10 {
			t.Fatalf("round %d: %d bytes, %v", round, n, err)
		}
		if err := root.Unlink(ctx, "big"); err != nil {
			t.Fatal(err)
		}
		in.Put()
	}
	for i := 0; ; i++ { // the same with inodes
		in, err := root.Create(ctx, fmt.Sprint(i), CreateOptions{Mode: disk.ModeReg | 0o644})
		if errors.Is(err, ErrNoSpace) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		in.Put()
	}
	for range 3 {
		if err := root.Unlink(ctx, "0"); err != nil {
			t.Fatal(err)
		}
		mustCreate(t, root, "0", disk.ModeReg).Put()
	}
	root.Put()
	if err := fs.Close(); err != nil {
		t.Fatal(err)
	}
	m := dev.ImageAt(len(dev.Log()))
	if code, out := fsck(t, m, "-f", "-n"); code != 0 {
		t.Errorf("e2fsck: %d\n%s", code, out)
	}
}

// syncs counts the syncs in a log.
func syncs(log []blockio.Op) (n int) {
	for _, op := range log {
		if op == blockio.Sync {
			n++
		}
	}
	return n
}

func opsOf(dev *blockiotest.Recorder, from int) (ops []blockio.Op) {
	for _, e := range dev.Log()[from:] {
		ops = append(ops, e.Op)
	}
	return ops
}

// TestFsyncsAreShared: many fsyncs at once need few syncs, and one with nothing to do
// does not touch the device.
func TestFsyncsAreShared(t *testing.T) {
	fs, dev, _ := recorded(t, small, Options{})
	root, _ := fs.Root()
	const files = 64
	var all [files]*Inode
	for i := range all {
		all[i] = mustCreate(t, root, fmt.Sprint(i), disk.ModeReg)
		mustWrite(t, all[i], 100)
	}
	start := len(dev.Log())
	var wg sync.WaitGroup
	for _, in := range all {
		wg.Go(func() {
			if err := in.Fsync(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := syncs(opsOf(dev, start)); n != 1 {
		t.Errorf("%d syncs for %d fsyncs of one epoch", n, files)
	}
	start = len(dev.Log())
	if err := all[0].Fsync(ctx); err != nil {
		t.Fatal(err)
	}
	if ops := opsOf(dev, start); len(ops) != 0 {
		t.Errorf("an fsync with nothing to do did %v", ops)
	}
	for _, in := range all {
		in.Put()
	}
	root.Put()
	if err := fs.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestDirtyMemoryIsBounded: a storm of changes with nobody asking for a checkpoint keeps
// no more metadata in memory than one epoch on its way and one running may have, and what
// waits in the journal.
func TestDirtyMemoryIsBounded(t *testing.T) {
	const bound = 4 * freeCredits
	fs, dev, _ := recorded(t, ext2test.Options{Size: 64 << 20, BlockSize: 1024, Inodes: 30000}, Options{testing: testhook.Hooks{MaxDirty: bound}})
	root, _ := fs.Root()
	most := int64(0)
	for i := range 4000 {
		mustCreate(t, root, fmt.Sprintf("%d-%060d", i, i), disk.ModeDir).Put()
		if i%50 == 0 {
			most = max(most, fs.cache.Stats().Pinned)
		}
	}
	if most > 9*bound/4+16 { // a quarter as many may wait in the journal for their places
		t.Errorf("%d blocks were pinned, the bound is two and a quarter times %d", most, bound)
	}
	root.Put()
	if err := fs.Close(); err != nil {
		t.Fatal(err)
	}
	if code, out := fsck(t, dev.ImageAt(len(dev.Log())), "-f", "-n"); code != 0 {
		t.Errorf("e2fsck: %d\n%s", code, out)
	}
}

// TestSettle: what is durable when an operation returns, by option and by flag.
func TestSettle(t *testing.T) {
	for _, c := range []struct {
		name              string
		o                 Options
		dirFlags, inFlags uint32
		names, content    bool // durable at once
	}{
		{name: "none"},
		{name: "sync", o: Options{Sync: true}, names: true, content: true},
		{name: "dirsync", o: Options{DirSync: true}, names: true},
		{name: "+D", dirFlags: disk.InodeDirSync, names: true},
		{name: "dir+S", dirFlags: disk.InodeSync, names: true},
		{name: "file+S", inFlags: disk.InodeSync, content: true},
		{name: "nobarrier", o: Options{Sync: true, NoBarrier: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs, dev, _ := recorded(t, small, c.o)
			root, _ := fs.Root()
			dir, f := mustCreate(t, root, "d", disk.ModeDir), mustCreate(t, root, "f", disk.ModeReg)
			if err := errors.Join(dir.SetFlags(ctx, c.dirFlags, Root), f.SetFlags(ctx, c.inFlags, Root), fs.Sync(ctx)); err != nil {
				t.Fatal(err)
			}
			size, mode := int64(10), uint32(0o600)
			for _, op := range []struct {
				name string
				want bool
				do   func() error
			}{
				{"create", c.names, func() error {
					in, err := dir.Create(ctx, "a", CreateOptions{Mode: disk.ModeFIFO | 0o644})
					in.Put()
					return err
				}},
				{"link", c.names, func() error { return dir.Link(ctx, "b", f, Root) }},
				{"rename in", c.names, func() error { return root.Rename(ctx, "f", dir, "c", 0, Root) }},
				{"unlink", c.names, func() error { return dir.Unlink(ctx, "a") }},
				{"write", c.content, func() error { _, err := f.Write(ctx, []byte("x"), 100, WriteOptions{}); return err }},
				{"truncate", c.content, func() error { return f.SetAttr(ctx, SetAttr{Size: &size}) }},
				{"chmod", c.content, func() error { return f.SetAttr(ctx, SetAttr{Mode: &mode}) }},
				{"xattr", c.content, func() error { return f.Setxattr(ctx, "user.a", []byte("v"), 0, Root) }},
				{"fallocate", c.content, func() error { return f.Fallocate(ctx, 0, 0, 5000, WriteOptions{}) }},
			} {
				start := len(dev.Log())
				if err := op.do(); err != nil {
					t.Errorf("%s: %v", op.name, err)
				}
				if n := syncs(opsOf(dev, start)); n > 0 != op.want {
					t.Errorf("%s: %d syncs, want some: %v", op.name, n, op.want)
				}
			}
			dir.Put()
			f.Put()
			root.Put()
			if err := fs.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestFailedCheckpoint: when the device refuses the checkpoint, those who wait get EIO,
// later changes EROFS, what was changed can still be read, and the end says what it means.
func TestFailedCheckpoint(t *testing.T) {
	for _, op := range []blockio.Op{blockio.Write, blockio.Sync} {
		t.Run(fmt.Sprint(op), func(t *testing.T) {
			fault := blockiotest.NewFault(loadImage(t, small))
			fs, err := New(ctx, fault, Options{Logger: quiet})
			if err != nil {
				t.Fatal(err)
			}
			root, _ := fs.Root()
			in := mustCreate(t, root, "f", disk.ModeReg)
			fault.Fail(blockiotest.Rule{Op: op})
			if err := in.Fsync(ctx); Errno(err) != 5 {
				t.Errorf("fsync gives %v", err)
			}
			fault.Heal()
			if _, err := root.Create(ctx, "g", CreateOptions{Mode: disk.ModeReg}); !errors.Is(err, ErrReadOnly) {
				t.Errorf("a change afterwards gives %v", err)
			}
			if ino, err := root.lookupIno("f"); err != nil || ino != in.Ino() {
				t.Errorf("what was changed is gone: %d, %v", ino, err)
			}
			in.Put()
			root.Put()
			if err := fs.Close(); err == nil {
				t.Error("the end says nothing of what was lost")
			}
		})
	}
}
