package blockio

import (
	"errors"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/histogram"
)

// File is a Device over an image file or a block device. Open makes it.
//
// Reads are first tried without waiting (RWF_NOWAIT): what the host's cache holds
// costs one system call, and a read that has to wait is known as cold before it
// waits, so that the host can be told of all that follows.
type File struct {
	fd       atomic.Int64 // -1 after Close
	path     string
	size     int64
	readOnly bool
	block    bool // a block device
	step     int64
	direct   *directIO // nil: through the host's cache

	out      writeOut
	blocking atomic.Bool // the host does not know RWF_NOWAIT here
	noSplice atomic.Bool // or cannot pass on what its cache has, see Splicer
	noDsync  atomic.Bool // or does not know RWF_DSYNC
	onWait   atomic.Pointer[func()]
	counters Counters
}

var (
	_ Device  = (*File)(nil)
	_ Counter = (*File)(nil)
	_ Waiter  = (*File)(nil)
)

// Path is the path the device was opened by.
func (f *File) Path() string { return f.path }

// Size is the size in bytes, as it was when the device was opened.
func (f *File) Size() int64 { return f.size }

// ReadOnly tells whether writes are refused.
func (f *File) ReadOnly() bool { return f.readOnly }

// Stats is a snapshot of the requests carried out.
func (f *File) Stats() Stats { return f.counters.Snapshot() }

// Sizes tells how many bytes the requests of one operation had.
func (f *File) Sizes(op Op) histogram.Summary { return f.counters.Sizes(op) }

// Submit implements Device.
func (f *File) Submit(bios ...*Bio) {
	advised := false
	for i, b := range bios {
		vecs, n, err := b.Begin(f.size, f.readOnly)
		if err != nil || n == 0 && b.Op != Sync {
			b.Complete(0, f.wrapBio(b, err))
			continue
		}
		switch b.Op {
		case Read:
			var rest []*Bio
			if !advised {
				rest = bios[i+1:]
			}
			n, b.Cold, err = f.read(vecs, n, b.Off, rest)
			advised = advised || b.Cold
		case Write:
			n, err = f.write(vecs, n, b.Off, b.Durable)
		case Sync:
			err = f.sync()
		case Discard:
			err = f.discard(b.Off, n)
		}
		f.counters.Count(b.Op, b.For, n, b.Cold, err != nil)
		b.Complete(n, f.wrapBio(b, err))
	}
}

// ReadvAt implements Device.
func (f *File) ReadvAt(iov [][]byte, off int64) (int, error) {
	return f.anonymous(Read, iov, off)
}

// WritevAt implements Device.
func (f *File) WritevAt(iov [][]byte, off int64) (int, error) {
	return f.anonymous(Write, iov, off)
}

func (f *File) anonymous(op Op, iov [][]byte, off int64) (int, error) {
	b := Bio{Op: op, Off: off, Vecs: iov}
	vecs, n, err := b.Begin(f.size, f.readOnly)
	if err == nil && n > 0 {
		var cold bool
		if op == Read {
			n, cold, err = f.read(vecs, n, off, nil)
		} else {
			n, err = f.write(vecs, n, off, false)
		}
		f.counters.Count(op, Unknown, n, cold, err != nil)
	}
	return int(n), f.wrapBio(&b, err)
}

// read fills n bytes of vecs from off on. When it has to wait it first tells the
// host of the reads in rest.
func (f *File) read(vecs [][]byte, n, off int64, rest []*Bio) (done int64, cold bool, err error) {
	if f.direct != nil {
		f.waits()
		done, err = f.direct.read(f, vecs, n, off)
		return done, true, err
	}
	c := cursor{vecs: vecs}
	for done < n {
		trap, flags := uintptr(unix.SYS_PREADV2), unix.RWF_NOWAIT
		if cold {
			trap, flags = unix.SYS_PREADV, 0
		} else if f.blocking.Load() {
			trap, flags = unix.SYS_PREADV, 0
			f.waits() // it may, for all we know
		}
		got, want, err := transfer(trap, f.number(), &c, off+done, flags)
		done += got
		switch {
		case flags != 0 && (err == unix.EOPNOTSUPP || err == unix.ENOSYS || err == unix.EINVAL):
			f.blocking.Store(true)
		case flags != 0 && (err == unix.EAGAIN || err == nil && got < want):
			cold = true
			f.waits()
			f.willNeed(off+done, n-done, f.step)
			for _, b := range rest {
				if b.Op == Read {
					f.willNeed(b.Off, b.Bytes(), 0)
				}
			}
		case err != nil:
			return done, cold, err
		case got == 0:
			return done, cold, ErrShrunk
		}
	}
	return done, cold, nil
}

// OnWait implements Waiter.
func (f *File) OnWait(tell func()) { f.onWait.Store(&tell) }

