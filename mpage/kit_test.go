package mpage_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/mpage"
)

// recorder keeps what reaches the device below, in order.
type recorder struct {
	blockio.Device
	mu   sync.Mutex
	bios []seen
	most int // bios in one Submit
}

// seen is one read that the device received, in bytes.
type seen struct {
	what     blockio.Purpose
	off, len int64
	vecs     int
}

func (d *recorder) Submit(bios ...*blockio.Bio) {
	d.mu.Lock()
	d.most = max(d.most, len(bios))
	d.mu.Unlock()
	for _, b := range bios {
		d.mu.Lock()
		d.bios = append(d.bios, seen{b.For, b.Off, b.Bytes(), len(b.Vecs)})
		d.mu.Unlock()
		d.Device.Submit(b)
	}
}

func (d *recorder) ReadvAt(iov [][]byte, off int64) (int, error) {
	b := blockio.Bio{Op: blockio.Read, Off: off, Vecs: iov}
	d.Submit(&b)
	return int(b.N), b.Err
}

// take returns what was recorded and forgets it.
func (d *recorder) take() []seen {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := d.bios
	d.bios = nil
	return list
}

// buffers is the plainest buffer cache: a map.
type buffers struct {
	dev  blockio.Device
	bs   int64
	full bool // has no memory for riders

	mu     sync.Mutex
	blocks map[uint64][]byte
	rides  int
	failed int
	drops  [][2]uint64 // block, n
}

func newBuffers(dev blockio.Device, bs int64) *buffers {
	return &buffers{dev: dev, bs: bs, blocks: map[uint64][]byte{}}
}

