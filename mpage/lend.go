package mpage

import (
	"os"

	"github.com/ext2fuse/ext2fuse/blockio"
)

// MinLent is the shortest content worth lending, in bytes. Its four system calls and the
// pipe's pages cost as much as copying 64 KiB.
const MinLent = 128 << 10

// minPiece is the shortest stretch of it, but for the first and the last one, in bytes.
const minPiece = 32 << 10

// maxLent is how many stretches of the device a loan may have: 1 MiB of a file of 1 KiB
// blocks has 6, since a table has pointers to 256 KiB. Content in more pieces is read
// faster by bios.
const maxLent = 8

// Loan is content of a file that need not be read: the host's cache has all of it, and
// can pass it on by way of a pipe.
type Loan struct {
	from   blockio.Splicer
	pieces [maxLent]lent
	used   int
	bytes  int64
}

// lent is a stretch of the device, in bytes.
type lent struct{ off, n int64 }

// Lend finds the content that Read would give for n bytes from off on. It is false if
// that cannot be lent: the device is no Splicer, the host would have to fetch something,
// or the content has holes, is in many pieces, or so short that copying is cheaper. Then
// nothing was read but what the mapper needed, and that only behind content that is
// cached, so that the order of reads on the device is that of Read.
func (e *Engine) Lend(m Mapper, off, n, size int64) (l Loan, ok bool) {
	n = min(n, size-off)
	if e.splicer == nil || off < 0 || n < MinLent {
		return Loan{}, false
	}
	l = Loan{from: e.splicer, bytes: n}
	mappings := uint64(0)
	for end := off + n; off < end; {
		b := uint64(off) >> e.blockBits
		asked := uint64(end-1)>>e.blockBits + 1 - b
		run, err := m.GetBlock(b, asked, false)
		mappings++
		if err != nil || e.sane(&run, asked) != nil {
			return Loan{}, false
		}
		skip := off - int64(b)*e.blockSize
		piece := min(int64(run.Count)*e.blockSize-skip, end-off)
		if run.Flags&(Mapped|Uptodate) != Mapped || piece < minPiece && l.used > 0 && off+piece < end ||
			!l.add(e, run.Block, skip, piece) {
			return Loan{}, false
		}
		off += piece
	}
	e.stats.add(&Stats{Requests: 1, Mappings: mappings, Lent: 1})
	return l, true
}

// add adds a piece that begins skip bytes behind the beginning of a device block.
func (l *Loan) add(e *Engine, block uint64, skip, n int64) bool {
	size := e.dev.Size()
	if l.used == maxLent || block > uint64(size)>>e.blockBits {
		return false
	}
	off := int64(block)*e.blockSize + skip
	if off > size-n || !l.from.Cached(off, n) {
		return false
	}
	l.pieces[l.used] = lent{off, n}
	l.used++
	return true
}

// Len is the length of the content in bytes.
func (l *Loan) Len() int64 { return l.bytes }

// Pages is how many pages of the host's cache the content is in, which is how many
// places it needs in a pipe.
func (l *Loan) Pages() int {
	page := int64(os.Getpagesize())
	pages := int64(0)
	for _, p := range l.pieces[:l.used] {
		pages += (p.off+p.n-1)/page - p.off/page + 1
	}
	return int(pages)
}

// Splice puts the content into a pipe, see blockio.Splicer, and tells how many bytes it
// put there. The rest has to be read.
func (l *Loan) Splice(pipe int) (n int64) {
	for _, p := range l.pieces[:l.used] {
		got := l.from.Splice(pipe, p.off, p.n, blockio.Data)
		n += got
		if got < p.n {
			break
		}
	}
	return n
}
