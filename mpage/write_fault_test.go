package mpage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/cache"
	"github.com/ext2fuse/ext2fuse/mpage"
)

// Each bio fails in turn, for good: n is where its data begins, the other bios are
// written, and the file knows. What is new, and was not written, keeps its garbage: it is
// the caller's to free.
func TestWriteEachBioFails(t *testing.T) {
	runs := []struct {
		block  uint64
		blocks int
		fresh  bool
	}{{40, 3, false}, {20, 2, true}, {60, 1, false}, {10, 4, true}}
	const off = 1000
	for bad, r := range runs {
		for _, short := range []int64{0, 1, 4095, 4096, 5000, 8192} {
			d := newDesk(t, 4096, 1<<20)
			g := newGrowing(4096, 0)
			at, first := uint64(0), 0 // file block, and first byte of src that is in bio bad
			for i, r := range runs {
				if i == bad {
					first = max(0, int(at)*4096-off)
				}
				if !r.fresh {
					g.have(at, r.block, uint64(r.blocks))
				}
				at += uint64(r.blocks)
			}
			g.take = func(iblock, max uint64) (uint64, uint64, error) {
				if iblock == 3 {
					return 20, 2, nil
				}
				return 10, 4, nil
			}
			d.fault.Fail(blockiotest.Rule{Op: blockio.Write, Short: short, Match: func(b *blockio.Bio) bool {
				return b.Off/4096 == int64(r.block)
			}})
			src := text(10*4096 - off - 500) // ends inside the last block
			n, err := d.e.Write(g, src, off, 1<<20)
			// Blocks that were transferred whole count.
			sent := int64(r.blocks) * 4096
			want := first
			if bad == 0 {
				sent -= off
				if whole := (off + min(short, sent)) &^ 4095; whole > off {
					want = int(whole - off)
				}
			} else {
				want += int(min(short, sent) &^ 4095)
			}
			if n != want || !errors.Is(err, syscall.EIO) {
				t.Fatalf("bio %d, %d bytes of it: n is %d, want %d (%v)", bad, short, n, want, err)
			}
			failed := map[uint64]bool{}
			for i := range r.blocks {
				failed[r.block+uint64(i)] = true
			}
			before := bytes.Clone(d.want)
			d.naive(g, 1<<20, []part{{off, src}})
			for b := range uint64(d.im.mem.Size()) / 4096 {
				got := d.im.mem.Bytes(int64(b)*4096, 4096)
				if !failed[b] && !bytes.Equal(got, d.want[b*4096:(b+1)*4096]) {
					t.Errorf("bio %d fails: block %d is not as it would be without", bad, b)
				}
				if failed[b] && short == 0 && !bytes.Equal(got, before[b*4096:(b+1)*4096]) {
					t.Errorf("bio %d fails: block %d was written", bad, b)
				}
			}
			if err := g.errors.Check(&g.told); !errors.Is(err, syscall.EIO) {
				t.Errorf("the file says %v", err)
			}
		}
	}
}

// Padding is not content: of a new block that was transferred in part nothing counts.
func TestWriteFailsInPadding(t *testing.T) {
	for short, want := range map[int64]int{500: 0, 1000: 0, 4000: 0, 4095: 0, 4096: 3096, 8000: 3096, 8192: 7192, 8500: 7192, 12287: 7192} {
		d := newDesk(t, 4096, 1<<20)
		g := newGrowing(4096, 10)
		d.fault.Fail(blockiotest.Rule{Op: blockio.Write, Short: short})
		n, err := d.e.Write(g, text(3*4096-2000), 1000, 1<<20) // padded on both sides
		if n != want || !errors.Is(err, syscall.EIO) {
			t.Errorf("%d bytes of the bio: n is %d, want %d (%v)", short, n, want, err)
		}
	}
}

// Of several failures the first in the file counts, in whatever order they come.
func TestWriteFailsTwice(t *testing.T) {
	for _, blocks := range [][]uint64{{10, 20, 30, 40}, {40, 30, 20, 10}, {30, 10, 40, 20}} {
		d := newDesk(t, 4096, 1<<20)
		g := newGrowing(4096, 0)
		for i, b := range blocks {
			g.blocks[uint64(i)] = b
		}
		eio, full := errors.New("bad sector"), errors.New("worse sector")
		d.fault.Fail(blockiotest.Rule{Op: blockio.Write, Err: eio, Match: func(b *blockio.Bio) bool { return b.Off == int64(blocks[1])*4096 }})
		d.fault.Fail(blockiotest.Rule{Op: blockio.Write, Err: full, Match: func(b *blockio.Bio) bool { return b.Off == int64(blocks[3])*4096 }})
		if n, err := d.e.Write(g, text(4*4096), 0, 1<<20); n != 4096 || !errors.Is(err, eio) {
			t.Errorf("%v: %d %v", blocks, n, err)
		}
	}
}

