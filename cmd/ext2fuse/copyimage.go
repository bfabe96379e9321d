//go:build linux

package main

import (
	"context"
	"errors"
	"io"
	iofs "io/fs"
	"path"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/fs/ext2"
)

// imageTree is the files of an image. What is written is written as root.
type imageTree struct {
	view
	id   [2]uint64 // of the image itself: the same whatever it is called
	lies blockio.Storage
}

func newImageTree(image string, fs *ext2.FS, id [2]uint64) *imageTree {
	return &imageTree{view{fs: fs, image: image}, id, blockio.StorageOf(fs.Device())}
}

func (t *imageTree) close() error                 { return t.fs.Close() }
func (t *imageTree) join(dir, name string) string { return path.Join(dir, name) }

func (t *imageTree) meta(name string, follow, xattrs bool) (*fileMeta, error) {
	in, err := t.inode(name, follow)
	if err != nil {
		return nil, err
	}
	defer in.Put()
	a := in.Attr()
	m := &fileMeta{
		mode: a.Mode, uid: a.UID, gid: a.GID, size: a.Size, links: a.Nlink, id: [2]uint64{0, uint64(a.Ino)},
		atime: a.Atime, mtime: a.Mtime, major: a.RdevMajor, minor: a.RdevMinor,
	}
	if !xattrs {
		return m, nil
	}
	names, err := in.Listxattr()
	if err != nil {
		return nil, err
	}
	m.xattrs = map[string][]byte{}
	for _, n := range names {
		if m.xattrs[n], err = in.Getxattr(n); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (t *imageTree) stat(name string) (*fileMeta, error) { return t.meta(name, false, false) }

func (t *imageTree) enter(name string, m *fileMeta) error { return t.view.enter(name, uint32(m.id[1])) }

func (t *imageTree) open(name string) (content, error) {
	in, err := t.inode(name, true)
	if err != nil {
		return nil, err
	}
	return newImageFile(in), nil
}

// parent is the directory a name is in, with a reference taken. The root is no name.
func (t *imageTree) parent(name string) (*ext2.Inode, string, error) {
	if name == "." {
		return nil, "", ext2.ErrExist
	}
	in, err := t.inode(path.Dir(name), true)
	if err != nil {
		return nil, "", err
	}
	return in, path.Base(name), nil
}

func (t *imageTree) create(name string) (content, error) {
	in, err := t.inode(name, false)
	switch {
	case err == nil:
		zero := int64(0)
		if err := in.SetAttr(context.Background(), ext2.SetAttr{Size: &zero}); err != nil {
			in.Put()
			return nil, err
		}
		return newImageFile(in), nil
	case !errors.Is(err, iofs.ErrNotExist):
		return nil, err
	}
	if in, err = t.add(name, ext2.CreateOptions{Mode: unix.S_IFREG | 0o600}); err != nil {
		return nil, err
	}
	return newImageFile(in), nil
}

func (t *imageTree) make(name string, m *fileMeta, leads string) error {
	mode := m.mode&unix.S_IFMT | 0o700
	if m.is(unix.S_IFLNK) {
		mode = m.mode
	}
	in, err := t.add(name, ext2.CreateOptions{Mode: mode, Major: m.major, Minor: m.minor, Target: leads})
	if err == nil {
		in.Put()
	}
	return err
}

func (t *imageTree) add(name string, o ext2.CreateOptions) (*ext2.Inode, error) {
	dir, base, err := t.parent(name)
	if err != nil {
		return nil, err
	}
	defer dir.Put()
	return dir.Create(context.Background(), base, o)
}

func (t *imageTree) link(old, name string) error {
	in, err := t.inode(old, false)
	if err != nil {
		return err
	}
	defer in.Put()
	dir, base, err := t.parent(name)
	if err != nil {
		return err
	}
	defer dir.Put()
	return dir.Link(context.Background(), base, in, ext2.Root)
}

func (t *imageTree) remove(name string) error {
	dir, base, err := t.parent(name)
	if err != nil {
		return err
	}
	defer dir.Put()
	return dir.Unlink(context.Background(), base)
}

func (t *imageTree) setMeta(name string, m *fileMeta) error {
	in, err := t.inode(name, false)
	if err != nil {
		return err
	}
	defer in.Put()
	// A default ACL of the directory may have left some that the original has not.
	there, err := in.Listxattr()
	if err != nil {
		return err
	}
	for _, n := range there {
		if _, ok := m.xattrs[n]; !ok {
			if err := in.Removexattr(context.Background(), n, ext2.Root); err != nil && !errors.Is(err, ext2.ErrNoAttr) {
				return err
			}
		}
	}
	for n, value := range m.xattrs {
		// Namespaces that ext2 does not have are left out.
		if err := in.Setxattr(context.Background(), n, value, 0, ext2.Root); err != nil && !errors.Is(err, ext2.ErrNotSupported) {
			return err
		}
	}
	set := ext2.SetAttr{UID: &m.uid, GID: &m.gid, Atime: &m.atime, Mtime: &m.mtime}
	if mode := m.mode & 0o7777; !in.IsSymlink() {
		set.Mode = &mode
	}
	return in.SetAttr(context.Background(), set)
}

// imageFile is a regular file of an image.
type imageFile struct {
	io.ReaderAt
	io.WriterAt
	in *ext2.Inode
}

func newImageFile(in *ext2.Inode) *imageFile {
	ctx := context.Background() // copyContent looks for interrupts
	return &imageFile{in.ReaderAt(ctx), in.WriterAt(ctx, ext2.WriteOptions{Cred: ext2.Root}), in}
}

func (f *imageFile) Close() error { f.in.Put(); return nil }

func (f *imageFile) truncate(size int64) error {
	return f.in.SetAttr(context.Background(), ext2.SetAttr{Size: &size})
}

func (f *imageFile) data(off int64) (from, to int64, err error) {
	from, err = f.in.SeekData(context.Background(), off)
	if errors.Is(err, ext2.ErrNoData) {
		return -1, -1, nil
	}
	if err == nil {
		to, err = f.in.SeekHole(context.Background(), from)
	}
	return from, to, err
}
