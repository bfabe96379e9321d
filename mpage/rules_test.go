package mpage_test

import (
	"bytes"
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/mpage"
)

// kb4 is an image of 4 KiB blocks, with room for the tests that need little.
func kb4() *image { return newImage(4096, 4096*4096) }

// The order of a classic file's first 17 blocks: never the indirect block first.
func TestSeventeenBlocksInOrder(t *testing.T) {
	for _, tc := range []struct {
		name string
		full bool // no memory for riders
		want string
	}{
		{"boundary", true, "100-111 112* 113-117"},
		{"rider", false, "100-112 113-117"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			im := kb4()
			f := newFile(im, 17*4096, 1024, sequential(100), nil)
			r := newRig(t, im, mpage.NoBets())
			r.bufs.full = tc.full
			r.read(r.mapper(f), 0, 17*4096)
			r.want(tc.want)
			if !tc.full {
				if data, err := r.bufs.get(112); err != nil || data[0] != 113 || data[4] != 114 {
					t.Errorf("the indirect block did not land in the cache: % x %v", data[:8], err)
				}
				r.want("")
				if got := r.e.Stats().Riders; got != 1 {
					t.Errorf("riders: %d", got)
				}
			}
		})
	}
}

func TestSeventeenBlocksWithBet(t *testing.T) {
	im := kb4()
	f := newFile(im, 17*4096, 1024, sequential(100), nil)
	r := newRig(t, im)
	m := r.mapper(f)
	r.read(m, 0, 17*4096)
	r.want("100-117")
	if m.calls != 2 {
		t.Errorf("mapper calls: %d, want one per table", m.calls)
	}
}

// An indirect block somewhere else is read by the mapper, after what comes before it.
func TestBoundaryElsewhere(t *testing.T) {
	im := kb4()
	next := uint64(100)
	f := newFile(im, 17*4096, 1024, func(table bool, _ uint64) uint64 {
		if table {
			return 50
		}
		next++
		return next - 1
	}, nil)
	r := newRig(t, im)
	m := r.mapper(f)
	r.read(m, 0, 17*4096)
	r.want("100-111 50* 112-116")
	r.read(m, 0, 17*4096) // now that it is known, nothing parts the data
	r.want("100-116")
}

// Without buffers the engine still keeps the order.
func TestBoundaryWithoutBuffers(t *testing.T) {
	im := kb4()
	f := newFile(im, 17*4096, 1024, sequential(100), nil)
	r := newRig(t, im)
	r.e = mpage.New(r.dev, 4096, nil)
	r.read(r.mapper(f), 0, 17*4096)
	r.want("100-111 112* 113-117")
}

// A known indirect block in between is read over.
func TestBridge(t *testing.T) {
	im := kb4()
	f := newFile(im, 20*4096, 1024, sequential(100), nil)
	r := newRig(t, im)
	m := r.mapper(f)
	if _, err := r.bufs.get(112); err != nil {
		t.Fatal(err)
	}
	r.got()
	r.read(m, 0, 20*4096)
	r.want("100-120")
	if s := r.e.Stats(); s.Bridges != 1 || s.Bios != 1 {
		t.Errorf("%+v", s)
	}
	// Only over the indirect block: the same distance elsewhere parts.
	g := newFile(im, 3*4096, 1024, at(200, 202, 203), nil)
	r.read(r.mapper(g), 0, 3*4096)
	r.want("200 202-203")
	// And only if the next run is right behind.
	h := newFile(im, 14*4096, 1024, at(300, 301, 302, 303, 304, 305, 306, 307, 308, 309, 310, 311, 312, 315, 316), nil)
	if _, err := r.bufs.get(312); err != nil {
		t.Fatal(err)
	}
	r.got()
	r.read(r.mapper(h), 0, 14*4096)
	r.want("300-311 315-316")
	// Nothing is read over when nothing is read before it.
	m = r.mapper(f)
	m.hook = func(iblock, max uint64) (mpage.Run, error, bool) {
		if iblock < 6 {
			return mpage.Run{Block: 100 + iblock, Count: 6 - iblock, Flags: mpage.Mapped}, nil, true
		}
		return mpage.Run{Block: 106, Count: 6, Flags: mpage.Mapped | mpage.Uptodate | mpage.Boundary,
			Next: 112, Span: 1024, Data: f.naive(6*4096, 6*4096)}, nil, iblock == 6
	}
	r.read(m, 0, 20*4096)
	r.want("100-105 113-120")
}

