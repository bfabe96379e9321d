//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path"
	"sort"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// walker looks at everything below a mounted directory. It goes by descriptors, so
// that no depth of the tree is too much for the length of a path.
type walker struct {
	ctx     context.Context
	full    bool          // read holes, too
	slots   chan struct{} // as many as files are looked at at once
	dev     uint64
	tree    *tree
	bytes   atomic.Int64
	skipped atomic.Int64
	buffers sync.Pool
}

func newWalker(ctx context.Context, label string, jobs int, full bool) *walker {
	w := &walker{ctx: ctx, full: full, slots: make(chan struct{}, jobs), tree: &tree{label: label, nodes: map[string]*node{}}}
	w.buffers.New = func() any { p := make([]byte, 1<<20); return &p }
	return w
}

// walk looks at everything below dir.
func walk(ctx context.Context, label, dir string, jobs int, full bool) (*tree, error) {
	w := newWalker(ctx, label, jobs, full)
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, &os.PathError{Op: "fstat", Path: dir, Err: err}
	}
	w.dev = st.Dev
	if w.tree.statfs, err = statfs(fd); err != nil {
		return nil, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	root := w.inspect(fd, ".", "/")
	w.tree.nodes["/"] = root
	if err := w.directory(fd, "/", root); err != nil {
		return nil, err
	}
	w.tree.bytes, w.tree.skipped = w.bytes.Load(), int(w.skipped.Load())
	return w.tree, nil
}

// statfs asks for what a file system says of itself as a whole. Type, id and flags
// are the driver's and the mount's, not the image's.
func statfs(fd int) (map[string]uint64, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return nil, err
	}
	return map[string]uint64{
		"bsize": uint64(st.Bsize), "frsize": uint64(st.Frsize), "blocks": st.Blocks, "bfree": st.Bfree, "bavail": st.Bavail,
		"files": st.Files, "ffree": st.Ffree, "namelen": uint64(st.Namelen),
	}, nil
}

// dirent is one entry as getdents gives it.
type dirent struct {
	name  string
	ino   uint64
	dtype uint8
}

// entries reads a whole directory, . and .. included.
func entries(fd int) ([]dirent, error) {
	var all []dirent
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.ReadDirent(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return all, err
		}
		// struct linux_dirent64: ino 8, off 8, reclen 2, type 1, name
		for p := buf[:n]; len(p) >= 19; {
			length := binary.NativeEndian.Uint16(p[16:])
			name, _, _ := bytes.Cut(p[19:length], []byte{0})
			all = append(all, dirent{string(name), binary.NativeEndian.Uint64(p), p[18]})
			p = p[length:]
		}
	}
}

// directory looks at all entries of an open directory, then goes down.
func (w *walker) directory(fd int, dir string, n *node) error {
	list, err := entries(fd)
	if err != nil {
		n.fields[fList] = failed(err)
		if errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNABORTED) {
			return fmt.Errorf("%s: the driver of %s is gone: %w", dir, w.tree.label, err)
		}
	}
	found := make([]*node, len(list))
	var wait sync.WaitGroup
	for i, e := range list {
		if e.name == "." || e.name == ".." {
			continue
		}
		if err := w.ctx.Err(); err != nil {
			wait.Wait()
			return err
		}
		w.slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-w.slots }()
			found[i] = w.inspect(fd, e.name, path.Join(dir, e.name))
			found[i].fields[fDtype] = dtypeName(e.dtype)
			found[i].fields[fDino] = fmt.Sprint(e.ino)
		})
	}
	wait.Wait()
	n.fields[fList] = w.file(dir, list, found)
	for i, e := range list {
		if found[i] == nil || found[i].fields[fType] != typeName(unix.S_IFDIR) {
			continue
		}
		if err := w.below(fd, e.name, dir, found[i]); err != nil {
			return err
		}
	}
	return nil
}

// file enters what was found into the tree, and describes the list as such.
func (w *walker) file(dir string, list []dirent, found []*node) string {
	var odd []string
	dots := map[string]string{}
	for i, e := range list {
		if found[i] == nil {
			dots[e.name] += fmt.Sprintf("%s is inode %d; ", e.name, e.ino)
			continue
		}
		full := path.Join(dir, e.name)
		if w.tree.nodes[full] != nil {
			odd = append(odd, fmt.Sprintf("%s comes twice; ", quote(e.name)))
		}
		w.tree.nodes[full] = found[i]
	}
	sort.Strings(odd)
	text := dots["."] + dots[".."]
	for _, o := range odd {
		text += o
	}
	return text + fmt.Sprint(len(list), " entries")
}

// below opens a directory and goes on inside it.
func (w *walker) below(parent int, name, dir string, n *node) error {
	fd, err := openAt(parent, name, unix.O_DIRECTORY)
	if err != nil {
		n.fields[fList] = w.failed(err)
		return nil
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		n.fields[fList] = failed(err)
		return nil
	}
	if st.Dev != w.dev {
		return nil // another file system is mounted there
	}
	return w.directory(fd, path.Join(dir, name), n)
}

// failed is failed, except that what a plain user may not look at is left out.
func (w *walker) failed(err error) string {
	if os.Geteuid() != 0 && (errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM)) {
		w.skipped.Add(1)
		return ""
	}
	return failed(err)
}

// openAt opens a file to read, without touching its access time if that may be.
func openAt(dir int, name string, flags int) (int, error) {
	flags |= unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	fd, err := unix.Openat(dir, name, flags|unix.O_NOATIME, 0)
	if err == unix.EPERM {
		fd, err = unix.Openat(dir, name, flags, 0)
	}
	return fd, err
}
