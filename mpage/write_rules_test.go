package mpage_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/mpage"
)

// An overwrite of one run costs one mapper call, one request of the device with one
// vector, and no allocation.
func TestWriteHotPath(t *testing.T) {
	im := newImage(4096, 8<<20)
	r := newRig(t, im)
	m := &oneRun{block: 5}
	src := text(1 << 20)
	if n, err := r.e.Write(m, src, 0, 4<<20); n != len(src) || err != nil {
		t.Fatal(n, err)
	}
	if got := r.dev.take(); len(got) != 1 || got[0] != (seen{blockio.Data, 5 * 4096, 1 << 20, 1}) {
		t.Errorf("the device received %+v", got)
	}
	if s := r.e.Stats(); m.calls != 1 || s != (mpage.Stats{Writes: 1, Mappings: 1, Bios: 1}) {
		t.Errorf("%d mapper calls, %+v", m.calls, s)
	}
	if len(r.bufs.drops) != 0 {
		t.Errorf("blocks that are not new were dropped: %v", r.bufs.drops)
	}
	if raceEnabled {
		return // the race detector makes sync.Pool forget at random
	}
	e := mpage.New(im.mem, 4096, r.bufs)
	for _, n := range []int{100, 4096, 128 << 10, 1 << 20} {
		if got := testing.AllocsPerRun(100, func() { e.Write(m, src[:n], 4096, 4<<20) }); got > 0 {
			t.Errorf("a write of %d bytes allocates %v times", n, got)
		}
	}
}

// Bytes, not blocks, are written where the block was there before.
func TestWriteUnaligned(t *testing.T) {
	d := newDesk(t, 4096, 1<<20)
	g := newGrowing(4096, 0).have(0, 10, 8)
	const size = 8 * 4096
	for _, tc := range []struct {
		off  int64
		n    int
		want string
	}{
		{100, 50, "41060+50"},
		{4095, 2, "45055+2"},
		{0, 1, "40960+1"},
		{4096, 4096, "45056+4096"},
		{5000, 10000, "45960+10000"},
		{size - 1, 1, "73727+1"},
		{size, 0, ""},
		{17, 0, ""},
	} {
		d.write(g, text(tc.n), tc.off, size)
		d.wantIO(tc.want)
	}
}

// What is new around the data is zero, in the same vectored write.
func TestWriteNewBlocks(t *testing.T) {
	const size = 100 << 10
	for _, tc := range []struct {
		name string
		off  int64
		n    int
		want string // from block 10 on
	}{
		{"whole", 4096, 4096, "40960+4096"},
		{"head", 4096 + 1000, 4096 - 1000, "40960+4096/2"},
		{"tail", 4096, 1000, "40960+4096/2"},
		{"both", 4096 + 1000, 50, "40960+4096/3"},
		{"two blocks", 4095, 2, "40960+8192/3"},
		{"many", 1000, 20000, "40960+24576/3"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := newDesk(t, 4096, 1<<20)
			g := newGrowing(4096, 10)
			d.write(g, text(tc.n), tc.off, size)
			d.wantIO(tc.want)
			if g.calls != 1 {
				t.Errorf("%d mapper calls", g.calls)
			}
			// Only once: the next write into the block leaves the rest alone.
			d.write(g, text(7), tc.off, size)
			d.wantIO(fmt.Sprintf("%d+7", 40960+tc.off%4096))
		})
	}
}

// Only the new ones of several runs are padded.
func TestWriteOldAndNew(t *testing.T) {
	d := newDesk(t, 4096, 1<<20)
	g := newGrowing(4096, 50).have(0, 10, 1).have(3, 13, 1)
	d.write(g, text(3*4096), 100, 1<<20) // old, new, new, and 100 bytes of old
	d.wantIO("41060+3996 53248+100 204800+8192")
	d = newDesk(t, 4096, 1<<20)
	g = newGrowing(4096, 20).have(1, 22, 1)
	d.write(g, text(8192), 100, 1<<20) // new, old, new: 20, 22, 21
	d.wantIO("81920+12288/5")
}

// The block that the file ends in is zero behind the end, each time it is written up to
// there; bytes past the end of the file are nobody's.
func TestWriteEndOfFile(t *testing.T) {
	d := newDesk(t, 4096, 1<<20)
	g := newGrowing(4096, 0).have(0, 10, 2)
	for range 2 {
		d.write(g, text(1000), 5000, 6000)
		d.wantIO("45960+3192/2")
		copy(d.want[11*4096+6000-4096:12*4096], bytes.Repeat([]byte{7}, 8192-6000)) // somebody soils it
		d.im.put(11, d.want[11*4096:12*4096])
	}
	d.write(g, text(900), 5000, 6000) // not up to the end
	d.wantIO("45960+900")
	d.write(g, text(1000), 5900, 6000) // past it: the caller's other bytes stay out
	d.wantIO("46860+2292/2")
	d.write(g, text(4096), 4096, 8192) // the end of the file is that of a block
	d.wantIO("45056+4096")

	// Of a page that straddles the end of the file only the blocks that the file reaches.
	d = newDesk(t, 1024, 1<<20)
	g = newGrowing(1024, 10)
	d.write(g, text(4096), 0, 1500)
	d.wantIO("10240+2048/2")
	if len(g.blocks) != 2 {
		t.Errorf("%d blocks for 1500 bytes", len(g.blocks))
	}
}

