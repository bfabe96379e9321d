package mpage

import "sync/atomic"

// Bets remembers how the bets on one file ended, so that a file whose layout makes
// them lose is left alone. The zero value is ready for use.
type Bets struct {
	won, lost atomic.Uint32
}

// Bettor is a Mapper that keeps such a memory with its file. With other mappers, or where
// Bets gives nil, each request starts afresh.
type Bettor interface {
	Bets() *Bets
}

// freeBets is how many bets a file may lose before it has to have won some.
const freeBets = 2

// Worth tells whether another bet is wanted: no more than one in eight may be lost.
func (b *Bets) Worth() bool {
	if b == nil {
		return true
	}
	lost := b.lost.Load()
	return lost < freeBets || uint64(lost)*8 < uint64(b.won.Load())
}

// betsOf is the memory of m's file, nil if it has none.
func betsOf(m Mapper) *Bets {
	if k, ok := m.(Bettor); ok {
		return k.Bets()
	}
	return nil
}

// betPages is how many pages, from next on, may be read on from right behind the
// indirect block at the end of the mapping in use, before it is known that they are
// there. Next's first byte is that of file block b. A bet needs a request that has
// been one stretch of the device so far and has not lost one yet, and stays within the
// blocks that the indirect block can map, the file, and the device.
func (r *request) betPages(next int, b uint64) int {
	if next == noBet || r.e.noBets || r.lost || !r.straight || !betsOf(r.mapper).Worth() {
		return 0
	}
	bs := r.e.blockSize
	end := b + min(r.mapping.Span, r.last-b) // file block behind the last possible one
	shift := int64(r.mapping.Next+1)*bs - int64(b)*bs
	want := int64(b) * bs // file offset at which the next page must begin
	n := 0
	for ; next+n < len(r.folios); n++ {
		f := &r.folios[next+n]
		w := r.window(f)
		if f.Err != nil || w.lo != want || w.end == w.first || w.end > end {
			break
		}
		hi := min(w.lo+int64(len(f.Data)), int64(w.end)*bs)
		if hi+shift > r.devSize {
			break
		}
		want = w.lo + int64(len(f.Data))
	}
	return n
}

// bet reads pages from next on as if file block b lay at device block dev and the rest
// behind it, in the bio that carries the indirect block too. Then the mapper can say
// whether that is so; the pages from the first one on that is not there are left for
// the walk.
func (r *request) bet(next, pages int, b, dev uint64) (int, uint64) {
	bs := r.e.blockSize
	shift := int64(dev)*bs - int64(b)*bs
	r.betErr = nil
	for i := next; i < next+pages; i++ {
		f := &r.folios[i]
		w := r.window(f)
		n := min(int64(len(f.Data)), int64(w.end)*bs-w.lo)
		r.add(f.Data[:n], w.lo+shift)
		r.speculates()
	}
	r.flush()

	good := 0
	end := b
	for ; good < pages && r.betErr == nil; good++ {
		w := r.window(&r.folios[next+good])
		if !r.confirmed(w, dev-b) {
			break
		}
		end = w.end
	}
	r.settle(good == pages)
	return next + good, end
}

// confirmed tells whether the mapper has each block of w at its own number plus shift.
func (r *request) confirmed(w window, shift uint64) bool {
	for b := w.first; b < w.end; {
		if r.lookup(b) != nil || r.mapping.Flags&(Mapped|Uptodate) != Mapped || r.device(b) != b+shift {
			return false
		}
		b += min(r.left(b), w.end-b)
	}
	return true
}

// settle writes down how a bet ended. One that was lost is the request's last.
func (r *request) settle(won bool) {
	k := betsOf(r.mapper)
	if won {
		r.count.BetsWon++
		if k != nil {
			k.won.Add(1)
		}
		return
	}
	r.lost = true
	r.count.BetsLost++
	if k != nil {
		k.lost.Add(1)
	}
}
