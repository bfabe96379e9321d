package fusefs

import (
	"encoding/binary"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// conn is a connection to the kernel, and the crew that serves it.
//
// One goroutine waits for the next request, and handles it itself. That is the
// fastest way to answer, because nobody has to be woken for it: a reply takes half the
// time it takes with several readers waiting, among whom the kernel goes round. But a
// request must not wait for another one that waits for the image. So the goroutine is
// relieved, by a new one, before it does something that takes its time:
//
//   - a read of the image is about to wait for the disk (blockio tells),
//   - the request is a large READ, whose copying keeps one processor busy,
//   - somebody else is at work, who may hold what this request wants,
//   - more requests were waiting already, so that there is work for another processor,
//   - or nobody would tell that it is about to wait.
//
// Who comes back and finds the place taken, ends.
type conn struct {
	fd    int
	proto *fuse.ProtocolServer
	log   *slog.Logger
	blind bool // the device does not tell when it waits

	mu      sync.Mutex
	reading bool // somebody waits for the next request
	crew    int  // goroutines that read or handle
	gone    bool // unmounted: nobody is to read any more
	done    chan struct{}

	buffers sync.Pool // of *buffers
}

func newConn(fd int, proto *fuse.ProtocolServer, log *slog.Logger) *conn {
	return &conn{
		fd: fd, proto: proto, log: log,
		done:    make(chan struct{}),
		buffers: sync.Pool{New: func() any { return newBuffers() }},
	}
}

// init answers the kernel's first message, which says what the kernel can do. Nothing
// else comes before the answer.
func (c *conn) init(a *Adapter) error {
	b := c.buffers.Get().(*buffers)
	defer c.buffers.Put(b)
	n, err := c.read(b.in)
	if err != nil {
		return err
	}
	r := request(b.in[:n])
	if r.opcode() != opInit {
		return errors.New("its first message is not INIT")
	}
	a.init(r.kernelFlags())
	c.handle(b, r)
	return nil
}

// start begins to serve.
func (c *conn) start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reading = true
	c.crew = 1
	go c.work()
}

// relieve sees to it that somebody waits for the next request. It may be called by
// anybody at any time.
func (c *conn) relieve() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reading || c.gone || c.crew == 0 {
		return
	}
	c.reading = true
	c.crew++
	go c.work()
}

// take is called by the reader when it has got a request: its place is free. It tells
// whether others are at work.
func (c *conn) take() (alone bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reading = false
	return c.crew == 1
}

// resume is called after a request is answered. It tells whether to read the next
// one; otherwise the goroutine ends.
func (c *conn) resume() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reading || c.gone {
		c.leaveLocked()
		return false
	}
	c.reading = true
	return true
}

// leave is called by the reader when the connection is gone.
func (c *conn) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	c.leaveLocked()
}

func (c *conn) leaveLocked() {
	c.crew--
	if c.crew == 0 && c.gone {
		close(c.done)
	}
}

// atOnce is the time within which a read of the connection returns when a request was
// waiting for it already. To wake a sleeping reader takes longer. Where one waited
// there may be another.
const atOnce = 3 * time.Microsecond

// more tells whether another request is waiting.
func (c *conn) more() bool {
	fds := [1]unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds[:], 0)
	return err == nil && n == 1
}

// work reads requests and handles them.
func (c *conn) work() {
	b := c.buffers.Get().(*buffers)
	defer c.buffers.Put(b)
	for {
		before := time.Now()
		n, err := c.read(b.in)
		if err != nil {
			if !errors.Is(err, unix.ENODEV) {
				c.log.Error("the connection to the kernel broke", "error", err)
			}
			c.leave()
			return
		}
		r := request(b.in[:n])
		if r.quick() {
			c.handle(b, r)
			continue
		}
		alone := c.take()
		if !alone || c.blind || r.bulky() || time.Since(before) < atOnce && c.more() {
			c.relieve()
		}
		c.handle(b, r)
		if !c.resume() {
			return
		}
	}
}

// read waits for a request. ENODEV tells that the file system is unmounted.
func (c *conn) read(in []byte) (int, error) {
	for {
		n, err := unix.Read(c.fd, in)
		switch {
		case err == unix.EINTR, err == unix.EAGAIN, err == unix.ENOENT:
			// ENOENT: the request was interrupted before it could be read.
			continue
		case err != nil:
			return 0, err
		case n < headerSize:
			return 0, unix.EIO
		}
		return n, nil
	}
}

// handle answers a request.
func (c *conn) handle(b *buffers, r request) {
	out := b.reply(r.replySize())
	n, status := c.proto.HandleRequest([][]byte{r}, [][]byte{out})
	if n == 0 && status != fuse.OK {
		// go-fuse could not make sense of it, but the kernel waits.
		n = errorReply(out, r, unix.EIO)
	}
	if n == 0 {
		return // FORGET and the like want no answer
	}
	if r.opcode() == opIoctl {
		n = trimIoctl(out, n, r.ioctl())
	}
	for {
		_, err := unix.Write(c.fd, out[:n])
		switch err {
		case nil, unix.ENOENT, unix.ENODEV:
			// ENOENT: whoever asked was killed meanwhile.
		case unix.EINTR:
			continue
		default:
			c.log.Error("the kernel did not take an answer", "opcode", r.opcode(), "error", err)
		}
		return
	}
}

// errorReply makes a reply that only says what went wrong.
func errorReply(out []byte, r request, errno unix.Errno) int {
	binary.NativeEndian.PutUint32(out, outHeaderSize)
	binary.NativeEndian.PutUint32(out[4:], uint32(-int32(errno)))
	binary.NativeEndian.PutUint64(out[8:], r.unique())
	return outHeaderSize
}
