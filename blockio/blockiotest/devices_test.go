package blockiotest_test

import (
	"bytes"
	"errors"
	"syscall"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
)

const size = 300<<10 + 700

func TestConformance(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) blockio.Device{
		"Mem":      func(*testing.T) blockio.Device { return blockiotest.NewMem(size) },
		"Fault":    func(*testing.T) blockio.Device { return blockiotest.NewFault(blockiotest.NewMem(size)) },
		"Recorder": func(*testing.T) blockio.Device { return blockiotest.NewRecorder(blockiotest.NewMem(size)) },
		"Window": func(t *testing.T) blockio.Device {
			w, err := blockio.Window(blockiotest.NewMem(size+9999), 1234, size)
			if err != nil {
				t.Fatal(err)
			}
			return w
		},
		"Trace": func(t *testing.T) blockio.Device {
			return blockio.NewTrace(blockiotest.NewMem(size), new(bytes.Buffer))
		},
		"TraceOfWindowOfFault": func(t *testing.T) blockio.Device {
			w, err := blockio.Window(blockiotest.NewFault(blockiotest.NewMem(size+9999)), 1234, size)
			if err != nil {
				t.Fatal(err)
			}
			return blockio.NewTrace(w, new(bytes.Buffer))
		},
	} {
		t.Run(name, func(t *testing.T) { blockiotest.TestDevice(t, open) })
	}
}

func TestMemIsSparse(t *testing.T) {
	m := blockiotest.NewMem(1 << 50)
	if _, err := m.WritevAt([][]byte{{1, 2, 3}}, 1<<49); err != nil {
		t.Fatal(err)
	}
	if m.InUse() > 1<<20 {
		t.Errorf("three bytes take %d", m.InUse())
	}
	if err := m.Discard(1, 1<<50-1); err != nil {
		t.Fatal(err)
	}
	if m.InUse() > 1<<20 || !bytes.Equal(m.Bytes(1<<49, 3), make([]byte, 3)) {
		t.Error("a discard of everything left something")
	}
}

func TestMemReadOnly(t *testing.T) {
	m := blockiotest.MemOf([]byte("content"))
	m.SetReadOnly(true)
	if _, err := m.WritevAt([][]byte{{1}}, 0); !errors.Is(err, blockio.ErrReadOnly) {
		t.Errorf("write: %v", err)
	}
	if err := m.Discard(0, 1); !errors.Is(err, blockio.ErrReadOnly) {
		t.Errorf("discard: %v", err)
	}
	if got := m.Bytes(0, 7); string(got) != "content" {
		t.Errorf("content is now %q", got)
	}
}

func TestFaultRules(t *testing.T) {
	f := blockiotest.NewFault(blockiotest.NewMem(1 << 20))
	f.Fail(blockiotest.Rule{Op: blockio.Write, From: 2, Times: 2, Err: syscall.ENOSPC, Short: 3})
	f.Fail(blockiotest.Rule{Op: blockio.Read, Match: func(b *blockio.Bio) bool { return b.For == blockio.Indirect }})
	f.Fail(blockiotest.Rule{Op: blockio.Sync, From: 1, Times: 1})
	for i, fails := range []bool{false, true, true, false} {
		b := &blockio.Bio{Op: blockio.Write, Off: int64(i) * 10, Vecs: [][]byte{{1, 2}, {3, 4, 5}}}
		f.Submit(b)
		if fails != errors.Is(b.Err, syscall.ENOSPC) || fails && b.N != 3 || !fails && b.N != 5 {
			t.Errorf("write %d: N = %d, Err = %v", i+1, b.N, b.Err)
		}
	}
	got := make([]byte, 5)
	if _, err := f.ReadvAt([][]byte{got}, 10); err != nil || !bytes.Equal(got, []byte{1, 2, 3, 0, 0}) {
		t.Errorf("after a short write: %v, %v", got, err)
	}
	for range 3 {
		b := &blockio.Bio{Op: blockio.Read, For: blockio.Indirect, Vecs: [][]byte{got}}
		f.Submit(b)
		var e *blockio.Error
		if !errors.Is(b.Err, syscall.EIO) || !errors.As(b.Err, &e) || e.Op != blockio.Read || e.Len != 5 {
			t.Errorf("read of an indirect block: %v", b.Err)
		}
	}
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("first sync: %v", err)
	}
	if err := f.Sync(); err != nil {
		t.Errorf("second sync: %v", err)
	}
	if f.Seen(blockio.Write) != 4 || f.Seen(blockio.Sync) != 2 || f.Failed() != 6 {
		t.Errorf("seen %d writes, %d syncs; %d failed", f.Seen(blockio.Write), f.Seen(blockio.Sync), f.Failed())
	}
	f.Fail(blockiotest.Rule{AnyOp: true})
	if _, err := f.ReadvAt([][]byte{got}, 0); err == nil {
		t.Error("a device that is gone still reads")
	}
	f.Heal()
	if _, err := f.ReadvAt([][]byte{got}, 0); err != nil {
		t.Errorf("healed: %v", err)
	}
}

