package mpage

import (
	"errors"
	"fmt"
	"math"

	"github.com/ext2fuse/ext2fuse/blockio"
)

// errMapper: the mapper broke its contract.
var errMapper = errors.New("mapper answered with a run that cannot be")

// request is one walk over a page set. It is used by one goroutine at a time and
// reused through the engine's pool.
type request struct {
	e       *Engine
	mapper  Mapper
	size    int64 // of the file, bytes
	devSize int64 // bytes
	folios  []Folio
	own     []Folio // memory for folios that the engine makes itself
	prefix  bool    // stop at the first page in error
	plain   bool    // nothing but wanted pages in a bio: no riders, bridges, bets
	stop    bool
	last    uint64 // file block behind the last one wanted

	// The mapping in use: run begins at file block at. crossed tells that the run's
	// boundary was dealt with.
	mapping Run
	at      uint64
	crossed bool
	runs    [pageRuns]asked // what the mapper said about the page in hand
	nruns   int
	refused error // what the mapper said of block denied; the fallback takes it over
	denied  uint64

	transfers
	writes
	cold  bool
	count Stats
}

// pageRuns is how many runs a page can have: one for each of its blocks, and a page of
// more than one block has 4 KiB.
const pageRuns = minPage / 1024

// asked is a run and the file block it begins at.
type asked struct {
	at  uint64
	run Run
}

func newRequest(e *Engine) *request {
	r := &request{e: e}
	r.plug = blockio.NewPlug(e.dev)
	return r
}

// reset lets go of everything that belongs to the caller.
func (r *request) reset() {
	clear(r.own)
	r.mapper, r.folios, r.mapping, r.refused = nil, nil, Run{}, nil
	r.writes = writes{}
	r.runs = [pageRuns]asked{}
	r.prefix, r.plain, r.cold = false, false, false
	r.count = Stats{}
}

// window is the part of the file that a folio wants.
type window struct {
	lo    int64  // file offset of its first byte
	first uint64 // file block of its first byte
	end   uint64 // file block behind its last byte, or behind the end of the file
}

func (r *request) window(f *Folio) window {
	lo := int64(f.Index)*r.e.pageSize + int64(f.Off)
	hi := min(lo+int64(len(f.Data)), r.size)
	w := window{lo: lo, first: uint64(lo) >> r.e.blockBits}
	w.end = w.first
	if hi > lo {
		w.end = uint64(hi-1)>>r.e.blockBits + 1
	}
	return w
}

// run reads r.folios.
func (r *request) run() {
	r.count.Requests++
	if r.prepare() {
		r.walk()
		r.retry()
		r.zeroPastEOF()
	}
}

// prepare clears the marks on the folios, refuses those that cannot be, and works out
// where the request ends. It tells whether there is anything to do.
func (r *request) prepare() bool {
	r.last, r.stop, r.mapping, r.refused = 0, false, Run{}, nil
	for i := range r.folios {
		f := &r.folios[i]
		f.Err = r.refuse(f)
		if f.idle = f.Err != nil; f.idle {
			continue
		}
		if w := r.window(f); w.end > w.first {
			r.last = max(r.last, w.end)
		}
	}
	return len(r.folios) > 0
}

// refuse tells what is wrong with a folio that cannot be.
func (r *request) refuse(f *Folio) error {
	if f.Off < 0 || int64(f.Off)+int64(len(f.Data)) > r.e.pageSize || f.Index >= uint64(math.MaxInt64/r.e.pageSize) {
		return fmt.Errorf("page %d: not a part of a page", f.Index)
	}
	return nil
}

// walk goes over the pages and returns when all I/O is done.
func (r *request) walk() {
	r.start()
	for i := 0; i < len(r.folios) && !r.stop; {
		if r.folios[i].Err != nil {
			i++
			continue
		}
		i = r.step(i)
	}
	r.flush()
}

// step takes page i, and with it those that a bet has brought in, and returns the
// next one to take.
func (r *request) step(i int) (next int) {
	w := r.window(&r.folios[i])
	whole, hole := r.page(i, w)
	if !whole {
		r.fallback(i, w)
	}
	r.nruns = 0
	next, b := i+1, w.end
	for r.atBoundary(b) {
		next, b = r.boundary(next, b)
	}
	if !whole || hole {
		r.close()
	}
	return next
}

