//go:build linux

package main

import (
	"errors"
	"fmt"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// inspect finds out all about one file.
func (w *walker) inspect(dir int, name, full string) *node {
	n := &node{}
	var st unix.Statx_t
	err := unix.Statx(dir, name, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st)
	if err != nil {
		n.fields[fType] = w.failed(err)
		return n
	}
	w.attributes(n, &st)
	// There is no lgetxattrat yet; this path leads to the same file.
	w.xattrs(n, fmt.Sprintf("/proc/self/fd/%d/%s", dir, name))
	switch uint32(st.Mode) & unix.S_IFMT {
	case unix.S_IFLNK:
		n.fields[fTarget] = w.readlink(dir, name)
	case unix.S_IFREG, unix.S_IFDIR:
		fd, err := openAt(dir, name, 0)
		if err != nil {
			n.fields[fContent] = w.failed(err)
			break
		}
		defer unix.Close(fd)
		w.ioctls(n, fd)
		if uint32(st.Mode)&unix.S_IFMT == unix.S_IFREG {
			w.content(n, fd, int64(st.Size))
		}
	}
	return n
}

func (w *walker) attributes(n *node, st *unix.Statx_t) {
	set := func(f field, format string, args ...any) { n.fields[f] = fmt.Sprintf(format, args...) }
	mode := uint32(st.Mode)
	set(fType, "%s", typeName(mode))
	set(fIno, "%d", st.Ino)
	set(fMode, "%04o", mode&0o7777)
	set(fLinks, "%d", st.Nlink)
	set(fUID, "%d", st.Uid)
	set(fGID, "%d", st.Gid)
	set(fSize, "%d", st.Size)
	set(fBlocks, "%d", st.Blocks)
	set(fBlksize, "%d", st.Blksize)
	if t := mode & unix.S_IFMT; t == unix.S_IFBLK || t == unix.S_IFCHR {
		set(fDevice, "%d:%d", st.Rdev_major, st.Rdev_minor)
	}
	for _, ts := range []struct {
		f field
		t unix.StatxTimestamp
	}{{fAtime, st.Atime}, {fMtime, st.Mtime}, {fCtime, st.Ctime}, {fBtime, st.Btime}} {
		n.fields[ts.f] = stamp(ts.t.Sec, ts.t.Nsec)
	}
	if st.Mask&unix.STATX_BTIME == 0 {
		n.fields[fBtime] = "none"
	}
}

func (w *walker) readlink(dir int, name string) string {
	bufp := w.buffers.Get().(*[]byte)
	defer w.buffers.Put(bufp)
	n, err := unix.Readlinkat(dir, name, *bufp)
	if err != nil {
		return w.failed(err)
	}
	return quote(string((*bufp)[:n]))
}

// xattrs reads all extended attributes, ACLs among them.
func (w *walker) xattrs(n *node, path string) {
	bufp := w.buffers.Get().(*[]byte)
	defer w.buffers.Put(bufp)
	buf := (*bufp)[:64<<10] // as large as the kernel allows
	length, err := unix.Llistxattr(path, buf)
	if errors.Is(err, unix.EOPNOTSUPP) {
		length, err = 0, nil
	}
	if err != nil {
		n.fields[fXattrs] = w.failed(err)
		return
	}
	n.xattrs = map[string]string{}
	for name := range strings.SplitSeq(string(buf[:length]), "\x00") {
		if name == "" {
			continue
		}
		size, err := unix.Lgetxattr(path, name, buf)
		if err != nil {
			if text := w.failed(err); text != "" {
				n.xattrs[name] = text
			}
			continue
		}
		n.xattrs[name] = string(buf[:size])
	}
	n.nameXattrs()
}

// nameXattrs makes the list of names a field of its own.
func (n *node) nameXattrs() {
	names := make([]string, 0, len(n.xattrs))
	for name := range n.xattrs {
		names = append(names, quote(name))
	}
	sort.Strings(names)
	n.fields[fXattrs] = "[" + strings.Join(names, " ") + "]"
}

func (w *walker) ioctls(n *node, fd int) {
	// Both are declared to hand out a long and hand out an int; a driver that takes
	// the declaration at its word writes eight bytes.
	for f, request := range map[field]uint{fFlags: unix.FS_IOC_GETFLAGS, fVersion: fsIocGetVersion} {
		v, err := unix.IoctlGetInt(fd, request)
		switch {
		case err != nil:
			n.fields[f] = failed(err)
		case f == fFlags:
			n.fields[f] = flagNames(uint32(v))
		default:
			n.fields[f] = fmt.Sprint(uint32(v))
		}
	}
}

// fsIocGetVersion is FS_IOC_GETVERSION, _IOR('v', 1, long).
const fsIocGetVersion = 0x80087601

// flagLetters are those of lsattr(1), by bit.
const flagLetters = "suSciadAjBZXEIj" // bits 0 to 14

// flagNames shows inode flags in hexadecimal and as letters.
func flagNames(v uint32) string {
	names := ""
	for i, c := range flagLetters {
		if v>>i&1 != 0 {
			names += string(c)
		}
	}
	return strings.TrimSpace(fmt.Sprintf("%#x %s", v, names))
}

// content maps a file's holes and sums up its bytes.
func (w *walker) content(n *node, fd int, size int64) {
	var data ranges
	sum := newSummer()
	bufp := w.buffers.Get().(*[]byte)
	defer w.buffers.Put(bufp)
	var readErr error
	read := func(off, end int64) {
		for off -= off % pageSize; off < end && readErr == nil && w.ctx.Err() == nil; {
			var got int
			if got, readErr = readFull(fd, (*bufp)[:min(int64(len(*bufp)), roundUp(end)-off)], off); got == 0 {
				if readErr == nil && off < size {
					readErr = fmt.Errorf("reads end at %d of %d", off, size)
				}
				return
			}
			sum.add((*bufp)[:got], off)
			off += int64(got)
		}
	}
	// Ranges are read up to whole pages, each page once.
	next := int64(0)
	for off := int64(0); ; {
		start, err := unix.Seek(fd, off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break
		}
		var end int64
		if err == nil {
			end, err = unix.Seek(fd, start, unix.SEEK_HOLE)
		}
		if err != nil || start < off || end <= start {
			if err == nil {
				err = fmt.Errorf("SEEK_DATA from %d gives %d, SEEK_HOLE from there %d", off, start, end)
			}
			n.fields[fHoles] = failed(err)
			break
		}
		data.add(start, end)
		if w.full || start-next < largeHole {
			start = next
		} else {
			// A large hole: its two ends have to do.
			read(next, next+largeHole/4)
			start = max(next+largeHole/4, start-largeHole/4)
		}
		read(start, end)
		next = max(next, roundUp(end))
		off = end
	}
	if n.fields[fHoles] == "" {
		n.fields[fHoles] = data.String()
	}
	w.tail(read, next, size)
	w.bytes.Add(sum.bytes)
	if readErr != nil {
		n.fields[fContent] = failed(readErr)
		return
	}
	sum.store(n)
}

// tail reads the hole at the end of a file, whole or just its ends.
func (w *walker) tail(read func(off, end int64), next, size int64) {
	if w.full || size-next < largeHole {
		read(next, size)
		return
	}
	read(next, next+largeHole/4)
	read(size-largeHole/4, size)
}

// largeHole is the length from which on a hole is not read as a whole; a multiple
// of four pages.
const largeHole = 1 << 20

func roundUp(off int64) int64 { return (off + pageSize - 1) / pageSize * pageSize }

// readFull reads until the buffer is full or the file ends.
func readFull(fd int, p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		n, err := unix.Pread(fd, p[done:], off+int64(done))
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return done, err
		}
		done += n
	}
	return done, nil
}
