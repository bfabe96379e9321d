package blockio

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

var _ Splicer = (*File)(nil)

// lookEvery is the distance in bytes at which Cached looks. A look takes about 0.4 µs,
// copying that much twenty times as long. What is read ahead and what is dropped from a
// cache is rarely less than that at a time.
const lookEvery = 256 << 10

// Cached implements Splicer. It looks with cachestat(2), Linux 6.5, which starts no I/O,
// and at the end, where the pages may still be on their way, by reading.
func (f *File) Cached(off, n int64) bool {
	if f.direct != nil || f.blocking.Load() || f.noSplice.Load() || off < 0 || n <= 0 || off > f.size-n {
		return false
	}
	for at := off; at < off+n; at += lookEvery {
		if !f.look(at) {
			return false
		}
	}
	return f.look(off+n-1) && f.arrived(off+n-1)
}

// look tells whether the host's cache has the page of a byte, or a place for it.
func (f *File) look(off int64) bool {
	var found unix.Cachestat_t
	err := unix.Cachestat(uint(f.number()), &unix.CachestatRange{Off: uint64(off), Len: 1}, &found, 0)
	if err != nil && err != unix.EINTR {
		f.noSplice.Store(true) // an older host, or an image that we may only read
	}
	return err == nil && found.Cache > 0
}

// arrivedAt is where the bytes that arrived reads go. Nobody wants them.
var arrivedAt byte

// arrived tells whether a byte can be read without waiting.
func (f *File) arrived(off int64) bool {
	iov := unix.Iovec{Base: &arrivedAt}
	iov.SetLen(1)
	lo, hi := splitOffset(off)
	n, _, errno := unix.Syscall6(unix.SYS_PREADV2, uintptr(f.number()), uintptr(unsafe.Pointer(&iov)), 1, lo, hi, unix.RWF_NOWAIT)
	return errno == 0 && n == 1
}

// Splice implements Splicer. The pipe is told not to wait (SPLICE_F_NONBLOCK), nor to
// take the pages out of the host's cache (SPLICE_F_MOVE is not set).
func (f *File) Splice(pipe int, off, n int64, what Purpose) (done int64) {
	if off < 0 || n < 0 || off > f.size-n {
		return 0
	}
	for done < n {
		at := off + done
		got, err := unix.Splice(f.number(), &at, pipe, nil, int(n-done), unix.SPLICE_F_NONBLOCK)
		if err == unix.EINTR {
			continue
		}
		if err == unix.EINVAL || err == unix.ENOSYS {
			f.noSplice.Store(true) // the host's file system cannot
		}
		if err != nil || got == 0 {
			break
		}
		done += int64(got)
	}
	f.counters.Count(Read, what, done, false, false)
	return done
}
