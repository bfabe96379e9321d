package cache

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ext2fuse/ext2fuse/blockio"
)

// dirtyList is what the running epoch changed.
type dirtyList struct {
	mu      sync.Mutex // a leaf, below the contents lock
	buffers []*Buffer  // pinned; each knows its place
	revoked []uint64

	n atomic.Int64 // as many as buffers has, for who does not hold mu
}

// dirtyState is a buffer's part in the checkpoint, guarded by its contents lock held
// exclusively.
type dirtyState struct {
	dirty  bool      // changed in the running epoch
	fresh  bool      // made by Fresh in the running epoch: nothing on disk points to it yet
	frozen *Snapshot // holds the slice; who wants to change it takes a copy first
}

// Modify returns the content to change it, and makes the buffer part of the running
// epoch. The caller holds the contents lock exclusively and is inside an operation
// (Checkpoint.Begin). Slices that Data returned before may be another memory.
func (b *Buffer) Modify() []byte {
	if b.ckpt.frozen != nil {
		b.data = slices.Clone(b.data)
		b.ckpt.frozen = nil
	}
	if !b.ckpt.dirty {
		b.ckpt.dirty = true
		b.shard.mu.Lock()
		b.shard.pin(b)
		b.shard.mu.Unlock()
		b.shard.cache.dirty.add(b)
	}
	return b.data
}

func (d *dirtyList) add(b *Buffer) {
	d.mu.Lock()
	b.listed = len(d.buffers)
	d.buffers = append(d.buffers, b)
	d.mu.Unlock()
	d.n.Add(1)
}

// remove takes a buffer out of the list, whose pin the caller drops. Otherwise what one epoch
// makes and frees again, over and over, would stay in memory until its end.
func (d *dirtyList) remove(b *Buffer) {
	d.mu.Lock()
	last := d.buffers[len(d.buffers)-1]
	d.buffers[b.listed], last.listed = last, b.listed
	d.buffers[len(d.buffers)-1] = nil
	d.buffers = d.buffers[:len(d.buffers)-1]
	d.mu.Unlock()
	d.n.Add(-1)
}

// Fresh makes a buffer of zeros for a block that was just allocated, pinned and part
// of the running epoch; the device is not read. Whatever the cache held of the block
// is dropped, and what the epoch changed of it before is not written: only in a damaged image
// does a block that is allocated have any, and the newest owner's content shall count. The
// caller is inside an operation and holds no buffer's contents lock.
func (c *Cache) Fresh(block uint64, what blockio.Purpose) (*Buffer, error) {
	if err := c.offsetErr(block); err != nil {
		return nil, err
	}
	s := c.shardOf(block)
	s.mu.Lock()
	for s.table[block] != nil {
		s.mu.Unlock()
		c.detach(block)
		s.mu.Lock()
	}
	b := s.insert(block, what)
	b.load = nil
	b.contents.Lock() // nobody else knows the buffer: no waiting
	s.mu.Unlock()
	defer b.contents.Unlock()
	if b.data == nil {
		b.data = make([]byte, c.blockSize)
	} else {
		clear(b.data)
	}
	b.passed.Store(1 << (what & 31))
	b.Modify()
	b.ckpt.fresh = true
	return b, nil
}

// Forget says that a metadata block was freed in the running epoch: what was changed
// of it need not be written any more, and the snapshot lists it as revoked. The caller
// is inside an operation and does not hold the buffer's contents lock.
func (c *Cache) Forget(block uint64) {
	c.detach(block)
	c.dirty.revoke(block)
}

// detach takes a block out of the cache. What the running epoch had changed of it will not be
// written; changed tells whether there is that, or a change of an epoch before that may not
// be in its place yet.
func (c *Cache) detach(block uint64) (changed bool) {
	s := c.shardOf(block)
	s.mu.Lock()
	b := s.table[block]
	if b != nil {
		s.pin(b)
		s.forget(b)
	}
	s.mu.Unlock()
	if b == nil {
		return false
	}
	b.contents.Lock()
	dirty := b.ckpt.dirty
	changed = dirty || b.ckpt.frozen != nil
	if dirty {
		b.ckpt.dirty = false
		c.dirty.remove(b)
	}
	b.contents.Unlock()
	if dirty {
		b.Release() // the list's pin
	}
	b.Release()
	return changed
}

// revoke lists a block as revoked in the running epoch.
func (d *dirtyList) revoke(block uint64) {
	d.mu.Lock()
	d.revoked = append(d.revoked, block)
	d.mu.Unlock()
}

// dirtyBlocks is how many buffers the running epoch changed so far.
func (c *Cache) dirtyBlocks() int { return int(c.dirty.n.Load()) }

// snapshot takes the dirty list away and freezes its buffers. No operation runs.
func (c *Cache) snapshot(epoch uint64) *Snapshot {
	d := &c.dirty
	d.mu.Lock()
	buffers := d.buffers
	s := &Snapshot{Epoch: epoch, Revoked: d.revoked}
	d.buffers, d.revoked = nil, nil
	d.mu.Unlock()
	d.n.Store(0)
	s.Blocks = make([]DirtyBlock, 0, len(buffers))
	for _, b := range buffers {
		b.contents.Lock()
		s.Blocks = append(s.Blocks, DirtyBlock{b.block, b.data, b.Purpose(), b.ckpt.fresh, b})
		b.ckpt = dirtyState{frozen: s}
		b.contents.Unlock()
	}
	return s
}

// thaw gives a buffer back that s holds.
func (b *Buffer) thaw(s *Snapshot) {
	b.contents.Lock()
	if b.ckpt.frozen == s {
		b.ckpt.frozen = nil
	}
	b.contents.Unlock()
	b.Release()
}
