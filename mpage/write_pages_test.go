package mpage_test

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/mpage"
)

// dirtyPages is a page set, all of it dirty, with content of its own in memory of its own.
func dirtyPages(e *mpage.Engine, index ...uint64) []mpage.Folio {
	var list []mpage.Folio
	for _, i := range index {
		data := text(e.PageSize() + int(i))[i:]
		list = append(list, mpage.Folio{Index: i, Data: data, Dirty: mpage.AllBlocks})
	}
	return list
}

// parts is what of the folios is dirty, block by block.
func (d *desk) parts(list []mpage.Folio) (parts []part) {
	page, bs := int64(d.e.PageSize()), d.im.bs
	for _, f := range list {
		for i := range page / bs {
			if f.Dirty&(1<<i) == 0 {
				continue
			}
			lo, hi := max(i*bs, int64(f.Off)), min((i+1)*bs, int64(f.Off+len(f.Data)))
			if lo < hi {
				parts = append(parts, part{int64(f.Index)*page + lo, f.Data[lo-int64(f.Off) : hi-int64(f.Off)]})
			}
		}
	}
	return parts
}

// writePages writes with the engine, holds the device against the naive writer, and
// looks whether everything is clean that was written.
func (d *desk) writePages(g *growing, list []mpage.Folio, size int64) {
	d.t.Helper()
	g.begin()
	g.size = max(size, 1)
	parts := d.parts(list)
	if err := d.e.WritePages(g, list, size); err != nil {
		d.t.Fatal(err)
	}
	d.naive(g, size, parts)
	d.check("pages of a file of " + fmt.Sprint(size))
	for i := range list {
		if f := &list[i]; f.Err != nil || f.Dirty != 0 && f.Off == 0 && len(f.Data) == d.e.PageSize() {
			d.t.Fatalf("page %d afterwards: dirty %b, %v", f.Index, f.Dirty, f.Err)
		}
	}
}

// Dirty pages in a row are one I/O, however they lie in memory; clean ones between them
// are left alone, and no blocks are allocated for them.
func TestWritePagesRange(t *testing.T) {
	d := newDesk(t, 4096, 1<<20)
	g := newGrowing(4096, 10)
	list := dirtyPages(d.e, 0, 1, 2, 3, 5, 6)
	list[2].Dirty = 0
	d.writePages(g, list, 1<<20)
	d.wantIO("40960+20480/5") // allocated one behind the other
	if len(g.blocks) != 5 || g.calls != 3 {
		t.Errorf("%d blocks, %d mapper calls", len(g.blocks), g.calls)
	}
	if s := d.e.Stats(); s.Writes != 1 || s.Fallbacks != 0 {
		t.Errorf("%+v", s)
	}
	d.writePages(g, list, 1<<20) // all clean now
	d.wantIO("")
	if g.calls != 0 {
		t.Errorf("%d mapper calls for clean pages", g.calls)
	}
	d.writePages(g, nil, 1<<20)
}

// A page without buffers is one piece; so is one with buffers if all of them are dirty
// and lie together. Any other is written block by block, and only what is dirty.
func TestWritePagesShapes(t *testing.T) {
	for _, tc := range []struct {
		name   string
		blocks []uint64
		dirty  mpage.BlockSet
		want   string
		pieces bool
	}{
		{"whole", []uint64{10, 11, 12, 13}, mpage.AllBlocks, "10240+4096", false},
		{"all dirty", []uint64{10, 11, 12, 13}, 0b1111, "10240+4096", false},
		{"apart", []uint64{10, 11, 20, 21}, 0b1111, "10240+2048 20480+2048", true},
		{"each for itself", []uint64{10, 20, 30, 40}, 0b1111, "10240+1024 20480+1024 30720+1024 40960+1024", true},
		{"backwards", []uint64{13, 12, 11, 10}, 0b1111, "10240+4096/4", true},
		{"first", []uint64{10, 11, 12, 13}, 0b0001, "10240+1024", false},
		{"last", []uint64{10, 11, 12, 13}, 0b1000, "13312+1024", false},
		{"middle", []uint64{10, 11, 12, 13}, 0b0110, "11264+2048", false},
		{"two", []uint64{10, 11, 12, 13}, 0b1001, "10240+1024 13312+1024", true},
		{"dirty ones meet", []uint64{10, 50, 11, 12}, 0b1101, "10240+3072/2", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := newDesk(t, 1024, 1<<20)
			g := newGrowing(1024, 0)
			for i, b := range tc.blocks {
				g.blocks[uint64(i)] = b
			}
			list := dirtyPages(d.e, 0)
			list[0].Dirty = tc.dirty
			d.writePages(g, list, 1<<20)
			d.wantIO(tc.want)
			if s := d.e.Stats(); (s.Fallbacks == 1) != tc.pieces {
				t.Errorf("%+v", s)
			}
		})
	}
}

