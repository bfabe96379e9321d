package jbd2

import (
	"slices"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/cache"
)

// contentShare bounds the content in one transaction: one part of the log in so many.
const contentShare = 32

// loggable are the blocks of a snapshot's content, in order, if they can go into its
// transaction; nil if they cannot, or if it brings nothing.
func (l *Log) loggable(s *cache.Snapshot) []uint64 {
	if !s.Durable || s.MoreContent || l.o.NoBarrier {
		return nil
	}
	blocks := contentOf(s)
	if n := len(blocks); n > int(l.j.Size()/contentShare) || l.j.Need(len(s.Blocks)+n, 0) > l.j.Size()/logShare {
		return nil
	}
	// Only on a damaged file system is a block content and something else.
	for _, b := range blocks {
		if _, ok := l.homes[b]; ok || b >= l.j.limit || l.j.blocks.owns(b) {
			return nil
		}
	}
	for i := range s.Blocks {
		if _, ok := slices.BinarySearch(blocks, s.Blocks[i].Block); ok {
			return nil
		}
	}
	return blocks
}

// contentOf are the blocks that a snapshot tells content was written to, in order.
func contentOf(s *cache.Snapshot) (blocks []uint64) {
	for _, e := range s.Content {
		for i := range e.Count {
			blocks = append(blocks, e.Block+i)
		}
	}
	slices.Sort(blocks)
	return slices.Compact(blocks)
}

// addContent puts copies of blocks into a transaction, as they are in their places: as
// their epoch left them, or, in part perhaps, as a later one did. That one then revokes the
// copy or has a newer one. It tells whether there are any and all could be read.
func (l *Log) addContent(t *Transaction, blocks []uint64) bool {
	if len(blocks) == 0 {
		return false
	}
	size := l.j.blockSize
	memory := make([]byte, len(blocks)*size)
	var bios []*blockio.Bio
	for i := 0; i < len(blocks); {
		n := 1
		for i+n < len(blocks) && blocks[i+n] == blocks[i]+uint64(n) {
			n++
		}
		bios = append(bios, &blockio.Bio{Op: blockio.Read, For: blockio.Data, Off: int64(blocks[i]) * int64(size),
			Vecs: [][]byte{memory[i*size : (i+n)*size]}})
		i += n
	}
	l.j.dev.Submit(bios...)
	for _, b := range bios {
		if b.Err != nil {
			return false
		}
	}
	for i, b := range blocks {
		t.Blocks = append(t.Blocks, Block{Home: b, Data: memory[i*size : (i+1)*size : (i+1)*size]})
	}
	return true
}

// stale adds to revokes the blocks of content that a snapshot wrote, or may have, and that
// the log has older copies of.
func (l *Log) stale(s *cache.Snapshot, revokes []uint64) []uint64 {
	if s.MoreContent {
		for b := range l.data {
			revokes = append(revokes, b)
		}
		slices.Sort(revokes)
		return revokes
	}
	for _, b := range contentOf(s) {
		if _, ok := l.data[b]; ok {
			revokes = append(revokes, b)
		}
	}
	return revokes
}
