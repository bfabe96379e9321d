package mpage

import (
	"fmt"
	"math"

	"github.com/ext2fuse/ext2fuse/blockio"
)

// noPage, in place of a page, says that a request has none.
const noPage = -1

// writes is what a request that writes has besides.
type writes struct {
	ask    uint64 // file block behind those that the mapper may be asked for
	pieces int    // that the page in hand needed so far

	// The block in hand that is to be zero where nothing is written to it: [padAt, padEnd)
	// on the device is what is left of it. padPage is the page it belongs to.
	padAt, padEnd int64
	padPage       int

	// Of a request without pages: nothing from file offset good on is certain, and why.
	good    int64
	goodErr error
}

// zeros is what blocks are padded with.
var zeros [64 << 10]byte

// put takes data, which belongs at file offset lo, into bios, run by run. It returns how
// many bytes were taken, and why not more.
func (r *request) put(page int, data []byte, lo int64) (taken int, err error) {
	for taken < len(data) {
		at := lo + int64(taken)
		b := r.block(at)
		if err := r.create(b); err != nil {
			return taken, err
		}
		skip := at - int64(b)<<r.e.blockBits
		piece := data[taken:]
		piece = piece[:min(int64(len(piece)), int64(r.left(b))<<r.e.blockBits-skip)]
		n, err := r.placeWrite(page, piece, at, r.device(b), skip)
		taken += n
		if err != nil {
			return taken, err
		}
		if page == noPage && r.goodErr != nil {
			return taken, r.goodErr
		}
	}
	return taken, nil
}

// create makes the mapping in use one that covers file block b. Blocks that are new are
// dropped from the buffer cache: whatever it has of them is from an earlier life.
func (r *request) create(b uint64) error {
	if b-r.at < r.mapping.Count {
		return nil
	}
	r.pad()
	if r.mapping.Flags&Boundary != 0 {
		r.close()
	}
	r.count.Mappings++
	run, err := r.mapper.GetBlock(b, r.ask-b, true)
	run.Flags &^= Uptodate // what is in memory is about to be overwritten
	if err == nil {
		err = r.e.sane(&run, r.ask-b)
	}
	if err == nil && run.Flags&Mapped == 0 {
		err = fmt.Errorf("%w: no place for file block %d", errMapper, b)
	}
	if err != nil {
		r.mapping = Run{}
		return err
	}
	if run.Flags&Allocated != 0 && r.e.buffers != nil {
		r.e.buffers.Drop(run.Block, run.Count)
	}
	r.mapping, r.at = run, b
	return nil
}

// placeWrite takes data, which lies at file offset lo, into bios: it belongs skip bytes
// behind the beginning of a device block. A new block is padded with zeros around the
// data, and the block that the file ends in behind it. What the device has no room for is
// not taken.
func (r *request) placeWrite(page int, data []byte, lo int64, block uint64, skip int64) (int, error) {
	off := int64(math.MaxInt64)
	if block < uint64(math.MaxInt64)>>r.e.blockBits {
		off = int64(block)<<r.e.blockBits + skip
	}
	room := max(0, min(r.devSize-off, int64(len(data))))
	if room > 0 {
		fresh := r.mapping.Flags&Allocated != 0
		if fresh {
			r.padTo(page, off)
		}
		if r.end != off {
			r.pieces++
		}
		r.carry(page, data[:room], off, lo)
		if end := off + room; fresh || lo+room == r.size {
			r.padAt, r.padEnd, r.padPage = end, min((end+r.e.blockSize-1)&^(r.e.blockSize-1), r.devSize), page
		}
	}
	if room < int64(len(data)) {
		return int(room), fmt.Errorf("block %d: %w", block, blockio.ErrPastEnd)
	}
	return len(data), nil
}

// padTo readies a new block for data at device offset off: zeros come before it, from the
// beginning of the block, or from where the data before it in the same block ended.
func (r *request) padTo(page int, off int64) {
	from := off &^ (r.e.blockSize - 1)
	if r.padAt < r.padEnd && from < r.padAt && off >= r.padAt && off < r.padEnd {
		from, r.padAt = r.padAt, r.padEnd
	}
	r.pad()
	r.zero(page, from, off)
}

// pad fills up the block in hand.
func (r *request) pad() {
	if r.padAt < r.padEnd {
		r.zero(r.padPage, r.padAt, r.padEnd)
	}
	r.padAt, r.padEnd = 0, 0
}

// zero has the device range [from, to) written with zeros.
func (r *request) zero(page int, from, to int64) {
	for from < to {
		n := min(to-from, int64(len(zeros)))
		r.append(zeros[:n], from)
		r.covered(page)
		from += n
	}
}

// carry adds content, from file offset lo, at device offset off. Bios end with a block,
// so that padding never has to go into another bio than what it pads.
func (r *request) carry(page int, data []byte, off, lo int64) {
	for len(data) > 0 {
		start := off
		if r.open != nil && r.open.next == off {
			start = r.open.Off
		}
		n := min(int64(len(data)), (start+blockio.MergeBytes)&^(r.e.blockSize-1)-off)
		if n <= 0 {
			r.close()
			continue
		}
		r.append(data[:n], off)
		r.covered(page)
		if r.open.lo < 0 {
			r.open.lo, r.open.lead = lo, off-r.open.Off
		}
		data, off, lo = data[n:], off+n, lo+n
	}
}

// covered says that the open bio's last piece belongs to page i, if there are pages.
func (r *request) covered(i int) {
	if i != noPage {
		r.covers(i)
		r.folios[i].idle = false
	}
}

// finish writes what is left to write.
func (r *request) finish() {
	r.pad()
	r.flush()
}

// wrote takes over the outcome of a bio that wrote. A failed bio fails its pages; of one
// without pages the blocks that were transferred whole are good.
func (r *request) wrote(b *bio) {
	clear(b.Vecs)
	if b.Err == nil {
		return
	}
	if k, ok := r.mapper.(ErrorKeeper); ok {
		k.WriteErrors().Set(b.Err)
	}
	if b.pages.first >= 0 {
		for i := b.pages.first; i <= b.pages.last; i++ {
			r.folios[i].fail(b.Err)
		}
		return
	}
	good := max(b.lo, (b.lo+b.N-b.lead)&^(r.e.blockSize-1))
	if good < r.good {
		r.good, r.goodErr = good, b.Err
	}
}
