package cache

import "sync/atomic"

const (
	// regionBits is log2 of the blocks of a region. Small regions keep the metadata
	// that lies among the data from hiding much of it.
	regionBits = 3
	// Bounds of how many counters there are.
	minRegions = 1 << 6
	maxRegions = 1 << 16
)

// presence counts how many blocks of each region of the device are in the tables, so
// that whoever wants a range gone, which is hardly ever there, need not look its blocks
// up one by one. Regions far apart share a counter: it tells for sure only that nothing
// is there. They share it by distance, and metadata comes at regular distances, so it
// shares mostly with itself.
type presence struct {
	counts []atomic.Int32
	mask   uint64
}

// newPresence makes one for a cache of the given number of blocks.
func newPresence(blocks int) presence {
	n := minRegions
	for n < maxRegions && n < blocks {
		n *= 2
	}
	return presence{make([]atomic.Int32, n), uint64(n - 1)}
}

// add counts block in (1) or out (-1). The lock of its shard is held.
func (p *presence) add(block uint64, n int32) { p.counts[block>>regionBits&p.mask].Add(n) }

// none tells that no block of block's region is in a table.
func (p *presence) none(block uint64) bool { return p.counts[block>>regionBits&p.mask].Load() == 0 }

// Drop forgets n blocks from block on: what the cache holds of them is stale, because
// they were freed and became file data. Those who have one pinned keep their buffer, cut
// off from the cache, and what an operation changed in it is not written any more; the
// next Get reads the device. It costs next to nothing where nothing is cached.
//
// Where a buffer may be dirty, the caller is inside an operation. It holds no buffer's
// contents lock.
func (c *Cache) Drop(block, n uint64) {
	const region = 1 << regionBits
	for n > 0 {
		k := min(n, region-block%region)
		if !c.present.none(block) {
			for b := block; b < block+k; b++ {
				c.drop(b)
			}
		}
		block, n = block+k, n-k
	}
}

// drop forgets one block. One that was changed, in this epoch or in one that is on its way,
// counts as revoked: what earlier epochs made of it must not come back over the data either.
func (c *Cache) drop(block uint64) {
	if c.detach(block) {
		c.dirty.revoke(block)
	}
}
