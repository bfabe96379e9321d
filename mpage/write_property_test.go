package mpage_test

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/mpage"
)

// union is a set of device ranges as stretches in the order of the device: as many I/Os
// as a writer cannot do without.
func union(ranges [][2]int64) (out [][2]int64) {
	slices.SortFunc(ranges, func(a, b [2]int64) int { return cmp.Compare(a[0], b[0]) })
	for _, r := range ranges {
		if n := len(out); n > 0 && r[0] <= out[n-1][1] {
			out[n-1][1] = max(out[n-1][1], r[1])
		} else {
			out = append(out, r)
		}
	}
	return out
}

// randomGrowing is a file with holes, some blocks, and an allocator with habits: longer or
// shorter runs, in a row or wherever. No two blocks share a place.
func randomGrowing(rng *rand.Rand, bs int64, space, blocks uint64) *growing {
	g := newGrowing(bs, 0)
	g.per = []uint64{3, 4, 8, 16, uint64(bs / 4)}[rng.IntN(5)]
	used := map[uint64]bool{0: true} // 0 is a hole
	next := 1 + rng.Uint64N(space-1)
	jump, longest := rng.IntN(30), 1+rng.Uint64N(20)
	g.take = func(_, max uint64) (uint64, uint64, error) {
		if rng.IntN(31) < jump {
			next = rng.Uint64N(space)
		}
		for used[next%space] {
			next++
		}
		first, n := next%space, uint64(0)
		for ; n < min(max, 1+rng.Uint64N(longest)) && first+n < space && !used[first+n]; n++ {
			used[first+n] = true
		}
		next = first + n
		if rng.IntN(4) == 0 {
			next += rng.Uint64N(3) // an indirect block, or somebody else's
		}
		return first, n, nil
	}
	hole := rng.IntN(20)
	for b := uint64(0); b < blocks; {
		if rng.IntN(20) < hole {
			b += 1 + rng.Uint64N(5)
			continue
		}
		first, n, _ := g.take(b, min(blocks-b, 1+rng.Uint64N(30)))
		g.have(b, first, n)
		b += n
	}
	return g
}

// randomPages is a page set with everything a page can be: whole, in part, in several
// parts, clean, dirty in places.
func (d *desk) randomPages(rng *rand.Rand, first, n uint64) (list []mpage.Folio) {
	page := d.e.PageSize()
	clean, partly := rng.IntN(4), rng.IntN(4)
	for i := first; i < first+n; i++ {
		if rng.IntN(8) < clean {
			if rng.IntN(2) == 0 {
				list = append(list, mpage.Folio{Index: i, Data: randomBytes(rng, page)})
			}
			continue
		}
		from, to := 0, page
		for range 1 + rng.IntN(3) {
			if rng.IntN(8) < partly {
				from += rng.IntN(page - from + 1)
				to = from + rng.IntN(page-from+1)
			}
			f := mpage.Folio{Index: i, Off: from, Data: randomBytes(rng, to-from), Dirty: mpage.AllBlocks}
			if rng.IntN(8) < partly {
				f.Dirty = mpage.BlockSet(rng.Uint32())
			}
			list = append(list, f)
			if from, to = to, page; from == page {
				break
			}
		}
	}
	return list
}

func randomBytes(rng *rand.Rand, n int) []byte {
	p := make([]byte, n+7)
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(p[i:], rng.Uint64())
	}
	return p[:n]
}

