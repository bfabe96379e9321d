package mpage

// Flags qualify a Run.
type Flags uint8

// The flags of a run.
const (
	// Mapped: the run lies on the device. Without it the run is a hole.
	Mapped Flags = 1 << iota
	// Allocated: the blocks were allocated by this call; their old content is garbage.
	Allocated
	// Boundary: the run ends where mapping the next block needs an I/O of its own,
	// for an indirect block that probably lies right behind the run.
	Boundary
	// Uptodate: the content is in Run.Data already; no I/O is needed.
	Uptodate
)

// Run is a mapper's answer: Count file blocks, from the one asked for on, that are
// contiguous on the device, or that are all hole.
type Run struct {
	Block uint64 // first device block; meaningless unless Mapped
	Count uint64 // blocks, at least 1, at most what was asked for
	Flags Flags
	// Next, with Boundary, is the device block that mapping the file block behind
	// the run has to read first: the topmost indirect block on its path that is not
	// in memory, or, when all of them are, the last one. 0 when there is none (a
	// hole begins there) or it is not known without an I/O.
	Next uint64
	// Span, with Next, is how many file blocks can be mapped once Next is read: the
	// pointers in it, when it is the last table on the path. 0 when it is not, so
	// that yet another table must be read before the next file block is known.
	Span uint64
	// Data, with Uptodate, is the content of the whole run; it is only read, and only
	// until the mapper is asked again.
	Data []byte
}

// Mapper maps file blocks to device blocks.
type Mapper interface {
	// GetBlock maps the run that begins at file block iblock, at most max blocks
	// (max is at least 1). With create, missing blocks are allocated and flagged
	// Allocated, and the answer is never a hole; only blocks that are about to be
	// written are asked for. A run never extends past the indirect block it is mapped by.
	GetBlock(iblock, max uint64, create bool) (Run, error)
}

// Buffers is what the engine wants of a buffer cache. It may be nil.
type Buffers interface {
	// Ride offers a place for device block to land when a bio passes over it. data
	// is one block of memory, owned by the engine until it calls done, exactly once,
	// with the outcome. data is nil when the block is in the cache, or on its way
	// there, or no memory can be had for it.
	Ride(block uint64) (data []byte, done func(err error))
	// Cached tells whether the block is in the cache and up to date.
	Cached(block uint64) bool
	// Drop forgets n blocks from block on, which become file content: what is cached of
	// them is stale and must not be read or written any more. It is called for every run
	// that was allocated, and has to be cheap where nothing is cached.
	Drop(block, n uint64)
}
