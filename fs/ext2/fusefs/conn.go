//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs

import (
	"errors"
	"log"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// conn is a connection to the kernel, and the crew that serves it.
//
// One goroutine waits for the next request, and handles it itself. That is the
// fastest way to answer, because nobody has to be woken for it: with several readers
// waiting the kernel goes round among them, and a reply takes twice the time. A
// sequential reader, too, is served fastest by one, which finds its memory in the
// processor's cache. But a request must not wait for another one that waits for the
// image. So the goroutine is relieved, by a new one, before it handles a request when
//
//   - it is an fsync, or one that may work for minutes (FALLOCATE, FITRIM), or a WRITE so
//     large that its copying keeps a processor busy,
//   - somebody else is at work, who may hold what this request wants,
//     (but of large WRITEs, which the kernel sends by the dozen when it writes its cache
//     back, no more than a few are taken: each holds 1 MiB, and a file takes them one
//     after the other anyway),
//   - more requests wait already, and there are processors to spare,
//   - nobody would tell that the image makes it wait,
//
// and while it handles one, when a read of the image is about to wait for the disk
// (blockio tells) or an operation for a checkpoint (ext2 tells). Who comes back and finds the place taken, ends.
type conn struct {
	fd      int
	adapter *Adapter
	proto   *fuse.ProtocolServer // answers everything but READ
	log     *slog.Logger
	blind   bool // the device does not tell when it waits
	pipes   pipes
	busy    int // crew up to which waiting requests are reason to relieve

	// Set before start.
	writable bool
	timeUnit uint32      // of inodes, nanoseconds
	messages *log.Logger // see Options

	mu      sync.Mutex
	reading bool // somebody waits for the next request
	crew    int  // goroutines that read or handle
	gone    bool // unmounted: nobody is to read any more
	done    chan struct{}

	buffers sync.Pool // of *buffers

	metrics metrics
}

func newConn(fd int, a *Adapter, proto *fuse.ProtocolServer, logger *slog.Logger) *conn {
	return &conn{
		fd: fd, adapter: a, proto: proto, log: logger,
		// Half the processors are left to those who ask.
		busy:    runtime.GOMAXPROCS(0) / 2,
		done:    make(chan struct{}),
		metrics: metrics{begun: time.Now()},
		buffers: sync.Pool{New: func() any { return newBuffers() }},
	}
}

// init answers the kernel's first message, which says what the kernel can do. Nothing
// else comes before the answer.
func (c *conn) init() error {
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
	c.adapter.init(r.kernelFlags())
	c.timeUnit = uint32(c.adapter.fs.TimeUnit())
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
// how many are at work now, itself included.
func (c *conn) take() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reading = false
	return c.crew
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

// writers is how many large WRITEs, and what else is at work, are enough.
const writers = 4

// relief tells whether somebody must take the next request before this one is handled,
// with that many at work. Nobody waits for a WRITE but by way of a checkpoint, of which
// ext2 tells; so there need not always be a reader while WRITEs are handled.
func (c *conn) relief(r request, working int) bool {
	if r.bulky() {
		return working < writers
	}
	return working > 1 || c.blind || r.long()
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
		if r.quick(c.writable) {
			c.handle(b, r)
			continue
		}
		working := c.take()
		if c.relief(r, working) || working < c.busy && time.Since(before) < atOnce && c.more() {
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
	if r.opcode() == opRead {
		c.answerRead(b, r)
		return
	}
	out := b.reply(r.replySize())
	begin := time.Now()
	n, status := c.proto.HandleRequest([][]byte{r}, [][]byte{out})
	if n == 0 && status != fuse.OK {
		// go-fuse could not make sense of it, but the kernel waits.
		n = errorReply(out, r.unique(), unix.EIO)
	}
	c.metrics.record(r, n > 0 && replyErrno(out) != 0, begin) // before who asked can ask for it
	if n == 0 {
		return // FORGET and the like want no answer
	}
	switch r.opcode() {
	case opIoctl:
		n = trimIoctl(out, n, r.ioctl())
	case opInit:
		setTimeUnit(out[:n], c.timeUnit)
	}
	c.send(out[:n], r.opcode())
}

// send gives the kernel an answer.
func (c *conn) send(reply []byte, opcode uint32) {
	for {
		_, err := unix.Write(c.fd, reply)
		switch err {
		case nil, unix.ENOENT, unix.ENODEV:
			// ENOENT: whoever asked was killed meanwhile.
		case unix.EINTR:
			continue
		default:
			c.log.Error("the kernel did not take an answer", "opcode", opcode, "error", err)
		}
		return
	}
}
