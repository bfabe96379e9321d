package jbd2

import "github.com/ext2fuse/ext2fuse/blockio"

// readiness keeps what an earlier use of the blocks left behind from being taken for
// transactions. Where a replay looks for the next transaction it finds a block of this
// journal or zeros: on its first way round, zeros are written ahead of the log, with the
// blocks of one transaction those for the next.
type readiness struct {
	j       *Journal
	upTo    uint32 // log blocks before this one are ready, durably
	written uint32 // before this one, once a sync is through
}

// How far ahead zeros are written, in bytes: as far again as the log has come, within
// bounds. For the host that is an allocation, which whoever waits for the transaction has to
// wait for as well.
const (
	minReadyChunk = 256 << 10
	maxReadyChunk = 1 << 20
)

func (r *readiness) init(j *Journal, strange bool) {
	*r = readiness{j: j, upTo: j.sb.MaxLen, written: j.sb.MaxLen}
	if strange {
		r.upTo, r.written = j.sb.First, j.sb.First
	}
}

// covers tells whether n blocks from log block at on, and the one behind them, are
// ready, durably.
func (r *readiness) covers(at, n uint32) bool {
	return r.upTo == r.j.sb.MaxLen || at+n < r.upTo
}

// zero gives the writes that make ready what lies behind a transaction in log blocks at
// to next-1, and the place of its commit block, which is written later than they are. The
// transaction is none when at is next.
func (r *readiness) zero(at, next uint32) (bios []*blockio.Bio) {
	j := r.j
	from, end := next-1, next
	switch {
	case at == next:
		from = at
	case next == j.sb.First:
		from, end = j.sb.MaxLen-1, j.sb.MaxLen
	case next < at: // it went round: all up to the end is its own
		r.written = j.sb.MaxLen
	}
	size := uint32(j.blockSize)
	chunk := max(min(max((r.written-j.sb.First)*size, minReadyChunk), maxReadyChunk)/size, 1)
	if r.written == j.sb.MaxLen || r.written > end+chunk/2 {
		return nil
	}
	from = max(r.written, from)
	to := min(end+chunk, j.sb.MaxLen)
	zeros := make([]byte, j.blockSize)
	for i := from; i < to; {
		home, n := j.blocks.run(i)
		n = min(n, to-i)
		bio := &blockio.Bio{Op: blockio.Write, For: blockio.Journal, Off: int64(home) * int64(j.blockSize), Vecs: make([][]byte, n)}
		for k := range bio.Vecs {
			bio.Vecs[k] = zeros
		}
		bios = append(bios, bio)
		i += n
	}
	r.written = to
	return bios
}

// synced says that what was written is durable.
func (r *readiness) synced() { r.upTo = r.written }
