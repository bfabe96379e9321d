package mpage_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/mpage"
)

// growing is a file that allocates, as a Mapper. Its runs end where a table of per
// pointers would.
type growing struct {
	bs     int64
	per    uint64
	size   int64             // blocks behind it must not be asked for
	blocks map[uint64]uint64 // file block to device block
	// take gives device blocks for up to max file blocks from iblock on.
	take func(iblock, max uint64) (block, n uint64, err error)
	// hook may answer in place of the block map.
	hook func(iblock, max uint64) (mpage.Run, error, bool)

	calls     int
	allocated map[uint64]bool // device blocks, since the request began
	asked     map[uint64]bool // file blocks mapped, since the request began
	errors    mpage.WriteErrors
	told      mpage.ErrorMark
}

var _ mpage.ErrorKeeper = (*growing)(nil)

func (g *growing) WriteErrors() *mpage.WriteErrors { return &g.errors }

// newGrowing is an empty file whose blocks come one behind the other from first on.
func newGrowing(bs int64, first uint64) *growing {
	g := &growing{bs: bs, per: uint64(bs / 4), size: 1 << 50, blocks: map[uint64]uint64{}}
	g.take = func(_, max uint64) (uint64, uint64, error) {
		first += max
		return first - max, max, nil
	}
	g.begin()
	return g
}

// have gives the file blocks from device block first on.
func (g *growing) have(iblock, first, n uint64) *growing {
	for i := range n {
		g.blocks[iblock+i] = first + i
	}
	return g
}

func (g *growing) begin() {
	g.calls = 0
	g.allocated, g.asked = map[uint64]bool{}, map[uint64]bool{}
}

// tableEnd is the file block behind the last one of iblock's table.
func (g *growing) tableEnd(iblock uint64) uint64 {
	if iblock < 12 {
		return 12
	}
	return iblock + g.per - (iblock-12)%g.per
}

func (g *growing) GetBlock(iblock, max uint64, create bool) (mpage.Run, error) {
	g.calls++
	if max == 0 || create && iblock+max > uint64(g.size-1)/uint64(g.bs)+1 {
		panic(fmt.Sprintf("mapper asked for %d blocks from %d on of a file of %d bytes", max, iblock, g.size))
	}
	if g.hook != nil {
		if run, err, ok := g.hook(iblock, max); ok {
			return run, err
		}
	}
	end := g.tableEnd(iblock)
	limit := min(max, end-iblock)
	run := mpage.Run{Block: g.blocks[iblock], Count: 1}
	for run.Count < limit {
		p := g.blocks[iblock+run.Count]
		if run.Block == 0 && p != 0 || run.Block != 0 && p != run.Block+run.Count {
			break
		}
		run.Count++
	}
	switch {
	case run.Block != 0:
		run.Flags = mpage.Mapped
	case create:
		block, n, err := g.take(iblock, run.Count)
		if err != nil {
			return mpage.Run{}, err
		}
		run = mpage.Run{Block: block, Count: n, Flags: mpage.Mapped | mpage.Allocated}
		for i := range n {
			g.blocks[iblock+i] = block + i
			g.allocated[block+i] = true
		}
	default:
		return run, nil
	}
	if iblock+run.Count == end {
		run.Flags |= mpage.Boundary
	}
	for i := range run.Count {
		if create && g.asked[iblock+i] {
			panic(fmt.Sprintf("file block %d was asked for twice", iblock+i))
		}
		g.asked[iblock+i] = true
	}
	return run, nil
}

// desk is an engine over a device full of garbage, and what must be on the device.
type desk struct {
	*rig
	want []byte
}

func newDesk(t testing.TB, bs, bytes int64, opts ...mpage.Option) *desk {
	im := newImage(bs, bytes)
	garbage := make([]byte, bytes)
	rng := rand.NewChaCha8([32]byte{1})
	rng.Read(garbage)
	for i := range garbage {
		garbage[i] |= 1 // never zero
	}
	im.mem.WritevAt([][]byte{garbage}, 0)
	return &desk{newRig(t, im, opts...), garbage}
}

