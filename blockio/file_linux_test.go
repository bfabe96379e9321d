package blockio_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
)

// imageFile makes an image of n bytes that hold a pattern.
func imageFile(t testing.TB, n int) string {
	t.Helper()
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i>>9) ^ byte(i)
	}
	path := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(path, p, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t testing.TB, path string, o blockio.OpenOptions) blockio.Device {
	t.Helper()
	dev, err := blockio.Open(context.Background(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dev.Close() })
	return dev
}

// openDirect opens with direct I/O where the file system of the tests has it.
func openDirect(t testing.TB, path string) blockio.Device {
	t.Helper()
	dev, err := blockio.Open(context.Background(), path, blockio.OpenOptions{Direct: true})
	if errors.Is(err, syscall.EINVAL) {
		t.Skipf("no direct I/O below %s", filepath.Dir(path))
	}
	if err != nil {
		t.Fatal(err)
	}
	return dev
}

// attach makes a loop device of an image.
func attach(t testing.TB, image string, args ...string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("loop devices need root")
	}
	out, err := exec.Command("losetup", append(args, "--find", "--show", image)...).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup: %v: %s", err, out)
	}
	loop := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", loop).CombinedOutput(); err != nil {
			t.Errorf("losetup --detach %s: %v: %s", loop, err, out)
		}
	})
	return loop
}

func TestFileConformance(t *testing.T) {
	const size = 320<<10 + 700 // not whole sectors
	t.Run("Buffered", func(t *testing.T) {
		blockiotest.TestDevice(t, func(t *testing.T) blockio.Device {
			return open(t, imageFile(t, size), blockio.OpenOptions{})
		})
	})
	t.Run("Direct", func(t *testing.T) {
		blockiotest.TestDevice(t, func(t *testing.T) blockio.Device { return openDirect(t, imageFile(t, size)) })
	})
	t.Run("Window", func(t *testing.T) {
		blockiotest.TestDevice(t, func(t *testing.T) blockio.Device {
			return open(t, imageFile(t, size+10000), blockio.OpenOptions{Offset: 4097, SizeLimit: size})
		})
	})
	t.Run("DirectWindow", func(t *testing.T) {
		blockiotest.TestDevice(t, func(t *testing.T) blockio.Device {
			w, err := blockio.Window(openDirect(t, imageFile(t, size+10000)), 1537, size)
			if err != nil {
				t.Fatal(err)
			}
			return w
		})
	})
	for _, direct := range []bool{false, true} {
		t.Run(fmt.Sprintf("BlockDeviceDirect=%v", direct), func(t *testing.T) {
			loop := attach(t, imageFile(t, 512<<10))
			blockiotest.TestDevice(t, func(t *testing.T) blockio.Device {
				dev := open(t, loop, blockio.OpenOptions{Direct: direct})
				if dev.Size() != 512<<10 {
					t.Fatalf("size %d", dev.Size())
				}
				return dev
			})
		})
	}
}

// TestDurableWrite: when a durable write is through, the host's cache has nothing left to
// write of it, where the host tells that.
func TestDurableWrite(t *testing.T) {
	path := imageFile(t, 8<<20)
	host, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	left := func(off uint64) uint64 {
		var stat unix.Cachestat_t
		err := unix.Cachestat(uint(host.Fd()), &unix.CachestatRange{Off: off, Len: 1 << 20}, &stat, 0)
		if errors.Is(err, syscall.ENOSYS) || errors.Is(err, syscall.EPERM) { // before Linux 6.5; a filter of a container's
			return 0
		}
		if err != nil {
			t.Fatal(err)
		}
		return stat.Dirty + stat.Writeback
	}
	write := func(t *testing.T, dev blockio.Device, fill byte) {
		data := bytes.Repeat([]byte{fill}, 1<<20)
		plain := &blockio.Bio{Op: blockio.Write, Off: 1 << 20, Vecs: [][]byte{data}}
		durable := &blockio.Bio{Op: blockio.Write, Off: 4 << 20, Vecs: [][]byte{data[:1000], data[1000:]}, Durable: true}
		dev.Submit(plain, durable)
		if plain.Err != nil || durable.Err != nil || durable.N != 1<<20 {
			t.Fatal(plain.Err, durable.Err, durable.N)
		}
		if n := left(4 << 20); n > 0 {
			t.Errorf("%d pages of a durable write are still to be written", n)
		}
		if err := dev.Close(); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got[4<<20:5<<20], data) {
			t.Errorf("the file has something else (%v)", err)
		}
	}
	t.Run("Buffered", func(t *testing.T) { write(t, open(t, path, blockio.OpenOptions{}), 7) })
	t.Run("Direct", func(t *testing.T) { write(t, openDirect(t, path), 8) })
}

