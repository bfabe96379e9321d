package jbd2

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/ext2fuse/ext2fuse/blockio"
)

// Block is a block that a transaction changes.
type Block struct {
	Home uint64 // file system block
	Data []byte // one block; not changed before the writes completed
}

// Transaction is what becomes one transaction of the log. No block is listed twice.
type Transaction struct {
	Sequence uint32    // one more than that of the transaction before it
	Time     time.Time // of the commit; not before that of the transaction before it
	Blocks   []Block
	Revokes  []uint64 // blocks whose older copies must not be replayed; of those also in Blocks the record is left out
}

// Encoded is a transaction as writes. They are independent of one another but for the
// order the caller keeps.
//
// Contract: Commit is submitted when Body is durable, or together with it where the
// format is ChecksumV1 with Async. The transaction counts when Commit is durable; only
// then may its blocks be written to their places.
type Encoded struct {
	Body   []*blockio.Bio // revoke blocks, descriptors, copies: one bio per run of adjacent blocks
	Commit *blockio.Bio
	Blocks uint32 // of the log, commit block included
	Next   uint32 // log block behind the commit block
}

// tagsPer is how many tags a descriptor has room for.
func (j *Journal) tagsPer() int {
	return (j.blockSize - headerSize - j.format.tail() - uuidSize) / j.format.tagSize()
}

// revokesPer is how many records a revoke block has room for.
func (j *Journal) revokesPer() int {
	return (j.blockSize - revokeHeaderSize - j.format.tail()) / j.format.revokeSize()
}

// Need is how many log blocks a transaction of so many blocks and revokes takes at most.
func (j *Journal) Need(blocks, revokes int) uint32 {
	per, rper := j.tagsPer(), j.revokesPer()
	return uint32((revokes+rper-1)/rper + (blocks+per-1)/per + blocks + 1)
}

// MaxBlocks is how many blocks a transaction without revokes may have to take at most
// room log blocks.
func (j *Journal) MaxBlocks(room uint32) int {
	if room < 3 {
		return 0
	}
	per := uint32(j.tagsPer())
	n := room - 1 // all but the commit block
	return int(n - (n+per)/(per+1))
}

// Encode makes the log blocks of t, the first of them in log block at. Nothing is
// written; the journal itself does not change. That the blocks from at on are free is
// for the caller to know.
func (j *Journal) Encode(t *Transaction, at uint32) (*Encoded, error) {
	if at < j.sb.First || at >= j.sb.MaxLen {
		return nil, fmt.Errorf("transaction %d: log block %d is outside of the log, blocks %d to %d", t.Sequence, at, j.sb.First, j.sb.MaxLen-1)
	}
	revokes, err := j.pruneRevokes(t)
	if err != nil {
		return nil, err
	}
	need := j.Need(len(t.Blocks), len(revokes))
	if need > j.Size() {
		return nil, fmt.Errorf("transaction %d needs %d log blocks, the log has %d", t.Sequence, need, j.Size())
	}
	e := encoder{j: j, t: t, row: make([][]byte, 0, need), sum: ^uint32(0),
		memory: make([]byte, (int(need)-len(t.Blocks))*j.blockSize)}
	e.revokes(revokes)
	e.blocks(t.Blocks)
	e.commit()
	return e.encoded(at), nil
}

// pruneRevokes checks what t refers to and gives the revokes that are to be recorded.
func (j *Journal) pruneRevokes(t *Transaction) ([]uint64, error) {
	for i := range t.Blocks {
		b := &t.Blocks[i]
		if len(b.Data) != j.blockSize {
			return nil, fmt.Errorf("transaction %d: block %d has %d bytes, expected %d", t.Sequence, b.Home, len(b.Data), j.blockSize)
		}
		if err := j.checkEncodable(t, b.Home); err != nil {
			return nil, err
		}
	}
	if len(t.Revokes) == 0 {
		return nil, nil
	}
	if !j.format.Revoke {
		return nil, fmt.Errorf("transaction %d: the format of the journal has no revoke blocks", t.Sequence)
	}
	written := make(map[uint64]struct{}, len(t.Blocks))
	for i := range t.Blocks {
		written[t.Blocks[i].Home] = struct{}{}
	}
	kept := make([]uint64, 0, len(t.Revokes))
	for _, home := range t.Revokes {
		if err := j.checkEncodable(t, home); err != nil {
			return nil, err
		}
		if _, ok := written[home]; !ok {
			kept = append(kept, home)
		}
	}
	return kept, nil
}

func (j *Journal) checkEncodable(t *Transaction, home uint64) error {
	if home >= j.limit || j.blocks.owns(home) || home>>32 != 0 && !j.format.Wide {
		return fmt.Errorf("transaction %d: block %d cannot be in the journal", t.Sequence, home)
	}
	return nil
}

