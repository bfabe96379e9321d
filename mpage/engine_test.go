package mpage_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/cache"
	"github.com/ext2fuse/ext2fuse/mpage"
)

// oneRun maps a file that is one run.
type oneRun struct {
	block uint64
	calls int
}

func (m *oneRun) GetBlock(iblock, max uint64, create bool) (mpage.Run, error) {
	m.calls++
	return mpage.Run{Block: m.block + iblock, Count: max, Flags: mpage.Mapped}, nil
}

// A read of pages that are one run costs one mapper call, one bio, one request of the
// device with one vector, and no allocation.
func TestHotPath(t *testing.T) {
	im := newImage(4096, 8<<20)
	im.put(5, im.content(5))
	r := newRig(t, im)
	m := &oneRun{block: 5}
	dst := make([]byte, 1<<20)
	if n, cold, err := r.e.Read(m, dst, 0, 4<<20); n != len(dst) || cold || err != nil {
		t.Fatal(n, cold, err)
	}
	if got := r.dev.take(); len(got) != 1 || got[0] != (seen{blockio.Data, 5 * 4096, 1 << 20, 1}) {
		t.Errorf("the device received %+v", got)
	}
	if s := r.e.Stats(); m.calls != 1 || s != (mpage.Stats{Requests: 1, Mappings: 1, Bios: 1}) {
		t.Errorf("%d mapper calls, %+v", m.calls, s)
	}
	if raceEnabled {
		return // the race detector makes sync.Pool forget at random
	}
	e := mpage.New(im.mem, 4096, r.bufs)
	for _, n := range []int{4096, 128 << 10, 1 << 20} {
		if got := testing.AllocsPerRun(100, func() { e.Read(m, dst[:n], 4096, 4<<20) }); got > 0 {
			t.Errorf("a read of %d bytes allocates %v times", n, got)
		}
	}
}

// coldDevice says of each read that the host had to fetch it, from off on.
type coldDevice struct {
	blockio.Device
	off int64
}

func (d *coldDevice) Submit(bios ...*blockio.Bio) {
	d.Device.Submit(bios...)
	for _, b := range bios {
		b.Cold = b.Off >= d.off
	}
}

func TestCold(t *testing.T) {
	im := kb4()
	f := newFile(im, 3*4096, 1024, at(100, 200, 300), nil)
	r := newRig(t, im)
	r.e = mpage.New(&coldDevice{r.dev, 300 * 4096}, 4096, r.bufs)
	dst := make([]byte, 4096)
	for i, want := range []bool{false, false, true} {
		if _, cold, err := r.e.Read(r.mapper(f), dst, int64(i)*4096, f.size); cold != want || err != nil {
			t.Errorf("page %d: cold %v, %v", i, cold, err)
		}
	}
	if cold := r.e.Readahead(r.mapper(f), folios(r.e, 3), f.size); !cold {
		t.Error("three pages: not cold")
	}
	p := folios(r.e, 3)[2]
	if cold, err := r.e.ReadFolio(r.mapper(f), &p, f.size); !cold || err != nil {
		t.Error("one page: not cold")
	}
}

// Full bios end: by bytes, and by vectors where the pages are apart in memory.
func TestFullBio(t *testing.T) {
	im := newImage(1024, 16<<20)
	const blocks = 11 << 10
	f := newFile(im, blocks*1024, 256, sequential(1), nil)
	r := newRig(t, im)
	m := r.mapper(f)
	for l := range f.leaves { // all tables known, so that nothing else parts the bios
		if _, err := r.bufs.get(f.leaves[l]); err != nil {
			t.Fatal(err)
		}
	}
	r.bufs.get(f.tops[1])
	r.dev.take()
	r.read(m, 0, blocks*1024)
	reads := r.dev.take()
	if len(reads) > 4 {
		t.Errorf("%d reads of at most 4 MiB for 11 MiB", len(reads))
	}
	list := folios(r.e, blocks/4)
	r.e.Readahead(m, list, f.size)
	check(t, f, list, nil)
	for _, s := range append(reads, r.dev.take()...) {
		if s.len > blockio.MergeBytes || s.vecs > blockio.MergeVecs {
			t.Errorf("too large: %+v", s)
		}
	}
}

// More pages, and more bios, than are worked on at once.
func TestLargeRequests(t *testing.T) {
	im := newImage(1024, 64<<20)
	next := uint64(1)
	f := newFile(im, 20<<20, 256, func(bool, uint64) uint64 { next += 2; return next }, nil)
	r := newRig(t, im)
	m := r.mapper(f)
	for table := range f.tables { // so that no boundary sends off what has gathered
		if _, err := r.bufs.get(table); err != nil {
			t.Fatal(err)
		}
	}
	dst := make([]byte, f.size+5000)
	if n, _, err := r.e.Read(m, dst, 100, f.size); n != int(f.size-100) || err != nil || !bytes.Equal(dst[:n], f.naive(100, n)) {
		t.Errorf("%d %v", n, err)
	}
	if s := r.e.Stats(); s.Requests != 2 {
		t.Errorf("5119 pages in %d parts", s.Requests)
	}
	if r.dev.most > 1024 {
		t.Errorf("%d bios at once", r.dev.most)
	}
	list := folios(r.e, 5000)
	for i := range list {
		list[i].Index += 120
	}
	r.e.Readahead(m, list, f.size)
	for i, p := range list {
		if p.Err != nil || !bytes.Equal(p.Data, f.naive(int64(i+120)*4096, 4096)) {
			t.Fatalf("page %d: %v, or wrong bytes", i, p.Err)
		}
	}
}

