package cache

import (
	"math/bits"
	"sync"

	"github.com/ext2fuse/ext2fuse/blockio"
)

const (
	maxShards = 16
	// minShardBlocks keeps shards of a small cache from being so small that a few
	// unlucky pins fill one while others are empty.
	minShardBlocks = 64
)

// Cache is a bounded cache of a device's blocks. Its methods may be called from
// several goroutines at once.
type Cache struct {
	dev       blockio.Device
	blockSize int
	blocks    int // bound, in blocks
	shards    []shard
	shift     uint // of the hash, to leave a shard's index
	present   presence
	dirty     dirtyList
}

// shard is the part of the cache for the blocks whose hash picks it.
type shard struct {
	cache  *Cache
	mu     sync.Mutex
	table  map[uint64]*Buffer // by block; up to date or loading
	idle   Buffer             // head of the ring of unpinned buffers: next is the latest
	held   int                // buffers with memory: in the table, or pinned and forgotten
	limit  int                // bound of held, exceeded only by pinned buffers
	pinned int
	count  Stats // the counters of it

	_ [64]byte // keep neighbours' locks off this cache line
}

// New makes a cache of dev's blocks of blockSize bytes that holds at most maxBytes,
// but always at least one block.
func New(dev blockio.Device, blockSize int, maxBytes int64) *Cache {
	const most = 1 << 30
	blocks := int(min(max(maxBytes/int64(blockSize), 1), most))
	n := 1
	for n < maxShards && blocks/(2*n) >= minShardBlocks {
		n *= 2
	}
	c := &Cache{
		dev:       dev,
		blockSize: blockSize,
		blocks:    blocks,
		shards:    make([]shard, n),
		present:   newPresence(blocks),
		shift:     uint(64 - bits.TrailingZeros(uint(n))),
	}
	for i := range c.shards {
		s := &c.shards[i]
		s.cache = c
		s.table = make(map[uint64]*Buffer)
		s.idle.next, s.idle.prev = &s.idle, &s.idle
		s.limit = blocks / n
	}
	return c
}

// BlockSize is the size of a block in bytes.
func (c *Cache) BlockSize() int { return c.blockSize }

// shardOf spreads blocks by a multiplicative hash: bitmaps and indirect blocks come at
// regular distances, which the low bits alone would put into one shard.
func (c *Cache) shardOf(block uint64) *shard {
	const golden = 0x9E3779B97F4A7C15
	return &c.shards[(block*golden)>>c.shift&uint64(len(c.shards)-1)]
}

// Stats are a cache's counters, summed over its shards.
type Stats struct {
	Hits       uint64 // Gets that found the block, up to date or on its way
	Misses     uint64 // Gets that had to read
	Waits      uint64 // those hits that had to wait for somebody else's read
	Reads      uint64 // reads sent to the device, by Get and Prefetch
	ReadErrors uint64 // those that failed
	Prefetched uint64 // blocks brought in by Prefetch
	Rides      uint64 // blocks brought in by Ride
	Evictions  uint64 // buffers let go to make or to give back room

	Buffers int64 // buffers in memory now
	Pinned  int64 // those pinned now
	Bytes   int64 // memory of the buffers now
	Limit   int64 // bound of Bytes, exceeded only while pins force it
	Dirty   int64 // bytes of the buffers that the running epoch changed
}

// Stats returns the counters. Each shard's are consistent among themselves.
func (c *Cache) Stats() Stats {
	sum := Stats{Limit: int64(c.blocks) * int64(c.blockSize), Dirty: int64(c.dirtyBlocks()) * int64(c.blockSize)}
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		n := s.count
		n.Buffers, n.Pinned = int64(s.held), int64(s.pinned)
		s.mu.Unlock()
		sum.Hits += n.Hits
		sum.Misses += n.Misses
		sum.Waits += n.Waits
		sum.Reads += n.Reads
		sum.ReadErrors += n.ReadErrors
		sum.Prefetched += n.Prefetched
		sum.Rides += n.Rides
		sum.Evictions += n.Evictions
		sum.Buffers += n.Buffers
		sum.Pinned += n.Pinned
	}
	sum.Bytes = sum.Buffers * int64(c.blockSize)
	return sum
}
