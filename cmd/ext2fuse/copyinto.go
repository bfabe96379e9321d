//go:build linux

package main

import (
	"errors"
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

	made    [2]uint64          // the regular file that was made or linked last
	strange bool               // it was there before, and somebody else's
	linked  map[[2]uint64]bool // those made that have more names; whether strange
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
	for how := unix.O_CREAT | unix.O_EXCL; ; {
		fd, err := unix.Openat(dir, base, unix.O_RDWR|unix.O_TRUNC|unix.O_NOFOLLOW|unix.O_CLOEXEC|how, 0o600)
		switch err {
		case nil:
			f := hostFile{os.NewFile(uintptr(fd), h.show(name))}
			var st unix.Stat_t
			if err := unix.Fstat(fd, &st); err != nil {
				return nil, errors.Join(err, f.Close())
			}
			h.made, h.strange = hostMeta(&st).id, how == unix.O_CREAT && st.Uid != uint32(os.Geteuid())
			return f, nil
		case unix.EEXIST:
			how = unix.O_CREAT // for the kernel to refuse others' files in a directory like /tmp (fs.protected_regular)
		case unix.EINTR:
		default:
			return nil, err
		}
	}
}

// fileCaps is the attribute that gives whoever runs a program rights of root's.
const fileCaps = "security.capability"

// errSwapped: who can write to the directory, too, put something else in the place of a copy.
var errSwapped = errors.New("is not what was made there; somebody replaced it")

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
	if err := unix.Linkat(from, base, to, newBase, 0); err != nil {
		return err
	}
	m, err := h.stat(name)
	if err == nil && m.is(unix.S_IFREG) {
		var ours bool
		if h.strange, ours = h.linked[m.id]; !ours {
			return errSwapped
		}
		h.made = m.id
	}
	return err
}

func (h *hostDir) remove(name string) error {
	dir, base, err := h.at(name)
	if err != nil {
		return err
	}
	return unix.Unlinkat(dir, base, 0)
}

// setMeta gives a file its attributes, as far as the host lets us: owners are root's to
// give, and not every file system has every attribute. Who can write to the directory may
// exchange the file at any time, and must not have his own made root's, so the name is looked
// up once.
func (h *hostDir) setMeta(name string, m *fileMeta) error {
	dir, base, err := h.at(name)
	if err != nil {
		return err
	}
	fd, err := unix.Openat(dir, base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	there := hostMeta(&st)
	switch {
	case there.mode&unix.S_IFMT != m.mode&unix.S_IFMT:
		return errSwapped
	case !m.is(unix.S_IFREG):
	case there.id != h.made:
		return errSwapped
	case m.links > 1:
		if h.linked == nil {
			h.linked = map[[2]uint64]bool{}
		}
		h.linked[there.id] = h.strange
	}
	owned := !m.is(unix.S_IFREG) || !h.strange // else he may hold it open, or mapped, and change it still
	if err := unix.Fchownat(fd, "", int(m.uid), int(m.gid), unix.AT_EMPTY_PATH); err != nil {
		if os.Geteuid() == 0 {
			return err
		}
		owned = there.uid == m.uid && there.gid == m.gid
	}
	for attr, value := range m.xattrs {
		if attr == fileCaps && m.is(unix.S_IFREG) && h.strange {
			continue // as with the set-id bits
		}
		at, set := fmt.Sprintf("/proc/self/fd/%d", fd), unix.Setxattr
		if m.is(unix.S_IFLNK) { // which that would be followed to
			at, set = fmt.Sprintf("/proc/self/fd/%d/%s", dir, base), unix.Lsetxattr
		}
		if err := set(at, attr, value, 0); err != nil && err != unix.EPERM && err != unix.EOPNOTSUPP {
			return err
		}
	}
	if !m.is(unix.S_IFLNK) {
		mode := m.mode & 0o7777
		if !owned {
			mode &^= 0o6000 // they would give the rights of another owner or group
		}
		if err := chmodFD(fd, mode); err != nil {
			return err
		}
	}
	times, err := hostTimes(m.atime, m.mtime)
	if err != nil {
		return err
	}
	return unix.UtimesNanoAt(dir, base, times, unix.AT_SYMLINK_NOFOLLOW)
}

// chmodFD is fchmod of what is open with O_PATH. /proc, which older hosts than Linux 6.6 need for
// that, is not there in every chroot.
func chmodFD(fd int, mode uint32) error {
	if unix.Fchmodat(fd, "", mode, unix.AT_EMPTY_PATH) == nil {
		return nil
	}
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
