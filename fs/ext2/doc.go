// Package ext2 is the ext2 file system: it opens an image or device and gives its
// files, directories and attributes, without FUSE and without the kernel.
//
// # Locks
//
// Taken in this order, outermost first; a lock is never taken while one further
// down is held:
//
//	checkpoint (shared by operations, exclusive for the snapshot)
//	  directory inode(s): parent before child, else by inode number
//	    file inode
//	      group (bitmaps, descriptor, counters)
//	        buffer (contents of one cached block)
//
// The journal's lock is held while a snapshot is written and while blocks go to their
// places; buffers' are taken under it, and nobody who holds another takes it.
//
// The inode table of in-memory inodes and the shards of the buffer cache have locks
// of their own, which are leaves: nothing else is taken under them. Functions that
// need a lock held say so in their names (…Locked).
package ext2