// A next table so far away that its offset wraps around to the end of the run is not there.
func TestNextWrapsAround(t *testing.T) {
	im := kb4()
	f := newFile(im, 20*4096, 1024, sequential(100), nil)
	r := newRig(t, im)
	m := r.mapper(f)
	m.hook = func(iblock, max uint64) (mpage.Run, error, bool) {
		return mpage.Run{Block: 100, Count: min(max, 12), Flags: mpage.Mapped | mpage.Boundary,
			Next: 112 + 1<<52, Span: 1024}, nil, iblock == 0
	}
	r.read(m, 0, 20*4096)
	r.want("100-111 112* 113-120")
}

// A request that ends at the boundary brings the indirect block along for the next one;
// one that ends with the file does not look for any.
func TestRiderAtEndOfRequest(t *testing.T) {
	im := kb4()
	f := newFile(im, 20*4096, 1024, sequential(100), nil)
	r := newRig(t, im)
	m := r.mapper(f)
	r.read(m, 0, 12*4096)
	r.want("100-112")
	r.read(m, 12*4096, 8*4096)
	r.want("113-120")

	// The block map goes on behind the end of the file: nobody reads that.
	r = newRig(t, im)
	m = r.mapper(f)
	short := *f
	short.size, short.blocks = 12*4096, f.blocks[:12]
	m.file = &short
	r.read(m, 0, 16*4096)
	r.want("100-111")
}

func TestMappingIsReused(t *testing.T) {
	im := kb4()
	f := newFile(im, 12*4096, 1024, sequential(100), nil)
	r := newRig(t, im)
	m := r.mapper(f)
	r.read(m, 0, 12*4096)
	r.want("100-111")
	if m.calls != 1 {
		t.Errorf("mapper calls for 12 pages in one run: %d", m.calls)
	}
	g := newFile(im, 12*4096, 1024, at(200, 201, 202, 300, 301, 302, 303, 304, 305, 400, 401, 402), nil)
	m = r.mapper(g)
	r.read(m, 0, 12*4096)
	r.want("200-202 300-305 400-402")
	if m.calls != 3 {
		t.Errorf("mapper calls for 3 runs: %d", m.calls)
	}
}

// The mapper is asked for all that is left, and never for what lies behind the file.
// (The test's mapper panics if it is.)
func TestMapperIsAskedForTheRest(t *testing.T) {
	im := kb4()
	f := newFile(im, 10*4096-100, 1024, sequential(100), nil)
	r := newRig(t, im)
	m := r.mapper(f)
	var asked []uint64
	m.hook = func(_, max uint64) (mpage.Run, error, bool) {
		asked = append(asked, max)
		return mpage.Run{}, nil, false
	}
	r.read(m, 4096, 64*4096)
	r.read(m, 0, 2*4096)
	if fmt.Sprint(asked) != "[9 2]" {
		t.Errorf("asked for %v", asked)
	}
}

// A page whose tail is a hole, and the page after it: device neighbours, two bios, one I/O.
func TestTrailingHole(t *testing.T) {
	im := newImage(1024, 1<<20)
	f := newFile(im, 8*1024, 256, at(100, 101, 102, 103, 104, 105, 106), holes(3))
	r := newRig(t, im)
	m := r.mapper(f)
	r.read(m, 0, 8*1024)
	r.want("100-106")
	if s := r.e.Stats(); s.Bios != 2 || s.Fallbacks != 0 {
		t.Errorf("a page with a hole at its end ends its bio and needs no fallback: %+v", s)
	}
}