// Parts of pages: of what is dirty, what Data holds; a new block that several parts meet
// in is padded around and between them, in one write, and never over one of them.
func TestWritePagesParts(t *testing.T) {
	d := newDesk(t, 4096, 1<<20)
	g := newGrowing(4096, 10)
	data := text(4096)
	d.writePages(g, []mpage.Folio{
		{Index: 0, Off: 100, Data: data[:200], Dirty: 1},
		{Index: 0, Off: 1000, Data: data[:50], Dirty: 1},
		{Index: 0, Off: 1050, Data: data[:50], Dirty: 1},
		{Index: 0, Off: 2000, Data: nil, Dirty: 1},
		{Index: 0, Off: 4000, Data: data[:96], Dirty: 1},
		{Index: 1, Off: 50, Data: data[:50], Dirty: 1},
	}, 1<<20)
	d.wantIO("40960+8192/10")
	if g.calls != 1 {
		t.Errorf("%d mapper calls", g.calls)
	}
	// Of old blocks just the parts.
	d.writePages(g, []mpage.Folio{
		{Index: 0, Off: 100, Data: data[1:200], Dirty: 1},
		{Index: 1, Off: 50, Data: data[1:50], Dirty: 1},
	}, 1<<20)
	d.wantIO("41060+199 45106+49")

	// Blocks that Data does not hold stay dirty.
	d = newDesk(t, 1024, 1<<20)
	g = newGrowing(1024, 10)
	list := []mpage.Folio{{Index: 0, Off: 1024, Data: data[:2048], Dirty: 0b1011}}
	d.writePages(g, list, 1<<20)
	d.wantIO("10240+1024")
	if list[0].Dirty != 0b1001 {
		t.Errorf("dirty afterwards: %b", list[0].Dirty)
	}
}

// Straddling the end of the file a page is zeroed past it, each time; wholly past it there
// is nothing to write, and nothing to keep dirty.
func TestWritePagesEndOfFile(t *testing.T) {
	d := newDesk(t, 1024, 1<<20)
	g := newGrowing(1024, 10)
	for range 2 {
		d.writePages(g, dirtyPages(d.e, 0, 1, 2, 3), 4096+1500)
		if len(g.blocks) != 6 {
			t.Errorf("%d blocks for %d bytes", len(g.blocks), 4096+1500)
		}
		d.wantIO("10240+6144/3")
		copy(d.want[15*1024+476:16*1024], text(548)) // somebody soils it
		d.im.put(15, d.want[15*1024:16*1024])
	}
	d.writePages(g, dirtyPages(d.e, 7), 0)
	d.wantIO("")
}

// What was not taken into a bio stays dirty, and the page has the error; the other pages
// are written. It can be tried again.
func TestWritePagesMapperFails(t *testing.T) {
	boom := errors.New("no room left")
	d := newDesk(t, 1024, 1<<20)
	g := newGrowing(1024, 0)
	next, full := uint64(40), true
	g.take = func(iblock, max uint64) (uint64, uint64, error) {
		if iblock == 6 && full {
			return 0, 0, boom
		}
		next += 2
		return next - 2, 1, nil
	}
	list := dirtyPages(d.e, 0, 1, 2)
	g.hook = func(iblock, max uint64) (mpage.Run, error, bool) {
		for i := range list {
			for b := range uint64(4) {
				if fb := list[i].Index*4 + b; fb >= iblock && list[i].Dirty&(1<<b) == 0 {
					t.Errorf("block %d is clean before block %d was mapped", fb, iblock)
				}
			}
		}
		return mpage.Run{}, nil, false
	}
	parts := d.parts(list)
	err := d.e.WritePages(g, list, 1<<20)
	if !errors.Is(err, boom) || !strings.Contains(err.Error(), "page 1") || list[0].Err != nil || list[1].Err != boom || list[2].Err != nil {
		t.Fatalf("%v; %v %v %v", err, list[0].Err, list[1].Err, list[2].Err)
	}
	if list[0].Dirty != 0 || list[1].Dirty != 0b1100 || list[2].Dirty != 0 {
		t.Fatalf("dirty afterwards: %b %b %b", list[0].Dirty, list[1].Dirty, list[2].Dirty)
	}
	d.naive(g, 1<<20, append(append([]part{}, parts[:6]...), parts[8:]...))
	d.check("with a mapper that failed")
	if g.errors.Check(&g.told) != nil {
		t.Error("what is still dirty sticks to the file as lost")
	}
	full, g.hook = false, nil
	d.writePages(g, list, 1<<20)
	if list[1].Err != nil {
		t.Error(list[1].Err)
	}
}

