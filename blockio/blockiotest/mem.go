// Package blockiotest has the devices that tests need: Mem keeps an image in memory,
// Fault makes chosen requests fail, Recorder keeps a log of writes and syncs from
// which the image can be rebuilt as of any moment. TestDevice is the suite that
// every Device passes.
package blockiotest

import (
	"bytes"
	"maps"
	"sync"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/histogram"
)

// chunk is the unit in which Mem takes memory, and copies what it shares, in bytes.
const chunk = 16 << 10

// piece is a chunk of content. Only the Mem whose mark it carries may change it.
type piece struct {
	data [chunk]byte
	mark *byte
}

// Mem is a Device in memory. Memory is taken only for what was written, so that a
// Mem of terabytes is fine. What was never written, or was discarded, reads as
// zeros.
type Mem struct {
	size     int64
	readOnly bool
	counters blockio.Counters

	mu     sync.RWMutex
	chunks map[int64]*piece
	mark   *byte // new with each Clone: what was made before is shared since
	synced int64 // number of syncs
	advice []Advised
	closed bool
}

// Advised is advice that a Mem was given.
type Advised struct {
	Off, Len int64 // bytes
	Advice   blockio.Advice
}

var (
	_ blockio.Device  = (*Mem)(nil)
	_ blockio.Counter = (*Mem)(nil)
)

// NewMem returns a device of size bytes, all zero.
func NewMem(size int64) *Mem {
	return &Mem{size: size, chunks: make(map[int64]*piece), mark: new(byte)}
}

// MemOf returns a device with a copy of image as its content.
func MemOf(image []byte) *Mem {
	m := NewMem(int64(len(image)))
	for off := 0; off < len(image); off += chunk {
		if p := image[off:min(off+chunk, len(image))]; !bytes.Equal(p, zeros[:len(p)]) {
			m.put(p, int64(off))
		}
	}
	return m
}

// SetReadOnly makes the device refuse writes, or not. Not to be called while
// requests are under way.
func (m *Mem) SetReadOnly(ro bool) { m.readOnly = ro }

// Path implements the name that error messages use.
func (m *Mem) Path() string { return "memory" }

// Size implements blockio.Device.
func (m *Mem) Size() int64 { return m.size }

// ReadOnly implements blockio.Device.
func (m *Mem) ReadOnly() bool { return m.readOnly }

// Stats is a snapshot of the requests carried out.
func (m *Mem) Stats() blockio.Stats { return m.counters.Snapshot() }

// Sizes implements blockio.Counter.
func (m *Mem) Sizes(op blockio.Op) histogram.Summary { return m.counters.Sizes(op) }

// Submit implements blockio.Device.
func (m *Mem) Submit(bios ...*blockio.Bio) {
	for _, b := range bios {
		vecs, n, err := b.Begin(m.size, m.readOnly)
		if err == nil {
			err = m.carryOut(b.Op, vecs, b.Off, n)
		}
		if err != nil {
			err = &blockio.Error{Op: b.Op, Path: m.Path(), Off: b.Off, Len: b.Bytes(), Err: err}
			n = 0
		}
		if err != nil || n > 0 || b.Op == blockio.Sync {
			m.counters.Count(b.Op, b.For, n, false, err != nil)
		}
		b.Complete(n, err)
	}
}

func (m *Mem) carryOut(op blockio.Op, vecs [][]byte, off, n int64) error {
	if op == blockio.Read {
		m.mu.RLock()
		defer m.mu.RUnlock()
	} else {
		m.mu.Lock()
		defer m.mu.Unlock()
	}
	if m.closed {
		return blockio.ErrClosed
	}
	switch op {
	case blockio.Sync:
		m.synced++
	case blockio.Discard:
		m.zero(off, n)
	case blockio.Read:
		for _, v := range vecs {
			m.get(v, off)
			off += int64(len(v))
		}
	case blockio.Write:
		for _, v := range vecs {
			m.put(v, off)
			off += int64(len(v))
		}
	}
	return nil
}

func (m *Mem) get(p []byte, off int64) {
	for len(p) > 0 {
		at := off % chunk
		n := min(len(p), chunk-int(at))
		if c := m.chunks[off/chunk]; c != nil {
			copy(p[:n], c.data[at:])
		} else {
			clear(p[:n])
		}
		p, off = p[n:], off+int64(n)
	}
}

