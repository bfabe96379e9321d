package mpage_test

import (
	"bytes"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/mpage"
)

// A cold sequential read of a contiguous 64 MiB file in requests of 1 MiB.
func TestSequentialIOCount(t *testing.T) {
	const size, request = 64 << 20, 1 << 20
	im := newImage(4096, 80<<20)
	f := newFile(im, size, 1024, sequential(1000), nil)
	for _, tc := range []struct {
		name        string
		opts        []mpage.Option
		data, table int
	}{
		// 16 boundaries: behind block 12, and one every 4 MiB from there on. Behind the
		// second one lie two tables, of which only the first can ride along.
		{"bets", nil, 64 + 1, 1},
		{"no bets", []mpage.Option{mpage.NoBets()}, 64 + 16, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, im, tc.opts...)
			m := r.mapper(f)
			m.bets = new(mpage.Bets)
			dst := make([]byte, request)
			for off := int64(0); off < size; off += request {
				if n, _, err := r.e.Read(m, dst, off, size); n != request || err != nil {
					t.Fatal(n, err)
				}
				if off%(8<<20) == 0 && !bytes.Equal(dst, f.naive(off, request)) {
					t.Fatalf("wrong bytes at %d", off)
				}
			}
			var data, table int
			for _, s := range r.dev.take() {
				if s.what == blockio.Indirect {
					table++
				} else {
					data++
				}
			}
			if data != tc.data || table != tc.table {
				t.Errorf("%d I/Os for data, %d for tables; want %d and %d", data, table, tc.data, tc.table)
			}
			if tc.opts == nil && float64(data+table) > 1.2*64 {
				t.Errorf("%d I/Os for 64 requests", data+table)
			}
			if s := r.e.Stats(); s.BetsLost != 0 || m.calls > 64+2*17 {
				t.Errorf("%+v, mapper calls %d", s, m.calls)
			}
		})
	}
}

// elsewhere is a layout that is sequential from 100 on, but has file block b at 2000 and
// what follows behind it.
func elsewhere(b uint64) layout {
	next := uint64(100)
	return func(table bool, fileBlock uint64) uint64 {
		if !table && fileBlock == b {
			next = 2000
		}
		next++
		return next - 1
	}
}

func TestBetLost(t *testing.T) {
	for _, tc := range []struct {
		jump uint64 // the block that is not where the bet has it
		want string
	}{
		{12, "100-120 2000-2007"}, // all of it lost
		{15, "100-120 2000-2004"}, // three pages of it are good
	} {
		im := kb4()
		f := newFile(im, 20*4096, 1024, elsewhere(tc.jump), nil)
		r := newRig(t, im)
		m := r.mapper(f)
		m.bets = new(mpage.Bets)
		r.read(m, 0, 20*4096)
		r.want(tc.want)
		if s := r.e.Stats(); s.BetsLost != 1 || s.BetsWon != 0 {
			t.Errorf("jump at %d: %+v", tc.jump, s)
		}
	}
}

// Content that is in memory counts, not what the bet read, even if it read the right place.
func TestBetOnUptodate(t *testing.T) {
	im := kb4()
	f := newFile(im, 20*4096, 1024, sequential(100), nil)
	r := newRig(t, im)
	m := r.mapper(f)
	newer := bytes.Repeat([]byte{7}, 8*4096)
	m.hook = func(iblock, max uint64) (mpage.Run, error, bool) {
		return mpage.Run{Block: 101 + iblock, Count: max, Flags: mpage.Mapped | mpage.Uptodate,
			Data: newer}, nil, iblock >= 12
	}
	dst := make([]byte, 20*4096)
	n, _, err := r.e.Read(m, dst, 0, f.size)
	if n != len(dst) || err != nil || !bytes.Equal(dst[:12*4096], f.naive(0, 12*4096)) || !bytes.Equal(dst[12*4096:], newer) {
		t.Errorf("%d %v, or wrong bytes", n, err)
	}
}

// A hole where the bet read something.
func TestBetOnHole(t *testing.T) {
	im := kb4()
	f := newFile(im, 20*4096, 1024, sequential(100), holes(13, 14))
	r := newRig(t, im)
	r.read(r.mapper(f), 0, 20*4096)
	r.want("100-120 114-118")
}

// A request bets no more after it has lost; a file, not after it has lost more than it won.
func TestBetsAreBounded(t *testing.T) {
	im := kb4()
	const per, groups = 8, 6
	next := uint64(100)
	// Each table lies right behind the data before it, its own data somewhere else.
	f := newFile(im, (12+per*groups)*4096, per, func(table bool, b uint64) uint64 {
		if !table && (b < 12 && b == 0 || b >= 12 && (b-12)%per == 0) {
			next += 50
		}
		next++
		return next - 1
	}, nil)
	r := newRig(t, im)
	r.read(r.mapper(f), 0, int(f.size))
	if s := r.e.Stats(); s.BetsLost != 1 {
		t.Errorf("in one request: %+v", s)
	}

	// Also if what is read again happens to lie right behind what was read for nothing.
	g := newFile(im, (12+2*8)*4096, 8, at(100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111, 112,
		121, 122, 123, 124, 125, 126, 127, 128, 50, 129, 138, 139, 140, 141, 142, 143, 144, 145), nil)
	r = newRig(t, im)
	r.bufs.get(50)
	r.got()
	r.read(r.mapper(g), 0, int(g.size))
	r.want("100-120 121-129 138-145")

	r = newRig(t, im)
	m := r.mapper(f)
	m.bets = new(mpage.Bets)
	for g := range int64(groups) { // each of these ends behind a boundary
		r.read(m, (12+per*(g-1))*4096+3*4096, per*4096)
	}
	if s := r.e.Stats(); s.BetsLost != 2 || m.bets.Worth() {
		t.Errorf("for one file: %+v", s)
	}
	r = newRig(t, im, mpage.NoBets())
	r.read(r.mapper(f), 0, int(f.size))
	if s := r.e.Stats(); s.BetsLost+s.BetsWon != 0 {
		t.Errorf("bets are off: %+v", s)
	}
}

