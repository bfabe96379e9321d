//go:build linux

package main

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// hostDir is a directory of the host that is copied into. The names are paths below it, and
// no symbolic link on them is followed, whoever made it and when: what is copied out of an image
// may want to get to other places, and so may somebody else who can write here.
type hostDir struct {
	path string // as the user calls it
	root int    // descriptor
	last string // the directory that was used last, and its descriptor
	fd   int
}

func openHostDir(path string) (*hostDir, error) {
	root, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return &hostDir{path: path, root: root, fd: -1}, nil
}

func (h *hostDir) close() {
	h.forget()
	_ = unix.Close(h.root)
}

func (h *hostDir) forget() {
	if h.fd >= 0 {
		_ = unix.Close(h.fd)
		h.fd = -1
	}
}

func (h *hostDir) join(dir, name string) string { return path.Join(dir, name) }
func (h *hostDir) show(name string) string      { return filepath.Join(h.path, name) }

func (h *hostDir) fault(name string, err error) string { return hostTree{}.fault(h.show(name), err) }

// at is the directory that a name is in, and the name there. The descriptor is good until
// the next call.
func (h *hostDir) at(name string) (dir int, base string, err error) {
	if !filepath.IsLocal(name) {
		return -1, "", fmt.Errorf("%q leads out of %s", name, h.path)
	}
	in, base := path.Dir(name), path.Base(name)
	if h.fd >= 0 && h.last == in {
		return h.fd, base, nil
	}
	fd, err := unix.FcntlInt(uintptr(h.root), unix.F_DUPFD_CLOEXEC, 0)
	for _, step := range strings.Split(in, "/") {
		if err != nil || step == "." {
			break
		}
		var next int
		next, err = unix.Openat(fd, step, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		_ = unix.Close(fd)
		fd = next
	}
	if err != nil {
		return -1, "", err
	}
	h.forget()
	h.last, h.fd = in, fd
	return fd, base, nil
}

func (h *hostDir) stat(name string) (*fileMeta, error) {
	dir, base, err := h.at(name)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return nil, err
	}
	return hostMeta(&st), nil
}

func (h *hostDir) create(name string) (content, error) {
	dir, base, err := h.at(name)
	if err != nil {
		return nil, err
	}
	for {
		fd, err := unix.Openat(dir, base, unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		switch err {
		case nil:
			return hostFile{os.NewFile(uintptr(fd), h.show(name))}, nil
		case unix.EINTR:
		default:
			return nil, err
		}
	}
}

func (h *hostDir) make(name string, m *fileMeta, leads string) error {
	dir, base, err := h.at(name)
	switch {
	case err != nil:
		return err
	case m.is(unix.S_IFDIR):
		return unix.Mkdirat(dir, base, 0o700)
	case m.is(unix.S_IFLNK):
		return unix.Symlinkat(leads, dir, base)
	}
	return unix.Mknodat(dir, base, m.mode&unix.S_IFMT|0o600, int(unix.Mkdev(m.major, m.minor)))
}

func (h *hostDir) link(old, name string) error {
	dir, base, err := h.at(old)
	if err != nil {
		return err
	}
	from, err := unix.FcntlInt(uintptr(dir), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(from) }()
	to, newBase, err := h.at(name)
	if err != nil {
		return err
	}
	return unix.Linkat(from, base, to, newBase, 0)
}

func (h *hostDir) remove(name string) error {
	dir, base, err := h.at(name)
	if err != nil {
		return err
	}
	return unix.Unlinkat(dir, base, 0)
}

// setMeta gives a file its attributes, as far as the host lets us: owners are root's to
// give, and not every file system has every attribute.
func (h *hostDir) setMeta(name string, m *fileMeta) error {
	dir, base, err := h.at(name)
	if err != nil {
		return err
	}
	owned := true
	if err := unix.Fchownat(dir, base, int(m.uid), int(m.gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		if os.Geteuid() == 0 {
			return err
		}
		there, err := h.stat(name)
		owned = err == nil && there.uid == m.uid && there.gid == m.gid
	}
	for attr, value := range m.xattrs {
		// Older hosts than Linux 6.13 know no other way to say in which directory.
		err := unix.Lsetxattr(fmt.Sprintf("/proc/self/fd/%d/%s", dir, base), attr, value, 0)
		if err != nil && err != unix.EPERM && err != unix.EOPNOTSUPP {
			return err
		}
	}
	if !m.is(unix.S_IFLNK) {
		mode := m.mode & 0o7777
		if !owned {
			mode &^= 0o6000 // they would give the rights of another owner or group
		}
		if err := chmodAt(dir, base, mode); err != nil {
			return err
		}
	}
	times, err := hostTimes(m.atime, m.mtime)
	if err != nil {
		return err
	}
	return unix.UtimesNanoAt(dir, base, times, unix.AT_SYMLINK_NOFOLLOW)
}

// chmodAt is chmod of a name in a directory, which is no symbolic link.
func chmodAt(dir int, base string, mode uint32) error {
	if unix.Fchmodat(dir, base, mode, unix.AT_SYMLINK_NOFOLLOW) == nil { // from Linux 6.6 on
		return nil
	}
	fd, err := unix.Openat(dir, base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), mode)
}

func hostTimes(stamps ...disk.Timespec) (times []unix.Timespec, err error) {
	for _, at := range stamps {
		t, err := unix.TimeToTimespec(time.Unix(at.Sec, int64(at.Nsec)))
		if err != nil {
			return nil, err
		}
		times = append(times, t)
	}
	return times, nil
}
