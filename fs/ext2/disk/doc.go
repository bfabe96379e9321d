// Package disk is the on-disk format of ext2: decoding, encoding and validation of
// every structure, and no I/O.
//
// An ext2 image is an array of blocks of 1 KiB to 64 KiB, cut into groups:
//
//	byte 0        boot block (1024 bytes, not ours)
//	byte 1024     superblock (1024 bytes), whatever the block size
//	next block    group descriptors, 32 bytes each, one per group
//	each group    [superblock copy, descriptor copies] block bitmap, inode bitmap,
//	              inode table, data
//
// Numbers are little-endian on disk; everything here reads and writes them so on any
// host. Block numbers count file system blocks from the start of the image, inode
// numbers start at 1, times are seconds since 1970.
//
// The rule of the package: a Check or Decode function names every fault, and what has
// passed it can be trusted by the code that follows. Faults are *CorruptError; the
// reasons not to mount have types of their own (NotExt2Error, UnsupportedError,
// TooSmallError). Functions never keep a reference to the caller's bytes unless they
// say so, and never panic on any content; a buffer shorter than the structure is a
// bug of the caller where the function says which length it needs.
package disk