// A bio that fails fails its pages and no others. They are clean, for nobody will write
// them again, so the error sticks to the file.
func TestWritePagesDeviceFails(t *testing.T) {
	d := newDesk(t, 4096, 1<<20)
	// Pages 0, 1 and 4 are one bio, which 2 and 3, clean or bad, are not in; 5 another.
	g := newGrowing(4096, 0).have(0, 10, 2).have(4, 12, 1).have(5, 20, 1)
	d.fault.Fail(blockiotest.Rule{Op: blockio.Write, Match: func(b *blockio.Bio) bool { return b.Off < 20*4096 }})
	list := dirtyPages(d.e, 0, 1, 2, 3, 4, 5)
	list[2].Dirty = 0
	list[3].Off = 1 // does not fit
	err := d.e.WritePages(g, list, 1<<20)
	for i, want := range []error{syscall.EIO, syscall.EIO, nil, nil, syscall.EIO, nil} {
		if i != 3 && !errors.Is(list[i].Err, want) || i != 3 && list[i].Dirty != 0 {
			t.Errorf("page %d: %v, dirty %b", i, list[i].Err, list[i].Dirty)
		}
	}
	if list[3].Err == nil || list[3].Dirty == 0 || errors.Is(list[3].Err, syscall.EIO) {
		t.Errorf("page 3: %v, dirty %b", list[3].Err, list[3].Dirty)
	}
	if !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	if err := g.errors.Check(&g.told); !errors.Is(err, syscall.EIO) {
		t.Errorf("the file says %v", err)
	}
	if err := g.errors.Check(&g.told); err != nil {
		t.Errorf("told twice: %v", err)
	}
}

// Folios that cannot be, or are out of order, are refused; the others are written.
func TestWritePagesRefused(t *testing.T) {
	d := newDesk(t, 4096, 1<<20)
	g := newGrowing(4096, 10)
	data := text(4096)
	list := []mpage.Folio{
		{Index: 1 << 62, Data: data, Dirty: 1},
		{Index: 0, Off: 1, Data: data, Dirty: 1},
		{Index: 0, Off: -1, Data: data[:1], Dirty: 1},
		{Index: 2, Data: data, Dirty: 1},
		{Index: 1, Data: data, Dirty: 1},                // backwards
		{Index: 2, Off: 4095, Data: data[:1], Dirty: 1}, // overlaps
		{Index: 3, Data: data, Dirty: 1},
	}
	good := []mpage.Folio{list[3], list[6]}
	if err := d.e.WritePages(g, list, 1<<20); err == nil {
		t.Error("no error")
	}
	d.naive(g, 1<<20, d.parts(good))
	d.check("afterwards")
	for i, f := range list {
		if ok := i == 3 || i == 6; (f.Err == nil) != ok || (f.Dirty == 0) != ok {
			t.Errorf("%d: %v, dirty %b", i, f.Err, f.Dirty)
		}
	}
}

// More pages than one I/O has vectors for.
func TestWritePagesMany(t *testing.T) {
	d := newDesk(t, 1024, 16<<20)
	g := newGrowing(1024, 10)
	var index []uint64
	for i := range uint64(3000) {
		index = append(index, i)
	}
	d.writePages(g, dirtyPages(d.e, index...), 3000*4096-100)
	for _, s := range d.dev.take() {
		if s.vecs > blockio.MergeVecs || s.len > blockio.MergeBytes {
			t.Errorf("%+v", s)
		}
	}
}
