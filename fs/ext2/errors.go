package ext2

import (
	"context"
	"errors"
	"syscall"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// Error is an error with a fixed errno. The package's sentinels are of this type;
// match them with errors.Is. errors.Is also matches them with the io/fs errors of
// the same meaning (ErrNotExist is fs.ErrNotExist, and so on).
type Error struct {
	text  string
	errno syscall.Errno
}

func (e *Error) Error() string { return e.text }

// Unwrap gives the errno, which knows the io/fs errors it stands for.
func (e *Error) Unwrap() error { return e.errno }

// The errors of this package's operations, beside disk.CorruptError (the image is
// damaged) and the errors of the device.
var (
	ErrNotExist     = &Error{"no such file or directory", syscall.ENOENT}
	ErrExist        = &Error{"file exists", syscall.EEXIST}
	ErrNotDir       = &Error{"not a directory", syscall.ENOTDIR}
	ErrIsDir        = &Error{"is a directory", syscall.EISDIR}
	ErrNameTooLong  = &Error{"file name longer than 255 bytes", syscall.ENAMETOOLONG}
	ErrInvalid      = &Error{"invalid argument", syscall.EINVAL}
	ErrStale        = &Error{"the inode is deleted or was reused", syscall.ESTALE}
	ErrReadOnly     = &Error{"the file system is mounted read-only", syscall.EROFS}
	ErrNoAttr       = &Error{"no such extended attribute", noAttr}
	ErrRange        = &Error{"buffer too small for the result", syscall.ERANGE}
	ErrNotSupported = &Error{"operation not supported", syscall.EOPNOTSUPP}
	ErrNoData       = &Error{"no data or hole at or behind the offset", syscall.ENXIO}
	ErrTooBig       = &Error{"file too large", syscall.EFBIG}
	ErrNoSpace      = &Error{"no space left on the file system", syscall.ENOSPC}
	ErrAccess       = &Error{"permission denied", syscall.EACCES}
	ErrNoDevice     = &Error{"no such device", syscall.ENODEV}
	ErrNotEmpty     = &Error{"directory not empty", syscall.ENOTEMPTY}
	ErrTooManyLinks = &Error{"too many links", syscall.EMLINK}
	ErrPerm         = &Error{"operation not permitted", syscall.EPERM}
	ErrClosed       = &Error{"the file system is closed", syscall.EBADF}
	ErrLoop         = &Error{"too many levels of symbolic links", syscall.ELOOP}
)

// Errno maps an error of this package to the errno a system call would give. It is
// the only place that does. Damage found in the image and every failure of the
// device are EIO: what errno the host had for them says nothing about the file. The end
// of a context is EINTR.
func Errno(err error) syscall.Errno {
	if err == nil {
		return 0
	}
	var corrupt *disk.CorruptError
	if errors.As(err, &corrupt) {
		return syscall.EIO
	}
	var known *Error
	if errors.As(err, &known) {
		return known.errno
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return syscall.EINTR
	}
	return syscall.EIO
}
