//go:build linux

package ext2

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/cache"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
	"github.com/ext2fuse/ext2fuse/fs/ext2/internal/testhook"
)

// contentWatch notes where content is written, and in which epoch, and looks whether the
// snapshots tell.
type contentWatch struct {
	t  *testing.T
	fs atomic.Pointer[FS]

	mu          sync.Mutex
	written     map[uint64]map[uint64]bool // blocks by epoch
	told, large int                        // snapshots that told where, and that said it was too much
}

// watchedDevice and watchedWriter are the two places where it looks.
type (
	watchedDevice struct {
		blockio.Device
		w *contentWatch
	}
	watchedWriter struct {
		cache.Writer
		w *contentWatch
	}
)

func (d watchedDevice) Submit(bios ...*blockio.Bio) {
	d.w.writes(bios)
	d.Device.Submit(bios...)
}

func (x watchedWriter) Write(s *cache.Snapshot) error {
	x.w.snapshot(s)
	return x.Writer.Write(s)
}

func (w *contentWatch) writes(bios []*blockio.Bio) {
	for _, b := range bios {
		fs := w.fs.Load()
		if b.Op != blockio.Write || b.For != blockio.Data || fs == nil {
			continue
		}
		w.mu.Lock()
		epoch := fs.ckpt.Epoch() // an operation runs: it stays
		if w.written[epoch] == nil {
			w.written[epoch] = map[uint64]bool{}
		}
		for at := b.Off >> fs.blockBits; at<<fs.blockBits < b.Off+b.Bytes(); at++ {
			w.written[epoch][uint64(at)] = true
		}
		w.mu.Unlock()
	}
}

func (w *contentWatch) snapshot(s *cache.Snapshot) {
	w.mu.Lock()
	blocks := w.written[s.Epoch]
	delete(w.written, s.Epoch)
	w.mu.Unlock()
	told := map[uint64]bool{}
	for _, e := range s.Content {
		for i := range e.Count {
			told[e.Block+i] = true
		}
	}
	for b := range blocks {
		if !told[b] && !s.MoreContent {
			w.t.Errorf("epoch %d wrote content to block %d and does not tell: %v", s.Epoch, b, s.Content)
		}
	}
	switch {
	case s.MoreContent:
		w.large++
		if len(s.Content) > 0 {
			w.t.Errorf("epoch %d: too much content to tell, and %v", s.Epoch, s.Content)
		}
	case len(blocks) > 0:
		w.told++
	}
}

// TestContentIsTold: whatever writes content, the snapshot of its epoch says where, or that
// it was too much; else the journal might undo it with an older copy.
func TestContentIsTold(t *testing.T) {
	for seed := uint64(1); seed <= 4; seed++ {
		image := loadImage(t, ext2test.Options{Size: 24 << 20, BlockSize: 1024 << (seed % 3), Inodes: 512})
		w := &contentWatch{t: t, written: map[uint64]map[uint64]bool{}}
		fs, err := New(ctx, watchedDevice{image, w}, Options{Logger: quiet, testing: testhook.Hooks{
			After: func(time.Duration, func()) func() { return func() {} },
			Wrap:  func(below cache.Writer) cache.Writer { return watchedWriter{below, w} },
		}})
		if err != nil {
			t.Fatal(err)
		}
		w.fs.Store(fs)
		m := newMixer(t, fs, seed)
		large, err := m.root.Create(ctx, "large", CreateOptions{Mode: disk.ModeReg | 0o600})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 600 {
			m.step()
			if i%60 == 0 {
				if _, err := large.Write(ctx, content(large, 400_000), int64(i)<<10, WriteOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			if i%2 == 0 {
				if err := fs.Sync(ctx); err != nil {
					t.Fatal(err)
				}
			}
		}
		large.Put()
		m.close()
		if err := fs.Close(); err != nil {
			t.Fatal(err)
		}
		if w.told < 40 || w.large < 5 {
			t.Errorf("seed %d: %d snapshots told where content was written, %d had too much", seed, w.told, w.large)
		}
	}
}
