//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs

import (
	"encoding/binary"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2"
)

// answerRead answers a READ. What the host's cache has goes from there to the kernel by
// way of a pipe; the rest, and what is short, is read into the reply's own buffer.
func (c *conn) answerRead(b *buffers, r request) {
	off, size := r.readRange()
	if c.messages != nil {
		c.messages.Printf("rx %d: READ n%d {[%d +%d)}", r.unique(), r.node(), off, size)
	}
	b.begin = time.Now()
	n, errno := c.content(b, r, off, size)
	if c.messages != nil {
		c.messages.Printf("tx %d:     %v, %db data", r.unique(), fuse.Status(errno), n)
	}
}

// content sends n bytes of content, or an error.
func (c *conn) content(b *buffers, r request, off int64, size int) (n int, errno unix.Errno) {
	defer func() {
		if p := recover(); p != nil {
			panicked(c.log, p)
			n, errno = c.sendError(b, r, unix.EIO)
		}
	}()
	inode, st := c.adapter.inode(r.node())
	if st != fuse.OK {
		return c.sendError(b, r, unix.Errno(st))
	}
	defer inode.Put()
	got, sent := c.lend(b, r, inode, off, size)
	if sent {
		return got, 0
	}
	out := b.reply(r.replySize())
	more, err := inode.Read(toTheEnd, out[outHeaderSize+got:outHeaderSize+size], off+int64(got))
	if err != nil {
		return c.sendError(b, r, unix.Errno(status(err)))
	}
	n = got + more
	replyHeader(out, r.unique(), 0, n)
	c.metrics.record(r, false, b.begin)
	c.send(out[:outHeaderSize+n], opRead)
	return n, 0
}

func (c *conn) sendError(b *buffers, r request, errno unix.Errno) (int, unix.Errno) {
	c.metrics.record(r, true, b.begin)
	c.send(b.small[:errorReply(b.small, r.unique(), errno)], r.opcode())
	return 0, errno
}

// lend sends what the READ asks for by way of a pipe, got bytes. If not everything gets
// into the pipe, nothing is sent, and what is there is the beginning of the reply.
func (c *conn) lend(b *buffers, r request, inode *ext2.Inode, off int64, size int) (got int, sent bool) {
	content, ok := inode.Lend(off, int64(size))
	if !ok {
		return 0, false
	}
	defer content.Return()
	p := c.pipes.get()
	if p == nil {
		return 0, false
	}
	if 1+content.Pages() > p.pages {
		c.pipes.put(p)
		return 0, false
	}
	header := b.small[:outHeaderSize]
	replyHeader(header, r.unique(), 0, int(content.Len()))
	if _, err := unix.Write(p.w, header); err != nil {
		p.close()
		return 0, false
	}
	n := content.Splice(p.w)
	if n < content.Len() {
		return c.drain(p, b.reply(r.replySize())[:outHeaderSize+n]), false
	}
	c.metrics.record(r, false, b.begin)
	if !c.splice(p, outHeaderSize+int(n)) {
		return 0, false
	}
	return int(n), true
}

// splice sends the reply of n bytes that is in the pipe. It is false if the kernel may
// not have got it. Should it have ended the request nevertheless, it takes no notice of
// another answer.
func (c *conn) splice(p *pipe, n int) bool {
	for {
		_, err := unix.Splice(p.r, nil, c.fd, nil, n, 0)
		switch err {
		case nil:
			c.pipes.put(p)
			return true
		case unix.EINTR:
			continue
		}
		p.close() // who knows what is left in it
		return err == unix.ENOENT || err == unix.ENODEV
	}
}

// drain empties a pipe into a reply that it has the header and some content of, and
// tells how many bytes of content.
func (c *conn) drain(p *pipe, reply []byte) int {
	n := 0
	for n < len(reply) {
		got, err := unix.Read(p.r, reply[n:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || got == 0 {
			p.close()
			return 0
		}
		n += got
	}
	c.pipes.put(p)
	return n - outHeaderSize
}

// replyHeader puts the header of a reply with n bytes behind it into out.
func replyHeader(out []byte, unique uint64, errno unix.Errno, n int) {
	binary.NativeEndian.PutUint32(out, uint32(outHeaderSize+n))
	binary.NativeEndian.PutUint32(out[4:], uint32(-int32(errno)))
	binary.NativeEndian.PutUint64(out[8:], unique)
}

// errorReply makes a reply that only says what went wrong.
func errorReply(out []byte, unique uint64, errno unix.Errno) int {
	replyHeader(out, unique, errno, 0)
	return outHeaderSize
}
