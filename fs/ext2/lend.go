package ext2

import "github.com/ext2fuse/ext2fuse/mpage"

// Content is content of a file that can be passed on from the host's cache without being
// read. The inode is locked, shared, so nobody changes it on the way; Return unlocks.
type Content struct {
	mpage.Loan
	in *Inode
}

// Lend finds what Read would give for n bytes from off (bytes) on, if it can be passed
// on as it is. If not, it is false, and the content has to be read. So it has for a stream
// that meets a cold image: a read has the indirect blocks ride along, and copying is not
// what it waits for. The access is noted first: who sees the content sees the time, too.
func (in *Inode) Lend(off, n int64) (Content, bool) {
	if n < mpage.MinLent || in.readable() != nil || in.stream.cold() {
		return Content{}, false
	}
	in.accessed()
	in.mu.RLock()
	loan, ok := in.fs.engine.Lend((*blockMap)(in), off, n, int64(in.raw.Size))
	if !ok {
		in.mu.RUnlock()
		return Content{}, false
	}
	in.readAheadLocked(off, loan.Len(), false)
	return Content{loan, in}, true
}

// Return ends the use of the content.
func (c *Content) Return() { c.in.mu.RUnlock() }