func (m *Mem) put(p []byte, off int64) {
	for len(p) > 0 {
		at := off % chunk
		n := min(len(p), chunk-int(at))
		copy(m.own(off / chunk).data[at:], p[:n])
		p, off = p[n:], off+int64(n)
	}
}

// own is chunk i, to change it.
func (m *Mem) own(i int64) *piece {
	c := m.chunks[i]
	switch {
	case c == nil:
		c = &piece{mark: m.mark}
	case c.mark != m.mark:
		c = &piece{data: c.data, mark: m.mark}
	default:
		return c
	}
	m.chunks[i] = c
	return c
}

func (m *Mem) zero(off, n int64) {
	// A huge range over a sparse device is walked by what is there.
	first, last := off/chunk, (off+n-1)/chunk
	if last-first > int64(len(m.chunks)) {
		for i := range m.chunks {
			if i > first && i < last {
				delete(m.chunks, i)
			}
		}
		m.zeroChunk(first, off, n)
		m.zeroChunk(last, off, n)
		return
	}
	for i := first; i <= last; i++ {
		m.zeroChunk(i, off, n)
	}
}

// zeroChunk zeroes what lies of n bytes at off in chunk i.
func (m *Mem) zeroChunk(i, off, n int64) {
	if m.chunks[i] == nil {
		return
	}
	from, to := max(0, off-i*chunk), min(chunk, off+n-i*chunk)
	if from == 0 && to == chunk {
		delete(m.chunks, i)
		return
	}
	clear(m.own(i).data[from:to])
}

// ReadvAt implements blockio.Device.
func (m *Mem) ReadvAt(iov [][]byte, off int64) (int, error) {
	return submitOne(m, blockio.Bio{Op: blockio.Read, Off: off, Vecs: iov})
}

// WritevAt implements blockio.Device.
func (m *Mem) WritevAt(iov [][]byte, off int64) (int, error) {
	return submitOne(m, blockio.Bio{Op: blockio.Write, Off: off, Vecs: iov})
}

// Sync implements blockio.Device.
func (m *Mem) Sync() error {
	_, err := submitOne(m, blockio.Bio{Op: blockio.Sync})
	return err
}

// Discard implements blockio.Device: the range reads as zeros afterwards.
func (m *Mem) Discard(off, n int64) error {
	_, err := submitOne(m, blockio.Bio{Op: blockio.Discard, Off: off, Len: n})
	return err
}

func submitOne(dev blockio.Device, b blockio.Bio) (int, error) {
	dev.Submit(&b)
	return int(b.N), b.Err
}

// Advise implements blockio.Device by keeping a list.
func (m *Mem) Advise(off, n int64, a blockio.Advice) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.advice = append(m.advice, Advised{off, n, a})
}

// Advice is all advice given since the last call.
func (m *Mem) Advice() []Advised {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := m.advice
	m.advice = nil
	return list
}

// Bytes is a copy of the n bytes at off.
func (m *Mem) Bytes(off, n int64) []byte {
	m.mu.RLock()
	defer m.mu.RUnlock()
	p := make([]byte, n)
	m.get(p, off)
	return p
}

var zeros [chunk]byte

// View is the n bytes at off, which lie in one chunk of 16 KiB, without a copy: not to be
// changed, and good until the next change of the device.
func (m *Mem) View(off, n int64) []byte {
	m.mu.RLock()
	defer m.mu.RUnlock()
	c, at := m.chunks[off/chunk], off%chunk
	if c == nil {
		return zeros[at : at+n : at+n]
	}
	return c.data[at : at+n : at+n]
}

// Pieces calls fn with all of the content that takes memory, in no order. The rest is
// zero. What fn gets is not to be changed or kept.
func (m *Mem) Pieces(fn func(off int64, data []byte)) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for i, c := range m.chunks {
		fn(i*chunk, c.data[:min(chunk, m.size-i*chunk)])
	}
}

// InUse is how much memory the content takes, in bytes.
func (m *Mem) InUse() int64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return int64(len(m.chunks)) * chunk
}

// Clone is an independent device with the same content. The two share memory until one
// of them changes it.
func (m *Mem) Clone() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mark = new(byte)
	return &Mem{size: m.size, chunks: maps.Clone(m.chunks), mark: new(byte)}
}

// Grow puts n bytes of zeros behind the end. Not to be called while requests are under way.
func (m *Mem) Grow(n int64) { m.size += n }

// Close makes every later request fail.
func (m *Mem) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return blockio.ErrClosed
	}
	m.closed = true
	return nil
}