// writeProperty holds random requests against the naive writer: the whole device, the
// number of I/Os, and what a reader then sees.
func writeProperty(t *testing.T, seed uint64, bs int64) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, uint64(bs)))
	space := uint64(max(1<<20/bs, 120))
	blocks := min(space/4, 200)
	d := newDesk(t, bs, int64(space)*bs)
	g := randomGrowing(rng, bs, space, rng.Uint64N(blocks))
	limit := int64(blocks) * bs
	size := rng.Int64N(limit)
	content := make([]byte, limit) // of the file: garbage where it has blocks, else zeros
	for b, dev := range g.blocks {
		lo, at := int64(b)*bs, int64(dev)*bs
		switch { // behind the end of the file there is nothing
		case lo >= size:
			delete(g.blocks, b)
			continue
		case lo+bs > size:
			clear(d.want[at+size-lo : at+bs])
			d.im.put(dev, d.want[at:at+bs])
		}
		copy(content[lo:], d.want[at:at+bs])
	}
	for round := range 8 {
		what := fmt.Sprintf("seed %d, block size %d, request %d", seed, bs, round)
		g.begin()
		d.dev.take()
		d.bufs.drops = nil
		var parts []part
		if rng.IntN(2) == 0 {
			off := rng.Int64N(limit)
			n := 1 + rng.Int64N(min(limit-off, 1<<20))
			switch rng.IntN(4) {
			case 0:
				off, n = off&^(bs-1), min((n+bs-1)&^(bs-1), limit-off&^(bs-1))
			case 1:
				n = min(n, 100)
			}
			parts = []part{{off, randomBytes(rng, int(n))}}
			if rng.IntN(4) > 0 { // as a write does; else a request that straddles or is past the end
				size = max(size, off+n)
			}
			g.size = max(size, 1)
			got, err := d.e.Write(g, parts[0].data, off, size)
			if want := max(0, min(n, size-off)); int64(got) != want || err != nil {
				t.Fatalf("%s: write of %d at %d of %d: %d %v", what, n, off, size, got, err)
			}
		} else {
			page := int64(d.e.PageSize())
			first := rng.Int64N(limit / page)
			list := d.randomPages(rng, uint64(first), uint64(1+rng.Int64N(min(limit/page-first, 64))))
			parts = d.parts(list)
			g.size = max(size, 1)
			if err := d.e.WritePages(g, list, size); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			what += " (pages)"
			if left := d.parts(list); len(left) > 0 {
				t.Fatalf("%s: still dirty afterwards: offset %d of %d", what, left[0].lo, size)
			}
		}
		fresh := map[uint64]bool{}
		for b := range g.allocated {
			fresh[b] = true
		}
		need := union(d.naive(g, size, parts))
		d.check(what)
		seen := d.dev.take()
		if len(seen) != len(need) {
			t.Fatalf("%s: %d I/Os, the minimum is %d: %v", what, len(seen), len(need), seen)
		}
		for i, s := range seen {
			if s.what != blockio.Data || s.off != need[i][0] || s.off+s.len != need[i][1] {
				t.Fatalf("%s: I/O %d is %+v, want %v", what, i, s, need[i])
			}
		}
		d.checkDrops(what, fresh)
		for _, p := range parts {
			copy(content[p.lo:max(p.lo, min(size, limit))], p.data)
		}
		d.checkRead(what, g, content, size)
	}
}

// checkDrops: new blocks were dropped from the cache, each once, and no others.
func (d *desk) checkDrops(what string, fresh map[uint64]bool) {
	d.t.Helper()
	for _, r := range d.bufs.drops {
		for b := r[0]; b < r[0]+r[1]; b++ {
			if !fresh[b] {
				d.t.Fatalf("%s: block %d was dropped and is not new, or twice", what, b)
			}
			delete(fresh, b)
		}
	}
	if len(fresh) > 0 {
		d.t.Fatalf("%s: new blocks were not dropped: %v", what, fresh)
	}
}

// checkRead: the file is what was written to it; nothing old shows.
func (d *desk) checkRead(what string, g *growing, content []byte, size int64) {
	d.t.Helper()
	got := make([]byte, size)
	if n, _, err := d.e.Read(g, got, 0, size); int64(n) != size || err != nil {
		d.t.Fatalf("%s: reading back: %d %v", what, n, err)
	}
	if !bytes.Equal(got, content[:size]) {
		for i := range got {
			if got[i] != content[i] {
				d.t.Fatalf("%s: reading back: byte %d is %#x, want %#x", what, i, got[i], content[i])
			}
		}
	}
}

func TestRandomWrites(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("repeat with -mpage.seed=%d", seed)
	rounds := uint64(25)
	if testing.Short() || raceEnabled {
		rounds = 5
	}
	for _, bs := range []int64{1024, 2048, 4096, 8192, 16384, 32768, 65536} {
		t.Run(fmt.Sprint(bs), func(t *testing.T) {
			for i := range rounds {
				writeProperty(t, seed+i, bs)
			}
		})
	}
}

func FuzzWrite(f *testing.F) {
	for i := range uint64(7) {
		f.Add(i*1000, uint8(i))
	}
	f.Fuzz(func(t *testing.T, seed uint64, size uint8) {
		writeProperty(t, seed, 1024<<(size%7))
	})
}

// Random writes on a device with a bad block, or one that ends early: n bytes are there
// for sure, no byte is left out that could be written, and nothing else has changed.
func TestRandomWriteFaults(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("repeat with -mpage.seed=%d", seed)
	rounds := uint64(50)
	if testing.Short() || raceEnabled {
		rounds = 15
	}
	for _, bs := range []int64{1024, 4096, 16384} {
		t.Run(fmt.Sprint(bs), func(t *testing.T) {
			for i := range rounds {
				faultProperty(t, seed+i, bs)
			}
		})
	}
}