func TestRecorderRebuilds(t *testing.T) {
	mem := blockiotest.MemOf(bytes.Repeat([]byte{'.'}, 16))
	r := blockiotest.NewRecorder(mem)
	f := blockiotest.NewFault(r)
	f.Fail(blockiotest.Rule{Op: blockio.Write, From: 3, Times: 1, Short: 2})
	for _, w := range []struct {
		off  int64
		text string
	}{{0, "abcd"}, {2, "XY"}, {8, "12345678"}} {
		_, _ = f.WritevAt([][]byte{[]byte(w.text)}, w.off)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := f.Discard(0, 2); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"................", "abcd............", "abXY............",
		"abXY....12......", "abXY....12......", "\x00\x00XY....12......",
	}
	seen := 0
	r.Prefixes(func(n int, image *blockiotest.Mem) bool {
		if got := string(image.Bytes(0, 16)); got != want[n] {
			t.Errorf("after %d events: %q, want %q", n, got, want[n])
		}
		if got := string(r.ImageAt(n).Bytes(0, 16)); got != want[n] {
			t.Errorf("ImageAt(%d) = %q, want %q", n, got, want[n])
		}
		seen++
		return true
	})
	if seen != len(want) {
		t.Errorf("%d prefixes, want %d", seen, len(want))
	}
	if log := r.Log(); log[3].Op != blockio.Sync || log[4].Op != blockio.Discard || log[2].Len != 2 {
		t.Errorf("log: %+v", log)
	}
	if got := string(mem.Bytes(0, 16)); got != want[5] {
		t.Errorf("the device itself holds %q", got)
	}
}

func TestEventSplit(t *testing.T) {
	e := blockiotest.Event{Op: blockio.Write, Off: 500, Len: 600, Data: make([]byte, 600)}
	for i := range e.Data {
		e.Data[i] = byte(i)
	}
	parts := e.Split(512)
	if len(parts) != 3 || parts[0].Len != 12 || parts[1].Off != 512 || parts[1].Len != 512 || parts[2].Off != 1024 || parts[2].Len != 76 {
		t.Fatalf("parts: %+v", parts)
	}
	whole, pieces := blockiotest.NewMem(4096), blockiotest.NewMem(4096)
	blockiotest.Apply(whole, e)
	blockiotest.Apply(pieces, parts[2], parts[0], parts[1])
	if !bytes.Equal(whole.Bytes(0, 4096), pieces.Bytes(0, 4096)) {
		t.Error("the pieces do not make the whole")
	}
}

// TestClonesShareUntilChanged: a copy costs no memory, and neither side sees what the
// other does afterwards.
func TestClonesShareUntilChanged(t *testing.T) {
	put := func(m *blockiotest.Mem, off int64, s string) {
		t.Helper()
		if _, err := m.WritevAt([][]byte{[]byte(s)}, off); err != nil {
			t.Fatal(err)
		}
	}
	a := blockiotest.NewMem(1 << 20)
	put(a, 0, "aaaa")
	put(a, 500_000, "aaaa")
	b := a.Clone()
	c := b.Clone()
	put(a, 0, "A")
	put(b, 1, "B")
	if err := c.Discard(500_000, 2); err != nil {
		t.Fatal(err)
	}
	put(c, 900_000, "c")
	for _, w := range []struct {
		m           *blockiotest.Mem
		first, last string
		at900k      byte
	}{{a, "Aaaa", "aaaa", 0}, {b, "aBaa", "aaaa", 0}, {c, "aaaa", "\x00\x00aa", 'c'}} {
		if got := string(w.m.View(0, 4)); got != w.first {
			t.Errorf("%q at 0, want %q", got, w.first)
		}
		if got := string(w.m.Bytes(500_000, 4)); got != w.last {
			t.Errorf("%q at 500000, want %q", got, w.last)
		}
		if got := w.m.View(900_000, 1)[0]; got != w.at900k {
			t.Errorf("%#x at 900000, want %#x", got, w.at900k)
		}
	}
}
