package cache

import (
	"slices"

	"github.com/ext2fuse/ext2fuse/blockio"
)

// Prefetch reads those of the blocks that are not in the cache, neighbours with one
// bio, and returns when they are there. It is a hint: blocks that cannot be read, or
// that lie past the end of the device, are left out without a word, and so are those
// for which there is no room, or that would make it more than half of the cache.
func (c *Cache) Prefetch(blocks []uint64, what blockio.Purpose) {
	want := slices.Clone(blocks)
	slices.Sort(want)
	end := uint64(max(c.dev.Size(), 0)) / uint64(c.blockSize)
	most := max(c.blocks/2, 1)
	var missing []*Buffer
	for _, block := range want {
		if block >= end || len(missing) == most {
			break
		}
		if b := c.start(block, what); b != nil {
			missing = append(missing, b)
		}
	}
	if len(missing) > 0 {
		c.readAll(missing, what)
	}
}

// start inserts a buffer for block to be loaded, if the block is missing and there is
// room for it.
func (c *Cache) start(block uint64, what blockio.Purpose) *Buffer {
	s := c.shardOf(block)
	s.mu.Lock()
	if s.table[block] != nil || !s.room() {
		s.mu.Unlock()
		return nil
	}
	b := s.insert(block, what)
	s.mu.Unlock()
	if b.data == nil {
		b.data = make([]byte, c.blockSize)
	}
	return b
}

// readAll loads the buffers, which are in order of their blocks.
func (c *Cache) readAll(missing []*Buffer, what blockio.Purpose) {
	var bios []*blockio.Bio
	var last *blockio.Bio
	for i, b := range missing {
		if last == nil || b.block != missing[i-1].block+1 || len(last.Vecs) == blockio.MergeVecs {
			last = &blockio.Bio{Op: blockio.Read, For: what, Off: c.offset(b.block)}
			bios = append(bios, last)
		}
		last.Vecs = append(last.Vecs, b.data)
	}
	c.dev.Submit(bios...)
	for _, bio := range bios {
		n := len(bio.Vecs)
		for i, b := range missing[:n] {
			c.arrived(b, bio.Err, i == 0)
		}
		missing = missing[n:]
	}
}

// arrived ends the load of a prefetched buffer and drops the pin on it. first is set
// for one of the buffers of each bio, so that the bio is counted once.
func (c *Cache) arrived(b *Buffer, err error, first bool) {
	s := b.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	if first {
		s.count.Reads++
	}
	s.finish(b, err, true)
	if err != nil {
		if first {
			s.count.ReadErrors++
		}
		return
	}
	s.count.Prefetched++
	s.unpin(b)
}