func faultProperty(t *testing.T, seed uint64, bs int64) {
	rng := rand.New(rand.NewPCG(seed, uint64(bs)))
	space := uint64(max(1<<20/bs, 120))
	blocks := min(space/4, 100)
	bytes := int64(space) * bs
	early := rng.IntN(3) == 0
	if early {
		bytes -= rng.Int64N(bytes * 3 / 4)
	}
	d := newDesk(t, bs, bytes)
	g := randomGrowing(rng, bs, space, rng.Uint64N(blocks))
	short := false
	bad := bytes // device offset from which on nothing is certain: none
	if !early {
		bad = rng.Int64N(int64(space)) * bs
		rule := blockiotest.Rule{Op: blockio.Write, Match: func(b *blockio.Bio) bool {
			return b.Off < bad+bs && b.Off+b.Bytes() > bad
		}}
		if rng.IntN(2) == 0 { // a disk that is full: what comes before the place is written
			rule.Short = 1 + rng.Int64N(3*bs)
			short = true
		}
		d.fault.Fail(rule)
	}
	off := rng.Int64N(int64(blocks) * bs)
	data := randomBytes(rng, 1+rng.IntN(int(min(int64(blocks)*bs-off, 200<<10))))
	size := off + int64(len(data))
	g.size = size
	what := fmt.Sprintf("seed %d, block size %d, write of %d at %d", seed, bs, len(data), off)
	n, err := d.e.Write(g, data, off, size)
	if (err == nil) != (n == len(data)) || err != nil && !errors.Is(err, syscall.EIO) && !errors.Is(err, blockio.ErrPastEnd) {
		t.Fatalf("%s: %d %v", what, n, err)
	}
	if at := off + int64(n); err != nil && n > 0 && at%bs != 0 && !(early && int64(g.blocks[uint64(at/bs)])*bs+at%bs == bytes) {
		t.Fatalf("%s: %d bytes end inside a block", what, n)
	}
	before := d.im.mem.Bytes(0, bytes)
	old := slices.Clone(d.want)
	if early { // the naive writer's device is as large as need be
		d.want = append(d.want, make([]byte, int64(space)*bs-bytes)...)
	}
	lost := len(data) // first byte that cannot be there
	for i := 0; i < lost; i += int(bs - (off+int64(i))%bs) {
		block, ok := g.blocks[uint64((off+int64(i))/bs)]
		at := int64(block)*bs + (off+int64(i))%bs
		switch {
		case !ok || early && at >= bytes || !early && int64(block)*bs == bad:
			lost = i
		case early && at&^(bs-1)+bs > bytes:
			lost = min(lost, i+int(bytes-at))
		}
	}
	all := len(data)
	if early { // the walk ends where the device has no room
		data = data[:lost]
		kept := map[uint64]bool{}
		for at := off &^ (bs - 1); lost > 0 && at < off+int64(lost); at += bs {
			if b := g.blocks[uint64(at/bs)]; g.allocated[b] {
				kept[b] = true
			}
		}
		g.allocated = kept
	}
	// Each byte of the device is as it was or as the naive writer would have left it, and
	// the latter in every stretch that the bad place is not in, and up to n.
	need := union(d.naive(g, size, []part{{off, data}}))
	if n > lost && !short { // the bad place itself may be among what is transferred

		t.Fatalf("%s: %d bytes are said to be there, byte %d cannot be", what, n, lost)
	}
	if lost == all && n != lost {
		t.Fatalf("%s: %d bytes, nothing was in the way: %v", what, n, err)
	}
	for i := 0; i < n; {
		k := min(int(bs-(off+int64(i))%bs), n-i)
		at := int64(g.blocks[uint64((off+int64(i))/bs)])*bs + (off+int64(i))%bs
		if !slices.Equal(before[at:at+int64(k)], data[i:i+k]) {
			t.Fatalf("%s: bytes %d to %d of %d are not on the device", what, i, i+k, n)
		}
		i += k
	}
	for at := range before {
		if before[at] != d.want[at] && before[at] != old[at] {
			t.Fatalf("%s: byte %d of the device is neither old nor new", what, at)
		}
	}
	for _, r := range need {
		if !early && r[0] < bad+bs && r[1] > bad {
			continue
		}
		if lo, hi := r[0], min(r[1], bytes); lo < hi && !slices.Equal(before[lo:hi], d.want[lo:hi]) {
			t.Fatalf("%s: bytes %d to %d of the device were not all written, though nothing was in the way", what, lo, hi)
		}
	}
}
