//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// pipe is a pipe of the kernel, through which content goes from the host's cache into a
// reply. Between two uses it is empty.
type pipe struct {
	r, w  int // descriptors
	pages int // places, each for a page or a part of one
}

// pipeSizes are the sizes in bytes that a pipe is made with, the first that the host
// allows. A reply of 1 MiB needs a little more than that.
var pipeSizes = [...]int{2 << 20, 1 << 20, 256 << 10}

func newPipe() (*pipe, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, err
	}
	p := &pipe{r: fds[0], w: fds[1]}
	for _, size := range pipeSizes {
		if _, err := unix.FcntlInt(uintptr(p.w), unix.F_SETPIPE_SZ, size); err == nil {
			break
		}
	}
	size, err := unix.FcntlInt(uintptr(p.w), unix.F_GETPIPE_SZ, 0)
	if err != nil {
		p.close()
		return nil, err
	}
	p.pages = size / os.Getpagesize()
	return p, nil
}

func (p *pipe) close() {
	_ = unix.Close(p.r)
	_ = unix.Close(p.w)
}

// pipes are those of a connection that are not in use.
type pipes struct {
	mu     sync.Mutex
	idle   []*pipe
	closed bool
}

// idlePipes is how many are kept for later.
const idlePipes = 4

// get gives a pipe, nil if none can be had.
func (s *pipes) get() *pipe {
	s.mu.Lock()
	if n := len(s.idle); n > 0 {
		p := s.idle[n-1]
		s.idle = s.idle[:n-1]
		s.mu.Unlock()
		return p
	}
	s.mu.Unlock()
	p, err := newPipe()
	if err != nil {
		return nil // no descriptors left: replies are copied
	}
	return p
}

// put takes a pipe back, which must be empty.
func (s *pipes) put(p *pipe) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.idle) == idlePipes {
		p.close()
		return
	}
	s.idle = append(s.idle, p)
}

// close closes the pipes, those in use when they come back.
func (s *pipes) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, p := range s.idle {
		p.close()
	}
	s.idle = nil
}