func TestWholePageHole(t *testing.T) {
	im := kb4()
	f := newFile(im, 6*4096, 1024, at(100, 101), holes(1, 2, 3, 4))
	r := newRig(t, im)
	m := r.mapper(f)
	r.read(m, 4096, 3*4096)
	r.want("")
	r.read(m, 0, 6*4096) // the hole does not part what lies around it
	r.want("100-101")
	if s := r.e.Stats(); s.Bios != 1 || s.Fallbacks != 0 {
		t.Errorf("%+v", s)
	}
}

func TestHoleThenData(t *testing.T) {
	im := newImage(1024, 1<<20)
	f := newFile(im, 12*1024, 256, at(100, 101, 102, 103, 200, 104, 105, 106, 107), holes(4, 5, 6))
	r := newRig(t, im)
	m := r.mapper(f)
	r.read(m, 0, 12*1024)
	r.want("100-107 200")
	if s := r.e.Stats(); s.Fallbacks != 1 {
		t.Errorf("fallbacks: %+v", s)
	}
}

// 1 KiB blocks that lie apart inside one page.
func TestScatteredPage(t *testing.T) {
	im := newImage(1024, 1<<20)
	f := newFile(im, 12*1024, 256, at(100, 101, 102, 103, 300, 200, 201, 250, 104, 105, 106, 107), nil)
	r := newRig(t, im)
	m := r.mapper(f)
	r.read(m, 0, 12*1024)
	r.want("100-107 200-201 250 300")
	if s := r.e.Stats(); s.Fallbacks != 1 {
		t.Errorf("fallbacks: %+v", s)
	}
	if m.calls != 5 {
		t.Errorf("the fallback asked the mapper again: %d calls at %v", m.calls, m.asked)
	}
}

// A boundary inside a page, which ext2 itself never has.
func TestBoundaryInsidePage(t *testing.T) {
	im := newImage(2048, 1<<20)
	f := newFile(im, 20*2048, 3, sequential(100), nil)
	r := newRig(t, im, mpage.NoBets())
	r.read(r.mapper(f), 0, 20*2048)
	// 12, IND, 3, DIND (and what it leads to), 3, IND, ...
	r.want("100-112 113-116 117* 118-121 122-123")
}

func TestUptodateBuffer(t *testing.T) {
	for _, bs := range []int64{1024, 4096} {
		t.Run(fmt.Sprint(bs), func(t *testing.T) {
			im := newImage(bs, 1<<20)
			f := newFile(im, 12*bs, uint64(bs/4), sequential(100), nil)
			r := newRig(t, im)
			m := r.mapper(f)
			inMemory := make([]byte, 2*bs)
			for i := range inMemory {
				inMemory[i] = byte(i>>8 + i*7)
			}
			m.hook = func(iblock, max uint64) (mpage.Run, error, bool) {
				switch {
				case iblock < 5:
					return mpage.Run{Block: 100 + iblock, Count: min(5-iblock, max), Flags: mpage.Mapped}, nil, true
				case iblock < 7:
					at := int(iblock-5) * int(bs)
					return mpage.Run{Block: 100 + iblock, Count: min(7-iblock, max),
						Flags: mpage.Mapped | mpage.Uptodate, Data: inMemory[at:]}, nil, true
				}
				return mpage.Run{}, nil, false
			}
			dst := make([]byte, 12*bs)
			if n, _, err := r.e.Read(m, dst, 0, f.size); n != len(dst) || err != nil {
				t.Fatal(n, err)
			}
			want := f.naive(0, int(12*bs))
			copy(want[5*bs:], inMemory)
			if !bytes.Equal(dst, want) {
				t.Error("wrong bytes")
			}
			r.want("100-104 107-111")
			// From the middle of a block that is in memory.
			if n, _, err := r.e.Read(m, dst[:bs], 5*bs+bs/2, f.size); n != int(bs) || err != nil || !bytes.Equal(dst[:bs], inMemory[bs/2:bs/2+bs]) {
				t.Error("wrong bytes from the middle of a buffer", n, err)
			}
			r.want("")
		})
	}
}

