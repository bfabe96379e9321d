//go:build !linux || 386 || arm || mips || mipsle

package fusefs

import (
	"runtime"
	"syscall"

	"github.com/ext2fuse/ext2fuse/fs/ext2"
)

// The package go-fuse does not build on 32-bit Linux (its use of splice(2)), and the
// protocol of other systems is not spoken here. Nothing can be mounted on these; all else
// of the module works.

// Server is a mounted file system; there is none here.
type Server struct{}

func unsupported(dir string) error {
	return &MountError{Dir: dir, Err: syscall.ENOSYS,
		Reason: "mounting is not supported on " + runtime.GOOS + "/" + runtime.GOARCH}
}

// Mount fails.
func Mount(_ *ext2.FS, dir string, _ Options) (*Server, error) { return nil, unsupported(dir) }

// CheckMountPoint fails.
func CheckMountPoint(dir string) (string, error) { return "", unsupported(dir) }

// Unmount fails.
func Unmount(target string, _ UnmountOptions) error { return unsupported(target) }

// RemoveDead finds nothing.
func RemoveDead(_, _ string) (int, error) { return 0, nil }

// Ours tells that nothing is mounted.
func Ours(string) bool { return false }

// Serves tells that nothing is served.
func Serves(_, _ string) bool { return false }

// Done never happens.
func (*Server) Done() <-chan struct{} { return nil }

// Close does nothing.
func (*Server) Close() error { return nil }

// Detach does nothing.
func (*Server) Detach() error { return nil }

// Stats are empty.
func (*Server) Stats() *Stats { return &Stats{} }
