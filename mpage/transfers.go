package mpage

import (
	"github.com/ext2fuse/ext2fuse/blockio"
)

// maxPlugged is how many bios are collected before they are sent.
const maxPlugged = 1024

// transfers collects the bios of a request. What is added goes to the open bio if it
// follows its last byte on the device, else to a new one; closed bios wait on the
// plug; flush carries out everything and settles the pages.
type transfers struct {
	op   blockio.Op
	plug *blockio.Plug
	bios []*bio // reused; the first used of them hold something
	used int
	open *bio

	end      int64 // device offset behind what was added last; -1 before the first
	straight bool  // everything so far was one stretch of the device
	lost     bool  // a bet was lost
	betErr   error // why the bios of the bet in flight failed
	again    []span

	// gap is the device offset of an indirect block that is in memory already, when
	// it lies right behind what was added last; else -1.
	gap     int64
	scratch []byte
}

// span is a range of pages, both included.
type span struct{ first, last int }

// bio is a blockio.Bio and the pages it carries.
type bio struct {
	blockio.Bio
	next  int64           // device offset behind its last byte
	pages span            // first is -1 without pages
	done  func(err error) // of the rider
	extra bool            // carries something that its pages can do without
	bet   bool            // carries pages that may be somewhere else

	// Of a write without pages: the file offset of the first byte of content, and how
	// many bytes of padding come before it.
	lo   int64
	lead int64
}

// start makes ready for a walk.
func (r *request) start() {
	r.end, r.gap = -1, -1
	r.straight, r.lost = true, false
	r.betErr = nil
}

// reached tells whether what was added last ends at device offset off.
func (r *request) reached(off int64) bool { return r.end == off }

// pending tells whether anything waits to be read.
func (r *request) pending() bool { return r.used > 0 }

// add has data filled from device offset off on.
func (r *request) add(data []byte, off int64) {
	if r.gap >= 0 {
		r.bridge(off)
	}
	if r.end >= 0 && r.end != off {
		r.straight = false
	}
	r.append(data, off)
}

// bridge fills the gap of one block before off, if that is where the known indirect
// block lies, with memory to throw away: copying one block costs less than one more
// request (a 4 KiB copy takes some 0.2 µs, a preadv from the host's cache 1 µs, from a
// disk far more), and the next run is right behind.
func (r *request) bridge(off int64) {
	gap := r.gap
	r.gap = -1
	if gap != r.end || off != gap+r.e.blockSize || !r.pending() {
		return
	}
	if r.scratch == nil {
		r.scratch = make([]byte, r.e.blockSize)
	}
	r.count.Bridges++
	r.append(r.scratch, gap)
	r.open.extra = true
}

// append adds data to the open bio or a new one.
func (r *request) append(data []byte, off int64) {
	b := r.open
	if b == nil || b.next != off || !b.takes(data) {
		r.close()
		b = r.fresh(off)
	}
	if n := len(b.Vecs); n > 0 && follows(b.Vecs[n-1], data) {
		b.Vecs[n-1] = b.Vecs[n-1][:len(b.Vecs[n-1])+len(data)]
	} else {
		b.Vecs = append(b.Vecs, data)
	}
	b.next += int64(len(data))
	r.end = b.next
}

// takes tells whether the bio has room for data. Its bounds are those of the plug, which
// would not join what they part.
func (b *bio) takes(data []byte) bool {
	n := len(b.Vecs)
	return b.next-b.Off+int64(len(data)) <= blockio.MergeBytes &&
		(n < blockio.MergeVecs || follows(b.Vecs[n-1], data))
}

// follows tells whether data lies right behind v in the same piece of memory.
func follows(v, data []byte) bool {
	return cap(v)-len(v) >= len(data) && len(data) > 0 && &v[:len(v)+1][len(v)] == &data[0]
}

// fresh opens a bio for device offset off.
func (r *request) fresh(off int64) *bio {
	if r.used == maxPlugged {
		r.flush()
	}
	if r.used == len(r.bios) {
		r.bios = append(r.bios, new(bio))
	}
	b := r.bios[r.used]
	r.used++
	r.count.Bios++
	b.Bio = blockio.Bio{Op: r.op, For: blockio.Data, Off: off, Vecs: b.Vecs[:0]}
	b.next, b.pages, b.done, b.extra, b.bet = off, span{-1, -1}, nil, false, false
	b.lo, b.lead = -1, 0
	r.open = b
	return b
}

// covers says that the open bio's last piece belongs to page i.
func (r *request) covers(i int) {
	b := r.open
	if b.pages.first < 0 {
		b.pages.first = i
	}
	b.pages.last = i
}

// carries says that the open bio's last piece is a rider.
func (r *request) carries(done func(error)) {
	r.open.extra, r.open.done = true, done
}

// speculates says that the open bio's last piece is a bet.
func (r *request) speculates() {
	r.open.extra, r.open.bet = true, true
}

// close ends the open bio; what follows begins a new one.
func (r *request) close() { r.open = nil }

// flush carries out everything that was added and settles the pages.
func (r *request) flush() {
	r.close()
	if r.used == 0 {
		return
	}
	for _, b := range r.bios[:r.used] {
		r.plug.Add(&b.Bio)
	}
	r.plug.Flush()
	for _, b := range r.bios[:r.used] {
		if r.op == blockio.Write {
			r.wrote(b)
		} else {
			r.complete(b)
		}
	}
	r.used = 0
}

// complete takes over the outcome of a bio that read. A failed bio fails its pages, unless it
// carried more than them: then they are read again without, since they need not be
// what failed.
func (r *request) complete(b *bio) {
	r.cold = r.cold || b.Cold
	if b.done != nil {
		b.done(b.Err)
		b.done = nil
	}
	clear(b.Vecs)
	if b.Err == nil {
		return
	}
	if b.bet {
		r.betErr = b.Err
	}
	switch {
	case b.pages.first < 0:
	case b.extra:
		r.again = append(r.again, b.pages)
	default:
		for i := b.pages.first; i <= b.pages.last; i++ {
			r.folios[i].fail(b.Err)
		}
		r.stop = r.stop || r.prefix
	}
}

// retry reads the pages again whose bio failed and carried more than them.
func (r *request) retry() {
	if len(r.again) == 0 {
		return
	}
	folios, again := r.folios, r.again
	r.plain, r.again = true, nil
	for _, s := range again {
		r.folios = folios[s.first : s.last+1]
		r.prepare()
		r.walk()
	}
	r.folios, r.again, r.plain = folios, again[:0], false
}
