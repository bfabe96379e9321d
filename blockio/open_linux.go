package blockio

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"
)

// Open opens an image file or block device, takes its lock and returns the part of
// it that o asks for. Reading takes a shared lock (flock), writing an exclusive one;
// a block device to be written is claimed from the kernel too (O_EXCL). The end of ctx
// ends the wait for a lock that somebody else holds.
//
// Errors: ctx's; an *OpenError with fs.ErrNotExist, fs.ErrPermission or whatever the host gave;
// ErrNotImage; ErrBusy, with who holds the image; ErrNoPartition; ErrPastEnd for a part outside
// the image.
func Open(ctx context.Context, path string, o OpenOptions) (Device, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", path, err)
	}
	f, st, err := openFile(ctx, path, o)
	if err != nil {
		return nil, err
	}
	dev, err := o.part(f)
	if err == nil {
		off, size := int64(0), f.size
		if w, ok := dev.(*window); ok {
			off, size = w.off, w.size
		}
		err = f.holders(st, off, size)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return dev, nil
}

// part returns the part of f that was asked for.
func (o *OpenOptions) part(f *File) (Device, error) {
	var dev Device = f
	if o.Part != 0 {
		p, err := findPartition(f, o.Part)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.path, err)
		}
		if dev, err = Window(f, p.Start, p.Size); err != nil {
			return nil, fmt.Errorf("%s: partition %d: %w", f.path, o.Part, err)
		}
	}
	if o.Offset == 0 && o.SizeLimit == 0 {
		return dev, nil
	}
	if o.Offset >= dev.Size() {
		return nil, fmt.Errorf("%s: offset %d: %w (%d bytes)", f.path, o.Offset, ErrPastEnd, dev.Size())
	}
	size := dev.Size() - o.Offset
	if o.SizeLimit != 0 {
		size = min(size, o.SizeLimit)
	}
	return Window(dev, o.Offset, size)
}

func (o *OpenOptions) check() error {
	switch {
	case o.Offset < 0 || o.SizeLimit < 0:
		return fmt.Errorf("offset %d, size limit %d: must not be negative", o.Offset, o.SizeLimit)
	case o.Part < 0:
		return fmt.Errorf("partition %d: partitions are numbered from 1 on", o.Part)
	case o.Part != 0 && o.Offset != 0:
		return errors.New("an offset and a partition number exclude each other")
	}
	return nil
}

// openFile opens and locks the whole image.
func openFile(ctx context.Context, path string, o OpenOptions) (*File, *unix.Stat_t, error) {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Stat(path, &st) }); err != nil {
		return nil, nil, openError(path, o, err)
	}
	if err := checkType(path, &st); err != nil {
		return nil, nil, err
	}
	f := &File{path: path, readOnly: o.ReadOnly, block: isBlock(&st)}
	fd, err := f.open(o, unix.O_NONBLOCK)
	if err != nil {
		if err == unix.EBUSY && f.block {
			return nil, nil, fmt.Errorf("%s is %w", path, busyDevice(&st, o.ReadOnly))
		}
		return nil, nil, openError(path, o, err)
	}
	f.fd.Store(int64(fd))
	if err := f.prepare(ctx, o, &st); err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	return f, &st, nil
}

// open calls open(2) as o asks. O_NONBLOCK keeps a FIFO that has taken the image's
// place since it was looked at from holding us up.
func (f *File) open(o OpenOptions, flags int) (int, error) {
	flags |= unix.O_CLOEXEC | unix.O_RDWR
	if o.ReadOnly {
		flags ^= unix.O_RDWR
	} else if f.block {
		flags |= unix.O_EXCL
	}
	if o.Direct {
		flags |= unix.O_DIRECT
	}
	var fd int
	err := retry(func() (err error) {
		fd, err = unix.Open(f.path, flags, 0)
		return err
	})
	return fd, err
}

// prepare locks the image just opened, learns its size, and sets it up.
func (f *File) prepare(ctx context.Context, o OpenOptions, st *unix.Stat_t) error {
	fd := f.number()
	if err := unix.Fstat(fd, st); err != nil {
		return openError(f.path, o, err)
	}
	if err := checkType(f.path, st); err != nil {
		return err
	}
	f.block = isBlock(st)
	if err := f.lock(ctx, st, o); err != nil {
		return err
	}
	// The file may have grown or shrunk while we waited for the lock.
	if err := unix.Fstat(fd, st); err != nil {
		return openError(f.path, o, err)
	}
	f.size = st.Size
	if f.block {
		size, err := deviceSize(fd)
		if err != nil {
			return openError(f.path, o, err)
		}
		f.size = size
	}
	if f.size == 0 {
		return fmt.Errorf("%s is %w", f.path, ErrEmpty)
	}
	f.step = adviceStep(st)
	if o.Direct {
		d, err := newDirectIO(fd, func() (int, error) {
			plain := o
			plain.Direct = false
			return f.open(plain, 0)
		}, f.size)
		if err != nil {
			return fmt.Errorf("cannot open %s with direct I/O: %w", f.path, err)
		}
		f.direct = d
	}
	_ = unix.Fadvise(fd, 0, 0, unix.FADV_RANDOM)
	return nil
}

// How long another's lock on a block device is waited for at least: udev holds one
// for a moment while it looks at a device that has just changed.
const (
	udevWait = 500 * time.Millisecond
	lockPoll = 10 * time.Millisecond
)

func (f *File) lock(ctx context.Context, st *unix.Stat_t, o OpenOptions) error {
	how := unix.LOCK_EX
	if o.ReadOnly {
		how = unix.LOCK_SH
	}
	wait := o.LockWait
	if f.block {
		wait = max(wait, udevWait)
	}
	poll := time.NewTicker(lockPoll)
	defer poll.Stop()
	for deadline := time.Now().Add(wait); ; {
		err := retry(func() error { return unix.Flock(f.number(), how|unix.LOCK_NB) })
		switch {
		case err == nil:
			return nil
		case err != unix.EWOULDBLOCK:
			return fmt.Errorf("cannot lock %s: %w", f.path, err)
		case !time.Now().Before(deadline):
			return fmt.Errorf("%s is %w", f.path, locked(st))
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for the lock of %s: %w", f.path, ctx.Err())
		}
	}
}

func isBlock(st *unix.Stat_t) bool { return st.Mode&unix.S_IFMT == unix.S_IFBLK }

func checkType(path string, st *unix.Stat_t) error {
	what := "something else"
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFBLK:
		return nil
	case unix.S_IFDIR:
		what = "a directory"
	case unix.S_IFCHR:
		what = "a character device"
	case unix.S_IFIFO:
		what = "a FIFO"
	case unix.S_IFSOCK:
		what = "a socket"
	}
	return fmt.Errorf("%s is %s: %w", path, what, ErrNotImage)
}

// openError puts a failed open into words.
func openError(path string, o OpenOptions, err error) error {
	format := "cannot open %s: %v"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		format = "cannot open %s: there is no such image or device: %v"
	case o.Direct && err == unix.EINVAL:
		format += " (its file system knows no direct I/O)"
	case !o.ReadOnly && (errors.Is(err, fs.ErrPermission) || err == unix.EROFS || err == unix.ETXTBSY):
		format = "cannot open %s for writing: %v"
	case err == unix.ENXIO || err == unix.ENOMEDIUM:
		format += " (no medium in the drive, or no such device)"
	}
	return &OpenError{Path: path, Write: !o.ReadOnly, Err: err, text: fmt.Sprintf(format, path, err)}
}
