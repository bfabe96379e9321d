package blockio

import (
	"errors"
	"fmt"
)

// Errors of opening an image.
var (
	// ErrBusy: another process or the kernel uses the image in a way that does
	// not go together with the use asked for. The message says who.
	ErrBusy = errors.New("in use")
	// ErrLocked is the ErrBusy of an image that another process has locked.
	ErrLocked = fmt.Errorf("%w: locked", ErrBusy)
	// ErrNotImage: the path is neither a regular file nor a block device.
	ErrNotImage = errors.New("not an image file or block device")
	// ErrEmpty is the ErrNotImage of a file or device without a byte.
	ErrEmpty = fmt.Errorf("empty: %w", ErrNotImage)
	// ErrNoPartition: there is no partition table, or no such partition in it.
	ErrNoPartition = errors.New("no such partition")
	// ErrUnsupported: this operating system has no device implementation.
	ErrUnsupported = errors.New("not supported on this operating system")
)

// OpenError tells that the host does not let an image be opened.
type OpenError struct {
	Path  string
	Write bool  // it was to be written to
	Err   error // the host's reason
	text  string
}

// Error says it in one line.
func (e *OpenError) Error() string { return e.text }

// Unwrap gives the host's reason.
func (e *OpenError) Unwrap() error { return e.Err }

// ErrShrunk is a read of an image file that has become shorter than it was when it was opened.
var ErrShrunk = errors.New("image is shorter than when it was opened")

// ErrClosed is the use of a device after Close.
var ErrClosed = errors.New("device is closed")

// Error is a failed access: what, where, and the host's reason.
type Error struct {
	Op   Op
	Path string // of the image
	Off  int64  // bytes from the start of the image or device
	Len  int64  // bytes asked for
	Err  error  // a syscall.Errno, or a sentinel of this package
}

// Error says it in one line.
func (e *Error) Error() string {
	if e.Op == Sync {
		return fmt.Sprintf("sync of %s: %v", e.Path, e.Err)
	}
	return fmt.Sprintf("%s of %d bytes at offset %d of %s: %v", e.Op, e.Len, e.Off, e.Path, e.Err)
}

// Unwrap gives the reason.
func (e *Error) Unwrap() error { return e.Err }