func (c *buffers) Ride(block uint64) ([]byte, func(error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.full || c.blocks[block] != nil {
		return nil, nil
	}
	data := make([]byte, c.bs)
	var once atomic.Bool
	return data, func(err error) {
		if once.Swap(true) {
			panic("a rider ended twice")
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.rides++
		if err != nil {
			c.failed++
			return
		}
		c.blocks[block] = data
	}
}

func (c *buffers) Cached(block uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.blocks[block] != nil
}

func (c *buffers) Drop(block, n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drops = append(c.drops, [2]uint64{block, n})
	for b := block; b < block+n; b++ {
		delete(c.blocks, b)
	}
}

func (c *buffers) get(block uint64) ([]byte, error) {
	c.mu.Lock()
	data := c.blocks[block]
	c.mu.Unlock()
	if data != nil {
		return data, nil
	}
	data = make([]byte, c.bs)
	b := blockio.Bio{Op: blockio.Read, For: blockio.Indirect, Off: int64(block) * c.bs, Vecs: [][]byte{data}}
	c.dev.Submit(&b)
	if b.Err != nil {
		return nil, b.Err
	}
	c.mu.Lock()
	c.blocks[block] = data
	c.mu.Unlock()
	return data, nil
}

// image is a device on which every block says where it is, and the files laid out on it.
type image struct {
	bs  int64
	mem *blockiotest.Mem
}

// newImage returns a device of the given number of bytes.
func newImage(bs, bytes int64) *image {
	im := &image{bs: bs, mem: blockiotest.NewMem(bytes)}
	return im
}

// content is what block holds: each 8 bytes say block and place.
func (im *image) content(block uint64) []byte {
	p := make([]byte, im.bs)
	for i := 0; i < len(p); i += 8 {
		binary.LittleEndian.PutUint64(p[i:], (block+1)<<20|uint64(i))
	}
	return p
}

func (im *image) put(block uint64, data []byte) {
	off := int64(block) * im.bs
	if off >= im.mem.Size() {
		return
	}
	data = data[:min(int64(len(data)), im.mem.Size()-off)]
	if _, err := im.mem.WritevAt([][]byte{data}, off); err != nil {
		panic(err)
	}
}

// file is a file mapped as ext2 does it: direct blocks, then tables of per pointers,
// then tables of tables. Its tables are on the image, and the mapper reads them there.
type file struct {
	im     *image
	size   int64
	per    uint64
	blocks []uint64 // device block of each file block; 0 is a hole
	tables map[uint64]bool
	direct [12]uint64
	tops   [2]uint64 // single and double indirect table
	leaves map[uint64]uint64
}

// layout gives a device block to each file block that has one, and to the tables, in the
// order in which the kernel would allocate them for a file written from front to end.
type layout func(table bool, fileBlock uint64) uint64

// sequential is the layout of a file written alone to an empty device.
func sequential(first uint64) layout {
	next := first
	return func(bool, uint64) uint64 { next++; return next - 1 }
}

// newFile lays out a file of size bytes; hole tells which file blocks have no block.
func newFile(im *image, size int64, per uint64, alloc layout, hole func(uint64) bool) *file {
	f := &file{im: im, size: size, per: per, tables: map[uint64]bool{}, leaves: map[uint64]uint64{}}
	n := uint64((size + im.bs - 1) / im.bs)
	content := map[uint64][]byte{}
	table := func(b uint64) uint64 {
		t := alloc(true, b)
		f.tables[t] = true
		content[t] = make([]byte, im.bs)
		return t
	}
	for b := range n {
		if hole != nil && hole(b) {
			f.blocks = append(f.blocks, 0)
			continue
		}
		var leaf uint64
		if b >= 12 {
			l := (b - 12) / per
			if f.leaves[l] == 0 {
				if l >= 1 && f.tops[1] == 0 {
					f.tops[1] = table(b)
				}
				f.leaves[l] = table(b)
				if l == 0 {
					f.tops[0] = f.leaves[l]
				} else {
					binary.LittleEndian.PutUint32(content[f.tops[1]][4*(l-1):], uint32(f.leaves[l]))
				}
			}
			leaf = f.leaves[l]
		}
		d := alloc(false, b)
		f.blocks = append(f.blocks, d)
		if leaf != 0 {
			binary.LittleEndian.PutUint32(content[leaf][4*((b-12)%per):], uint32(d))
		} else {
			f.direct[b] = d
		}
		im.put(d, im.content(d))
	}
	for t, data := range content {
		im.put(t, data)
	}
	return f
}

// naive is the file's content from off on, block by block from the list of blocks.
func (f *file) naive(off int64, n int) []byte {
	p := make([]byte, n)
	for i := int64(0); i < int64(n) && off+i < f.size; {
		in := (off + i) % f.im.bs
		k := min(f.im.bs-in, int64(n)-i, f.size-off-i)
		if d := f.blocks[(off+i)/f.im.bs]; d != 0 {
			copy(p[i:i+k], f.im.content(d)[in:])
		}
		i += k
	}
	return p
}

// mapper is f's block map over a buffer cache. It counts how often it is asked.
type mapper struct {
	*file
	bufs  *buffers
	calls int
	asked []uint64 // the blocks asked for
	bets  *mpage.Bets
	// hook may answer in place of the block map.
	hook func(iblock, max uint64) (mpage.Run, error, bool)
}

func (m *mapper) Bets() *mpage.Bets { return m.bets }

func (m *mapper) GetBlock(iblock, max uint64, create bool) (mpage.Run, error) {
	m.calls++
	m.asked = append(m.asked, iblock)
	if max == 0 || create || iblock >= uint64(len(m.blocks)) || max > uint64(len(m.blocks))-iblock {
		panic(fmt.Sprintf("mapper asked for %d blocks from %d on of a file of %d", max, iblock, len(m.blocks)))
	}
	if m.hook != nil {
		if run, err, ok := m.hook(iblock, max); ok {
			return run, err
		}
	}
	if iblock < 12 {
		return m.inTable(m.direct[:], iblock, max, 0)
	}
	l := (iblock - 12) / m.per
	rest := m.per - (iblock-12)%m.per
	leaf, _, err := m.leaf(l, false)
	if err != nil {
		return mpage.Run{}, err
	}
	if leaf == 0 {
		return mpage.Run{Count: min(max, rest)}, nil
	}
	data, err := m.bufs.get(leaf)
	if err != nil {
		return mpage.Run{}, err
	}
	ptrs := make([]uint64, m.per)
	for i := range ptrs {
		ptrs[i] = uint64(binary.LittleEndian.Uint32(data[4*i:]))
	}
	return m.inTable(ptrs, (iblock-12)%m.per, max, l+1)
}

// inTable finds the run at ptrs[i]; leaf is the number of the table behind.
func (m *mapper) inTable(ptrs []uint64, i, max, leaf uint64) (mpage.Run, error) {
	run := mpage.Run{Block: ptrs[i], Count: 1}
	for run.Count < max && i+run.Count < uint64(len(ptrs)) {
		p := ptrs[i+run.Count]
		if run.Block == 0 && p != 0 || run.Block != 0 && p != run.Block+run.Count {
			break
		}
		run.Count++
	}
	if run.Block == 0 {
		return run, nil
	}
	run.Flags = mpage.Mapped
	if i+run.Count == uint64(len(ptrs)) {
		next, last, _ := m.leaf(leaf, true)
		if next != 0 {
			run.Flags |= mpage.Boundary
			run.Next = next
			if last {
				run.Span = m.per
			}
		}
	}
	return run, nil
}

// leaf is where table l is. With peek nothing is read: where the table of tables is not
// in memory it is the answer itself, and last is false.
func (m *mapper) leaf(l uint64, peek bool) (block uint64, last bool, err error) {
	if l == 0 {
		return m.tops[0], true, nil
	}
	if m.tops[1] == 0 || peek && !m.bufs.Cached(m.tops[1]) || l > m.per {
		return m.tops[1], false, nil
	}
	data, err := m.bufs.get(m.tops[1])
	if err != nil {
		return 0, false, err
	}
	return uint64(binary.LittleEndian.Uint32(data[4*(l-1):])), true, nil
}

// rig is an engine over an image, everything watched.
type rig struct {
	t     testing.TB
	im    *image
	fault *blockiotest.Fault
	dev   *recorder
	bufs  *buffers
	e     *mpage.Engine
}

func newRig(t testing.TB, im *image, opts ...mpage.Option) *rig {
	r := &rig{t: t, im: im, fault: blockiotest.NewFault(im.mem)}
	r.dev = &recorder{Device: r.fault}
	r.bufs = newBuffers(r.dev, im.bs)
	r.e = mpage.New(r.dev, int(im.bs), r.bufs, opts...)
	return r
}

func (r *rig) mapper(f *file) *mapper { return &mapper{file: f, bufs: r.bufs} }

// read reads with the engine and compares with the naive reader, both the file's bytes
// and the zeros behind its end.
func (r *rig) read(m *mapper, off int64, n int) {
	r.t.Helper()
	dst := make([]byte, n)
	for i := range dst {
		dst[i] = 0xAA
	}
	got, _, err := r.e.Read(m, dst, off, m.size)
	if err != nil {
		r.t.Fatalf("read of %d bytes at %d: %v", n, off, err)
	}
	if want := int(max(0, min(int64(n), m.size-off))); got != want {
		r.t.Fatalf("read of %d bytes at %d of %d: got %d, want %d", n, off, m.size, got, want)
	}
	page := int64(r.e.PageSize())
	end := min(int64(n), (m.size+page-1)/page*page-off) // of the last page of the file
	want := m.naive(off, n)
	for i := range want {
		if int64(i) >= end || got == 0 {
			want[i] = 0xAA // not a part of any page of the file
		}
	}
	if !bytes.Equal(dst, want) {
		i := 0
		for dst[i] == want[i] {
			i++
		}
		r.t.Fatalf("read of %d bytes at %d of %d, block size %d: byte %d is %#x, want %#x",
			n, off, m.size, r.im.bs, i, dst[i], want[i])
	}
}

// got is what the device received since the last call, each read as its blocks:
// "100-111", with a star for a read by the mapper.
func (r *rig) got() string {
	var list []string
	for _, s := range r.dev.take() {
		first, last := s.off/r.im.bs, (s.off+s.len-1)/r.im.bs
		text := fmt.Sprint(first)
		if last != first {
			text += fmt.Sprintf("-%d", last)
		}
		if s.what == blockio.Indirect {
			text += "*"
		}
		list = append(list, text)
	}
	return strings.Join(list, " ")
}

func (r *rig) want(want string) {
	r.t.Helper()
	if got := r.got(); got != want {
		r.t.Fatalf("the device received %q, want %q", got, want)
	}
}

func holes(list ...uint64) func(uint64) bool {
	return func(b uint64) bool { return slices.Contains(list, b) }
}

// at is a layout by list: the blocks of data in file order.
func at(blocks ...uint64) layout {
	i := 0
	return func(table bool, _ uint64) uint64 {
		i++
		return blocks[i-1]
	}
}

var errMapper = errors.New("the map is broken here")
