//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// fusermount lets the setuid helper mount a new connection on dir. The helper sends
// the connection's file descriptor through a socket whose number it finds in
// _FUSE_COMMFD.
func fusermount(dir, options string) (int, error) {
	bin, err := helper()
	if err != nil {
		return -1, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("no socket for fusermount3: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "fusermount3"), os.NewFile(uintptr(pair[1]), "fusermount3")
	defer ours.Close()
	var said bytes.Buffer
	cmd := exec.Command(bin, "-o", options, "--", dir)
	cmd.Args[0] = "fusermount3" // as which it begins its messages
	cmd.Env = append(os.Environ(), "_FUSE_COMMFD=3")
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stderr = &said
	err = cmd.Run()
	theirs.Close()
	if err != nil {
		return -1, errors.New(helperSaid(said.String(), err))
	}
	return receiveFD(ours)
}

// receiveFD takes the one file descriptor that waits in a socket.
func receiveFD(sock *os.File) (int, error) {
	data, oob := make([]byte, 4), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(int(sock.Fd()), data, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("nothing came from fusermount3: %w", err)
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(msgs) != 1 {
		return -1, errors.New("fusermount3 sent no connection")
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		return -1, errors.New("fusermount3 sent no connection")
	}
	return fds[0], nil
}

// fuserunmount lets the helper unmount.
func fuserunmount(dir string, lazy bool) error {
	bin, err := helper()
	if err != nil {
		return &MountError{Dir: dir, Reason: err.Error(), Err: err}
	}
	args := []string{"-u"}
	if lazy {
		args = append(args, "-z")
	}
	cmd := exec.Command(bin, append(args, "--", dir)...)
	cmd.Args[0] = "fusermount3"
	out, err := cmd.CombinedOutput()
	switch {
	case err == nil:
		return nil
	case strings.Contains(strings.ToLower(string(out)), unix.EBUSY.Error()):
		return &MountError{Dir: dir, Reason: "in use", Err: unix.EBUSY}
	}
	return &MountError{Dir: dir, Reason: helperSaid(string(out), err), Err: err}
}

// helper finds fusermount3; a mount that was made through it can be unmounted by the
// same user.
func helper() (string, error) {
	for _, name := range []string{"fusermount3", "/bin/fusermount3", "/usr/bin/fusermount3"} {
		if bin, err := exec.LookPath(name); err == nil {
			return bin, nil
		}
	}
	return "", errors.New("fusermount3 is not installed, and without it only root can mount; install the package fuse3")
}

// helperSaid makes one line of what the helper printed.
func helperSaid(out string, err error) string {
	line, _, _ := strings.Cut(strings.TrimSpace(out), "\n")
	if line == "" {
		return "fusermount3 failed: " + err.Error()
	}
	return "fusermount3: " + strings.TrimPrefix(line, "fusermount3: ")
}
