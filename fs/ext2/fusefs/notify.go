//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// notifyInvalInode is FUSE_NOTIFY_INVAL_INODE of linux/fuse.h.
const notifyInvalInode = 2

// flush has the kernel write back what it collected of a file's content, and returns
// when that has arrived as WRITEs. There is no message for it: flush asks for the file's
// pages to be dropped, which writes the dirty ones first. Somebody else must be there to
// take the WRITEs, so the caller's place is filled before. The kernel may have no such
// inode any more; then there is nothing to flush.
func (c *conn) flush(node uint64) {
	c.relieve()
	var m [outHeaderSize + 24]byte
	binary.NativeEndian.PutUint32(m[0:], uint32(len(m)))
	binary.NativeEndian.PutUint32(m[4:], notifyInvalInode)
	binary.NativeEndian.PutUint64(m[outHeaderSize:], node) // and from byte 0 on, all
	for {
		if _, err := unix.Write(c.fd, m[:]); err != unix.EINTR {
			return
		}
	}
}
