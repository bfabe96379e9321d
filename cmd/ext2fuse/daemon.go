//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"

	"golang.org/x/sys/unix"
)

// statusEnv is set for the process that becomes the daemon; its value is the file
// descriptor on which it reports that the mount serves.
const statusEnv = "_EXT2FUSE_STATUS_FD"

// A Go program cannot fork, so the daemon is this program, started once more: with the
// same arguments, and with a pipe to the process the user started. That one waits. A byte
// in the pipe says that the mount serves; the end of the pipe without it says that the
// daemon gave up, after having printed why on the standard error that it still shares with
// its parent. Until it serves it stays in its parent's process group: on an automount,
// everybody outside of systemd's group has to wait for the mount.

// background starts the daemon and gives the exit code once its fate is known.
func background(args []string, stderr io.Writer) int {
	read, write, err := os.Pipe()
	if err != nil {
		say(stderr, "no pipe to the daemon: %v", err)
		return exitSystem
	}
	defer read.Close()
	self, err := os.Executable()
	if err != nil {
		self = "/proc/self/exe"
	}
	daemon := exec.Command(self, args...)
	daemon.Args[0] = os.Args[0]
	daemon.Env = append(os.Environ(), statusEnv+"=3")
	daemon.ExtraFiles = []*os.File{write}
	daemon.Stdin, daemon.Stdout, daemon.Stderr = os.Stdin, os.Stdout, os.Stderr

	// Interrupted, this process dies, and the daemon unmounts when it finds out. A
	// daemon that ignored SIGHUP from the start would keep that across exec.
	signal.Reset(unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	if err := daemon.Start(); err != nil {
		write.Close()
		say(stderr, "the daemon cannot be started: %v", err)
		return exitSystem
	}
	write.Close()
	if n, _ := read.Read(make([]byte, 1)); n == 1 {
		return exitOK
	}
	return daemonFailed(daemon.Wait(), stderr)
}

// daemonFailed gives the exit code of a daemon that did not come to serve. When it
// ended by itself, it has said why.
func daemonFailed(err error, stderr io.Writer) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode()
	}
	if err == nil {
		// Mounted, and unmounted again before it could say so.
		return exitInterrupt
	}
	say(stderr, "the daemon died before the mount was complete: %v", err)
	return exitSystem
}

// statusPipe is the daemon's end of the pipe.
type statusPipe struct{ f *os.File }

// parentOfDaemon gives the pipe to the process that started this one as a daemon, and
// nil in a process that was started by a user.
func parentOfDaemon() (*statusPipe, error) {
	fd := os.Getenv(statusEnv)
	if fd == "" {
		return nil, nil
	}
	_ = os.Unsetenv(statusEnv)
	if fd != "3" {
		return nil, fmt.Errorf("the variable %s is not for users", statusEnv)
	}
	unix.CloseOnExec(3)
	return &statusPipe{os.NewFile(3, "status")}, nil
}

// serving lets go of everything that ties the daemon to where it was started: session,
// standard input and output, and the working directory. Then it reports that the
// mount serves. An error means that nobody waits for the report.
func (p *statusPipe) serving() error {
	defer p.f.Close()
	_, _ = unix.Setsid() // it leads no group, which is all that could be in the way
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err == nil {
		for fd := range 3 {
			_ = unix.Dup2(int(null.Fd()), fd)
		}
		null.Close()
	}
	_ = os.Chdir("/")
	_, err = p.f.Write([]byte{1})
	return err
}