// folios makes a page set of n whole pages of a file from its beginning.
func folios(e *mpage.Engine, n int) []mpage.Folio {
	list := make([]mpage.Folio, n)
	for i := range list {
		list[i] = mpage.Folio{Index: uint64(i), Data: bytes.Repeat([]byte{0xAA}, e.PageSize())}
	}
	return list
}

// check compares folios with the naive reader; bad lists those that must be in error.
func check(t *testing.T, f *file, list []mpage.Folio, why error, bad ...int) {
	t.Helper()
	for i, p := range list {
		isBad := len(bad) > 0 && bad[0] == i
		if isBad {
			bad = bad[1:]
			if !errors.Is(p.Err, why) {
				t.Errorf("page %d: error %v, want %v", i, p.Err, why)
			}
			continue
		}
		if p.Err != nil {
			t.Errorf("page %d: %v", i, p.Err)
		} else if want := f.naive(int64(i)*int64(len(p.Data)), len(p.Data)); !bytes.Equal(p.Data, want) {
			t.Errorf("page %d: wrong bytes", i)
		}
	}
}

func TestMapperError(t *testing.T) {
	im := newImage(1024, 1<<20)
	f := newFile(im, 12*1024, 256, sequential(100), nil)
	r := newRig(t, im)
	m := r.mapper(f)
	m.hook = func(iblock, max uint64) (mpage.Run, error, bool) {
		if iblock == 6 {
			return mpage.Run{}, errMapper, true
		}
		return mpage.Run{Block: 100 + iblock, Count: min(max, (iblock/6+1)*6-iblock), Flags: mpage.Mapped}, nil, true
	}
	list := folios(r.e, 3)
	r.e.Readahead(m, list, f.size)
	check(t, f, list, errMapper, 1)
	if m.calls != 3 {
		t.Errorf("the mapper was asked at %v", m.asked)
	}
	// Read stops there, with what came before.
	dst := make([]byte, 12*1024)
	n, _, err := r.e.Read(m, dst, 0, f.size)
	if n != 4096 || !errors.Is(err, errMapper) || !bytes.Equal(dst[:n], f.naive(0, n)) {
		t.Errorf("read: %d %v", n, err)
	}
}

func TestMapperBreaksContract(t *testing.T) {
	im := kb4()
	f := newFile(im, 4*4096, 1024, sequential(100), nil)
	for name, run := range map[string]mpage.Run{
		"empty":      {},
		"too long":   {Block: 100, Count: 5, Flags: mpage.Mapped},
		"too little": {Block: 100, Count: 4, Flags: mpage.Mapped | mpage.Uptodate, Data: make([]byte, 4*4096-1)},
	} {
		r := newRig(t, im)
		m := r.mapper(f)
		m.hook = func(_, _ uint64) (mpage.Run, error, bool) { return run, nil, true }
		if n, _, err := r.e.Read(m, make([]byte, 4*4096), 0, f.size); n != 0 || err == nil {
			t.Errorf("%s: %d %v", name, n, err)
		}
		r.want("")
	}
}

// The device ends inside the last bio.
func TestDeviceEnd(t *testing.T) {
	const last = 105*1024 + 512 // bytes: in the middle of a block in the middle of a page
	for _, zero := range []bool{false, true} {
		t.Run(fmt.Sprint("zero=", zero), func(t *testing.T) {
			im := newImage(1024, last)
			f := newFile(im, 12*1024, 256, sequential(100), nil)
			var opts []mpage.Option
			if zero {
				opts = append(opts, mpage.ZeroPastEnd())
			}
			r := newRig(t, im, opts...)
			m := r.mapper(f)
			list := folios(r.e, 3)
			r.e.Readahead(m, list, f.size)
			for _, s := range r.dev.take() {
				if s.off+s.len > last {
					t.Errorf("a bio passes the end of the device: %+v", s)
				}
			}
			if !zero {
				check(t, f, list, blockio.ErrPastEnd, 1, 2)
				return
			}
			want := f.naive(0, 12*1024)
			clear(want[last-100*1024:])
			for i, p := range list {
				if p.Err != nil || !bytes.Equal(p.Data, want[i*4096:(i+1)*4096]) {
					t.Errorf("page %d: %v, or wrong bytes", i, p.Err)
				}
			}
		})
	}
}