// Wholly past the end of the file there is nothing to allocate.
func TestWritePastEndOfFile(t *testing.T) {
	d := newDesk(t, 4096, 1<<20)
	g := newGrowing(4096, 10)
	for _, off := range []int64{6000, 8192, 1 << 40} {
		if n, err := d.e.Write(g, text(5000), off, 6000); n != 0 || err != nil {
			t.Errorf("write at %d: %d %v", off, n, err)
		}
	}
	if g.calls != 0 {
		t.Errorf("%d mapper calls", g.calls)
	}
	d.wantIO("")
	for _, bad := range [][2]int64{{-1, 10}, {0, -1}} {
		if n, err := d.e.Write(g, text(10), bad[0], bad[1]); n != 0 || err == nil {
			t.Errorf("write at %d of %d: %d %v", bad[0], bad[1], n, err)
		}
	}
}

// New blocks lose their aliases in the buffer cache, and lose them before they are
// written; blocks that are not new keep what is there.
func TestWriteDropsAliases(t *testing.T) {
	d := newDesk(t, 4096, 1<<20)
	g := newGrowing(4096, 20).have(0, 10, 1).have(3, 13, 1)
	for _, b := range []uint64{10, 13, 19, 20, 21, 22} {
		d.bufs.get(b)
	}
	d.dev.take()
	d.bufs.drops = nil
	early := &atWrite{Device: d.dev, tell: func() {
		if d.bufs.Cached(20) || d.bufs.Cached(21) {
			t.Error("written before the alias was dropped")
		}
	}}
	d.e = mpage.New(early, 4096, d.bufs)
	d.write(g, text(4*4096), 0, 1<<20)
	if got := fmt.Sprint(d.bufs.drops); got != "[[20 2]]" {
		t.Errorf("dropped %v, want the new run in one call", got)
	}
	for b, want := range map[uint64]bool{10: true, 13: true, 19: true, 20: false, 21: false, 22: true} {
		if d.bufs.Cached(b) != want {
			t.Errorf("block %d in the cache: %v, want %v", b, !want, want)
		}
	}
	// Without a buffer cache there is nothing to drop.
	d.e = mpage.New(d.dev, 4096, nil)
	d.write(newGrowing(4096, 30), text(4096), 0, 1<<20)
}

// atWrite tells when a write comes.
type atWrite struct {
	blockio.Device
	tell func()
}

func (a *atWrite) Submit(bios ...*blockio.Bio) {
	a.tell()
	a.Device.Submit(bios...)
}

// A bio ends at a boundary. The indirect block there is left for the checkpoint, whether
// it is in the cache or not: the engine writes file content and nothing else, and reads
// nothing either.
func TestWriteBoundary(t *testing.T) {
	for _, cached := range []bool{false, true} {
		d := newDesk(t, 4096, 1<<20)
		g := newGrowing(4096, 0).have(0, 100, 12).have(12, 113, 5)
		g.hook = func(iblock, max uint64) (mpage.Run, error, bool) {
			return mpage.Run{Block: 100, Count: 12, Flags: mpage.Mapped | mpage.Boundary, Next: 112, Span: 1024}, nil, iblock == 0
		}
		if cached {
			d.bufs.get(112)
			d.dev.take()
		}
		d.write(g, text(17*4096), 0, 1<<20)
		d.wantIO("409600+49152 462848+20480")
		if s := d.e.Stats(); s.Bios != 2 || s.Riders+s.Bridges+s.BetsWon+s.BetsLost != 0 {
			t.Errorf("%+v", s)
		}
	}
	// With the table elsewhere the bios are two and the I/O is one.
	d := newDesk(t, 4096, 1<<20)
	d.write(newGrowing(4096, 0).have(0, 100, 17), text(17*4096), 0, 1<<20)
	d.wantIO("409600+69632/2")
	if s := d.e.Stats(); s.Bios != 2 {
		t.Errorf("%+v", s)
	}
}

