package blockio

import (
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// iovMax is the kernel's limit of vectors per request (IOV_MAX, UIO_MAXIOV).
const iovMax = 1024

// smallVecs is how many vectors fit on the stack; more come from a pool.
const smallVecs = 16

type iovArray [iovMax]unix.Iovec

var iovPool = sync.Pool{New: func() any { return new(iovArray) }}

// cursor walks a list of vectors by bytes.
type cursor struct {
	vecs [][]byte
	skip int // bytes of vecs[0] already done
}

// fill writes the next vectors to iov. Neighbours in memory become one. It does not
// move the cursor.
func (c *cursor) fill(iov []unix.Iovec) (vecs int, bytes int64) {
	var end uintptr // where the last vector ends in memory
	skip := c.skip
	for _, v := range c.vecs {
		v, skip = v[skip:], 0
		if len(v) == 0 {
			continue
		}
		base := unsafe.SliceData(v)
		if vecs > 0 && uintptr(unsafe.Pointer(base)) == end {
			iov[vecs-1].SetLen(int(iov[vecs-1].Len) + len(v))
		} else {
			if vecs == len(iov) {
				break
			}
			iov[vecs].Base = base
			iov[vecs].SetLen(len(v))
			vecs++
		}
		end = uintptr(unsafe.Pointer(base)) + uintptr(len(v))
		bytes += int64(len(v))
	}
	return vecs, bytes
}

// advance moves the cursor on by n bytes.
func (c *cursor) advance(n int64) {
	for n > 0 {
		left := int64(len(c.vecs[0]) - c.skip)
		if n < left {
			c.skip += int(n)
			return
		}
		n -= left
		c.vecs, c.skip = c.vecs[1:], 0
	}
}

// transfer carries out one preadv, pwritev or, where there are flags, preadv2 (trap) for
// what the cursor stands at, at most iovMax vectors, and moves the cursor on. want is what
// was asked for; n may be less. EINTR is retried.
func transfer(trap uintptr, fd int, c *cursor, off int64, flags int) (n, want int64, err error) {
	var small [smallVecs]unix.Iovec
	iov := small[:]
	if len(c.vecs) > smallVecs {
		a := iovPool.Get().(*iovArray)
		defer func() {
			iovPool.Put(a)
		}()
		iov = a[:]
	}
	vecs, want := c.fill(iov)
	if vecs == 0 {
		return 0, 0, nil
	}
	lo, hi := splitOffset(off)
	for {
		r, _, e := unix.Syscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(&iov[0])), uintptr(vecs), lo, hi, uintptr(flags))
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			err = e
		} else {
			n = int64(r)
		}
		break
	}
	if len(c.vecs) > smallVecs {
		clear(iov[:vecs]) // the pool must not keep the caller's memory alive
	}
	c.advance(n)
	return n, want, err
}

// splitOffset gives the two words in which preadv2 takes an offset.
func splitOffset(off int64) (lo, hi uintptr) {
	const word = 8 * unsafe.Sizeof(lo)
	return uintptr(off), uintptr(uint64(off) >> (word - 1) >> 1)
}
