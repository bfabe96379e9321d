// Package ext2 is the ext2 file system, without FUSE and without the kernel: it opens an
// image or a device, and reads and writes the files, directories and attributes in it.
//
// # Use
//
// Open gives an FS. For users of io/fs there is FS.FS, which walks and reads with the
// standard library. Everything else goes by inodes: FS.Root, FS.InodeByPath and
// Inode.Lookup give an Inode with a reference taken, which Inode.Put gives back. Inodes
// have methods for what system calls do, by the names of those. They check what the file
// system demands; whether the caller may is for him to know, and on whose behalf he acts he
// says with a Cred, whose zero value is root's. New images are made by mke2fs(8).
//
// Several goroutines may use an FS and its inodes at once. Offsets and sizes are in bytes
// unless something else is said.
//
// # Contexts
//
// What takes a context may take long or wait: it changes something, waits for the disk, or
// goes through the content of a file, a directory or the image. It ends when its context
// does, and then gives the context's error with what was under way before it: match it with
// errors.Is(err, context.Canceled). What takes none is answered from memory or by a few
// reads.
//
// The end of a context is seen between operations, never in the midst of one, so that the
// file system is whole afterwards and goes on. What is one operation, as Create or Rename is,
// was then not begun; what consists of many, as Write or Fallocate, was done in part, as the
// methods say. Only where changes are to be durable before their call returns
// (Options.Sync), and the wait for that ended, was the change made.
//
// # Durability
//
// Changes are written by a checkpoint within a fraction of a second, and made durable within
// Options.Commit; Inode.Fsync and FS.Sync return when that has been done, and so does Close.
// After a crash a journal, borrowed for the time of the mount where there is none, brings the
// file system to the state of a checkpoint.
//
// # Errors
//
// The sentinels (ErrNotExist and others) are what the callers of system calls know, and match
// those of io/fs. Damage found in the image is a *disk.CorruptError; a failure of the device
// wraps what blockio gave. Errno turns any of them into an errno.
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
