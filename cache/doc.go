// Package cache holds metadata blocks of a device in memory, and carries what is changed of
// them to the device in epochs.
//
// # Use
//
// Get gives a block as a Buffer that is pinned and up to date; Release gives the pin
// back. A pinned buffer stays where it is; an unpinned one stays too until its room
// is needed, and then the one that was released longest ago goes first.
//
// However many ask for a block that is not there, it is read once: the first does
// it, the others wait and get the same buffer, or the same error. A failed read
// leaves nothing behind, so that the next Get tries again. GetChecked adds a check of
// the content, which runs once for what was read, not once per use.
//
// Blocks also come in without a Get: Prefetch reads many at once with few bios, and
// Ride lends memory to somebody whose own bio passes over a block anyway (package
// mpage does it with indirect blocks). When one of these fails, whoever waits for the
// block reads it again by itself: the failure may have been a neighbour's.
//
// # Bound
//
// The bound is in bytes, at least one block, and is split evenly among the shards (a
// hash of the block number picks the shard). Room is made before a block comes in.
// Pinned buffers are never evicted; when nothing else is left, Get exceeds the bound
// rather than fail or wait (waiting for a pin that the waiter itself holds would be a
// deadlock), and Release shrinks the cache again: a buffer released while its shard is
// over its share is let go at once. Ride and Prefetch never exceed the bound. The
// cost of Get, Release and of an eviction does not depend on how much is cached.
//
// # Locks
//
// Each shard has a mutex over its table, its idle list and the pins of its buffers; it
// is a leaf and held for a few instructions, never over I/O. Each buffer has a
// contents lock (Lock, RLock), which callers take; the cache itself takes it shared
// while it checks a buffer.
//
// # Epochs
//
// A Checkpoint cuts time into epochs, each a whole number of operations. An operation runs
// between Begin and End, and changes buffers by Modify, Fresh, Forget and Drop. At the end of
// an epoch its dirty buffers become a Snapshot, which a Writer carries to the device:
// PlainWriter in place, package jbd2 as a transaction. Commit waits until all that was
// changed before is durable.
//
// # Contents
//
// Data is called with the contents lock held, at least shared, and the slice is not
// used past its release: the lock guards not only the bytes but also which slice holds
// them. That is what makes copy-on-write snapshots cheap. A checkpoint freezes the
// slices of the dirty buffers of its epoch and writes them out without any lock; who
// changes such a buffer in the next epoch holds the contents lock exclusively, so it
// can give the buffer a fresh copy of the slice and leave the frozen one alone. A
// reader under the shared lock sees the one or the other, never a mixture.
//
// A dirty buffer is kept like a pinned one: off the idle list, the only place eviction
// looks at. The list of an epoch's dirty buffers belongs to the Cache, not to a shard,
// with a lock of its own below the contents lock, since only a buffer's first change
// in an epoch touches it. Each buffer keeps the Purpose it was asked for with; together
// with the block number it is what the plain checkpoint sorts by (bitmaps and tables
// before what points to them).
//
// Drop forgets blocks whose content here no longer means anything, because they were
// freed and become file data. Holders of a pin keep what they have, but the next Get
// reads the device. Every write into new blocks drops their old aliases, and next to none
// has any, so the cache counts its blocks by region of the device and looks only where
// there are some.
package cache