func TestBetsWorth(t *testing.T) {
	b := new(mpage.Bets)
	if !b.Worth() {
		t.Error("a new file is not worth a bet")
	}
}

// What a bet must not touch: the device behind its end, the file behind its end, blocks
// that the table cannot map, and a request that is not one stretch.
func TestBetLimits(t *testing.T) {
	t.Run("file", func(t *testing.T) {
		im := kb4()
		f := newFile(im, 14*4096-1, 1024, sequential(100), nil)
		r := newRig(t, im)
		r.read(r.mapper(f), 0, 64*4096)
		r.want("100-114")
		// Pages behind the end of the file are none of its vectors.
		r = newRig(t, im)
		list := folios(r.e, 20)
		r.e.Readahead(r.mapper(f), list, f.size)
		check(t, f, list, nil)
		if got := r.dev.take(); len(got) != 1 || got[0].vecs != 12+1+2 {
			t.Errorf("the device received %+v", got)
		}
	})
	t.Run("file in the middle of a page", func(t *testing.T) {
		im := newImage(1024, 1<<20)
		f := newFile(im, 14*1024, 256, sequential(100), nil)
		r := newRig(t, im)
		r.read(r.mapper(f), 0, 64<<10)
		r.want("100-114")
	})
	t.Run("device", func(t *testing.T) {
		im := kb4()
		f := newFile(im, 20*4096, 1024, elsewhere(12), nil)
		r := newRig(t, im)
		r.e = mpage.New(&shortDevice{r.dev, 116 * 4096}, 4096, r.bufs) // blocks up to 115
		m := r.mapper(f)
		n, _, err := r.e.Read(m, make([]byte, 20*4096), 0, f.size)
		if n != 12*4096 || err == nil {
			t.Errorf("%d %v", n, err)
		}
		r.want("100-115")
	})
	t.Run("rider at the device's end", func(t *testing.T) {
		im := kb4()
		f := newFile(im, 20*4096, 1024, sequential(100), nil)
		r := newRig(t, im)
		r.e = mpage.New(&shortDevice{r.dev, 112 * 4096}, 4096, r.bufs)
		m := r.mapper(f)
		m.hook = func(iblock, max uint64) (mpage.Run, error, bool) {
			return mpage.Run{}, errMapper, iblock >= 12
		}
		if n, _, err := r.e.Read(m, make([]byte, 20*4096), 0, f.size); n != 12*4096 || err == nil {
			t.Errorf("%d %v", n, err)
		}
		r.want("100-111")
	})
	t.Run("table", func(t *testing.T) {
		im := kb4()
		f := newFile(im, (12+4+4)*4096, 4, sequential(100), nil)
		r := newRig(t, im)
		r.read(r.mapper(f), 0, int(f.size))
		// 12 direct, IND, 4 on a bet; DIND by the mapper, then IND; then 4.
		r.want("100-116 117* 118* 119-122")
	})
	t.Run("scattered", func(t *testing.T) {
		im := kb4()
		f := newFile(im, 20*4096, 1024, at(50, 51, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110,
			111, 112, 113, 114, 115, 116, 117, 118, 119), nil)
		r := newRig(t, im)
		r.read(r.mapper(f), 0, 20*4096)
		r.want("50-51 101-111 112-119")
	})
	t.Run("unknown span", func(t *testing.T) {
		im := kb4()
		f := newFile(im, 20*4096, 1024, sequential(100), nil)
		r := newRig(t, im)
		m := r.mapper(f)
		m.hook = func(iblock, max uint64) (mpage.Run, error, bool) {
			return mpage.Run{Block: 100, Count: 12, Flags: mpage.Mapped | mpage.Boundary, Next: 112}, nil, iblock == 0
		}
		r.read(m, 0, 20*4096)
		r.want("100-112 113-120")
	})
}

// shortDevice is a device that ends early.
type shortDevice struct {
	blockio.Device
	size int64
}

func (d *shortDevice) Size() int64 { return d.size }

// A chain of tables, each right behind the data before it: each bet begins with the table.
func TestBetAfterBet(t *testing.T) {
	im := newImage(1024, 4<<20)
	f := newFile(im, (12+3*256+100)*1024, 256, sequential(100), nil)
	r := newRig(t, im)
	m := r.mapper(f)
	r.read(m, 0, 1<<20)
	// DIND cannot be bet on; behind it each table goes with the data it maps.
	r.want("100-368 369* 370* 371-627 628-884 885-984")
	if s := r.e.Stats(); s.BetsLost != 0 || s.Fallbacks != 0 {
		t.Errorf("%+v", s)
	}
	// A known table at the end of a bet: the bet's I/O is over, so it is not read over.
	g := newFile(im, (12+4+4)*1024, 4, at(2000, 2001, 2002, 2003, 2004, 2005, 2006, 2007, 2008, 2009, 2010, 2011,
		2012, 2013, 2014, 2015, 2016, 50, 2017, 2018, 2019, 2020, 2021), nil)
	for _, b := range []uint64{g.tops[1], g.leaves[1]} {
		r.bufs.get(b)
	}
	r.got()
	r.read(r.mapper(g), 0, int(g.size))
	r.want("2000-2016 2018-2021")
}