// encoder makes the row of blocks of one transaction.
type encoder struct {
	j      *Journal
	t      *Transaction
	row    [][]byte // in log order
	memory []byte   // for the blocks that are not the caller's
	sum    uint32   // ChecksumV1
}

// fresh appends a zeroed block to the row.
func (e *encoder) fresh() []byte {
	size := e.j.blockSize
	if len(e.memory) == 0 { // escaped copies
		e.memory = make([]byte, 8*size)
	}
	b := e.memory[:size:size]
	e.memory = e.memory[size:]
	e.row = append(e.row, b)
	return b
}

func (e *encoder) header(kind uint32) []byte {
	b := e.fresh()
	header{kind: kind, sequence: e.t.Sequence}.encode(b)
	return b
}

func (e *encoder) revokes(homes []uint64) {
	f, be := e.j.format, binary.BigEndian
	for len(homes) > 0 {
		n := min(len(homes), e.j.revokesPer())
		b := e.header(typeRevoke)
		at := revokeHeaderSize
		for _, home := range homes[:n] {
			if f.Wide {
				be.PutUint64(b[at:], home)
			} else {
				be.PutUint32(b[at:], uint32(home))
			}
			at += f.revokeSize()
		}
		be.PutUint32(b[headerSize:], uint32(at))
		if f.perBlock() {
			putTail(e.j.seed, b)
		}
		homes = homes[n:]
	}
}

func (e *encoder) blocks(blocks []Block) {
	for len(blocks) > 0 {
		n := min(len(blocks), e.j.tagsPer())
		e.descriptor(blocks[:n])
		blocks = blocks[n:]
	}
}

// descriptor makes a descriptor block and the copies it describes.
func (e *encoder) descriptor(blocks []Block) {
	f := e.j.format
	d := e.header(typeDescriptor)
	first := len(e.row)
	at := headerSize
	for i := range blocks {
		t := tag{home: blocks[i].Home}
		c := e.copyOf(blocks[i].Data, &t)
		if f.perBlock() {
			t.checksum = f.copySum(e.j.seed, e.t.Sequence, c)
		}
		if i > 0 {
			t.flags |= flagSameUUID
		}
		if i == len(blocks)-1 {
			t.flags |= flagLastTag
		}
		f.putTag(d[at:at+f.tagSize()], t)
		at += f.tagSize()
		if i == 0 {
			at += copy(d[at:], e.j.sb.UUID[:])
		}
	}
	switch {
	case f.perBlock():
		putTail(e.j.seed, d)
	case f.Checksum == ChecksumV1:
		e.sum = crc32be(e.sum, d)
		for _, c := range e.row[first:] {
			e.sum = crc32be(e.sum, c)
		}
	}
}

// copyOf appends the caller's block to the row, or an escaped copy of it.
func (e *encoder) copyOf(data []byte, t *tag) []byte {
	if binary.BigEndian.Uint32(data) != Magic {
		e.row = append(e.row, data)
		return data
	}
	t.flags |= flagEscape
	c := e.fresh()
	copy(c, data)
	clear(c[:4])
	return c
}

func (e *encoder) commit() {
	f, be := e.j.format, binary.BigEndian
	b := e.header(typeCommit)
	be.PutUint64(b[commitSec:], uint64(e.t.Time.Unix()))
	be.PutUint32(b[commitNsec:], uint32(e.t.Time.Nanosecond()))
	switch {
	case f.Checksum == ChecksumV1:
		b[commitChecksumType], b[commitChecksumSize] = checksumCRC32, 4
		be.PutUint32(b[commitChecksum:], e.sum)
	case f.perBlock():
		be.PutUint32(b[commitChecksum:], sumWithout(e.j.seed, b, commitChecksum))
	}
}

// encoded lays the row out from log block at on.
func (e *encoder) encoded(at uint32) *Encoded {
	n := uint32(len(e.row))
	out := &Encoded{Blocks: n, Next: e.j.After(at, n)}
	body := e.row[:n-1]
	for len(body) > 0 {
		bio, count := e.run(at, body)
		out.Body = append(out.Body, bio)
		at = e.j.After(at, count)
		body = body[count:]
	}
	out.Commit, _ = e.run(at, e.row[n-1:])
	return out
}

// run is the write of as many of row as are adjacent on the device from log block at on.
func (e *encoder) run(at uint32, row [][]byte) (*blockio.Bio, uint32) {
	home, n := e.j.blocks.run(at)
	n = min(n, e.j.sb.MaxLen-at, uint32(len(row)))
	return &blockio.Bio{Op: blockio.Write, For: blockio.Journal, Off: int64(home) * int64(e.j.blockSize), Vecs: row[:n:n]}, n
}
