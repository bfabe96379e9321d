package cache

import "github.com/ext2fuse/ext2fuse/blockio"

// DirtyBlock is a block of a snapshot. Data must not be changed.
type DirtyBlock struct {
	Block uint64
	Data  []byte
	For   blockio.Purpose
	Fresh bool // allocated in this epoch: nothing on the disk points to it yet
	buf   *Buffer
}

// Snapshot is what an epoch changed: a whole number of operations.
type Snapshot struct {
	Epoch        uint64
	Blocks       []DirtyBlock // in no order
	Revoked      []uint64     // metadata blocks freed in this epoch (Cache.Forget)
	Credits      int          // blocks that its operations said they would change at most, altogether
	Content      []Extent     // where file content was written to the device; may overlap
	MoreContent  bool         // there was too much of it to tell: Content is empty then
	FreshContent bool         // some of the content went into blocks that this epoch allocated
	Durable      bool         // somebody waits for it to be durable
}

// HasContent tells whether file content was written to the device in the epoch.
func (s *Snapshot) HasContent() bool { return s.MoreContent || len(s.Content) > 0 }

// Settle gives the buffers of the snapshot back to the cache. The blocks are in
// their place on the device by then.
func (s *Snapshot) Settle() {
	for i := range s.Blocks {
		s.SettleBlock(i)
	}
}

// SettleBlock is Settle for Blocks[i] alone: it is in its place, or a later snapshot,
// which is written, has it or revokes it.
func (s *Snapshot) SettleBlock(i int) {
	if b := s.Blocks[i].buf; b != nil {
		b.thaw(s)
		s.Blocks[i].buf = nil
	}
}
