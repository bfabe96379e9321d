package mpage_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/mpage"
)

// host is a device with a cache that it can pass on from. Its pipe is a buffer.
type host struct {
	*recorder
	cold func(off, n int64) bool // what is not in the cache; nil: everything is
	room int64                   // bytes that the pipe takes
	pipe bytes.Buffer
	lent []lent
}

type lent struct{ off, n int64 }

func (h *host) Cached(off, n int64) bool { return h.cold == nil || !h.cold(off, n) }

func (h *host) Splice(_ int, off, n int64, what blockio.Purpose) int64 {
	n = min(n, h.room-int64(h.pipe.Len()))
	h.lent = append(h.lent, lent{off, n})
	p := make([]byte, n)
	if _, err := h.Device.ReadvAt([][]byte{p}, off); err != nil || what != blockio.Data {
		panic("lent what cannot be read, or for another purpose than data")
	}
	h.pipe.Write(p)
	return n
}

// newHost is a rig whose device lends.
func newHost(t testing.TB, im *image) (*rig, *host) {
	r := newRig(t, im)
	h := &host{recorder: r.dev, room: 1 << 30}
	r.e = mpage.New(h, int(im.bs), r.bufs)
	return r, h
}

// lends tells whether the content was lent, and checks that it is what the naive reader
// finds.
func (h *host) lends(r *rig, m *mapper, off, n int64) bool {
	r.t.Helper()
	h.pipe.Reset()
	h.lent = nil
	l, ok := r.e.Lend(m, off, n, m.size)
	if !ok {
		return false
	}
	if want := min(n, m.size-off); l.Len() != want || l.Splice(-1) != want {
		r.t.Fatalf("%d bytes at %d of %d: lent %d, in the pipe %d", n, off, m.size, l.Len(), h.pipe.Len())
	}
	if !bytes.Equal(h.pipe.Bytes(), m.naive(off, int(l.Len()))) {
		r.t.Fatalf("%d bytes at %d of %d: not the file's bytes", n, off, m.size)
	}
	return true
}

// A file of one stretch is lent in two pieces, around its indirect block, which is all
// that is read.
func TestLend(t *testing.T) {
	im := newImage(4096, 8<<20)
	f := newFile(im, 1<<20, 1024, sequential(100), nil)
	r, h := newHost(t, im)
	m := r.mapper(f)
	if !h.lends(r, m, 0, 1<<20) {
		t.Fatal("not lent")
	}
	if len(h.lent) != 2 || h.lent[0] != (lent{100 << 12, 12 << 12}) || h.lent[1] != (lent{113 << 12, 244 << 12}) {
		t.Errorf("pieces: %v", h.lent)
	}
	r.want("112*")
	if !h.lends(r, m, 12345, 500000) { // in the middle of blocks
		t.Error("odd offsets: not lent")
	}
	l, _ := r.e.Lend(m, 12345, 500000, m.size)
	// 12345 is in page 3 of the file, the last byte in page 125: 123 pages.
	if l.Pages() != 123 {
		t.Errorf("%d places in the pipe, want 123", l.Pages())
	}
	h.room, h.pipe = 100<<10, bytes.Buffer{} // a pipe that is full too early
	if n := l.Splice(-1); n != 100<<10 {
		t.Errorf("%d bytes in a pipe of 100 KiB", n)
	}
	if s := r.e.Stats(); s.Lent != 3 {
		t.Errorf("%d requests lent, want 3", s.Lent)
	}
}

// What the host's cache has not is not lent, and nothing behind it is mapped: the read
// that follows finds the device as if nobody had asked before.
func TestLendCold(t *testing.T) {
	im := newImage(4096, 8<<20)
	f := newFile(im, 1<<20, 1024, sequential(100), nil)
	r, h := newHost(t, im)
	h.cold = func(off, n int64) bool { return true }
	m := r.mapper(f)
	if h.lends(r, m, 0, 200<<10) {
		t.Error("lent what is cold")
	}
	if m.calls != 1 {
		t.Errorf("the mapper was asked %d times", m.calls)
	}
	r.want("")
	r.read(m, 0, 200<<10)
	r.want("100-150")
}

