package cache

import (
	"sync"
	"sync/atomic"

	"github.com/ext2fuse/ext2fuse/blockio"
)

// Buffer is one block in memory. Who got it holds a pin until Release; after that
// neither the Buffer nor its Data may be used.
type Buffer struct {
	shard *shard
	block uint64

	contents sync.RWMutex
	data     []byte // set by the loader before anybody else sees the buffer
	ckpt     dirtyState
	listed   int // its place in the dirty list while it is dirty, guarded by the list's mu

	passed   atomic.Uint32 // purposes whose check passed, one bit each
	checking sync.Mutex
	failure  struct { // the latest check that failed; those who wait for it share the error
		what blockio.Purpose
		err  error
	}

	// Guarded by shard.mu.
	prev, next *Buffer // ring of idle buffers
	pins       int
	purpose    blockio.Purpose
	forgotten  bool  // no longer in the table
	load       *load // not nil until the buffer is up to date, or for good if the load failed
}

// load is a read in flight. err and again are written before done is closed.
type load struct {
	done  chan struct{}
	err   error
	again bool // the error is not this block's own; try again
}

// Block is the device block the buffer holds.
func (b *Buffer) Block() uint64 { return b.block }

// Purpose is what the buffer was first asked for with; Unknown as long as nobody said.
func (b *Buffer) Purpose() blockio.Purpose {
	b.shard.mu.Lock()
	defer b.shard.mu.Unlock()
	return b.purpose
}

// Data is the block's content. The caller holds the contents lock, shared to read,
// exclusive to write, and lets go of the slice with it.
func (b *Buffer) Data() []byte { return b.data }

// Release drops a pin.
func (b *Buffer) Release() {
	s := b.shard
	s.mu.Lock()
	s.unpin(b)
	s.mu.Unlock()
}

// Lock takes the contents lock, to change the content.
func (b *Buffer) Lock() { b.contents.Lock() }

// Unlock releases Lock.
func (b *Buffer) Unlock() { b.contents.Unlock() }

// RLock takes the contents lock shared, to read the content.
func (b *Buffer) RLock() { b.contents.RLock() }

// RUnlock releases RLock.
func (b *Buffer) RUnlock() { b.contents.RUnlock() }
