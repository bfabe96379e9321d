package blockio_test

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
)

// testPipe is a pipe of at least size bytes, which neither end waits for.
type testPipe struct {
	t    testing.TB
	r, w int
}

func newTestPipe(t testing.TB, size int) *testPipe {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	p := &testPipe{t, fds[0], fds[1]}
	t.Cleanup(func() { _ = errors.Join(unix.Close(p.r), unix.Close(p.w)) })
	if _, err := unix.FcntlInt(uintptr(p.w), unix.F_SETPIPE_SZ, size); err != nil {
		t.Fatal(err)
	}
	return p
}

// take is what the pipe holds.
func (p *testPipe) take() []byte {
	p.t.Helper()
	var all []byte
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Read(p.r, buf)
		if err == unix.EAGAIN {
			return all
		}
		if err != nil {
			p.t.Fatal(err)
		}
		all = append(all, buf[:n]...)
	}
}

// Image files, block devices, windows and traces of them put the same bytes into a pipe
// that a read gives, and count them.
func TestSplice(t *testing.T) {
	blockiotest.NeedSplicing(t)
	path := imageFile(t, 4<<20)
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var trace bytes.Buffer
	window := func(dev blockio.Device) blockio.Device {
		w, err := blockio.Window(dev, 8192+512, 2<<20)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	for name, c := range map[string]struct {
		open func(t *testing.T) blockio.Device
		base int64
	}{
		"file": {func(t *testing.T) blockio.Device { return open(t, path, blockio.OpenOptions{ReadOnly: true}) }, 0},
		"block device": {func(t *testing.T) blockio.Device {
			return open(t, attach(t, path, "--read-only"), blockio.OpenOptions{ReadOnly: true})
		}, 0},
		"window": {func(t *testing.T) blockio.Device {
			return window(open(t, path, blockio.OpenOptions{ReadOnly: true}))
		}, 8192 + 512},
		"trace of a window": {func(t *testing.T) blockio.Device {
			return blockio.NewTrace(window(open(t, path, blockio.OpenOptions{ReadOnly: true})), &trace)
		}, 8192 + 512},
	} {
		t.Run(name, func(t *testing.T) {
			dev := c.open(t)
			s := blockio.SplicerOf(dev)
			if s == nil {
				t.Fatal("no Splicer")
			}
			if _, err := dev.ReadvAt([][]byte{make([]byte, dev.Size())}, 0); err != nil { // into the cache
				t.Fatal(err)
			}
			before, _ := blockio.StatsOf(dev)
			p := newTestPipe(t, 1<<20)
			for _, r := range [][2]int64{{0, 4096}, {100, 512 << 10}, {1 << 20, 900 << 10}, {dev.Size() - 5, 5}} {
				off, n := r[0], r[1]
				if !s.Cached(off, n) {
					t.Fatalf("%d bytes at %d, just read, are not cached", n, off)
				}
				if got := s.Splice(p.w, off, n, blockio.Data); got != n {
					t.Fatalf("%d bytes at %d: %d in the pipe", n, off, got)
				}
				if got := p.take(); !bytes.Equal(got, want[c.base+off:][:n]) {
					t.Fatalf("%d bytes at %d: not the image's", n, off)
				}
			}
			after, _ := blockio.StatsOf(dev)
			after = after.Sub(before)
			if k := after.For(blockio.Read, blockio.Data); k.Requests != 4 || k.Bytes != 4096+512<<10+900<<10+5 || k.Cold+k.Errors != 0 {
				t.Errorf("counted: %+v", k)
			}
			for _, r := range [][2]int64{{-1, 10}, {0, 0}, {dev.Size() - 4, 5}, {dev.Size() + 1, 1}} {
				if s.Cached(r[0], r[1]) || s.Splice(p.w, r[0], r[1], blockio.Data) != 0 {
					t.Errorf("%d bytes at %d of %d are passed on", r[1], r[0], dev.Size())
				}
			}
		})
	}
	line := " read 1057280 921600 t="
	if n := strings.Count(trace.String(), line); n != 1 {
		t.Errorf("%d times %q in the trace:\n%s", n, line, trace.String())
	}
}

// A pipe that has no room ends it early; nothing waits.
func TestSpliceIntoFullPipe(t *testing.T) {
	dev := open(t, imageFile(t, 1<<20), blockio.OpenOptions{ReadOnly: true})
	p := newTestPipe(t, 64<<10)
	s := blockio.SplicerOf(dev)
	if n := s.Splice(p.w, 0, 1<<20, blockio.Data); n != 64<<10 {
		t.Errorf("%d bytes in a pipe of 64 KiB", n)
	}
	if n := s.Splice(p.w, 0, 4096, blockio.Data); n != 0 {
		t.Errorf("%d bytes in a full pipe", n)
	}
	if n := len(p.take()); n != 64<<10 {
		t.Errorf("%d bytes in the pipe", n)
	}
}

// What was written through the device is passed on at once, and where the image ends
// early, so does what is passed on.
func TestSpliceFollowsTheImage(t *testing.T) {
	blockiotest.NeedSplicing(t)
	path := imageFile(t, 1<<20)
	dev := open(t, path, blockio.OpenOptions{})
	s := blockio.SplicerOf(dev)
	p := newTestPipe(t, 1<<20)
	fresh := bytes.Repeat([]byte("fresh"), 20000)
	if _, err := dev.WritevAt([][]byte{fresh}, 12345); err != nil {
		t.Fatal(err)
	}
	if !s.Cached(12345, int64(len(fresh))) || s.Splice(p.w, 12345, int64(len(fresh)), blockio.Data) != int64(len(fresh)) {
		t.Error("what was just written is not passed on")
	} else if !bytes.Equal(p.take(), fresh) {
		t.Error("not what was just written")
	}
	if err := os.Truncate(path, 300<<10); err != nil {
		t.Fatal(err)
	}
	if s.Cached(0, 1<<20) {
		t.Error("the image is shorter, and all of it cached")
	}
	if n := s.Splice(p.w, 256<<10, 256<<10, blockio.Data); n != 44<<10 {
		t.Errorf("%d bytes from 44 KiB before the end of the image", n)
	}
}

// What the host has dropped is not cached.
func TestCachedTellsCold(t *testing.T) {
	blockiotest.NeedSplicing(t)
	path := imageFile(t, 4<<20)
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil || st.Type == unix.TMPFS_MAGIC {
		t.Skipf("a tmpfs holds everything in memory (%v)", err)
	}
	dev := open(t, path, blockio.OpenOptions{})
	if err := dev.Sync(); err != nil {
		t.Fatal(err)
	}
	s := blockio.SplicerOf(dev)
	all := make([]byte, 4<<20)
	if _, err := dev.ReadvAt([][]byte{all}, 0); err != nil || !s.Cached(0, 4<<20) {
		t.Fatalf("all was read and is not cached (%v)", err)
	}
	dev.Advise(0, 4<<20, blockio.DontNeed)
	for range 2 { // looking brings nothing in
		if s.Cached(0, 4<<20) || s.Cached(4<<20-100, 100) {
			t.Error("what was dropped is taken for cached")
		}
	}
	if _, err := dev.ReadvAt([][]byte{all[:1<<20]}, 0); err != nil {
		t.Fatal(err)
	}
	if !s.Cached(0, 1<<20) || s.Cached(0, 4<<20) {
		t.Error("the first MiB is cached again, the rest is not; it is told otherwise")
	}
}

// Devices that see every bio, or that have no cache below, are no Splicers.
func TestNoSplicers(t *testing.T) {
	path := imageFile(t, 64<<10)
	mem := blockiotest.NewMem(64 << 10)
	for name, dev := range map[string]blockio.Device{
		"memory":             mem,
		"a recorder":         blockiotest.NewRecorder(mem),
		"faults over a file": blockiotest.NewFault(open(t, path, blockio.OpenOptions{ReadOnly: true})),
		"a trace of memory":  blockio.NewTrace(mem, new(bytes.Buffer)),
	} {
		if blockio.SplicerOf(dev) != nil {
			t.Errorf("%s is a Splicer", name)
		}
	}
	direct := openDirect(t, imageFile(t, 64<<10))
	defer direct.Close()
	if blockio.SplicerOf(direct).Cached(0, 4096) {
		t.Error("with direct I/O something is cached")
	}
}