// Block numbers that no device has, up to those whose offset is no number.
func TestFarPastEnd(t *testing.T) {
	im := kb4()
	f := newFile(im, 4*4096, 1024, sequential(100), nil)
	for _, block := range []uint64{4096, 1 << 40, 1<<51 - 1, 1 << 51, 1 << 52, 1 << 62, 1<<64 - 5} {
		r := newRig(t, im)
		m := r.mapper(f)
		m.hook = func(iblock, max uint64) (mpage.Run, error, bool) {
			return mpage.Run{Block: block + iblock, Count: max, Flags: mpage.Mapped | mpage.Boundary,
				Next: block + iblock + max, Span: 1024}, nil, true
		}
		if n, _, err := r.e.Read(m, make([]byte, 4*4096), 0, f.size+4096); n != 0 || !errors.Is(err, blockio.ErrPastEnd) {
			t.Errorf("block %d: %d %v", block, n, err)
		}
		r.want("")
	}
}

// One failed bio among several fails its pages and no others.
func TestOneBioFails(t *testing.T) {
	im := kb4()
	f := newFile(im, 12*4096, 1024, at(100, 101, 102, 300, 301, 302, 303, 304, 200, 201, 202, 203), nil)
	r := newRig(t, im)
	m := r.mapper(f)
	r.fault.Fail(blockiotest.Rule{Op: blockio.Read, Match: func(b *blockio.Bio) bool { return b.Off == 300*4096 }})
	list := folios(r.e, 12)
	r.e.Readahead(m, list, f.size)
	r.want("100-102 200-203 300-304")
	check(t, f, list, syscall.EIO, 3, 4, 5, 6, 7)

	dst := make([]byte, 12*4096)
	if n, _, err := r.e.Read(m, dst, 0, f.size); n != 3*4096 || !errors.Is(err, syscall.EIO) {
		t.Errorf("read: %d %v", n, err)
	}
	r.fault.Heal()
	r.read(m, 0, 12*4096)
}

// A hole in the middle of a bio's pages is none of them.
func TestHoleInFailedBio(t *testing.T) {
	im := kb4()
	f := newFile(im, 5*4096, 1024, sequential(100), holes(2))
	r := newRig(t, im)
	r.fault.Fail(blockiotest.Rule{Op: blockio.Read})
	list := folios(r.e, 5)
	r.e.Readahead(r.mapper(f), list, f.size)
	r.want("100-103")
	check(t, f, list, syscall.EIO, 0, 1, 3, 4)
}

// A failure in what rides along, or in a bet, does not reach the pages around it.
func TestFailedCompanion(t *testing.T) {
	covers := func(block int64) func(b *blockio.Bio) bool {
		return func(b *blockio.Bio) bool { return b.Off <= block*4096 && b.Off+b.Bytes() > block*4096 }
	}
	for _, tc := range []struct {
		name  string
		bad   int64
		known bool // the indirect block is in memory
		want  string
		pages []int
	}{
		{"rider", 112, false, "100-117 112* 112* 112* 112* 112* 100-111", []int{12, 13, 14, 15, 16}},
		{"bet", 115, false, "100-117 112* 113-117 100-111", []int{12, 13, 14, 15, 16}},
		{"bridge", 112, true, "100-117 100-111 113-117", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			im := kb4()
			f := newFile(im, 17*4096, 1024, sequential(100), nil)
			r := newRig(t, im)
			m := r.mapper(f)
			if tc.known {
				if _, err := r.bufs.get(112); err != nil {
					t.Fatal(err)
				}
				r.got()
			}
			r.fault.Fail(blockiotest.Rule{Op: blockio.Read, Match: covers(tc.bad)})
			list := folios(r.e, 17)
			r.e.Readahead(m, list, f.size)
			check(t, f, list, syscall.EIO, tc.pages...)
			if got := r.got(); got != tc.want && tc.name != "bridge" {
				t.Errorf("the device received %q, want %q", got, tc.want)
			}
			if !tc.known && (r.bufs.failed != 1 || r.bufs.rides != 1) {
				t.Errorf("riders ended: %d, in error: %d", r.bufs.rides, r.bufs.failed)
			}
			r.fault.Heal()
			r.read(m, 0, 17*4096)
		})
	}
}