// part is a range of the file that is written: data at file offset lo.
type part struct {
	lo   int64
	data []byte
}

// naive writes parts as a writer does who knows the layout: each block by itself. It
// returns the device ranges that it had to touch.
func (d *desk) naive(g *growing, size int64, parts []part) (touched [][2]int64) {
	bs := d.im.bs
	touch := func(lo, hi int64) {
		if n := len(touched); n > 0 && touched[n-1][1] == lo {
			touched[n-1][1] = hi
		} else {
			touched = append(touched, [2]int64{lo, hi})
		}
	}
	for _, p := range parts {
		data := p.data[:max(0, min(int64(len(p.data)), size-p.lo))]
		for at := p.lo; len(data) > 0; {
			n := min(bs-at%bs, int64(len(data)))
			block, ok := g.blocks[uint64(at/bs)]
			if !ok {
				d.t.Fatalf("file block %d has no place on the device", at/bs)
			}
			lo := int64(block) * bs
			from, to := lo+at%bs, lo+at%bs+n
			first := g.allocated[block]
			if first {
				clear(d.want[lo : lo+bs])
				g.allocated[block] = false
			}
			copy(d.want[from:to], data[:n])
			if at+n == size {
				clear(d.want[to : lo+bs])
				to = lo + bs
			}
			if first {
				from, to = lo, lo+bs
			}
			touch(from, to)
			at, data = at+n, data[n:]
		}
	}
	for b, unused := range g.allocated {
		if unused {
			d.t.Fatalf("block %d was allocated for nothing", b)
		}
	}
	return touched
}

// check compares the whole device with what must be there.
func (d *desk) check(what string) {
	d.t.Helper()
	got := d.im.mem.Bytes(0, d.im.mem.Size())
	if bytes.Equal(got, d.want) {
		return
	}
	for i := range got {
		if got[i] != d.want[i] {
			d.t.Fatalf("%s: byte %d of block %d is %#x, want %#x", what, int64(i)%d.im.bs, int64(i)/d.im.bs, got[i], d.want[i])
		}
	}
}

// write writes with the engine and holds the device against the naive writer.
func (d *desk) write(g *growing, data []byte, off, size int64) {
	d.t.Helper()
	g.begin()
	g.size = max(size, 1)
	keep := bytes.Clone(data)
	n, err := d.e.Write(g, data, off, size)
	if want := int(max(0, min(int64(len(data)), size-off))); n != want || err != nil {
		d.t.Fatalf("write of %d bytes at %d of %d: %d, %v", len(data), off, size, n, err)
	}
	if !bytes.Equal(keep, data) {
		d.t.Fatal("the caller's bytes were changed")
	}
	d.naive(g, size, []part{{off, data}})
	d.check(fmt.Sprintf("write of %d bytes at %d of %d", len(data), off, size))
}

// wrote is what reached the device since the last call, in bytes: "off+len", with the
// number of vectors where it is not 1.
func (d *desk) wrote() string {
	var list []string
	for _, s := range d.dev.take() {
		if s.what != blockio.Data {
			d.t.Errorf("the engine wrote something that is not file content: %+v", s)
		}
		text := fmt.Sprintf("%d+%d", s.off, s.len)
		if s.vecs != 1 {
			text += fmt.Sprintf("/%d", s.vecs)
		}
		list = append(list, text)
	}
	return strings.Join(list, " ")
}

func (d *desk) wantIO(want string) {
	d.t.Helper()
	if got := d.wrote(); got != want {
		d.t.Fatalf("the device received %q, want %q", got, want)
	}
}

// text is n bytes that differ from each other and from zero.
func text(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(1 + (i+i/251)%255)
	}
	return p
}
