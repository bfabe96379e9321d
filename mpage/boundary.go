package mpage

// noBet, as the next page, says that no page may be bet on.
const noBet = -1

// atBoundary tells whether file block b is the first one behind a run that ended at a
// boundary which was not dealt with yet.
func (r *request) atBoundary(b uint64) bool {
	return r.mapping.Flags&Boundary != 0 && !r.crossed && b == r.at+r.mapping.Count
}

// boundary deals with the boundary before file block b. When it returns, the mapper
// may be asked for b: what comes before the indirect block on the device has been
// read, and perhaps the indirect block with it, unless mapping b needs no I/O at all.
// next is the page that begins with b. It returns the page and the file block to go
// on with, which are further on if a bet was won.
func (r *request) boundary(next int, b uint64) (int, uint64) {
	r.crossed = true
	bs := r.e.blockSize
	if b > uint64(r.size/bs) || int64(b)*bs >= r.size {
		return next, b // the file ends here
	}
	run := &r.mapping
	behind := run.Flags&Mapped != 0 && run.Next == run.Block+run.Count
	if run.Next != 0 && r.e.buffers != nil && r.e.buffers.Cached(run.Next) {
		if behind && !r.plain {
			r.gap = int64(run.Next) * bs
		}
		return next, b
	}
	if r.plain || !behind || r.e.buffers == nil || !r.reached(int64(run.Next)*bs) {
		if b < r.last {
			r.flush()
		}
		return next, b
	}
	return r.ride(next, b)
}

// ride carries the indirect block, which lies right behind the last block of the run,
// along in the same bio.
func (r *request) ride(next int, b uint64) (int, uint64) {
	ind := r.mapping.Next
	off := int64(ind) * r.e.blockSize
	pages := r.betPages(next, b)
	if off+r.e.blockSize <= r.devSize && (pages > 0 || r.pending()) {
		if data, done := r.e.buffers.Ride(ind); data != nil {
			r.count.Riders++
			r.add(data, off)
			r.carries(done)
			if pages > 0 {
				return r.bet(next, pages, b, ind+1)
			}
			r.flush()
			return next, b
		}
	}
	if b < r.last {
		r.flush()
	}
	return next, b
}