func TestNotLent(t *testing.T) {
	im := newImage(4096, 8<<20)
	r, h := newHost(t, im)
	plain := r.mapper(newFile(im, 200<<10, 1024, sequential(100), nil))
	hole := r.mapper(newFile(im, 200<<10, 1024, sequential(200), holes(5)))
	pieces := r.mapper(newFile(im, 200<<10, 1024, func() layout {
		next := uint64(300)
		return func(bool, uint64) uint64 { next += 2; return next }
	}(), nil))
	far := r.mapper(newFile(im, 200<<10, 1024, sequential(2040), nil)) // the device has 2048 blocks
	broken := r.mapper(newFile(im, 200<<10, 1024, sequential(500), nil))
	broken.hook = func(b, _ uint64) (mpage.Run, error, bool) { return mpage.Run{}, errMapper, b >= 12 }
	known := r.mapper(newFile(im, 200<<10, 1024, sequential(600), nil))
	known.hook = func(b, max uint64) (mpage.Run, error, bool) {
		return mpage.Run{Count: max, Flags: mpage.Mapped | mpage.Uptodate, Data: make([]byte, max<<12)}, nil, true
	}
	insane := r.mapper(newFile(im, 200<<10, 1024, sequential(700), nil))
	insane.hook = func(b, max uint64) (mpage.Run, error, bool) {
		return mpage.Run{Block: 700, Count: max + 1, Flags: mpage.Mapped}, nil, true
	}
	for _, c := range []struct {
		name   string
		m      *mapper
		off, n int64
	}{
		{"short", plain, 0, mpage.MinLent - 1},
		{"the end of the file", plain, 100 << 10, 200 << 10}, // 100 KiB are left
		{"behind the end", plain, 1 << 20, 200 << 10},
		{"before the beginning", plain, -4096, 200 << 10},
		{"a hole", hole, 0, 200 << 10},
		{"many pieces", pieces, 0, 200 << 10},
		{"past the end of the device", far, 0, 200 << 10},
		{"a mapper that fails", broken, 0, 200 << 10},
		{"content in memory", known, 0, 200 << 10},
		{"a run that cannot be", insane, 0, 200 << 10},
	} {
		if h.lends(r, c.m, c.off, c.n) {
			t.Errorf("%s: lent", c.name)
		}
	}
	if !h.lends(r, plain, 0, 200<<10) || !h.lends(r, hole, 12<<12, 140<<10) {
		t.Error("what can be lent is not")
	}
	// Devices that do not lend: one that hides its own, one that has none.
	if _, ok := newRig(t, im).e.Lend(plain, 0, 200<<10, plain.size); ok {
		t.Error("a recording device lends")
	}
}

// For random layouts and requests, with parts of the device cold, what is lent is what
// a naive reader finds; and what is lent once is lent again.
func TestRandomLoans(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("repeat with -mpage.seed=%d", seed)
	loans := 0
	for round := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed+round, 7))
		bs := int64(1024) << rng.IntN(7)
		const space = 1200
		im := newImage(bs, space*bs)
		f := randomFile(rng, im, space)
		r, h := newHost(t, im)
		m := r.mapper(f)
		cold := rng.Int64N(2 * space * bs)
		h.cold = func(off, n int64) bool { return off <= cold && cold < off+n }
		for range 10 {
			off, n := rng.Int64N(f.size), 1+rng.Int64N(1<<20)
			if !h.lends(r, m, off, n) {
				continue
			}
			loans++
			for _, p := range h.lent {
				if h.cold(p.off, p.n) {
					t.Fatalf("seed %d: lent what is cold: %v", seed+round, p)
				}
			}
			if !h.lends(r, m, off, n) {
				t.Fatalf("seed %d: %d bytes at %d are not lent again", seed+round, n, off)
			}
		}
	}
	if loans == 0 {
		t.Error("nothing was ever lent")
	}
}

// A mapper's error is found by the read.
func TestLendLeavesErrors(t *testing.T) {
	im := newImage(4096, 8<<20)
	r, h := newHost(t, im)
	m := r.mapper(newFile(im, 200<<10, 1024, sequential(100), nil))
	m.hook = func(b, _ uint64) (mpage.Run, error, bool) { return mpage.Run{}, errMapper, b >= 12 }
	if h.lends(r, m, 0, 200<<10) {
		t.Fatal("lent")
	}
	n, _, err := r.e.Read(m, make([]byte, 200<<10), 0, m.size)
	if n != 12<<12 || !errors.Is(err, errMapper) {
		t.Errorf("read: %d, %v", n, err)
	}
}
