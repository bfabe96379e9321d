package mpage

import (
	"fmt"

	"github.com/ext2fuse/ext2fuse/blockio"
)

// Write writes src at file offset off (bytes) of a file that has size bytes afterwards.
// What src has past the end of the file is left out.
//
// n is how many bytes from off on are certainly on the device, and err is why there are
// no more of them, nil when all are. More of src may have been written behind n. With an
// error, off+n is where a block begins, or off itself, or the end of the device: so when
// n is 0 nothing is certain of the block that off is in either. Blocks that the mapper
// allocated for what comes behind n may hold anything; the caller frees them before
// anybody can see them.
func (e *Engine) Write(m Mapper, src []byte, off, size int64) (n int, err error) {
	if off < 0 || size < 0 {
		return 0, fmt.Errorf("write at offset %d of a file of %d bytes: bad request", off, size)
	}
	src = src[:max(0, min(int64(len(src)), size-off))]
	if len(src) == 0 {
		return 0, nil
	}
	r := e.beginWrite(m, size)
	defer e.end(r)
	end := off + int64(len(src))
	r.good = end
	r.ask = r.blockBehind(end)
	taken, err := r.put(noPage, src, off)
	r.finish()
	if r.good < off+int64(taken) {
		taken, err = int(r.good-off), r.goodErr
	}
	if err != nil {
		err = fmt.Errorf("file offset %d: %w", off+int64(taken), err)
	}
	return taken, err
}

// WritePages writes the dirty blocks of a set of pages of a file of size bytes. The
// folios are in ascending order and do not overlap; of a page, only what its Data holds
// can be written. A folio without dirty blocks is passed over, so the set may be any
// range of a page cache.
//
// Each page is written or in error by itself, see Folio.Err; err is the first of those
// errors. A block that was taken into a bio is taken out of Folio.Dirty, whether the bio
// then succeeds or not, as nobody else will write it: such an error also sticks to the
// file if its mapper is an ErrorKeeper. A block that the mapper or the device had no
// place for stays dirty, and may be tried again. Blocks wholly past the end of the file
// need no writing.
func (e *Engine) WritePages(m Mapper, folios []Folio, size int64) (err error) {
	r := e.beginWrite(m, size)
	defer e.end(r)
	r.folios = folios
	r.prepareWrite()
	for i := range folios {
		if folios[i].Err == nil && folios[i].Dirty != 0 {
			r.writePage(i)
		}
	}
	r.finish()
	for i := range folios {
		if err := folios[i].Err; err != nil {
			return fmt.Errorf("page %d: %w", folios[i].Index, err)
		}
	}
	return nil
}

// beginWrite takes a request from the pool and makes it one that writes.
func (e *Engine) beginWrite(m Mapper, size int64) *request {
	r := e.begin(m, size)
	r.op = blockio.Write
	r.count.Writes++
	r.start()
	return r
}

// prepareWrite clears the marks on the folios and refuses those that cannot be.
func (r *request) prepareWrite() {
	behind := int64(0) // the folio before
	for i := range r.folios {
		f := &r.folios[i]
		f.Err, f.idle = r.refuse(f), true
		if f.Err != nil {
			continue
		}
		lo := r.offset(f)
		if lo < behind {
			f.Err = fmt.Errorf("page %d: not in ascending order", f.Index)
			continue
		}
		behind = lo + int64(len(f.Data))
		f.Dirty &= 1<<(r.e.pageSize>>r.e.blockBits) - 1
	}
}

// writePage takes the dirty blocks of page i into bios. A page whose dirty blocks are one
// piece of the device becomes one piece of a bio, any other as many as it takes.
func (r *request) writePage(i int) {
	f := &r.folios[i]
	base := r.offset(f)
	r.pieces = 0
	for lo, hi := r.dirty(f, base); lo < hi; lo, hi = r.dirty(f, hi) {
		if b := r.block(lo); b >= r.ask {
			r.ask = r.stretch(i, r.blockBehind(hi))
		}
		taken, err := r.put(i, f.Data[lo-base:hi-base], lo)
		r.clean(f, lo, hi, lo+int64(taken))
		if err != nil {
			f.Err = err
			break
		}
	}
	if r.pieces > 1 {
		r.count.Fallbacks++
	}
	if f.Err == nil { // what is past the end of the file
		end := base + int64(len(f.Data))
		r.clean(f, max(base, r.size), end, end)
	}
}

// stretch is the file block behind those that are wanted without a gap: end, that many
// as page i wants from the block in hand on, and what the pages behind add to it.
func (r *request) stretch(i int, end uint64) uint64 {
	for ; i < len(r.folios); i++ {
		f := &r.folios[i]
		if f.Err != nil || f.Dirty == 0 {
			continue
		}
		for lo, hi := r.dirty(f, r.offset(f)); lo < hi; lo, hi = r.dirty(f, hi) {
			switch behind := r.blockBehind(hi); {
			case r.block(lo) > end:
				return end
			case behind > end:
				end = behind
			}
		}
	}
	return end
}

// dirty is the first range of file offsets, from file offset from on, that page f wants
// written: whole dirty blocks, as far as f has data and the file reaches.
func (r *request) dirty(f *Folio, from int64) (lo, hi int64) {
	base := r.offset(f)
	end := min(base+int64(len(f.Data)), r.size)
	for lo = max(from, base); lo < end && f.Dirty&r.bit(lo) == 0; {
		lo = r.nextBlock(lo)
	}
	for hi = lo; hi < end && f.Dirty&r.bit(hi) != 0; {
		hi = min(r.nextBlock(hi), end)
	}
	return lo, hi
}

// clean takes the blocks of [lo, hi) out of f.Dirty whose bytes all lie before file
// offset taken.
func (r *request) clean(f *Folio, lo, hi, taken int64) {
	for ; lo < hi; lo = r.nextBlock(lo) {
		if min(r.nextBlock(lo), hi) <= taken {
			f.Dirty &^= r.bit(lo)
		}
	}
}

// offset is where in the file f's data begins.
func (r *request) offset(f *Folio) int64 { return int64(f.Index)*r.e.pageSize + int64(f.Off) }

// bit is the block of its page that file offset off is in.
func (r *request) bit(off int64) BlockSet {
	return 1 << (off & (r.e.pageSize - 1) >> r.e.blockBits)
}

// block is the file block that file offset off is in.
func (r *request) block(off int64) uint64 { return uint64(off) >> r.e.blockBits }

// blockBehind is the first file block that lies wholly behind off.
func (r *request) blockBehind(off int64) uint64 { return uint64(off-1)>>r.e.blockBits + 1 }

// nextBlock is where the block behind the one that off is in begins.
func (r *request) nextBlock(off int64) int64 { return off&^(r.e.blockSize-1) + r.e.blockSize }
