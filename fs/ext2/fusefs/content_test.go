//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/fs/ext2"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
	"github.com/ext2fuse/ext2fuse/fs/ext2/fusefs"
)

// spliceDisk is an image that can be made to pass on less than it has, or to panic.
type spliceDisk struct {
	blockio.Device
	splicer blockio.Splicer
	spliced atomic.Int64 // bytes
	less    atomic.Int64 // bytes by which each piece ends early
	panics  atomic.Bool
}

func openSpliceDisk(t *testing.T, img string, o blockio.OpenOptions) *spliceDisk {
	t.Helper()
	dev, err := blockio.Open(context.Background(), img, o)
	if err != nil {
		t.Fatal(err)
	}
	return &spliceDisk{Device: dev, splicer: blockio.SplicerOf(dev)}
}

func (d *spliceDisk) Cached(off, n int64) bool { return d.splicer.Cached(off, n) }

func (d *spliceDisk) Splice(pipe int, off, n int64, what blockio.Purpose) int64 {
	if d.panics.Load() {
		panic("spliceDisk")
	}
	n = d.splicer.Splice(pipe, off, max(0, n-d.less.Load()), what)
	d.spliced.Add(n)
	return n
}

// bigFiles makes an image with files of 3 MiB and some, one of them with holes.
func bigFiles(t *testing.T, blockSize int) (img string, want map[string][]byte) {
	t.Helper()
	root := t.TempDir()
	want = map[string][]byte{}
	for i, name := range []string{"a", "b", "c", "holes"} {
		want[name] = ext2test.Content(uint64(i), 3<<20+12345)
	}
	clear(want["holes"][100_000:1_500_000])
	clear(want["holes"][2_000_000:2_300_000])
	for name, data := range want {
		if err := os.WriteFile(filepath.Join(root, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return ext2test.Make(t, ext2test.Options{Root: root, BlockSize: blockSize, Size: 64 << 20}), want
}

// check reads files of a mount and compares.
func (m *mount) check(t *testing.T, want map[string][]byte) {
	t.Helper()
	for name, data := range want {
		if got, err := os.ReadFile(m.path(name)); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes of %d, or others (%v)", name, len(got), len(data), err)
		}
	}
}

// Files are read right by way of the pipe, and by way of the buffer where the pipe gets
// only a part of the reply, or nothing.
func TestContent(t *testing.T) {
	blockiotest.NeedSplicing(t)
	for _, blockSize := range []int{1024, 4096} {
		img, want := bigFiles(t, blockSize)
		for _, less := range []int64{0, 1, 5000, 1 << 40} {
			disk := openSpliceDisk(t, img, blockio.OpenOptions{ReadOnly: true})
			disk.less.Store(less)
			m := mountWith(t, img, func(o ext2.Options) (*ext2.FS, error) { return ext2.New(context.Background(), disk, o) },
				// Small blocks begin within pages of the image: with them 1 MiB is in more
				// pages than a small pipe has room for.
				func(_ *ext2.Options, mo *fusefs.Options) { mo.MaxRead = 512 << 10 })
			m.check(t, want)
			spliced := disk.spliced.Load()
			if less == 0 && spliced < 3<<20 || less == 1<<40 && spliced != 0 {
				t.Errorf("block size %d, pieces end %d bytes early: %d bytes went by way of the pipe", blockSize, less, spliced)
			}
			if m.log.String() != "" {
				t.Errorf("the log says %q", m.log)
			}
		}
	}
}

// What is written is read back at once, though it comes from the host's cache.
func TestContentWritten(t *testing.T) {
	img, want := bigFiles(t, 4096)
	m := newMount(t, img, func(fo *ext2.Options, _ *fusefs.Options) { fo.ReadOnly = false })
	for round := range 5 {
		for name, data := range want {
			fresh := ext2test.Content(uint64(100+round), 700_000)
			copy(data[400_000:], fresh)
			f, err := os.OpenFile(m.path(name), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt(fresh, 400_000); err != nil {
				t.Fatal(err)
			}
			_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) // of the mount's cache
			f.Close()
		}
		m.check(t, want)
	}
}

// An image that is cut off under the mount gives EIO for what it lost, and goes on
// serving what it has.
func TestImageCutOff(t *testing.T) {
	img, want := bigFiles(t, 4096)
	m := newMount(t, img)
	if got, err := os.ReadFile(m.path("a")); err != nil || !bytes.Equal(got, want["a"]) {
		t.Fatalf("a: %v", err)
	}
	f, err := os.Open(m.path("b"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, 100_000)
	if _, err := f.ReadAt(buf, 0); err != nil || !bytes.Equal(buf, want["b"][:len(buf)]) {
		t.Fatalf("b: %v", err)
	}
	if err := os.Truncate(img, 1<<20); err != nil {
		t.Fatal(err)
	}
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	if _, err := f.ReadAt(buf, 3<<20-200_000); !errors.Is(err, unix.EIO) {
		t.Errorf("b: %v, want EIO", err)
	}
	if _, err := os.ReadFile(m.path("c")); !errors.Is(err, unix.EIO) {
		t.Errorf("c: %v, want EIO", err)
	}
	if _, err := os.ReadDir(m.dir); err != nil {
		t.Errorf("listing: %v", err)
	}
}

// A panic in answering a READ costs that request and leaves a line in the log. The kernel
// asks again, page by page.
func TestReadPanics(t *testing.T) {
	blockiotest.NeedSplicing(t)
	img, want := bigFiles(t, 4096)
	disk := openSpliceDisk(t, img, blockio.OpenOptions{ReadOnly: true})
	m := mountWith(t, img, func(o ext2.Options) (*ext2.FS, error) { return ext2.New(context.Background(), disk, o) })
	disk.panics.Store(true)
	m.check(t, want)
	if !strings.Contains(m.log.String(), "bug in ext2fuse") {
		t.Errorf("the log says %q", m.log)
	}
}