func TestDirectKeepsSizeAndNeighbours(t *testing.T) {
	path := imageFile(t, 3*4096+300)
	want, _ := os.ReadFile(path)
	dev := openDirect(t, path)
	for _, w := range []struct{ off, n int }{{1, 1}, {511, 2}, {4000, 5000}, {3 * 4096, 1}, {3*4096 - 5, 200}, {3*4096 + 299, 1}} {
		data := bytes.Repeat([]byte{byte(w.off)}, w.n)
		copy(want[w.off:], data)
		if n, err := dev.WritevAt([][]byte{data}, int64(w.off)); n != w.n || err != nil {
			t.Fatalf("write of %d at %d: %d, %v", w.n, w.off, n, err)
		}
	}
	if err := errors.Join(dev.Sync(), dev.Close()); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(path); !bytes.Equal(got, want) {
		t.Errorf("the file differs; %d bytes, want %d", len(got), len(want))
	}
}

func TestDiscardPunchesHole(t *testing.T) {
	path := imageFile(t, 1<<20)
	dev := open(t, path, blockio.OpenOptions{})
	var before, after unix.Stat_t
	if err := errors.Join(dev.Sync(), unix.Stat(path, &before), dev.Discard(0, 512<<10), unix.Stat(path, &after)); err != nil {
		t.Fatal(err)
	}
	if after.Size != before.Size || after.Blocks > before.Blocks-900 {
		t.Errorf("size %d to %d, sectors %d to %d", before.Size, after.Size, before.Blocks, after.Blocks)
	}
}

// TestHostFull fills a small file system below a sparse image: the host transfers
// part of a write and then fails.
func TestHostFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount a small tmpfs")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("cannot mount a tmpfs here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(dir, "disk.img")
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 8<<20)); err != nil {
		t.Fatal(err)
	}
	dev := open(t, path, blockio.OpenOptions{})
	want := bytes.Repeat([]byte("ext2"), 1<<19)
	n, err := dev.WritevAt([][]byte{want[:3], want[3:]}, 4096)
	var e *blockio.Error
	if !errors.Is(err, syscall.ENOSPC) || !errors.As(err, &e) || e.Off != 4096 || e.Len != 2<<20 || e.Path != path {
		t.Fatalf("write on a full host: %d, %v", n, err)
	}
	if n < 512<<10 || n > 1<<20 {
		t.Errorf("%d bytes got through", n)
	}
	got := make([]byte, n)
	if _, err := dev.ReadvAt([][]byte{got}, 4096); err != nil || !bytes.Equal(got, want[:n]) {
		t.Errorf("what was reported as written is not there (%v)", err)
	}
	// A hole of a tmpfs or of any sparse image reads as zeros.
	if _, err := dev.ReadvAt([][]byte{got}, 4<<20); err != nil || !bytes.Equal(got, make([]byte, n)) {
		t.Errorf("hole: %v", err)
	}
	_ = dev.Close()
}

func TestShrunkImage(t *testing.T) {
	path := imageFile(t, 1<<20)
	dev := open(t, path, blockio.OpenOptions{})
	if err := os.Truncate(path, 4096+100); err != nil {
		t.Fatal(err)
	}
	b := &blockio.Bio{Op: blockio.Read, Off: 4096, Vecs: [][]byte{make([]byte, 4096)}}
	dev.Submit(b)
	if !errors.Is(b.Err, blockio.ErrShrunk) || b.N != 100 {
		t.Errorf("N = %d, Err = %v", b.N, b.Err)
	}
}

