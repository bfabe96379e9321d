package cache

import (
	"sync"
	"sync/atomic"
)

// Extent is a run of device blocks.
type Extent struct{ Block, Count uint64 }

// Bounds of the content that a snapshot tells of in detail. Files of 64 KiB gain from being
// written to the journal, too, those of 200 KiB lose.
const (
	maxContentExtents = 64
	maxContentBytes   = 128 << 10
)

// content is where the operations of the running epoch wrote file content to the device, as
// long as that is little. A stream pays for one look at a flag.
type content struct {
	many atomic.Bool // too much to tell

	mu      sync.Mutex // a leaf
	extents []Extent
	blocks  uint64 // of them, some counted twice perhaps
}

// MarkContent says that the running operation wrote file content to the device, and into
// which blocks. fresh says that some of them were allocated in this epoch.
func (k *Checkpoint) MarkContent(fresh bool, blocks ...Extent) {
	if !k.unsynced.Load() {
		k.unsynced.Store(true)
	}
	if fresh && !k.freshContent.Load() {
		k.freshContent.Store(true)
	}
	if !k.content.many.Load() {
		k.content.add(blocks, uint64(maxContentBytes/k.c.blockSize))
	}
}

func (c *content) add(extents []Extent, limit uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.many.Load() {
		return
	}
	for _, e := range extents {
		c.addOne(e)
	}
	if len(c.extents) > maxContentExtents || c.blocks > limit {
		c.many.Store(true)
		c.extents, c.blocks = nil, 0
	}
}

// addOne adds an extent, to one that it goes on from if there is one.
func (c *content) addOne(e Extent) {
	for i := range c.extents {
		have := &c.extents[i]
		if e.Block < have.Block || e.Block > have.Block+have.Count {
			continue
		}
		if more := e.Block + e.Count; more > have.Block+have.Count {
			c.blocks += more - have.Block - have.Count
			have.Count = more - have.Block
		}
		return
	}
	c.extents = append(c.extents, e)
	c.blocks += e.Count
}

// take ends the epoch. No operation runs.
func (c *content) take() (extents []Extent, many bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	extents, c.extents, c.blocks = c.extents, nil, 0
	return extents, c.many.Swap(false)
}
