package jbd2

import (
	"fmt"
	"time"

	"github.com/ext2fuse/ext2fuse/blockio"
)

// Place says where a journal is.
type Place struct {
	Dev       blockio.Device
	BlockSize int      // bytes
	Blocks    uint64   // of the file system; no copy belongs at or past it
	Extents   []Extent // the journal's blocks in order
}

// Journal is a journal on a device. It belongs to one goroutine at a time.
type Journal struct {
	dev       blockio.Device
	blockSize int
	limit     uint64 // blocks of the file system
	blocks    *blockMap
	sb        *Superblock
	raw       []byte // the superblock's block
	format    Format
	seed      uint32 // of per-block checksums
	maxHomes  int    // bound on the blocks that one round of a replay has in memory
	readAhead int    // how much of the log is read at once, bytes
}

// maxHomes bounds the memory of a replay: so many blocks are remembered at once, at some
// 50 bytes each.
const maxHomes = 1 << 19

func newJournal(p Place) (*Journal, error) {
	m, err := newBlockMap(p.Extents, p.Blocks)
	if err != nil {
		return nil, err
	}
	if m.blocks < MinBlocks {
		return nil, corrupt("journal", -1, "it has %d blocks, a journal has at least %d; run e2fsck", m.blocks, MinBlocks)
	}
	limit := min(p.Blocks, uint64(p.Dev.Size())/uint64(p.BlockSize))
	return &Journal{dev: p.Dev, blockSize: p.BlockSize, limit: limit, blocks: m, raw: make([]byte, p.BlockSize), maxHomes: maxHomes, readAhead: readAhead}, nil
}

// Open reads and checks the superblock of the journal at p.
func Open(p Place) (*Journal, error) {
	j, err := newJournal(p)
	if err != nil {
		return nil, err
	}
	home, _ := j.blocks.run(0)
	bio := blockio.Bio{Op: blockio.Read, For: blockio.Journal, Off: int64(home) * int64(j.blockSize), Vecs: [][]byte{j.raw}}
	if j.dev.Submit(&bio); bio.Err != nil {
		return nil, fmt.Errorf("the journal superblock in block %d cannot be read: %w", home, bio.Err)
	}
	if j.sb, err = DecodeSuperblock(j.raw); err == nil {
		err = j.sb.Check(j.blockSize, j.blocks.blocks)
	}
	if err != nil {
		return nil, inBlock(err, home)
	}
	j.formatChanged()
	return j, nil
}

// Create makes a clean journal, version 2, of all the blocks at p, in memory: nothing is
// read or written before the bio of Tail. What stands in the blocks is not looked at, so
// that a journal can be made without zeroing them. That is safe as long as no block of an
// earlier journal with a sequence number that the new one will reach is among them:
// uuid and sequence should be random.
func Create(p Place, f Format, uuid [16]byte, sequence uint32) (*Journal, error) {
	j, err := newJournal(p)
	if err != nil {
		return nil, err
	}
	j.sb = &Superblock{Version: 2, BlockSize: uint32(p.BlockSize), MaxLen: j.blocks.blocks, First: 1,
		Sequence: sequence, UUID: uuid, Users: 1}
	j.sb.setFormat(f)
	j.sb.Encode(j.raw)
	j.formatChanged()
	return j, nil
}

func (j *Journal) formatChanged() {
	j.format = j.sb.Format()
	j.seed = seedOf(j.sb.UUID)
}

// Superblock is a copy of the superblock as it is in memory.
func (j *Journal) Superblock() Superblock { return *j.sb }

// Format is how the journal's blocks are made up.
func (j *Journal) Format() Format { return j.format }

// SetFormat changes how blocks are made up, in memory; the bio of Tail makes it so on
// the device. The journal must be clean.
func (j *Journal) SetFormat(f Format) error {
	if j.sb.Start != 0 {
		return fmt.Errorf("the journal holds transactions in its present format")
	}
	j.sb.setFormat(f)
	j.sb.Encode(j.raw)
	j.formatChanged()
	return nil
}

// Where a note is kept in the superblock: s_users, but for the first of them. An internal
// journal has one user at most, and nobody looks at the rest.
const noteAt, noteEnd = 0x110, SuperblockSize

// NoteSize is how much room a note has, in bytes.
const NoteSize = noteEnd - noteAt

// Note is the part of the superblock, NoteSize bytes, that whoever made the journal may
// use for itself. What is written into it reaches the device with the next Tail.
func (j *Journal) Note() []byte { return j.raw[noteAt:noteEnd:noteEnd] }

// NoteOf is the note in the superblock of a journal that may be none, in its first block.
func NoteOf(block []byte) []byte { return block[noteAt:noteEnd:noteEnd] }

// Dirty tells whether the journal may hold transactions to replay.
func (j *Journal) Dirty() bool { return j.sb.Start != 0 }

// Size is the number of blocks of the log. A log that is full to the last block is
// allowed.
func (j *Journal) Size() uint32 { return j.sb.MaxLen - j.sb.First }

// First is the first block of the log.
func (j *Journal) First() uint32 { return j.sb.First }

// After is the log block n blocks behind block at, n being at most Size.
func (j *Journal) After(at, n uint32) uint32 {
	if room := j.sb.MaxLen - at; n >= room {
		return j.sb.First + (n - room)
	}
	return at + n
}

// Tail changes where the log begins, in memory, and returns the write that makes it so:
// start is the first block of the oldest transaction that is needed, and sequence its
// number; start 0 makes the journal clean and sequence that of the next transaction.
//
// Contract: the copies of all transactions before sequence are durable in their places
// when the write is submitted; the log blocks before start are used again only when it
// is durable. The bio's memory belongs to the journal: no other call of Tail or Replay
// before it completed. The fields that change lie within one sector.
func (j *Journal) Tail(start, sequence uint32) *blockio.Bio {
	if start != 0 && (start < j.sb.First || start >= j.sb.MaxLen) {
		panic(fmt.Sprintf("jbd2: a log of blocks %d to %d cannot begin at %d", j.sb.First, j.sb.MaxLen-1, start))
	}
	j.sb.Start, j.sb.Sequence = start, sequence
	j.sb.Encode(j.raw)
	home, _ := j.blocks.run(0)
	return &blockio.Bio{Op: blockio.Write, For: blockio.Journal, Off: int64(home) * int64(j.blockSize), Vecs: [][]byte{j.raw}}
}

// ClearErrno forgets, in memory, the error of the last user (s_errno); the next Tail
// takes it to the device.
func (j *Journal) ClearErrno() { j.sb.Errno = 0 }

// writeTail is Tail, carried out and durable.
func (j *Journal) writeTail(start, sequence uint32) error {
	bio := j.Tail(start, sequence)
	if j.dev.Submit(bio); bio.Err != nil {
		return fmt.Errorf("the journal superblock cannot be written: %w", bio.Err)
	}
	if err := j.dev.Sync(); err != nil {
		return fmt.Errorf("the journal superblock cannot be made durable: %w", err)
	}
	return nil
}

// later tells whether sequence a comes after b; sequence numbers wrap around.
func later(a, b uint32) bool { return int32(a-b) > 0 }

// commitTime is h_commit_sec.
type commitTime uint64

func (c commitTime) String() string { return time.Unix(int64(c), 0).UTC().Format(time.DateTime) }
