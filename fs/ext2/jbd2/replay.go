package jbd2

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/ext2fuse/ext2fuse/blockio"
)

// Result is what a replay did.
type Result struct {
	First        uint32 // sequence of the first transaction
	Transactions int    // replayed: First and those that follow it
	Blocks       int    // written: the newest copy of each
	Revoked      int    // blocks whose copies were dropped by a revoke record
	Next         uint32 // sequence that the next transaction has to have
	Errno        int32  // the error of the last user (s_errno); 0 is none
	Stop         string // why the log ends where it does
}

// String gives the result in one line.
func (r Result) String() string {
	if r.Transactions == 0 {
		return "the journal has no complete transaction: nothing to replay"
	}
	return fmt.Sprintf("replayed %d transactions from %d on: %d blocks written, %d revoked", r.Transactions, r.First, r.Blocks, r.Revoked)
}

// batchBytes is how much a replay has in flight.
const batchBytes = 1 << 20

// latest is the newest copy of a block.
type latest struct {
	at     uint32 // log block
	escape bool
}

// Replay copies the newest copy of every block of the complete transactions into place,
// makes that durable, and then makes the journal clean, durably. Done again after it
// was cut short, it comes to the same end. A journal with a fault before the end of its
// log is an error, and nothing is written; one that is clean already needs nothing.
//
// When ctx ends, the replay does, after the MiB at hand; the journal is as it was, and a
// replay is still due.
//
// The caller reads again what it has read of the file system before, the superblock
// included, and then clears needs_recovery.
func (j *Journal) Replay(ctx context.Context) (Result, error) {
	if !j.Dirty() {
		return Result{First: j.sb.Sequence, Next: j.sb.Sequence, Errno: j.sb.Errno, Stop: "the journal is clean"}, nil
	}
	if j.dev.ReadOnly() {
		return Result{}, fmt.Errorf("the journal cannot be replayed: %w", blockio.ErrReadOnly)
	}
	log, err := j.scan(ctx)
	if err != nil {
		return Result{}, err
	}
	// As others do it, one number is left out: whatever the torn transaction behind the
	// log left can never be taken for one of the next transaction.
	res := Result{First: log.first, Transactions: log.count, Next: log.end + 1, Errno: j.sb.Errno, Stop: log.stop}
	for from := uint64(0); from < j.limit; {
		r := round{j: j, from: from, to: j.limit, homes: map[uint64]latest{}}
		if err := r.collect(ctx, log); err != nil {
			return res, err
		}
		if err := r.write(ctx); err != nil {
			return res, err
		}
		res.Blocks += len(r.homes)
		res.Revoked += r.revoked
		from = r.to
	}
	if err := j.dev.Sync(); err != nil {
		return res, fmt.Errorf("the replayed blocks cannot be made durable: %w", err)
	}
	return res, j.writeTail(0, res.Next)
}

// Discard makes the journal clean, durably, without replaying what it holds, and gives the
// number of its transactions. A journal with a fault before the end of its log is an error,
// and so is the end of ctx while it is read; nothing is written then.
func (j *Journal) Discard(ctx context.Context) (transactions int, err error) {
	if !j.Dirty() {
		return 0, nil
	}
	log, err := j.scan(ctx)
	if err != nil {
		return 0, err
	}
	return log.count, j.writeTail(0, log.end+1) // one number is left out, as Replay does it
}

// ended is the error of a replay whose context ended.
func ended(err error) error { return fmt.Errorf("replaying the journal: %w", err) }

// round replays the blocks from, not including, to. There is more than one only when
// the log has copies of more blocks than may be in memory.
type round struct {
	j        *Journal
	from, to uint64
	homes    map[uint64]latest
	revoked  int
}

