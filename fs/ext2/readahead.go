package ext2

import "sync"

// Read-ahead on the image. The kernel reads ahead into its page cache by asking us for
// the next pages, but what we read from may be cold: then a sequential reader waits
// for the image at each request, and at each jump of a fragmented file. So when a
// stream meets a cold image, the window behind it is mapped and the host is asked to
// start reading it; the window is renewed when half of it was used. Random readers
// never start a stream.
const (
	minWindow   = 512 << 10 // bytes
	maxWindow   = 8 << 20
	minSlack    = 128 << 10 // how far out of order requests of one stream may come
	streamAfter = 2         // requests in a row that make a stream
)

// stream is what is known of an inode's reader. Its lock is only tried: a request that
// finds it taken goes on without.
type stream struct {
	mu     sync.Mutex
	pos    int64 // end of the furthest request
	inRow  int   // requests in a row, up to streamAfter
	window int64 // bytes asked for last; 0 before the first time
	ahead  int64 // end of what was asked for
	busy   bool  // an asking is under way
}

// next takes note of a request and returns the range to ask for, length 0 for none. It
// begins where the reader stands: what was asked for before is no work for the host any
// more, and its mapping is in memory.
func (s *stream) next(off, n, size int64, cold bool) (from, length int64) {
	if !s.mu.TryLock() {
		return 0, 0
	}
	defer s.mu.Unlock()
	slack := max(minSlack, 4*n)
	if n < 16<<10 {
		slack = n // small requests come one by one; near ones are still random
	}
	if off > s.pos+slack || off < s.pos-slack {
		s.pos, s.inRow, s.window, s.ahead = off+n, 0, 0, 0
		if off == 0 {
			s.inRow = 1 // who begins at the beginning goes on more often than not
		}
		return 0, 0
	}
	s.pos = max(s.pos, off+n)
	s.inRow = min(s.inRow+1, streamAfter)
	if s.inRow < streamAfter || s.busy || s.window == 0 && !cold {
		return 0, 0
	}
	if s.pos < s.ahead-s.window/2 {
		return 0, 0
	}
	s.window = min(max(minWindow, 2*s.window), maxWindow)
	s.ahead = max(s.pos, s.ahead) + s.window
	length = min(s.ahead, size) - s.pos
	s.busy = length > 0
	return s.pos, max(length, 0)
}

// cold tells whether the stream has met a cold image, and the host is reading ahead of it.
func (s *stream) cold() bool {
	if !s.mu.TryLock() {
		return true // others are at it
	}
	defer s.mu.Unlock()
	return s.window > 0
}

func (s *stream) done() {
	s.mu.Lock()
	s.busy = false
	s.mu.Unlock()
}

// readAheadPool bounds how many askings run at once and lets Close wait for them.
type readAheadPool struct {
	slots   chan struct{}
	mu      sync.Mutex
	stopped bool
	running sync.WaitGroup
}

const readAheads = 16

func (p *readAheadPool) init() { p.slots = make(chan struct{}, readAheads) }

// start takes a slot; it is false when all are taken or the file system is closing.
func (p *readAheadPool) start() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return false
	}
	select {
	case p.slots <- struct{}{}:
		p.running.Add(1)
		return true
	default:
		return false
	}
}

func (p *readAheadPool) finish() {
	<-p.slots
	p.running.Done()
}

// stop waits for those that run and lets no more begin.
func (p *readAheadPool) stop() {
	p.mu.Lock()
	p.stopped = true
	p.mu.Unlock()
	p.running.Wait()
}

// readAheadLocked is told of each request that was served, and asks the host for what
// its stream wants next, in the background. The inode is locked, at least shared.
func (in *Inode) readAheadLocked(off, n int64, cold bool) {
	fs := in.fs
	if fs.opts.NoReadAhead {
		return
	}
	from, length := in.stream.next(off, n, int64(in.raw.Size), cold)
	if length == 0 {
		return
	}
	if !fs.readAhead.start() {
		in.stream.done()
		return
	}
	in.Ref()
	go func() {
		in.mu.RLock()
		fs.engine.Prefetch((*blockMap)(in), from, length, int64(in.raw.Size))
		in.mu.RUnlock()
		in.stream.done()
		in.Put()
		fs.readAhead.finish()
	}()
}
