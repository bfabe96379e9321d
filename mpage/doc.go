// Package mpage reads and writes file pages with few, large I/Os.
//
// A Mapper knows where a file's blocks live on the device; the Engine walks the pages of
// a request, asks the mapper for runs of blocks, gathers what is contiguous on the device
// into one bio, and takes a page that is not one piece block by block. The request is the
// page set: pages are windows into the caller's memory, and bytes land there without a
// copy in between.
//
// mpage knows nothing of ext2. Blocks are file system blocks; offsets are bytes; a page is
// 4 KiB, or a block where that is larger.
//
// # Reading
//
// Each page is taken in turn:
//
//   - The mapping in use is used as long as it covers the page. Past its end the mapper is
//     asked, for all that is left of the request.
//   - A page of blocks that follow each other on the device, perhaps with a hole up to its
//     end, is added to the open bio if it lies right behind it, and opens a new one if not.
//     A page that is all hole is zeroed and needs no I/O.
//   - A page of any other shape is taken in pieces: a hole before data, blocks that lie
//     apart, content that is in memory already. If the mapper fails, the page has failed,
//     and no other.
//
// The bios wait on a plug, which sorts them, joins neighbours and sends them out together:
// at the end of the request, and at boundaries. When they are complete each page is up to
// date or in error by itself. Nothing is ever read past the end of the device.
//
// # Boundaries
//
// The classic block map puts an indirect block behind the data whose turn it comes after:
//
//	file block    0   1  ..  11        12  13  14  15  16
//	device      +---+---+--+---+-----+---+---+---+---+---+
//	            |100|101|..|111| IND |113|114|115|116|117|
//	            +---+---+--+---+-----+---+---+---+---+---+
//	                              112: the pointers to blocks 12, 13, ...
//
// Where block 12 is can be known only after IND was read. Who asks for it while blocks 0
// to 11 still wait reads IND, 0..11, 12..16: a jump forth and back on the device. So the
// mapper marks a run that ends where its table does with Boundary, and when such a run is
// used up the engine sends what has gathered before it asks for more. The device sees
//
//	0..11   IND   12..16              three I/Os, in order
//
// If the mapper can say where the next table is (Run.Next) and it lies right behind the
// run, the bio takes it along as one more vector, a rider, which lands in the buffer cache
// (Buffers.Ride), where the mapper finds it:
//
//	0..11 IND   12..16                two I/Os
//
// If the request goes on, the blocks behind IND are most likely those it points to, so
// the engine bets on it. It reads the rest of the request's pages from right behind IND
// with the same bio, and asks the mapper afterwards:
//
//	0..11 IND 12..16                  one I/O
//
// Pages that the mapper then has exactly there are good; from the first one on that it has
// not, they are read again as if there had been no bet. A bet needs a request that has been
// one stretch of the device so far; stays within what the table can map (Run.Span), the
// file and the device; is the request's last if it loses; and a file whose mapper remembers
// (Bettor) that its bets lose is left alone. NoBets turns them off.
//
// When the table is in the cache already there is nothing to wait for. If it is all that
// lies between two runs, the bio reads over it, a bridge, so that a cached file of one
// stretch is one I/O per request, too.
//
// Riders, bets and bridges are extras. When a bio that carries one fails, its pages are
// read again without, so that damage in a block that nobody asked for hurts no page.
//
// # Lending
//
// What the host's cache holds need not be read to be passed on. Lend finds the stretches of
// the device that a large read would gather, if they are few and all cached, and a Loan puts
// them into a pipe (blockio.Splicer). It asks the mapper for what lies behind a stretch only
// when that one is cached, so that a read that has to be made after all finds the device as
// it would have without.
//
// # Writing
//
// Write takes bytes, WritePages the dirty blocks of a set of pages; both walk from front
// to back and ask the mapper, with create, for all that is wanted without a gap from there
// on: one question for a MiB that is one run, and nothing is allocated that nobody writes.
// What follows on the device goes into one bio; the plug joins neighbours that the file has
// in another order. The device gets bytes, not blocks: part of a block that was there
// before is written as that part, and the host's cache does the merging.
//
// What nobody wrote must never show, so zeros go along where a block would have something
// old in it. They are vectors of the same bio:
//
//	block is new (Allocated)    |000000 data data 0000|   around the data, once
//	the file ends in the block  |...... data data|0000|   behind the end, each time
//	                                             end of file
//
// Where a block that was there before has parts that are not dirty, these are left alone.
// Blocks wholly past the end of the file are not written, nor asked for.
//
// New blocks are dropped from the buffer cache (Buffers.Drop) before they are written: what
// it has of them is from when they were directories or indirect blocks.
//
// A run that ends at a boundary ends its bio. The indirect block there, dirty as it may be,
// is left alone: the engine writes file content only. Which metadata goes out when is the
// checkpoint's business, whose order is what makes a crash harmless, and an indirect block
// that went along with its data would reach the disk before the bitmap that says it is
// taken. Nor are data sent early at a boundary, as they are in a read: they go to the host's
// cache, where the order of writes costs nothing, and the fewer the better.
//
// # When a write fails
//
// Nothing stops at the first failure that need not. If the mapper fails, what it mapped is
// written; if a bio fails, the others are still carried out. Write tells up to where the
// bytes are certain: to the first block that is not. WritePages tells of each page by
// itself. A block is clean once it was taken into a bio, not before: a page that the mapper
// or the device has no place for stays dirty and can be tried again, and one whose bio
// failed cannot. That error would be lost with whoever sent the page, so it sticks to the
// file (WriteErrors, if the mapper is an ErrorKeeper) until everybody who syncs it was told.
//
// # Locks
//
// The engine has none. A request belongs to the goroutine that makes it; the caller sees to
// it that nobody writes or maps with create what somebody else reads or writes. From
// Buffers.Ride to the end of the bio the mapper is not asked anything, so a mapper that
// waits in the cache for a block that rides cannot wait for itself. Buffers.Drop is called
// between two questions to the mapper.
//
// # Files
//
// engine.go is the interface for reading, request.go the walk, fallback.go the pages of
// other shapes, boundary.go and bet.go what happens at a boundary, lend.go what is not
// read at all. write.go is the interface for writing and the pages, writewalk.go the walk,
// writeerrors.go the errors that stick. transfers.go has the bios and their completion,
// prefetch.go the advice to the host.
package mpage
