package blockio

import (
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bounceBytes is the size of one bounce buffer.
const bounceBytes = 1 << 20

// memAlign is how bounce buffers are aligned in memory.
const memAlign = 4096

// directIO carries out transfers past the host's cache (O_DIRECT). The host wants
// memory, offset and length aligned; what is not goes through a bounce buffer.
type directIO struct {
	align   int64 // of offsets and lengths, a power of two
	mem     uintptr
	tailFD  int   // buffered, for the bytes behind the last whole sector; -1: none
	tailOff int64 // where they begin

	// Replacing part of a sector reads it first. No other write may change the
	// sector in between, so that one writes alone.
	sectors sync.RWMutex
	bounce  sync.Pool
}

// newDirectIO prepares for an image of size bytes, open for O_DIRECT as fd.
// tailFD, for a size that is no multiple of the alignment, is open without it.
func newDirectIO(fd int, openTail func() (int, error), size int64) (*directIO, error) {
	d := &directIO{align: memAlign, mem: memAlign, tailFD: -1, tailOff: size}
	var stx unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &stx)
	if err == nil && stx.Mask&unix.STATX_DIOALIGN != 0 {
		d.align, d.mem = int64(stx.Dio_offset_align), uintptr(stx.Dio_mem_align)
		if d.align == 0 || d.align > bounceBytes || d.mem > memAlign {
			return nil, unix.EINVAL
		}
	}
	if size%d.align != 0 {
		d.tailOff = size - size%d.align
		if d.tailFD, err = openTail(); err != nil {
			return nil, err
		}
	}
	d.bounce.New = func() any {
		raw := make([]byte, bounceBytes+memAlign)
		skip := -uintptr(unsafe.Pointer(unsafe.SliceData(raw))) & (memAlign - 1)
		b := raw[skip : skip+bounceBytes]
		return &b
	}
	return d, nil
}

func (d *directIO) close() {
	if d.tailFD >= 0 {
		_ = unix.Close(d.tailFD)
	}
}

// aligned tells whether the host takes the transfer as it is.
func (d *directIO) aligned(vecs [][]byte, n, off int64) bool {
	if (off|n)&(d.align-1) != 0 {
		return false
	}
	for _, v := range vecs {
		at := uintptr(unsafe.Pointer(unsafe.SliceData(v)))
		if int64(len(v))&(d.align-1) != 0 || at&(d.mem-1) != 0 {
			return false
		}
	}
	return true
}

func (d *directIO) read(f *File, vecs [][]byte, n, off int64) (int64, error) {
	c := cursor{vecs: vecs}
	if d.aligned(vecs, n, off) {
		return transferAll(unix.SYS_PREADV, f.number(), &c, n, off)
	}
	pooled := d.bounce.Get().(*[]byte)
	defer d.bounce.Put(pooled)
	buf := *pooled
	var done int64
	for done < n && off+done < d.tailOff {
		first, end := d.span(off+done, min(off+n, d.tailOff))
		if _, err := full(unix.SYS_PREADV, f.number(), buf[:end-first], first); err != nil {
			return done, err
		}
		piece := buf[off+done-first : min(end, off+n)-first]
		done += c.copyFrom(piece)
	}
	if done == n {
		return done, nil
	}
	piece := buf[:n-done]
	if _, err := full(unix.SYS_PREADV, d.tailFD, piece, off+done); err != nil {
		return done, err
	}
	return done + c.copyFrom(piece), nil
}

func (d *directIO) write(f *File, vecs [][]byte, n, off int64) (int64, error) {
	c := cursor{vecs: vecs}
	if d.aligned(vecs, n, off) {
		d.sectors.RLock()
		defer d.sectors.RUnlock()
		return transferAll(unix.SYS_PWRITEV, f.number(), &c, n, off)
	}
	pooled := d.bounce.Get().(*[]byte)
	defer d.bounce.Put(pooled)
	buf := *pooled
	d.sectors.Lock()
	defer d.sectors.Unlock()
	var done int64
	for done < n && off+done < d.tailOff {
		first, end := d.span(off+done, min(off+n, d.tailOff))
		// The sectors at both ends keep what is not written.
		if off+done > first {
			if _, err := full(unix.SYS_PREADV, f.number(), buf[:d.align], first); err != nil {
				return done, err
			}
		}
		if last := end - d.align; off+n < end && (last > first || off+done == first) {
			if _, err := full(unix.SYS_PREADV, f.number(), buf[last-first:end-first], last); err != nil {
				return done, err
			}
		}
		c.copyTo(buf[off+done-first : min(end, off+n)-first])
		put, err := full(unix.SYS_PWRITEV, f.number(), buf[:end-first], first)
		done = max(done, min(first+put-off, n))
		if err != nil {
			return done, err
		}
	}
	if done == n {
		return done, nil
	}
	piece := buf[:n-done]
	c.copyTo(piece)
	put, err := full(unix.SYS_PWRITEV, d.tailFD, piece, off+done)
	return done + put, err
}

// span is the next piece of [off, end) widened to whole sectors and fitting a bounce
// buffer.
func (d *directIO) span(off, end int64) (first, last int64) {
	first = off &^ (d.align - 1)
	last = (end + d.align - 1) &^ (d.align - 1)
	return first, min(last, first+bounceBytes)
}

// full transfers all of b, or fails.
func full(trap uintptr, fd int, b []byte, off int64) (int64, error) {
	vecs := [1][]byte{b}
	c := cursor{vecs: vecs[:]}
	return transferAll(trap, fd, &c, int64(len(b)), off)
}

// transferAll repeats transfer until n bytes are through.
func transferAll(trap uintptr, fd int, c *cursor, n, off int64) (done int64, err error) {
	for done < n {
		got, _, err := transfer(trap, fd, c, off+done, 0)
		done += got
		if err != nil {
			return done, err
		}
		if got == 0 {
			if trap == unix.SYS_PWRITEV {
				return done, unix.EIO
			}
			return done, ErrShrunk
		}
	}
	return done, nil
}

// copyFrom copies b into the vectors and moves on.
func (c *cursor) copyFrom(b []byte) int64 {
	return c.copy(b, func(v, b []byte) int { return copy(v, b) })
}

// copyTo fills b from the vectors and moves on.
func (c *cursor) copyTo(b []byte) int64 {
	return c.copy(b, func(v, b []byte) int { return copy(b, v) })
}

func (c *cursor) copy(b []byte, move func(v, b []byte) int) int64 {
	var done int64
	for len(b) > 0 && len(c.vecs) > 0 {
		n := move(c.vecs[0][c.skip:], b)
		b = b[n:]
		done += int64(n)
		if c.skip += n; c.skip == len(c.vecs[0]) {
			c.vecs, c.skip = c.vecs[1:], 0
		}
	}
	return done
}