func TestReadOnlyFile(t *testing.T) {
	path := imageFile(t, 8192)
	dev := open(t, path, blockio.OpenOptions{ReadOnly: true})
	if !dev.ReadOnly() {
		t.Error("ReadOnly() is false")
	}
	if _, err := dev.WritevAt([][]byte{{1}}, 0); !errors.Is(err, blockio.ErrReadOnly) {
		t.Errorf("write: %v", err)
	}
	if err := dev.Discard(0, 4096); !errors.Is(err, blockio.ErrReadOnly) {
		t.Errorf("discard: %v", err)
	}
	if err := dev.Sync(); err != nil {
		t.Errorf("sync: %v", err)
	}
}

func TestCountersAndCold(t *testing.T) {
	path := imageFile(t, 4<<20)
	dev := open(t, path, blockio.OpenOptions{})
	if err := dev.Sync(); err != nil {
		t.Fatal(err)
	}
	read := func(off int64, what blockio.Purpose) *blockio.Bio {
		return &blockio.Bio{Op: blockio.Read, For: what, Off: off, Vecs: [][]byte{make([]byte, 64<<10)}}
	}
	bios := func() []*blockio.Bio {
		return []*blockio.Bio{read(0, blockio.Data), read(1<<20, blockio.Data), read(2<<20, blockio.Indirect)}
	}
	before, _ := blockio.StatsOf(dev)
	dev.Submit(bios()...)
	second := bios()
	dev.Submit(second...)
	after, _ := blockio.StatsOf(dev)
	after = after.Sub(before)
	if c := after.For(blockio.Read, blockio.Data); c.Requests != 4 || c.Bytes != 4*64<<10 || c.PerRequest() != 64<<10 {
		t.Errorf("data reads: %+v", c)
	}
	if c := after.Total(blockio.Read); c.Requests != 6 || c.Bytes != 6*64<<10 || c.Errors != 0 {
		t.Errorf("all reads: %+v", c)
	}
	for i, b := range second {
		if b.Err != nil || b.Cold {
			t.Errorf("cached read %d: cold %v, %v", i, b.Cold, b.Err)
		}
	}
}

func TestColdReads(t *testing.T) {
	path := imageFile(t, 4<<20)
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil || st.Type == unix.TMPFS_MAGIC {
		t.Skipf("a tmpfs holds everything in memory (%v)", err)
	}
	dev := open(t, path, blockio.OpenOptions{})
	want, err := os.ReadFile(path)
	if err := errors.Join(err, dev.Sync()); err != nil {
		t.Fatal(err)
	}
	// A fast disk may answer before the read notices that it has to wait.
	cold := 0
	for range 50 {
		dev.Advise(0, dev.Size(), blockio.DontNeed)
		var bios []*blockio.Bio
		for off := int64(3 << 20); off >= 0; off -= 1 << 20 {
			bios = append(bios, &blockio.Bio{Off: off + 100, Vecs: [][]byte{make([]byte, 300<<10)}})
		}
		dev.Submit(bios...)
		for _, b := range bios {
			if b.Err != nil || !bytes.Equal(b.Vecs[0], want[b.Off:b.Off+b.N]) {
				t.Fatalf("read at %d: N = %d, %v", b.Off, b.N, b.Err)
			}
			if b.Cold {
				cold++
			}
		}
	}
	if cold == 0 {
		t.Error("of 200 reads of what the host had dropped none counts as cold")
	}
	stats, _ := blockio.StatsOf(dev)
	if c := stats.Total(blockio.Read); c.Cold != int64(cold) {
		t.Errorf("%d reads were cold, %d counted", cold, c.Cold)
	}
}