// page takes page i as one piece: blocks that lie one behind the other on the device,
// then perhaps a hole up to the end of the page, which hole reports unless there is
// nothing else. whole is false if the page is of another shape, and nothing was done.
func (r *request) page(i int, w window) (whole, hole bool) {
	f := &r.folios[i]
	var start, n uint64 // the piece: device block, blocks
	b := w.first
	r.nruns = 0
	for b < w.end {
		if b > w.first && r.atBoundary(b) || r.lookup(b) != nil {
			return false, false
		}
		left := min(r.left(b), w.end-b)
		if b+left < w.end || b > w.first {
			r.remember()
		}
		switch {
		case r.mapping.Flags&Uptodate != 0:
			return false, false
		case r.mapping.Flags&Mapped == 0:
			hole = true
		case hole:
			return false, false
		case n == 0:
			start, n = r.device(b), left
		case r.device(b) != start+n:
			return false, false
		default:
			n += left
		}
		b += left
	}
	if n == 0 {
		clear(f.Data)
		f.idle = true
		return true, false
	}
	bytes := min(int64(len(f.Data)), int64(w.first+n)*r.e.blockSize-w.lo)
	clear(f.Data[bytes:])
	r.place(i, f.Data[:bytes], start, w.lo-int64(w.first)*r.e.blockSize)
	return true, hole
}

// lookup makes the mapping in use one that covers file block b, and asks the mapper
// only if it does not yet.
func (r *request) lookup(b uint64) error {
	if b-r.at < r.mapping.Count { // b < r.at wraps around to a number that is too large
		return nil
	}
	for _, k := range r.runs[:r.nruns] {
		if b-k.at < k.run.Count {
			r.mapping, r.at, r.crossed = k.run, k.at, false
			return nil
		}
	}
	if err := r.refused; err != nil && r.denied == b {
		r.refused = nil
		return err
	}
	if r.mapping.Flags&Boundary != 0 && !r.crossed && b > r.at {
		r.flush() // a boundary behind pages that nobody wants
	}
	r.count.Mappings++
	run, err := r.mapper.GetBlock(b, r.last-b, false)
	if err == nil {
		err = r.e.sane(&run, r.last-b)
	}
	if err != nil {
		run = Run{}
	}
	r.mapping, r.at, r.crossed = run, b, false
	r.refused, r.denied = err, b
	return err
}

// remember keeps the mapping in use for the fallback, should the page need one.
func (r *request) remember() {
	if r.nruns < len(r.runs) {
		r.runs[r.nruns] = asked{r.at, r.mapping}
		r.nruns++
	}
}

// sane checks of a mapper's answer what the engine relies on.
func (e *Engine) sane(run *Run, asked uint64) error {
	switch {
	case run.Count == 0:
		return fmt.Errorf("%w: no blocks", errMapper)
	case run.Count > asked:
		return fmt.Errorf("%w: %d blocks, %d asked for", errMapper, run.Count, asked)
	case run.Flags&Uptodate != 0 && uint64(len(run.Data))>>e.blockBits < run.Count:
		return fmt.Errorf("%w: %d blocks in %d bytes", errMapper, run.Count, len(run.Data))
	}
	return nil
}

// left is how many blocks the mapping covers from file block b on.
func (r *request) left(b uint64) uint64 { return r.mapping.Count - (b - r.at) }

// device is the device block of file block b, which the mapping covers.
func (r *request) device(b uint64) uint64 { return r.mapping.Block + (b - r.at) }

// place puts data, of page i, into a bio: it lies skip bytes behind the beginning of a
// device block. Nothing is ever read past the end of the device.
func (r *request) place(i int, data []byte, block uint64, skip int64) {
	f := &r.folios[i]
	off := int64(math.MaxInt64)
	if block < uint64(math.MaxInt64)>>r.e.blockBits {
		off = int64(block)*r.e.blockSize + skip
	}
	room := max(0, min(r.devSize-off, int64(len(data))))
	if room < int64(len(data)) && !r.e.zeroPastEnd {
		f.fail(fmt.Errorf("block %d: %w", block, blockio.ErrPastEnd))
		r.stop = r.stop || r.prefix
		return
	}
	clear(data[room:])
	if room == 0 {
		return
	}
	r.add(data[:room], off)
	r.covers(i)
	if room < int64(len(data)) {
		r.close()
	}
}

// fail sets the page's error; the first one stays.
func (f *Folio) fail(err error) {
	if f.Err == nil && !f.idle {
		f.Err = err
	}
}

// zeroPastEOF zeroes what the pages have past the end of the file. Blocks are read
// whole, so it is done when everything has arrived.
func (r *request) zeroPastEOF() {
	for i := len(r.folios) - 1; i >= 0; i-- {
		f := &r.folios[i]
		lo := int64(f.Index)*r.e.pageSize + int64(f.Off)
		if f.Err != nil {
			continue
		}
		if lo+int64(len(f.Data)) <= r.size {
			return
		}
		clear(f.Data[min(max(0, r.size-lo), int64(len(f.Data))):])
	}
}
