// Package fusefs serves an ext2 file system to the kernel through FUSE.
//
// It speaks the protocol and owns no file-system logic: every request is decoded,
// handed to package ext2, and answered. Each request is handled in the goroutine that
// read it, and no request waits for another one that waits for the disk; see conn.
// go-fuse decodes and encodes, but does not serve: its server keeps several readers
// waiting, which costs a wake-up for each message, more than the answer itself. READ is
// decoded and answered here, since its content may go to the kernel by way of a pipe and
// never be in this process's memory; see conn.answerRead.
//
// # Nodes
//
// A FUSE node id is the inode number, and the kernel's look-up count of a node is a
// count of references on the ext2.Inode. Two numbers differ: FUSE insists that the
// root is node 1, ext2 has its root at inode 2, so these two change places at the
// border (see nodeOf and inoOf).
//
// # Caching
//
// The image is locked, so nothing changes it behind the kernel's back. Names,
// attributes, missing names and symbolic links are therefore given to the kernel for
// ever, and the page cache is the kernel's own affair. The first OPEN, OPENDIR, FLUSH
// and FSYNC are answered with ENOSYS, by which the kernel knows that it need not ask:
// from then on opening, reading from the cache and closing a file send no message at
// all. Directory listings stay in the kernel's page cache likewise.
//
// One thing the kernel does not keep is the access list of the root directory: it
// makes that inode before it has our word that lists may be kept. So each walk of a
// path by somebody who does not own the root directory costs one GETXATTR (seen with
// Linux 6.18), unless the file system is mounted with noacl.
//
// # Signals
//
// A request is carried out to its end whatever signal comes for who asked, as on the kernel's
// own file systems; but for FALLOCATE and FITRIM, which may take minutes, and end when he is
// killed. See toTheEnd and killable.
//
// # Errors
//
// Every status is an errno that ext2.Errno gave. ENOSYS is used only where the kernel
// shall stop asking: a stray one would switch a whole operation off.
package fusefs
