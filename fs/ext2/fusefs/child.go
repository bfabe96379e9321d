//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A system call of this process into the file system that it serves must not happen in
// this process: killed, a thread waits for its answer, and while it shares the
// connection's descriptor the connection stays, and nobody answers. So these calls are
// made by children, which are this program started once more.

// childEnv tells a child what it is for.
const childEnv = "_EXT2FUSE_CHILD"

// Child does what a child is for, if this process is one, and ends it. Programs that mount
// with Options.Finish call it first of all.
func Child() {
	what := os.Getenv(childEnv)
	if what == "" {
		return
	}
	signal.Ignore(unix.SIGINT, unix.SIGTERM, unix.SIGHUP) // as the parent decides
	verb, arg, _ := strings.Cut(what, " ")
	n, err := strconv.Atoi(arg)
	switch {
	case err != nil:
		os.Exit(1)
	case verb == "umount":
		var errno unix.Errno
		if err := unix.Unmount(os.Getenv("PWD"), n); err != nil && !errors.As(err, &errno) {
			errno = unix.EIO
		}
		os.Exit(int(errno))
	case verb == "ustat":
		holdTurns(n, os.NewFile(3, "requests"), os.NewFile(4, "replies"))
	}
	os.Exit(0)
}

// child prepares a child. Its title is what ps(1) shows.
func child(title, what string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{title}
	cmd.Env = append(os.Environ(), childEnv+"="+what)
	return cmd
}

// unmountByChild calls umount(2) for a directory.
func unmountByChild(dir string, flags int) error {
	cmd := child("ext2fuse: unmounts "+dir, fmt.Sprintf("umount %d", flags))
	cmd.Env = append(cmd.Env, "PWD="+dir)
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return unix.Errno(exit.ExitCode())
	}
	return err
}

// holdTurns calls ustat(2) for a device, in two threads, whose numbers it tells first:
// each byte that comes asks for a call of the thread of that number, 0 or 1, and is
// answered when that returns. It ends with its parent.
func holdTurns(dev int, requests io.Reader, replies io.Writer) {
	var calls [2]chan struct{}
	for i := range calls {
		calls[i] = make(chan struct{}, 1)
		tid := make(chan int)
		go func() {
			runtime.LockOSThread()
			tid <- unix.Gettid()
			for range calls[i] {
				var st unix.Ustat_t
				reply := byte(i)
				if err := unix.Ustat(dev, &st); errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
					os.Exit(1)
				}
				_, _ = replies.Write([]byte{reply})
			}
		}()
		_ = binary.Write(replies, binary.NativeEndian, uint32(<-tid))
	}
	for b := make([]byte, 1); ; {
		if _, err := requests.Read(b); err != nil || int(b[0]) >= len(calls) {
			return
		}
		calls[b[0]] <- struct{}{}
	}
}