// Runs that lie one behind the other are one I/O, in whatever order the file has them.
func TestWriteMerges(t *testing.T) {
	d := newDesk(t, 4096, 1<<20)
	g := newGrowing(4096, 0).have(0, 30, 2).have(2, 32, 2).have(4, 20, 4).have(8, 28, 2).have(10, 50, 1)
	d.write(g, text(11*4096), 0, 1<<20)
	d.wantIO("81920+16384 114688+24576/2 204800+4096")
	if s := d.e.Stats(); s.Bios != 4 || s.Mappings != 4 {
		t.Errorf("%+v", s) // 30-33 is one run, and one bio
	}
}

// More than one I/O can take, more than fits on the plug.
func TestWriteLarge(t *testing.T) {
	d := newDesk(t, 4096, 32<<20)
	g := newGrowing(4096, 10)
	g.per = 1 << 40 // no boundaries
	d.write(g, text(11<<20), 12*4096+1000, 1<<30)
	list := d.dev.take()
	if len(list) != 3 {
		t.Errorf("%d I/Os for 11 MiB", len(list))
	}
	for _, s := range list {
		if s.len > blockio.MergeBytes || s.off%4096 != 0 || s.len%4096 != 0 {
			t.Errorf("%+v", s)
		}
	}
	d.write(g, text(9<<20), 12*4096+5000, 1<<30)
	list = d.dev.take()
	for i, s := range list { // each ends with a block, whatever it began with
		if s.len > blockio.MergeBytes || len(list) != 3 || i < 2 && (s.off+s.len)%4096 != 0 {
			t.Errorf("%d of %d: %+v", i, len(list), s)
		}
	}

	d = newDesk(t, 1024, 16<<20)
	next := uint64(1)
	g = newGrowing(1024, 0)
	g.take = func(_, _ uint64) (uint64, uint64, error) { next += 2; return next, 1, nil }
	d.write(g, text(5<<20), 100, 1<<30)
	if d.dev.most > 1024 {
		t.Errorf("%d bios at once", d.dev.most)
	}
	if n := len(d.dev.take()); n != 5<<10+1 {
		t.Errorf("%d I/Os for as many pieces as there are blocks", n)
	}
}

// A mapper that fails midway: what it mapped is written, and n says how far.
func TestWriteMapperFails(t *testing.T) {
	boom := errors.New("no room left")
	for _, tc := range []struct {
		off   int64
		fails uint64
		n     int
	}{{0, 0, 0}, {0, 3, 3 * 4096}, {1000, 0, 0}, {1000, 1, 4096 - 1000}, {4096, 2, 4096}} {
		d := newDesk(t, 4096, 1<<20)
		next := uint64(40)
		g := newGrowing(4096, 0)
		g.take = func(iblock, max uint64) (uint64, uint64, error) {
			if iblock == tc.fails {
				return 0, 0, boom
			}
			next++
			return next - 1, min(max, 1), nil
		}
		src := text(5 * 4096)
		n, err := d.e.Write(g, src, tc.off, 1<<20)
		if n != tc.n || !errors.Is(err, boom) {
			t.Fatalf("%+v: %d, %v", tc, n, err)
		}
		if uint64(len(g.blocks)) != tc.fails-uint64(tc.off)/4096 {
			t.Errorf("%+v: it went on behind the error: %v", tc, g.blocks)
		}
		d.naive(g, 1<<20, []part{{tc.off, src[:n]}})
		d.check(fmt.Sprint(tc))
		if g.errors.Check(&g.told) != nil {
			t.Errorf("%+v: what the writer was told of sticks to the file", tc)
		}
	}
}

// A mapper that breaks its contract is told so, and nothing of it is believed.
func TestWriteBadMapper(t *testing.T) {
	for _, run := range []mpage.Run{
		{Block: 10, Count: 0, Flags: mpage.Mapped},
		{Block: 10, Count: 3, Flags: mpage.Mapped},
		{Block: 10, Count: 1 << 60, Flags: mpage.Mapped},
		{Count: 2},
		{Count: 2, Flags: mpage.Uptodate, Data: make([]byte, 8192)},
		{Count: 2, Flags: mpage.Allocated},
	} {
		d := newDesk(t, 4096, 1<<20)
		g := newGrowing(4096, 0)
		g.hook = func(uint64, uint64) (mpage.Run, error, bool) { return run, nil, true }
		if n, err := d.e.Write(g, text(8192), 0, 1<<20); n != 0 || err == nil {
			t.Errorf("%+v: %d %v", run, n, err)
		}
		d.wantIO("")
		d.check("afterwards")
	}
	// Content that is in memory as well has a place on the device, and is written there.
	d := newDesk(t, 4096, 1<<20)
	g := newGrowing(4096, 0).have(0, 10, 2)
	g.hook = func(uint64, uint64) (mpage.Run, error, bool) {
		return mpage.Run{Block: 10, Count: 2, Flags: mpage.Mapped | mpage.Uptodate}, nil, true
	}
	d.write(g, text(8192), 0, 1<<20)
}
