//go:build linux

package ext2

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

const kib, mib = int64(1) << 10, int64(1) << 20

// ask is one request to a stream and what it must give: the end of what is asked for, 0
// for nothing.
type ask struct {
	off, n int64
	cold   bool
	end    int64
}

func TestStream(t *testing.T) {
	const size = 100 << 20
	for name, asks := range map[string][]ask{
		"from the start, cold": {
			{0, 128 * kib, true, 0}, {128 * kib, 128 * kib, true, 768 * kib},
			{256 * kib, 128 * kib, false, 0}, {384 * kib, 128 * kib, false, 768*kib + 1*mib},
			{512 * kib, 128 * kib, false, 0}, {640 * kib, 128 * kib, false, 0},
		},
		"all cached": {
			{0, 128 * kib, false, 0}, {128 * kib, 128 * kib, false, 0}, {256 * kib, 128 * kib, false, 0},
		},
		"cold later": {
			{0, 128 * kib, false, 0}, {128 * kib, 128 * kib, false, 0}, {256 * kib, 128 * kib, true, 896 * kib},
		},
		"from the middle": {
			{50 * mib, 128 * kib, true, 0}, {50*mib + 128*kib, 128 * kib, true, 0}, {50*mib + 256*kib, 128 * kib, true, 50*mib + 896*kib},
		},
		"out of order": {
			{0, 128 * kib, true, 0}, {256 * kib, 128 * kib, true, 896 * kib}, {128 * kib, 128 * kib, false, 0},
			{512 * kib, 128 * kib, false, 896*kib + 1*mib}, {384 * kib, 128 * kib, false, 0},
		},
		"small requests in a row": {
			{0, 4 * kib, true, 0}, {4 * kib, 4 * kib, true, 520 * kib},
		},
		"small requests near each other": {
			{0, 4 * kib, true, 0}, {40 * kib, 4 * kib, true, 0}, {20 * kib, 4 * kib, true, 0}, {60 * kib, 4 * kib, true, 0},
		},
		"the end of the file": {
			{99 * mib, 512 * kib, true, 0}, {99*mib + 512*kib, 256 * kib, true, 0}, {99*mib + 768*kib, 128 * kib, true, 100 * mib},
			{99*mib + 896*kib, 128 * kib, true, 0},
		},
		"a jump ends it": {
			{0, 128 * kib, true, 0}, {128 * kib, 128 * kib, true, 768 * kib}, {50 * mib, 128 * kib, true, 0}, {60 * mib, 128 * kib, true, 0},
		},
	} {
		var s stream
		for i, a := range asks {
			from, n := s.next(a.off, a.n, size, a.cold)
			end := int64(0)
			if n > 0 {
				end = from + n
				s.done()
			}
			if end != a.end {
				t.Errorf("%s: request %d at %d: asked up to %d, expected %d", name, i, a.off, end, a.end)
				break
			}
		}
	}
}

// TestStreamWindow: the window grows up to its bound and stays ahead of the reader.
func TestStreamWindow(t *testing.T) {
	var s stream
	var ahead int64
	for off := int64(0); off < 64*mib; off += 128 * kib {
		from, n := s.next(off, 128*kib, 1<<40, true)
		if n == 0 {
			continue
		}
		s.done()
		if n > maxWindow*3/2 || from != off+128*kib {
			t.Fatalf("at %d: asked for %d bytes from %d on", off, n, from)
		}
		if ahead > 0 && from > ahead {
			t.Fatalf("at %d: the reader came past what was asked for, %d", off, ahead)
		}
		ahead = from + n
	}
	if s.window != maxWindow {
		t.Errorf("the window is %d at last", s.window)
	}
}

// coldDevice says of every read that the host had to wait for it.
type coldDevice struct{ *blockiotest.Mem }

func (c coldDevice) Submit(bios ...*blockio.Bio) {
	for _, b := range bios {
		done := b.Done
		b.Done = func(b *blockio.Bio) {
			b.Cold = true
			if done != nil {
				done(b)
			}
		}
	}
	c.Mem.Submit(bios...)
}

// TestReadAhead: what the host is asked for lies before the reader, is the file's, and
// is nothing for a random reader.
func TestReadAhead(t *testing.T) {
	c := craft(t, 4096)
	var iblock [15]uint32
	const blocks = 1500
	for ib := range int64(blocks) {
		if ib%100 == 0 {
			c.take() // not one piece
		}
		c.put(&iblock, ib, c.take())
	}
	c.inode(fileIno, func(in *disk.Inode) { in.Block, in.Size = iblock, blocks*4096 })
	open := func() (*FS, *Inode, *blockiotest.Mem) {
		mem := c.dev.Clone()
		fs, err := New(ctx, coldDevice{mem}, Options{ReadOnly: true, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		return fs, openInode(t, fs, fileIno), mem
	}

	fs, in, mem := open()
	p := make([]byte, 128<<10)
	for off := int64(0); off < blocks*4096; off += int64(len(p)) {
		if _, err := in.Read(ctx, p, off); err != nil {
			t.Fatal(err)
		}
		waitIdle(t, in)
	}
	fs.readAhead.stop()
	advised := map[int64]bool{}
	for _, a := range mem.Advice() {
		for at := a.Off; at < a.Off+a.Len && a.Advice == blockio.WillNeed; at += 4096 {
			advised[at/4096] = true
		}
	}
	missing := 0
	for ib := range int64(blocks) {
		if _, b := c.naive.walk(iblock, ib); !advised[int64(b)] {
			missing++
		}
	}
	if missing > int(minWindow/4096) {
		t.Errorf("%d of %d blocks were not asked for ahead", missing, blocks)
	}

	fs, in, mem = open()
	rng := rand.New(rand.NewPCG(3, 3))
	for range 300 {
		if _, err := in.Read(ctx, p[:4096], rng.Int64N(blocks)*4096); err != nil {
			t.Fatal(err)
		}
	}
	fs.readAhead.stop()
	if n := len(mem.Advice()); n > 3 {
		t.Errorf("a random reader made %d requests for read-ahead", n)
	}
}

// waitIdle waits until no read-ahead for the inode is under way.
func waitIdle(t *testing.T, in *Inode) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Microsecond) {
		in.stream.mu.Lock()
		busy := in.stream.busy
		in.stream.mu.Unlock()
		if !busy {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("read-ahead does not end")
		}
	}
}

// TestReadAheadAfterClose: none begins once the file system is closed, and Close waits
// for those that run.
func TestReadAheadAfterClose(t *testing.T) {
	var p readAheadPool
	p.init()
	for range readAheads {
		if !p.start() {
			t.Fatal("a free slot was refused")
		}
	}
	if p.start() {
		t.Error("more than all slots were given out")
	}
	stopped := make(chan struct{})
	go func() { p.stop(); close(stopped) }()
	for range readAheads {
		select {
		case <-stopped:
			t.Fatal("stop did not wait")
		default:
		}
		p.finish()
	}
	<-stopped
	if p.start() {
		t.Error("a slot was given out after stop")
	}
}
