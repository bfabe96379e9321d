package mpage

import (
	"fmt"
	"math/bits"
	"sync"

	"github.com/ext2fuse/ext2fuse/blockio"
)

// minPage is the smallest page, in bytes.
const minPage = 4096

// maxBatch is how many pages are worked on at once; larger reads are cut, which
// bounds what a request costs besides its own memory.
const maxBatch = 4096

// Engine reads and writes the pages of files that live on one device. Its methods may be called
// from several goroutines at once, also for the same file.
type Engine struct {
	dev       blockio.Device
	splicer   blockio.Splicer // dev, if it is one; else nil
	buffers   Buffers
	blockSize int64
	pageSize  int64
	blockBits uint // log2 of blockSize: divisions would be felt, page by page

	noBets      bool
	zeroPastEnd bool

	requests sync.Pool // of *request
	stats    counters
}

// Option adjusts an Engine.
type Option func(*Engine)

// NoBets keeps the engine from reading on behind an indirect block before the mapping
// of what lies there is known.
func NoBets() Option { return func(e *Engine) { e.noBets = true } }

// ZeroPastEnd makes what is mapped past the end of the device read as zeros. Without
// it such a page fails with blockio.ErrPastEnd.
func ZeroPastEnd() Option { return func(e *Engine) { e.zeroPastEnd = true } }

// New makes an engine for a device whose file system has blocks of blockSize bytes, a
// power of two. Without buffers (nil) nothing rides along at boundaries.
func New(dev blockio.Device, blockSize int, buffers Buffers, opts ...Option) *Engine {
	e := &Engine{
		dev:       dev,
		splicer:   blockio.SplicerOf(dev),
		buffers:   buffers,
		blockSize: int64(blockSize),
		pageSize:  int64(max(minPage, blockSize)),
		blockBits: uint(bits.TrailingZeros(uint(blockSize))),
	}
	e.requests.New = func() any { return newRequest(e) }
	for _, o := range opts {
		o(e)
	}
	return e
}

// PageSize is the size of a page in bytes: 4 KiB, or a block where that is more.
func (e *Engine) PageSize() int { return int(e.pageSize) }

// Folio is one page of a page set, or a part of one.
type Folio struct {
	Index uint64 // number of the page in the file
	Off   int    // byte of the page at which Data begins
	Data  []byte // the caller's memory; ends at the page's end at the latest
	Err   error  // set by the engine: nil means up to date, or written

	// Dirty are the blocks that WritePages is to write. It takes out each one that it
	// took into a bio.
	Dirty BlockSet

	idle bool // no I/O carries this page
}

// BlockSet is a set of blocks of a page: bit i is the page's block i.
type BlockSet uint8

// AllBlocks is a whole page, whatever the size of a block.
const AllBlocks BlockSet = 0xff

// Read fills dst from file offset off (bytes) on, of a file of size bytes. n is how
// many of the file's bytes are good from off on, at most up to the end of the file;
// err is why there are no more of those asked for, nil at the end of the file. What
// dst has past the end of the file is zero up to the end of the page that the end is
// in, and untouched behind. cold tells that the host had to fetch something.
func (e *Engine) Read(m Mapper, dst []byte, off, size int64) (n int, cold bool, err error) {
	if off < 0 || size < 0 {
		return 0, false, fmt.Errorf("read at offset %d of a file of %d bytes: bad request", off, size)
	}
	for n < len(dst) && off < size {
		got, c, err := e.readBatch(m, dst[n:], off, size)
		n += got
		off += int64(got)
		cold = cold || c
		if err != nil {
			return n, cold, err
		}
	}
	return n, cold, nil
}

// readBatch reads up to maxBatch pages of what Read was asked for.
func (e *Engine) readBatch(m Mapper, dst []byte, off, size int64) (n int, cold bool, err error) {
	r := e.begin(m, size)
	defer e.end(r)
	r.own = appendWindows(r.own[:0], dst, off, size, e.pageSize)
	r.folios = r.own
	r.prefix = true
	r.run()
	for i := range r.folios {
		f := &r.folios[i]
		if f.Err != nil {
			return n, r.cold, fmt.Errorf("file offset %d: %w", off+int64(n), f.Err)
		}
		n += len(f.Data)
	}
	return int(min(int64(n), size-off)), r.cold, nil
}

// appendWindows cuts dst, which begins at file offset off, into pages: at most
// maxBatch, and none wholly past the end of the file.
func appendWindows(folios []Folio, dst []byte, off, size, pageSize int64) []Folio {
	index, in := uint64(off/pageSize), off%pageSize
	for left := size - off; len(dst) > 0 && left > 0 && len(folios) < maxBatch; {
		n := min(pageSize-in, int64(len(dst)))
		folios = append(folios, Folio{Index: index, Off: int(in), Data: dst[:n]})
		dst = dst[n:]
		left -= n
		index, in = index+1, 0
	}
	return folios
}

// Readahead reads a set of pages, in ascending order, of a file of size bytes. Each
// is up to date or in error by itself, see Folio.Err; past the end of the file they
// are zero. cold tells that the host had to fetch something.
func (e *Engine) Readahead(m Mapper, folios []Folio, size int64) (cold bool) {
	r := e.begin(m, size)
	defer e.end(r)
	for len(folios) > 0 {
		n := min(len(folios), maxBatch)
		r.folios = folios[:n]
		r.run()
		folios = folios[n:]
	}
	return r.cold
}

// ReadFolio reads one page; its error is also in f.Err.
func (e *Engine) ReadFolio(m Mapper, f *Folio, size int64) (cold bool, err error) {
	r := e.begin(m, size)
	defer e.end(r)
	r.own = append(r.own[:0], *f)
	r.folios = r.own
	r.run()
	f.Err = r.own[0].Err
	return r.cold, f.Err
}

// begin takes a request from the pool.
func (e *Engine) begin(m Mapper, size int64) *request {
	r := e.requests.Get().(*request)
	r.mapper, r.size, r.devSize, r.op = m, size, e.dev.Size(), blockio.Read
	return r
}

// end gives it back, with nothing of the caller's left in it.
func (e *Engine) end(r *request) {
	e.stats.add(&r.count)
	r.reset()
	e.requests.Put(r)
}
