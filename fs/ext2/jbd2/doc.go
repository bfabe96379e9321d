// Package jbd2 is the journal of ext3 on disk: reading one, replaying one, making the
// blocks of a transaction for one, and using one (Log) to carry out checkpoints.
//
// A journal is a row of blocks, numbered from 0, that lie somewhere in the file system
// (the content of inode 8). Its numbers are big-endian.
//
//	0                     superblock: where the log begins and with which sequence
//	s_first … s_maxlen-1  the log, a ring: block s_maxlen-1 is followed by s_first
//
// The log is a row of transactions with consecutive sequence numbers:
//
//	revoke block(s)       block numbers: older copies of these must not be replayed
//	descriptor            tags: where each of the blocks that follow belongs
//	  copy, copy, …       the blocks, one per tag
//	descriptor, copies …
//	commit block          the transaction counts only if this stands behind it
//
// s_start is the first block of the oldest transaction that may not be in place yet, 0
// when there is none (a clean journal). Blocks that begin with the magic number would
// look like one of the above: they are escaped, their first four bytes are zero in the
// log and their tag says so.
//
// Replay copies the newest not revoked copy of every block of the complete transactions
// to where it belongs. What is behind the last complete transaction is either a torn
// transaction or stale, and means nothing.
//
// Checksums come in four forms (Checksum). The first covers a whole transaction by its
// commit block, so that with Format.Async a transaction may be written with one barrier
// behind it all: where parts of it are missing, the log ends before it. The later forms
// have one checksum per block; the kernel and e2fsck take a mismatch under a commit block
// for damage, never for a torn write, so these need a barrier before the commit block.
//
// The package knows nothing of files: the caller says where the journal's blocks are
// (Extent). A Journal belongs to one goroutine at a time. Faults of the format are
// *disk.CorruptError, features that are not known here *disk.UnsupportedError; no
// content of a journal leads to a panic, an endless loop, memory beyond a fixed bound or
// a write to the journal itself or outside of the file system.
package jbd2