func TestReadFolio(t *testing.T) {
	im := newImage(1024, 1<<20)
	f := newFile(im, 10*1024+7, 256, sequential(100), nil)
	r := newRig(t, im)
	m := r.mapper(f)
	p := mpage.Folio{Index: 2, Data: bytes.Repeat([]byte{0xAA}, 4096)}
	if _, err := r.e.ReadFolio(m, &p, f.size); err != nil || !bytes.Equal(p.Data, f.naive(8192, 4096)) {
		t.Errorf("the page at the end: %v, or wrong bytes", err)
	}
	p.Index = 3
	if _, err := r.e.ReadFolio(m, &p, f.size); err != nil || !bytes.Equal(p.Data, make([]byte, 4096)) {
		t.Errorf("a page behind the end: %v, or not zero", err)
	}
	for _, bad := range []mpage.Folio{{Index: 1 << 62, Data: p.Data}, {Off: 1, Data: p.Data}, {Off: -1, Data: p.Data[:1]}} {
		if _, err := r.e.ReadFolio(m, &bad, f.size); err == nil || bad.Err == nil {
			t.Errorf("page %d, offset %d: no error", bad.Index, bad.Off)
		}
	}
}

// Pages that nobody wants in between: the order is kept there, too.
func TestPagesLeftOut(t *testing.T) {
	im := kb4()
	f := newFile(im, 40*4096, 1024, sequential(100), nil)
	r := newRig(t, im)
	list := folios(r.e, 40)
	list = append(list[:10:10], list[20:22]...)
	r.e.Readahead(r.mapper(f), list, f.size)
	r.want("100-109 112* 121-122")
	for _, p := range list {
		if p.Err != nil || !bytes.Equal(p.Data, f.naive(int64(p.Index)*4096, 4096)) {
			t.Errorf("page %d: %v, or wrong bytes", p.Index, p.Err)
		}
	}
	// What is not right behind the indirect block is not bet on.
	r = newRig(t, im)
	list = folios(r.e, 40)
	list = append(list[:12:12], list[14:17]...)
	r.e.Readahead(r.mapper(f), list, f.size)
	r.want("100-112 115-117")
	if s := r.e.Stats(); s.BetsWon+s.BetsLost != 0 || s.Riders != 1 {
		t.Errorf("%+v", s)
	}
}

func TestReadBounds(t *testing.T) {
	im := kb4()
	f := newFile(im, 3*4096-5, 1024, sequential(100), nil)
	r := newRig(t, im)
	m := r.mapper(f)
	for _, off := range []int64{0, 1, 4095, 4096, 3*4096 - 6, 3*4096 - 5, 3*4096 - 4, 3 * 4096, 1 << 62} {
		for _, n := range []int{0, 1, 5, 4096, 5000, 5 * 4096} {
			r.read(m, off, n)
		}
	}
	for _, bad := range [][2]int64{{-1, 5}, {0, -1}} {
		if n, _, err := r.e.Read(m, make([]byte, 1), bad[0], bad[1]); n != 0 || err == nil {
			t.Errorf("offset %d, size %d: %d %v", bad[0], bad[1], n, err)
		}
	}
}