// A failure that goes away by itself costs nothing: what the plug had joined is sent
// again piece by piece.
func TestWriteFailsOnce(t *testing.T) {
	d := newDesk(t, 4096, 1<<20)
	g := newGrowing(4096, 0).have(0, 12, 2).have(2, 10, 2)
	d.fault.Fail(blockiotest.Rule{Op: blockio.Write, Times: 1})
	d.write(g, text(4*4096), 0, 1<<20)
	d.wantIO("40960+16384/2 40960+8192 49152+8192")
	if err := g.errors.Check(&g.told); err != nil {
		t.Error(err)
	}
}

// When many bios are sent in several batches a failure of an early one ends the walk, and
// no blocks are allocated for what cannot count any more.
func TestWriteStopsAfterFailure(t *testing.T) {
	d := newDesk(t, 1024, 16<<20)
	next := uint64(1)
	g := newGrowing(1024, 0)
	g.take = func(_, _ uint64) (uint64, uint64, error) { next += 2; return next, 1, nil }
	d.fault.Fail(blockiotest.Rule{Op: blockio.Write, From: 100, Times: 1})
	n, err := d.e.Write(g, text(4<<20), 0, 1<<30)
	if n != 99<<10 || !errors.Is(err, syscall.EIO) || len(g.blocks) > 1100 {
		t.Errorf("%d bytes, %v, %d blocks", n, err, len(g.blocks))
	}
}

// What is mapped past the end of the device fails; what is before it is written, up to the
// last byte.
func TestWritePastEndOfDevice(t *testing.T) {
	const end = 20*4096 + 1000 // of the device
	for _, opts := range [][]mpage.Option{nil, {mpage.ZeroPastEnd()}} {
		for _, tc := range []struct {
			block uint64 // of file block 0
			off   int64
			n     int
		}{
			{18, 0, 2*4096 + 1000}, {20, 0, 1000}, {20, 900, 100}, {20, 1000, 0}, {20, 2000, 0}, {21, 0, 0},
			{1 << 51, 0, 0}, {1<<52 - 1, 0, 0}, {1 << 62, 0, 0}, {1<<64 - 1, 0, 0},
		} {
			for _, fresh := range []bool{false, true} {
				d := newDesk(t, 4096, end, opts...)
				g := newGrowing(4096, 0)
				g.hook = func(iblock, max uint64) (mpage.Run, error, bool) {
					flags := mpage.Mapped
					if fresh {
						flags |= mpage.Allocated
					}
					return mpage.Run{Block: tc.block, Count: max, Flags: flags}, nil, true
				}
				src := text(4 * 4096)
				n, err := d.e.Write(g, src, tc.off, 1<<20)
				if n != tc.n || !errors.Is(err, blockio.ErrPastEnd) {
					t.Fatalf("%+v: %d %v", tc, n, err)
				}
				if n > 0 {
					at := int64(tc.block) * 4096
					if fresh {
						clear(d.want[at : at+tc.off])
					}
					copy(d.want[at+tc.off:], src[:n])
				}
				d.check(fmt.Sprintf("%+v", tc))
			}
		}
	}
	// The padding alone passes the end: nothing of the file is lost.
	d := newDesk(t, 4096, end)
	d.want = append(d.want, make([]byte, 4096-1000)...)
	g := newGrowing(4096, 20)
	if n, err := d.e.Write(g, text(500), 100, 1<<20); n != 500 || err != nil {
		t.Fatal(n, err)
	}
	d.naive(g, 1<<20, []part{{100, text(500)}})
	d.want = d.want[:end]
	d.check("padding past the end")
	// Of pages, those that are past it stay dirty.
	d = newDesk(t, 4096, end)
	g = newGrowing(4096, 18)
	list := dirtyPages(d.e, 0, 1, 2, 3)
	if err := d.e.WritePages(g, list, 1<<20); !errors.Is(err, blockio.ErrPastEnd) {
		t.Error(err)
	}
	for i, dirty := range []mpage.BlockSet{0, 0, 1, 1} {
		if list[i].Dirty != dirty || (list[i].Err != nil) != (dirty != 0) {
			t.Errorf("page %d: dirty %b, %v", i, list[i].Dirty, list[i].Err)
		}
	}
	d.wantIO("73728+9192/3")
}