func TestNoAllocations(t *testing.T) {
	dev := open(t, imageFile(t, 1<<20), blockio.OpenOptions{})
	win, err := blockio.Window(dev, 4096, 512<<10)
	if err != nil {
		t.Fatal(err)
	}
	const n = 64
	memory := make([]byte, n*8192)
	bios := make([]*blockio.Bio, n)
	for i := range bios {
		// Two blocks each, apart in memory, in an order that wants sorting.
		at := (i * 37) % n * 8192
		bios[i] = &blockio.Bio{Op: blockio.Read, Off: int64(at / 2), Vecs: [][]byte{memory[at : at+2048], memory[at+4096:][:2048]}}
	}
	iov := [][]byte{memory[:4096]}
	for name, run := range map[string]func(){
		"ReadvAt":       func() { _, _ = dev.ReadvAt(iov, 4096) },
		"WritevAt":      func() { _, _ = dev.WritevAt(iov, 4096) },
		"Submit":        func() { dev.Submit(bios...) },
		"Window.Submit": func() { win.Submit(bios...) },
		"Plug": func() {
			p := blockio.NewPlug(win)
			p.Add(bios...)
			p.Flush()
			p.Release()
		},
	} {
		if raceEnabled {
			run() // the race detector empties pools at random
			continue
		}
		if a := testing.AllocsPerRun(200, run); a >= 1 {
			t.Errorf("%s: %v allocations per call", name, a)
		}
	}
}

func TestOpenRefusals(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(os.WriteFile(path("empty"), nil, 0o600), unix.Mkfifo(path("fifo"), 0o600),
		os.WriteFile(path("small"), make([]byte, 1000), 0o400)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path string
		o    blockio.OpenOptions
		is   error
		says string
	}{
		{path("missing"), blockio.OpenOptions{}, fs.ErrNotExist, "there is no such image or device"},
		{dir, blockio.OpenOptions{}, blockio.ErrNotImage, "is a directory"},
		{"/dev/null", blockio.OpenOptions{}, blockio.ErrNotImage, "is a character device"},
		{path("fifo"), blockio.OpenOptions{}, blockio.ErrNotImage, "is a FIFO"},
		{path("empty"), blockio.OpenOptions{}, blockio.ErrNotImage, "is empty"},
		{path("small") + "/x", blockio.OpenOptions{}, syscall.ENOTDIR, "not a directory"},
		{path("small"), blockio.OpenOptions{ReadOnly: true, Offset: 1000}, blockio.ErrPastEnd, "offset 1000"},
		{path("small"), blockio.OpenOptions{ReadOnly: true, Offset: -1}, nil, "must not be negative"},
		{path("small"), blockio.OpenOptions{ReadOnly: true, Offset: 1, Part: 1}, nil, "exclude each other"},
		{path("small"), blockio.OpenOptions{ReadOnly: true, Part: -1}, nil, "from 1 on"},
		{path("small"), blockio.OpenOptions{ReadOnly: true, Part: 1}, blockio.ErrNoPartition, "no partition table"},
	} {
		dev, err := blockio.Open(context.Background(), c.path, c.o)
		if err == nil {
			_ = dev.Close()
			t.Errorf("%s %+v was opened", c.path, c.o)
			continue
		}
		if c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), c.path) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s %+v: %v", c.path, c.o, err)
		}
	}
	dev, err := blockio.Open(context.Background(), path("small"), blockio.OpenOptions{ReadOnly: true, Offset: 100, SizeLimit: 5000})
	if err != nil || dev.Size() != 900 {
		t.Fatalf("a size limit past the end must not matter: %v", err)
	}
	_ = dev.Close()
}

func BenchmarkCached(b *testing.B) {
	dev := open(b, imageFile(b, 2<<20), blockio.OpenOptions{})
	for _, n := range []int{4096, 1 << 20} {
		bios := []*blockio.Bio{{Op: blockio.Read, Vecs: [][]byte{make([]byte, n)}}}
		b.Run(fmt.Sprintf("Submit%dK", n>>10), func(b *testing.B) {
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				dev.Submit(bios...)
			}
		})
		f, err := os.Open(dev.(*blockio.File).Path())
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		b.Run(fmt.Sprintf("OS%dK", n>>10), func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				_, _ = f.ReadAt(bios[0].Vecs[0], 0)
			}
		})
	}
}
