package mpage

// fallback reads a page of any shape, piece by piece: pieces that lie apart, holes
// before data, content that is in memory already, a boundary inside the page. An error
// of the mapper is the page's own.
func (r *request) fallback(i int, w window) {
	r.count.Fallbacks++
	r.close()
	f := &r.folios[i]
	bs := r.e.blockSize
	skip := w.lo - int64(w.first)*bs
	data := f.Data
	for b := w.first; b < w.end; {
		for b > w.first && r.atBoundary(b) {
			_, b = r.boundary(noBet, b)
		}
		if err := r.lookup(b); err != nil {
			f.fail(err)
			r.stop = r.stop || r.prefix
			return
		}
		n := min(r.left(b), w.end-b)
		piece := data[:min(int64(len(data)), int64(n)*bs-skip)]
		switch {
		case r.mapping.Flags&Uptodate != 0:
			copy(piece, r.mapping.Data[int64(b-r.at)*bs+skip:])
		case r.mapping.Flags&Mapped != 0:
			r.place(i, piece, r.device(b), skip)
		default:
			clear(piece)
		}
		data = data[len(piece):]
		b += n
		skip = 0
	}
}