// collect finds the newest copy of every block. A revoke record voids the copies of its
// own transaction and of those before it.
func (r *round) collect(ctx context.Context, log extentOfLog) error {
	in, at := r.j.reader(), log.start
	var revokes []uint32
	left := r.j.Size() // a log is never longer
	for seq := log.first; seq != log.end; left-- {
		if err := ctx.Err(); err != nil {
			return ended(err)
		}
		b, err := in.block(at)
		if err != nil {
			return err
		}
		h, ok := decodeHeader(b)
		if !ok || h.sequence != seq || left == 0 {
			return fmt.Errorf("the journal changed while it was being replayed: block %d of it is not what it was", at)
		}
		here := at
		at = r.j.After(at, 1)
		switch h.kind {
		case typeDescriptor:
			if at, err = r.copies(b, at); err != nil {
				return r.j.faultAt(err, here)
			}
		case typeRevoke:
			revokes = append(revokes, here)
		case typeCommit:
			for _, i := range revokes {
				if err := r.revoke(in, i); err != nil {
					return err
				}
			}
			revokes = revokes[:0]
			seq++
		}
	}
	return nil
}

// copies notes what a descriptor has; at is the block behind it. It returns the block
// behind the copies.
func (r *round) copies(b []byte, at uint32) (uint32, error) {
	var err error
	r.j.format.tags(b, func(t tag) bool {
		if err = r.j.checkHome(t.home); err != nil {
			return false
		}
		if t.home >= r.from && t.home < r.to {
			r.homes[t.home] = latest{at: at, escape: t.flags&flagEscape != 0}
		}
		at = r.j.After(at, 1)
		return true
	})
	if len(r.homes) > r.j.maxHomes {
		r.halve()
	}
	return at, err
}

// halve leaves the upper half of the blocks to a later round.
func (r *round) halve() {
	all := make([]uint64, 0, len(r.homes))
	for home := range r.homes {
		all = append(all, home)
	}
	slices.Sort(all)
	r.to = all[len(all)/2]
	for _, home := range all[len(all)/2:] {
		delete(r.homes, home)
	}
}

func (r *round) revoke(in *logReader, i uint32) error {
	b, err := in.block(i)
	if err != nil {
		return err
	}
	return r.j.format.revokes(b, func(home uint64) {
		if _, ok := r.homes[home]; ok {
			delete(r.homes, home)
			r.revoked++
		}
	})
}

// write puts the copies into place, in device order.
func (r *round) write(ctx context.Context) error {
	all := make([]uint64, 0, len(r.homes))
	for home := range r.homes {
		all = append(all, home)
	}
	slices.SortFunc(all, cmp.Compare[uint64])
	per := max(1, batchBytes/r.j.blockSize)
	b := batch{j: r.j, memory: make([]byte, min(per, len(all))*r.j.blockSize)}
	for part := range slices.Chunk(all, per) {
		if err := ctx.Err(); err != nil {
			return ended(err)
		}
		if err := b.copy(part, r.homes); err != nil {
			return err
		}
	}
	return nil
}

// batch copies some blocks at a time.
type batch struct {
	j      *Journal
	memory []byte
	bios   []blockio.Bio
}

func (b *batch) copy(homes []uint64, from map[uint64]latest) error {
	err := b.carryOut(blockio.Read, blockio.Journal, len(homes), func(i int) uint64 {
		at, _ := b.j.blocks.run(from[homes[i]].at)
		return at
	})
	if err != nil {
		return fmt.Errorf("a copy in the journal cannot be read: %w", err)
	}
	for i, home := range homes {
		if from[home].escape {
			binary.BigEndian.PutUint32(b.memory[i*b.j.blockSize:], Magic)
		}
	}
	err = b.carryOut(blockio.Write, blockio.Mixed, len(homes), func(i int) uint64 { return homes[i] })
	if err != nil {
		return fmt.Errorf("a block cannot be replayed: %w", err)
	}
	return nil
}

// carryOut reads or writes n blocks, merged as far as they are adjacent.
func (b *batch) carryOut(op blockio.Op, what blockio.Purpose, n int, where func(i int) uint64) error {
	size := b.j.blockSize
	b.bios = slices.Grow(b.bios[:0], n)[:n]
	plug := blockio.NewPlug(b.j.dev)
	defer plug.Release()
	for i := range b.bios {
		b.bios[i] = blockio.Bio{Op: op, For: what, Off: int64(where(i)) * int64(size), Vecs: [][]byte{b.memory[i*size : (i+1)*size]}}
		plug.Add(&b.bios[i])
	}
	plug.Flush()
	for i := range b.bios {
		if err := b.bios[i].Err; err != nil {
			return fmt.Errorf("block %d: %w", b.bios[i].Off/int64(size), err)
		}
	}
	return nil
}
