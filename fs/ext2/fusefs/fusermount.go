//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// fusermount lets the setuid helper mount a new connection on dir, whose path without symbolic
// links is abs. The helper sends the connection's file descriptor through a socket whose number
// it finds in _FUSE_COMMFD.
func fusermount(dir, abs, options string) (int, error) {
	bin, err := helper(dir)
	if err != nil {
		return -1, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, &MountError{Dir: dir, Reason: "no socket for fusermount3: " + cause(err), Err: err}
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "fusermount3"), os.NewFile(uintptr(pair[1]), "fusermount3")
	defer ours.Close()
	var said bytes.Buffer
	cmd := exec.Command(bin, "-o", options, "--", abs)
	cmd.Args[0] = "fusermount3" // as which it begins its messages
	cmd.Env = append(os.Environ(), "_FUSE_COMMFD=3")
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stderr = &said
	err = cmd.Run()
	theirs.Close()
	if err != nil {
		return -1, helperError(dir, said.String(), err)
	}
	fd, err := receiveFD(ours)
	if err != nil {
		return -1, &MountError{Dir: dir, Reason: err.Error(), Err: err}
	}
	return fd, nil
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
	bin, err := helper(dir)
	if err != nil {
		return err
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
	return helperError(dir, string(out), err)
}

// helper finds fusermount3, which is to mount on dir; a mount that was made through it can be
// unmounted by the same user.
func helper(dir string) (string, error) {
	for _, name := range []string{"fusermount3", "/bin/fusermount3", "/usr/bin/fusermount3"} {
		if bin, err := exec.LookPath(name); err == nil {
			return bin, nil
		}
	}
	return "", &MountError{Dir: dir, Reason: "fusermount3 is not installed, and without it only root can mount",
		Advice: "install the package fuse3", Err: exec.ErrNotFound}
}

// helperError tells what the helper printed, in one line, and what to do about it. That it
// tells in words only.
func helperError(dir, out string, err error) error {
	line, _, _ := strings.Cut(strings.TrimSpace(out), "\n")
	if line == "" {
		return &MountError{Dir: dir, Reason: "fusermount3 failed: " + err.Error(), Err: err}
	}
	line = strings.TrimPrefix(line, "fusermount3: ")
	e := &MountError{Dir: dir, Reason: "fusermount3: " + line, Err: err}
	switch {
	case strings.Contains(line, "no write access"):
		e.Advice = "mount on a directory of your own"
	case strings.Contains(line, "user_allow_other"):
		e.Advice = "root can allow it: echo user_allow_other >>/etc/fuse.conf"
	case strings.Contains(line, "open /dev/fuse: Permission denied"):
		e.Advice = enterDevice()
	case strings.Contains(line, "fuse device not found"):
		e.Advice = getFUSE
	case strings.Contains(line, "/etc/mtab"):
		e.Advice = "root can make that: ln -s /proc/self/mounts /etc/mtab"
	}
	return e
}

// enterDevice says how a plain user gets at /dev/fuse.
func enterDevice() string {
	var st unix.Stat_t
	if err := unix.Stat("/dev/fuse", &st); err == nil && st.Mode&0o060 == 0o060 && st.Gid != 0 {
		if g, err := user.LookupGroupId(strconv.Itoa(int(st.Gid))); err == nil {
			return "root can make you a member of its group, from your next login on: usermod -a -G " + g.Name + " " + userName()
		}
	}
	return "root can open it to everybody: chmod 666 /dev/fuse"
}

func userName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return strconv.Itoa(os.Getuid())
}
