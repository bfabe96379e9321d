//go:build linux

package ext2

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/cache"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// stalePattern fills all free blocks of test images: no file may ever show it.
const stalePattern = 0xEE

// filledImage is an empty ext2 file system in memory whose free blocks are full of
// stalePattern.
func filledImage(t testing.TB, o ext2test.Options) *blockiotest.Mem {
	t.Helper()
	img := ext2test.Make(t, o)
	data, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	fs, err := New(blockiotest.MemOf(data), Options{ReadOnly: true, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer fs.Close()
	for g := range fs.groups {
		at := int(fs.groups[g].blockBitmap) << fs.blockBits
		bitmap := disk.Bitmap(data[at : at+fs.blockSize])
		for b := range fs.sb.GroupBlocks(uint32(g)) {
			if !bitmap.Test(int(b)) {
				block := int(fs.sb.GroupFirstBlock(uint32(g))+uint64(b)) << fs.blockBits
				copy(data[block:], bytes.Repeat([]byte{stalePattern}, fs.blockSize))
			}
		}
	}
	return blockiotest.MemOf(data)
}

// atomicWriter stands for a journal: a snapshot is in its place on the device as a
// whole. It notes where in the device's log each one lies.
type atomicWriter struct {
	dev   *blockiotest.Recorder
	bs    int64
	bound int

	mu    sync.Mutex
	spans []span
}

// span is a snapshot in the log: events [from, to).
type span struct {
	from, to int
	durable  bool
	blocks   int
	credits  int
}

func (w *atomicWriter) MaxBlocks() int { return w.bound }
func (w *atomicWriter) Close() error   { return nil }

func (w *atomicWriter) Write(s *cache.Snapshot) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	sp := span{from: len(w.dev.Log()), durable: s.Durable, blocks: len(s.Blocks), credits: s.Credits}
	for _, b := range s.Blocks {
		bio := blockio.Bio{Op: blockio.Write, For: blockio.Journal, Off: int64(b.Block) * w.bs, Vecs: [][]byte{b.Data}}
		if w.dev.Submit(&bio); bio.Err != nil {
			return bio.Err
		}
	}
	sp.to = len(w.dev.Log())
	w.spans = append(w.spans, sp)
	s.Settle()
	return nil
}

// state is a moment at which the host may die: the first n events of the log happened,
// but of the snapshots only the first k.
type state struct{ n, k int }

// states are all moments worth judging: after each snapshot, and after it what would be
// if it and those before it, back to the last durable one, had not come through yet.
func (w *atomicWriter) states(events int) (all []state) {
	durable := 0
	for i, s := range w.spans {
		end := events
		if i+1 < len(w.spans) {
			end = w.spans[i+1].from
		}
		all = append(all, state{s.to, i + 1}, state{end, i + 1})
		if durable <= i {
			all = append(all, state{s.from, durable})
		}
		if s.durable {
			durable = i + 1
		}
	}
	return all
}

// image is the device in a state.
func (w *atomicWriter) image(log []blockiotest.Event, s state) *blockiotest.Mem {
	m := w.dev.Base().Clone()
	for i, k := 0, 0; i < s.n; i++ {
		for k < len(w.spans) && i >= w.spans[k].to {
			k++
		}
		if log[i].For == blockio.Journal && k >= s.k {
			continue
		}
		blockiotest.Apply(m, log[i])
	}
	return m
}

// cleanupOnly are the lines of an e2fsck that found nothing but a file system in use
// with files without names.
var cleanupOnly = regexp.MustCompile(`(?m)^(e2fsck .*|.*was not cleanly unmounted.*|.*: Clearing orphaned inode .*|Clearing orphaned inode .*` +
	`|Truncating orphaned inode .*|Pass \d.*|.*FILE SYSTEM WAS MODIFIED.*|.*: \d+/\d+ files .*|)$`)

// e2fsck 1.47.0 forgets the attribute block of an orphan that has no other blocks (a
// device, a FIFO, a socket, a short symbolic link); later versions release it. It finds the
// block afterwards as a difference in the bitmap, or, when others share it, in its count of
// users, and repairs that by itself, too.
var (
	blocklessOrphan = regexp.MustCompile(`Clearing orphaned inode .*mode=0(1|2|6|12|14)[0-7]{4},`)
	leakedBlock     = regexp.MustCompile(`^(Block bitmap differences: +( *-\d+)+|Fix\? yes|Free blocks count wrong.*` +
		`|Extended attribute block \d+ has reference count \d+, should be \d+\. +Fix\? yes)$`)
)

// judge lets e2fsck repair an image and tells what it found besides orphans, and
// whether any file shows bytes that were never written to it.
func judge(t testing.TB, dir string, m *blockiotest.Mem) (complaints string) {
	t.Helper()
	img := filepath.Join(dir, "state.img")
	if err := os.WriteFile(img, m.Bytes(0, m.Size()), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("e2fsck", "-fy", img).CombinedOutput()
	var more []string
	leaks := blocklessOrphan.Match(out)
	for _, line := range strings.Split(string(out), "\n") {
		if !cleanupOnly.MatchString(line) && !(leaks && leakedBlock.MatchString(line)) {
			more = append(more, line)
		}
	}
	if exit, ok := err.(*exec.ExitError); err != nil && (!ok || exit.ExitCode() > 1) {
		more = append(more, err.Error())
	}
	data, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	fs, err := New(blockiotest.MemOf(data), Options{ReadOnly: true, Logger: quiet})
	if err != nil {
		return strings.Join(append(more, err.Error()), "\n")
	}
	defer fs.Close()
	if err := foreignBytes(fs); err != nil {
		more = append(more, err.Error())
	}
	return strings.Join(more, "\n")
}

// foreignBytes reads all regular files: each may have one value besides 0, and not
// stalePattern.
func foreignBytes(fs *FS) error {
	for ino := fs.sb.FirstIno(); ino <= fs.sb.InodesCount; ino++ {
		in, err := fs.Inode(ino)
		if err != nil {
			continue // free
		}
		if in.IsReg() {
			err = oneValue(in)
		}
		in.Put(1)
		if err != nil {
			return err
		}
	}
	return nil
}

func oneValue(in *Inode) error {
	buf := make([]byte, 256<<10)
	value := byte(0)
	for off := int64(0); off < in.Attr().Size; {
		if at, err := in.SeekData(off); err != nil {
			return nil
		} else if at > off {
			off = at
		}
		n, _ := in.ReadAt(buf, off)
		if n == 0 {
			return nil
		}
		for i, b := range buf[:n] {
			switch {
			case b == 0 || b == value:
			case b == stalePattern || value != 0:
				return fmt.Errorf("inode %d shows byte %#x at %d, its own is %#x", in.ino, b, off+int64(i), value)
			default:
				value = b
			}
		}
		off += int64(n)
	}
	return nil
}

// handTimers are timers that fire when the test says.
type handTimers struct {
	mu   sync.Mutex
	wait []func()
}

func (h *handTimers) after(_ time.Duration, f func()) {
	h.mu.Lock()
	h.wait = append(h.wait, f)
	h.mu.Unlock()
}

// fire lets one that waits come, if there is one.
func (h *handTimers) fire() {
	h.mu.Lock()
	var f func()
	if len(h.wait) > 0 {
		f, h.wait = h.wait[0], h.wait[1:]
	}
	h.mu.Unlock()
	if f != nil {
		f()
	}
}

// TestOperationsAreAtomic carries out random operations of all kinds on a device on
// which snapshots arrive as a whole, as a journal makes them arrive. Whenever the host
// dies, the image has whole operations only: e2fsck finds nothing but files without
// names, and no file shows a byte that was not written to it.
func TestOperationsAreAtomic(t *testing.T) {
	for _, c := range []struct {
		name    string
		o       ext2test.Options
		bound   int
		workers int
		steps   int
	}{
		{"1k", ext2test.Options{Size: 4 << 20, BlockSize: 1024, Inodes: 256, InodeSize: 256}, 0, 1, 500},
		{"1k-small-epochs", ext2test.Options{Size: 4 << 20, BlockSize: 1024, Inodes: 256, InodeSize: 128}, 3 * freeCredits, 1, 500},
		{"4k-parallel", ext2test.Options{Size: 8 << 20, BlockSize: 4096, Inodes: 256, InodeSize: 256}, 0, 4, 500},
		{"1k-full", ext2test.Options{Size: 1 << 20, BlockSize: 1024, Inodes: 64, InodeSize: 256}, 0, 2, 400},
		{"1k-linear", ext2test.Options{Size: 4 << 20, BlockSize: 1024, Inodes: 256, InodeSize: 256, Features: []string{"^dir_index"}}, 0, 2, 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dev := blockiotest.NewRecorder(filledImage(t, c.o))
			w := &atomicWriter{dev: dev, bs: int64(c.o.BlockSize), bound: c.bound}
			var timers handTimers
			fs, err := New(dev, Options{Logger: quiet, testing: testHooks{
				writer: func(*FS) cache.Writer { return w }, after: timers.after}})
			if err != nil {
				t.Fatal(err)
			}
			seed := seedOf(t, uint64(len(c.name)))
			var wg sync.WaitGroup
			for worker := range c.workers {
				wg.Go(func() { mixWithSyncs(newMixer(t, fs, seed+uint64(worker)), &timers, c.steps/c.workers) })
			}
			wg.Wait()
			if err := fs.Close(); err != nil {
				t.Fatal(err)
			}
			w.judgeAll(t, 24)
		})
	}
}

// seedOf is the seed of a test's random operations: the one given, unless the
// environment has another to try (EXT2FUSE_SEED).
func seedOf(t testing.TB, seed uint64) uint64 {
	if v, err := strconv.ParseUint(os.Getenv("EXT2FUSE_SEED"), 10, 64); err == nil {
		seed = v
	}
	t.Logf("seed %d", seed)
	return seed
}

// mixWithSyncs does random operations with commits and timers between them.
func mixWithSyncs(m *mixer, timers *handTimers, steps int) {
	defer m.close()
	for range steps {
		m.step()
		switch m.rnd.IntN(20) {
		case 0:
			if err := m.fs.Sync(); err != nil {
				m.t.Error(err)
			}
		case 1, 2, 3:
			timers.fire()
		}
	}
}

// judgeAll judges up to limit states, evenly spread, and checks that no snapshot was
// larger than promised.
func (w *atomicWriter) judgeAll(t *testing.T, limit int) {
	t.Helper()
	for i, s := range w.spans {
		if s.blocks > s.credits || w.bound > 0 && s.blocks > w.bound {
			t.Errorf("snapshot %d has %d blocks, its operations promised %d, bound %d", i, s.blocks, s.credits, w.bound)
		}
	}
	log := w.dev.Log()
	all := w.states(len(log))
	dir := t.TempDir()
	step := max(len(all)/limit, 1)
	judged := 0
	for i := 0; i < len(all); i += step {
		judged++
		if complaints := judge(t, dir, w.image(log, all[i])); complaints != "" {
			t.Errorf("state %+v (of %d snapshots):\n%s", all[i], len(w.spans), complaints)
			if i > 0 && t.Failed() {
				break
			}
		}
	}
	t.Logf("%d snapshots, %d states, %d judged", len(w.spans), len(all), judged)
}
