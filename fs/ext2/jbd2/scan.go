package jbd2

import (
	"context"
	"encoding/binary"
	"fmt"
)

// extentOfLog is what a scan found: the complete transactions first to end-1, in the
// log from block start up to, not including, block head.
type extentOfLog struct {
	first, end  uint32 // sequence numbers
	start, head uint32 // log blocks
	count       int    // transactions
	stop        string // why the log ends at head
}

// scanner looks for the end of the log: the first pass of a replay. Nothing is written
// before it is over, so that a journal with a fault in it is left alone as a whole.
type scanner struct {
	j      *Journal
	in     *logReader // for descriptor, revoke and commit blocks
	copies *logReader
	log    extentOfLog

	at   uint32 // next block
	used uint32 // blocks from start up to at
	seq  uint32 // of the transaction being read

	// Of the transaction being read.
	fault error  // the first
	sum   uint32 // ChecksumV1

	last   commitTime // of the last transaction
	failed error      // of a transaction that was not complete although it has a commit block (Format.Async)
}

// scan finds the complete transactions. What ends the log without a fault: a block that
// belongs to no or another transaction, the end of the ring, a transaction whose commit
// block is older than the one before it (stale), and, with Format.Async, a last
// transaction that does not match its checksums (torn). A fault in a transaction that
// has its commit block is an error, as the kernel sees it.
func (j *Journal) scan(ctx context.Context) (extentOfLog, error) {
	s := scanner{j: j, in: j.reader(), at: j.sb.Start, seq: j.sb.Sequence, sum: ^uint32(0)}
	if j.format.Checksum != ChecksumNone {
		s.copies = j.reader()
	}
	s.log = extentOfLog{first: s.seq, end: s.seq, start: s.at, head: s.at}
	for s.log.stop == "" {
		if err := ctx.Err(); err != nil {
			return s.log, fmt.Errorf("reading the journal: %w", err)
		}
		if err := s.step(); err != nil {
			return s.log, err
		}
	}
	return s.log, nil
}

func (s *scanner) advance(n uint32) {
	s.at = s.j.After(s.at, n)
	s.used += n
}

// step reads one descriptor, revoke or commit block.
func (s *scanner) step() error {
	if s.used >= s.j.Size() {
		s.log.stop = "the log is full"
		return nil
	}
	b, err := s.in.block(s.at)
	if err != nil {
		return err
	}
	h, ok := decodeHeader(b)
	switch {
	case !ok:
		s.log.stop = "no journal block follows"
		return nil
	case h.sequence != s.seq:
		s.log.stop = "a block of another transaction follows"
		return nil
	}
	at := s.at
	s.advance(1)
	switch h.kind {
	case typeDescriptor:
		return s.descriptor(b, at)
	case typeRevoke:
		s.revoke(b, at)
	case typeCommit:
		return s.commit(b, at)
	default:
		s.log.stop = "a block of an unknown kind follows"
	}
	return nil
}

// blame notes the first fault of the transaction.
func (s *scanner) blame(err error, at uint32) {
	if s.fault == nil {
		s.fault = s.j.faultAt(err, at)
	}
}

// descriptor checks a descriptor block and the copies behind it.
func (s *scanner) descriptor(b []byte, at uint32) error {
	f := s.j.format
	if f.perBlock() && !tailOK(s.j.seed, b) {
		s.blame(corrupt("journal descriptor", len(b)-tailSize, "its checksum does not match, transaction %d", s.seq), at)
	}
	if f.Checksum == ChecksumV1 {
		s.sum = crc32be(s.sum, b)
	}
	n, left := uint32(0), s.j.Size()-s.used
	var readErr error
	f.tags(b, func(t tag) bool {
		if n == left {
			n++
			return false
		}
		readErr = s.copyOf(t, s.j.After(s.at, n), at)
		n++
		return readErr == nil
	})
	if n > left {
		s.log.stop = "a transaction goes round the whole log"
		return nil
	}
	s.advance(n)
	return readErr
}

// copyOf checks the copy in log block at, which descriptor block from has t for.
func (s *scanner) copyOf(t tag, at, from uint32) error {
	if err := s.j.checkHome(t.home); err != nil {
		s.blame(err, from)
	}
	if s.copies == nil || s.fault != nil || s.failed != nil {
		return nil
	}
	c, err := s.copies.block(at)
	if err != nil {
		return err
	}
	if f := s.j.format; f.Checksum == ChecksumV1 {
		s.sum = crc32be(s.sum, c)
	} else if sum := f.copySum(s.j.seed, s.seq, c); sum != t.checksum {
		s.blame(corrupt("journal", -1, "the copy of block %d has the checksum 0x%X, its tag has 0x%X, transaction %d", t.home, sum, t.checksum, s.seq), at)
	}
	return nil
}

// checkHome tells whether a copy may belong to block home.
func (j *Journal) checkHome(home uint64) error {
	if home >= j.limit {
		return corrupt("journal descriptor", -1, "a copy belongs to block %d, past the end of the file system of %d blocks", home, j.limit)
	}
	if j.blocks.owns(home) {
		return corrupt("journal descriptor", -1, "a copy belongs to block %d, which is part of the journal", home)
	}
	return nil
}

func (s *scanner) revoke(b []byte, at uint32) {
	if s.j.format.perBlock() && !tailOK(s.j.seed, b) {
		s.blame(corrupt("journal revoke block", len(b)-tailSize, "its checksum does not match, transaction %d", s.seq), at)
	}
	if err := s.j.format.revokes(b, func(uint64) {}); err != nil {
		s.blame(err, at)
	}
}

// commit judges the transaction that ends here.
func (s *scanner) commit(b []byte, at uint32) error {
	when := commitTime(binary.BigEndian.Uint64(b[commitSec:]))
	if err := s.commitFault(b); err != nil {
		s.blame(err, at)
	}
	switch {
	case (s.fault != nil || s.failed != nil) && when < s.last:
		s.log.stop = "what follows is older"
		return nil
	case s.failed != nil:
		return s.failed // not the last: not torn
	case s.fault != nil && !s.j.format.Async:
		return s.fault
	case s.fault != nil:
		s.failed = s.fault
	default:
		s.last = when
		s.log.count++
		s.log.end, s.log.head = s.seq+1, s.at
	}
	s.seq++
	s.fault, s.sum = nil, ^uint32(0)
	return nil
}

// commitFault checks a commit block's checksum.
func (s *scanner) commitFault(b []byte) error {
	switch found := binary.BigEndian.Uint32(b[commitChecksum:]); {
	case s.j.format.perBlock():
		if !commitOK(s.j.seed, b) {
			return corrupt("journal commit block", commitChecksum, "its checksum does not match, transaction %d", s.seq)
		}
	case s.j.format.Checksum == ChecksumV1 && s.fault == nil:
		unused := b[commitChecksumType] == 0 && b[commitChecksumSize] == 0 && found == 0
		known := b[commitChecksumType] == checksumCRC32 && b[commitChecksumSize] == 4
		if !unused && (!known || found != s.sum) {
			return corrupt("journal commit block", commitChecksum, "h_chksum is 0x%08X, transaction %d has 0x%08X", found, s.seq, s.sum)
		}
	}
	return nil
}