func TestPrefetch(t *testing.T) {
	im := newImage(4096, 16<<20)
	const blocks = 2000
	f := newFile(im, blocks*4096, 1024, sequential(100), nil)
	r := newRig(t, im)
	m := r.mapper(f)
	want := func(off, n int64, want string) {
		t.Helper()
		r.im.mem.Advice()
		r.e.Prefetch(m, off, n, f.size)
		var got []string
		for _, a := range r.im.mem.Advice() {
			if a.Advice != blockio.WillNeed || a.Off+a.Len > im.mem.Size() {
				t.Errorf("advice: %+v", a)
			}
			got = append(got, fmt.Sprintf("%d+%d", a.Off/4096, a.Len/4096))
		}
		if fmt.Sprint(got) != want {
			t.Errorf("prefetch of %d at %d advised %v, want %v", n/4096, off/4096, got, want)
		}
	}
	want(0, 8*4096, "[100+8]")
	want(4095, 2, "[100+2]")
	// Over the boundary, and no I/O for the table there.
	want(4*4096, 100*4096, "[104+101]")
	r.want("")
	// The table is known: the mapping is what counts.
	r.bufs.get(112)
	r.got()
	want(4*4096, 100*4096, "[104+101]")
	r.want("")
	// Behind the next boundary lie two tables, which is more than can be guessed.
	want(4*4096, 3000*4096, "[104+1033 1139+964]")
	r.want("1137* 1138*")
	want(blocks*4096, 4096, "[]")
	want(-1, 4096, "[]")
	want(0, 0, "[]")

	// A file in pieces: in the order of the device, and the tables have to be read.
	f = newFile(im, 20*4096, 1024, at(3000, 3001, 2500, 2501, 2502, 2503, 2504, 2505, 2506, 2507, 2508, 2509, 2510, 2511,
		3100, 3101, 3102, 3103, 3104, 3105, 3106), nil)
	m = r.mapper(f)
	want(0, 20*4096, "[2500+12 3000+2 3100+7]")
	r.want("2510*")
	// Up-to-date content and holes need nothing, an error ends it.
	m.hook = func(iblock, max uint64) (mpage.Run, error, bool) {
		switch iblock {
		case 0:
			return mpage.Run{Count: 2}, nil, true
		case 2:
			return mpage.Run{Block: 2500, Count: 1, Flags: mpage.Mapped | mpage.Uptodate, Data: make([]byte, 4096)}, nil, true
		case 3:
			return mpage.Run{Block: 2501, Count: 2, Flags: mpage.Mapped}, nil, true
		case 5:
			return mpage.Run{Block: 1 << 60, Count: 2, Flags: mpage.Mapped}, nil, true
		}
		return mpage.Run{}, errMapper, true
	}
	want(0, 20*4096, "[2501+2]")
}

// Many readers of one file over a real cache and a real image file: everybody gets the
// right bytes whoever carries the tables along.
func TestParallelReaders(t *testing.T) {
	for _, bs := range []int64{1024, 4096} {
		im := newImage(bs, 16<<20)
		f := newFile(im, 4<<20, uint64(bs/4), sequential(1), nil)
		path := filepath.Join(t.TempDir(), "image")
		if err := os.WriteFile(path, im.mem.Bytes(0, im.mem.Size()), 0o600); err != nil {
			t.Fatal(err)
		}
		dev, err := blockio.Open(context.Background(), path, blockio.OpenOptions{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		defer dev.Close()
		content := f.naive(0, int(f.size))
		for round := range 10 {
			c := cache.New(dev, int(bs), 1<<20)
			e := mpage.New(dev, int(bs), c)
			var wg sync.WaitGroup
			for w := range 8 {
				wg.Go(func() {
					rng := rand.New(rand.NewPCG(uint64(round), uint64(w)))
					m := &cachedMap{file: f, c: c}
					dst := make([]byte, 256<<10)
					for range 20 {
						off := rng.Int64N(f.size)
						n, _, err := e.Read(m, dst[:1+rng.IntN(len(dst))], off, f.size)
						if err != nil || n == 0 || !bytes.Equal(dst[:n], content[off:off+int64(n)]) {
							t.Errorf("read at %d: %d %v, or wrong bytes", off, n, err)
							return
						}
					}
				})
			}
			wg.Wait()
			if s := c.Stats(); s.Pinned != 0 || s.Bytes > 1<<20 {
				t.Errorf("cache afterwards: %+v", s)
			}
		}
	}
}

// cachedMap is the block map of a file over the project's buffer cache.
type cachedMap struct {
	*file
	c *cache.Cache
}

func (m *cachedMap) GetBlock(iblock, max uint64, create bool) (mpage.Run, error) {
	// A mapper of its own, whose buffers come out of the cache.
	own := mapper{file: m.file, bufs: newBuffers(nil, m.im.bs)}
	for _, t := range append(m.path(int64(iblock)), m.tops[1]) {
		if t == 0 || t == m.tops[1] && !m.c.Cached(t) && iblock < 12+m.per {
			continue
		}
		b, err := m.c.Get(t, blockio.Indirect)
		if err != nil {
			return mpage.Run{}, err
		}
		b.RLock()
		own.bufs.blocks[t] = bytes.Clone(b.Data())
		b.RUnlock()
		b.Release()
	}
	return own.GetBlock(iblock, max, create)
}

func BenchmarkRead(b *testing.B) {
	for _, n := range []int{4096, 128 << 10, 1 << 20} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			e := mpage.New(nullDevice{blockiotest.NewMem(8 << 20)}, 4096, nil)
			m := &oneRun{block: 5}
			dst := make([]byte, n)
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := e.Read(m, dst, 0, 4<<20); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// nullDevice completes reads without doing them, so that the engine's own cost shows.
type nullDevice struct{ blockio.Device }

func (nullDevice) Submit(bios ...*blockio.Bio) {
	for _, b := range bios {
		b.Complete(0, nil)
	}
}
