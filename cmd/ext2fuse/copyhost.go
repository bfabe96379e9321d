//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// hostTree is the files of the host, to be read.
type hostTree struct{}

func (hostTree) join(dir, name string) string { return filepath.Join(dir, name) }
func (hostTree) show(name string) string      { return name }

func (hostTree) fault(name string, err error) string { return fmt.Sprintf("%s: %v", name, reason(err)) }

func (hostTree) meta(name string, follow, xattrs bool) (*fileMeta, error) {
	var st unix.Stat_t
	stat := unix.Lstat
	if follow {
		stat = unix.Stat
	}
	if err := stat(name, &st); err != nil {
		return nil, err
	}
	m := hostMeta(&st)
	if !xattrs {
		return m, nil
	}
	var err error
	m.xattrs, err = hostXattrs(name, follow)
	return m, err
}

func hostMeta(st *unix.Stat_t) *fileMeta {
	return &fileMeta{
		mode: st.Mode, uid: st.Uid, gid: st.Gid, size: st.Size, links: uint32(st.Nlink),
		id:    [2]uint64{uint64(st.Dev), st.Ino},
		atime: hostTime(st.Atim), mtime: hostTime(st.Mtim),
		major: unix.Major(uint64(st.Rdev)), minor: unix.Minor(uint64(st.Rdev)),
	}
}

// enter lets every directory be copied: the host's may be shown in several places.
func (hostTree) enter(string, *fileMeta) error { return nil }

func hostTime(t unix.Timespec) disk.Timespec {
	sec, nsec := t.Unix()
	return disk.Timespec{Sec: sec, Nsec: uint32(nsec)}
}

// hostXattrs reads the extended attributes of a file; where the host has none there are
// none.
func hostXattrs(path string, follow bool) (map[string][]byte, error) {
	listxattr, getxattr := unix.Llistxattr, unix.Lgetxattr
	if follow {
		listxattr, getxattr = unix.Listxattr, unix.Getxattr
	}
	buf := make([]byte, 64<<10) // the most that Linux has of either
	n, err := listxattr(path, buf)
	if errors.Is(err, unix.EOPNOTSUPP) || n == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	list := map[string][]byte{}
	for _, name := range strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		n, err := getxattr(path, name, buf)
		if err == nil {
			list[name] = append([]byte{}, buf[:n]...) // not nil: an empty value is one
		}
	}
	return list, nil
}

func (hostTree) list(name string) ([]string, error) {
	entries, err := os.ReadDir(name)
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, err
}

func (hostTree) readlink(name string) (string, error) { return os.Readlink(name) }

func (hostTree) open(name string) (content, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return hostFile{f}, nil
}

// hostFile is a regular file of the host.
type hostFile struct{ *os.File }

func (f hostFile) truncate(size int64) error { return f.Truncate(size) }

func (f hostFile) data(off int64) (from, to int64, err error) {
	from, err = unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return -1, -1, nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP): // it knows no holes
		end, err := f.Seek(0, io.SeekEnd)
		if off >= end {
			return -1, -1, err
		}
		return off, end, err
	case err != nil:
		return 0, 0, err
	}
	to, err = unix.Seek(int(f.Fd()), from, unix.SEEK_HOLE)
	return from, to, err
}