func TestWriteReadOnlyDevice(t *testing.T) {
	d := newDesk(t, 4096, 1<<20)
	d.im.mem.SetReadOnly(true)
	g := newGrowing(4096, 0).have(0, 10, 2)
	if n, err := d.e.Write(g, text(8192), 0, 1<<20); n != 0 || !errors.Is(err, blockio.ErrReadOnly) {
		t.Errorf("%d %v", n, err)
	}
	d.check("afterwards")
}

// Everybody who asks is told of an error once.
func TestWriteErrors(t *testing.T) {
	var w mpage.WriteErrors
	first, second := errors.New("first"), errors.New("second")
	check := func(name string, m *mpage.ErrorMark, want error) {
		t.Helper()
		if err := w.Check(m); err != want {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	a, b := w.Mark(), w.Mark()
	check("nothing happened", &a, nil)
	w.Set(first)
	check("the first to ask", &a, first)
	check("once", &a, nil)
	c := w.Mark() // opened after somebody was told
	check("not before its time", &c, nil)
	check("everybody else too", &b, first)
	check("once", &b, nil)
	w.Set(first)
	check("again the same error is another", &a, first)
	w.Set(second)
	d := w.Mark() // opened before anybody was told
	check("an error that nobody has seen", &d, second)
	check("once", &d, nil)
	check("the latest of two", &b, second)
	check("the other", &a, second)
	e := w.Mark()
	check("all told", &e, nil)
	var zero mpage.ErrorMark
	check("told nothing", &zero, second)
}

// Errors are set and asked for at once: each reader is told at least of the last one, and
// never twice of one.
func TestWriteErrorsParallel(t *testing.T) {
	var w mpage.WriteErrors
	const setters, each = 4, 200
	last := errors.New("the last")
	var set, ask sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		m := w.Mark()
		ask.Go(func() {
			told := map[error]int{}
			for done := false; ; {
				if err := w.Check(&m); err != nil {
					if told[err]++; told[err] > 1 {
						t.Errorf("told twice of %v", err)
					}
				} else if done {
					break
				}
				select {
				case <-stop:
					done = true
				default:
				}
			}
			if told[last] != 1 {
				t.Error("not told of the last error")
			}
		})
	}
	for i := range setters {
		set.Go(func() {
			for j := range each {
				w.Set(fmt.Errorf("%d %d", i, j))
			}
		})
	}
	set.Wait()
	w.Set(last)
	close(stop)
	ask.Wait()
}

// Many writers, each in a file of its own, over the project's cache and a real image file,
// while others read the same blocks through the cache: the bytes of the files are right,
// and nothing stale is left in the cache.
func TestParallelWriters(t *testing.T) {
	const bs, each, writers = 1024, 2000, 4
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, bytes.Repeat([]byte{0xEE}, bs*each*(writers+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	dev, err := blockio.Open(context.Background(), path, blockio.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	c := cache.New(dev, bs, 512<<10)
	e := mpage.New(dev, bs, c)
	stop := make(chan struct{})
	var readers, wg sync.WaitGroup
	for w := range uint64(2) {
		readers.Go(func() {
			rng := rand.New(rand.NewPCG(9, w))
			for {
				select {
				case <-stop:
					return
				default:
				}
				b, err := c.Get(rng.Uint64N(each*writers), blockio.Indirect)
				if err != nil {
					t.Error(err)
					return
				}
				b.Release()
			}
		})
	}
	for w := range uint64(writers) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(3, w))
			g := newGrowing(bs, 1+w*each)
			var content []byte
			for range 150 {
				off := rng.Int64N(int64(len(content)) + 5000)
				p := randomBytes(rng, 1+rng.IntN(20000))
				end := off + int64(len(p))
				if end > (each-1)*bs {
					break
				}
				size := max(end, int64(len(content)))
				g.begin()
				g.size = size
				n, err := e.Write(g, p, off, size)
				if n != len(p) || err != nil {
					t.Error(n, err)
					return
				}
				content = append(content, make([]byte, size-int64(len(content)))...)
				copy(content[off:], p)
			}
			got := make([]byte, len(content))
			if n, _, err := e.Read(g, got, 0, int64(len(content))); n != len(got) || err != nil || !bytes.Equal(got, content) {
				t.Errorf("writer %d: read back %d bytes, %v, or wrong ones", w, n, err)
			}
		})
	}
	wg.Wait()
	close(stop)
	readers.Wait()
	if s := c.Stats(); s.Pinned != 0 {
		t.Errorf("cache afterwards: %+v", s)
	}
}