// waits tells that the read under way is going to wait.
func (f *File) waits() {
	if tell := f.onWait.Load(); tell != nil {
		(*tell)()
	}
}

// write puts n bytes of vecs to off, durably if asked to.
func (f *File) write(vecs [][]byte, n, off int64, durable bool) (done int64, err error) {
	switch {
	case f.direct != nil:
		done, err = f.direct.write(f, vecs, n, off)
	case durable && !f.noDsync.Load():
		// The host writes this range alone, not all that its cache has of the image.
		done, err = f.writeCached(vecs, n, off, unix.RWF_DSYNC)
		if err != unix.EOPNOTSUPP && err != unix.ENOSYS && err != unix.EINVAL {
			return done, err
		}
		f.noDsync.Store(true)
		fallthrough
	default:
		done, err = f.writeCached(vecs, n, off, 0)
	}
	if err == nil && durable {
		err = f.sync()
	}
	return done, err
}

// writeCached puts n bytes of vecs to off, through the host's cache.
func (f *File) writeCached(vecs [][]byte, n, off int64, flags int) (done int64, err error) {
	trap := uintptr(unix.SYS_PWRITEV)
	if flags != 0 {
		trap = unix.SYS_PWRITEV2
	}
	c := cursor{vecs: vecs}
	for done < n {
		got, _, err := transfer(trap, f.number(), &c, off+done, flags)
		done += got
		if err != nil {
			return done, err
		}
		if got == 0 {
			return done, unix.EIO
		}
	}
	if flags == 0 {
		f.out.wrote(f, n)
	}
	return done, nil
}

// Sync implements Device with fdatasync.
func (f *File) Sync() error {
	err := f.sync()
	f.counters.Count(Sync, Unknown, 0, false, err != nil)
	return f.wrap(Sync, 0, 0, err)
}

func (f *File) sync() error {
	if f.readOnly {
		return nil
	}
	f.out.synced()
	return retry(func() error { return unix.Fdatasync(f.number()) })
}

// Discard implements Device: it punches a hole into an image file, and trims the
// whole sectors of the range on a block device.
func (f *File) Discard(off, n int64) error {
	b := Bio{Op: Discard, Off: off, Len: n}
	_, n, err := b.Begin(f.size, f.readOnly)
	if err == nil && n > 0 {
		err = f.discard(off, n)
		f.counters.Count(Discard, Unknown, n, false, err != nil)
	}
	return f.wrap(Discard, off, n, err)
}

func (f *File) discard(off, n int64) error {
	var err error
	if f.block {
		const sector = 512
		first, end := (off+sector-1)/sector*sector, (off+n)/sector*sector
		if first >= end {
			return nil
		}
		err = retry(func() error { return blkDiscard(f.number(), first, end-first) })
	} else {
		err = retry(func() error {
			return unix.Fallocate(f.number(), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
		})
	}
	switch err {
	case unix.EOPNOTSUPP, unix.ENOTTY, unix.ENOSYS, unix.EINVAL:
		return nil // a hint the host cannot take
	}
	return err
}

// Advise implements Device with fadvise.
func (f *File) Advise(off, n int64, a Advice) {
	if f.direct != nil {
		return // there is no cache in between
	}
	switch a {
	case WillNeed:
		f.willNeed(off, n, 0)
	case DontNeed:
		_ = unix.Fadvise(f.number(), off, n, unix.FADV_DONTNEED)
	}
}

// willNeed starts reading n bytes at off, except the first skip of them. One call of
// the host reads no more than its read-ahead size, so it takes several.
func (f *File) willNeed(off, n, skip int64) {
	if off < 0 {
		return
	}
	end := min(off+n, f.size)
	for off += skip; off < end; off += f.step {
		if unix.Fadvise(f.number(), off, min(f.step, end-off), unix.FADV_WILLNEED) != nil {
			return
		}
	}
}

// Close releases the image and its lock. No request may be under way.
func (f *File) Close() error {
	fd := f.fd.Swap(-1)
	if fd < 0 {
		return ErrClosed
	}
	if f.direct != nil {
		f.direct.close()
	}
	f.out.wait()
	return unix.Close(int(fd))
}

// number is the file descriptor; after Close it is one that fails with EBADF.
func (f *File) number() int { return int(f.fd.Load()) }

func (f *File) wrapBio(b *Bio, err error) error {
	if err == nil {
		return nil
	}
	return f.wrap(b.Op, b.Off, b.Bytes(), err)
}

// wrap makes an Error of a failure.
func (f *File) wrap(op Op, off, n int64, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, unix.EBADF) && f.number() < 0 {
		err = ErrClosed
	}
	return &Error{Op: op, Path: f.path, Off: off, Len: n, Err: err}
}

// retry repeats a system call that a signal interrupted.
func retry(call func() error) error {
	for {
		if err := call(); err != syscall.EINTR {
			return err
		}
	}
}
