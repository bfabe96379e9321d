package ext2

import (
	"context"
	iofs "io/fs"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// FS is the file system for users of io/fs, such as fs.WalkDir and http.FileServerFS. What
// they do, also with files that they have open, ends when ctx does. It costs nothing to
// make: one for each request, say.
//
// Beside Open it has ReadDir, ReadFile, Stat, Lstat and ReadLink; files also are
// io.ReaderAt, io.Seeker and io.WriterTo, and FileInfo.Sys is an *Attr. Several goroutines
// may use it and its files at once.
//
// Symbolic links are followed as in a process whose root directory is the image's root:
// absolute ones begin there, and nothing leads out of the image. Permission bits are
// shown, not enforced. Files are to be closed before the FS is.
func (fs *FS) FS(ctx context.Context) iofs.FS { return imageFS{fs, ctx} }

// imageFS is FS as an io/fs.FS.
type imageFS struct {
	fs  *FS
	ctx context.Context
}

var (
	_ iofs.ReadDirFS  = imageFS{}
	_ iofs.ReadFileFS = imageFS{}
	_ iofs.StatFS     = imageFS{}
	_ iofs.ReadLinkFS = imageFS{}
)

// Open opens a file or directory, following symbolic links.
func (f imageFS) Open(name string) (iofs.File, error) {
	in, err := f.find("open", name, true)
	if err != nil {
		return nil, err
	}
	if in.IsDir() {
		return &openDir{handle{in: in, ctx: f.ctx, name: name}}, nil
	}
	return &openFile{handle{in: in, ctx: f.ctx, name: name}}, nil
}

// Stat describes what name leads to.
func (f imageFS) Stat(name string) (iofs.FileInfo, error) { return f.info("stat", name, true) }

// Lstat is Stat, but describes a symbolic link instead of following it.
func (f imageFS) Lstat(name string) (iofs.FileInfo, error) { return f.info("lstat", name, false) }

func (f imageFS) info(op, name string, follow bool) (iofs.FileInfo, error) {
	in, err := f.find(op, name, follow)
	if err != nil {
		return nil, err
	}
	defer in.Put()
	return newFileInfo(path.Base(name), in), nil
}

// ReadLink is the target of a symbolic link.
func (f imageFS) ReadLink(name string) (string, error) {
	in, err := f.find("readlink", name, false)
	if err != nil {
		return "", err
	}
	defer in.Put()
	target, err := in.Readlink()
	if err != nil {
		return "", &iofs.PathError{Op: "readlink", Path: name, Err: err}
	}
	return target, nil
}

// ReadDir lists a directory, sorted by name. Where the image is damaged it gives what it
// could read, and the error.
func (f imageFS) ReadDir(name string) ([]iofs.DirEntry, error) {
	in, err := f.find("readdir", name, true)
	if err != nil {
		return nil, err
	}
	d := openDir{handle{in: in, ctx: f.ctx, name: name}}
	defer d.Close()
	list, err := d.ReadDir(-1)
	slices.SortFunc(list, func(a, b iofs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return list, err
}

// ReadFile reads a whole file.
func (f imageFS) ReadFile(name string) ([]byte, error) {
	in, err := f.find("open", name, true)
	if err != nil {
		return nil, err
	}
	defer in.Put()
	// What i_size says is not believed beyond this before it was read.
	const believed = 64 << 20
	data := make([]byte, 0, min(in.Attr().Size, believed)+1)
	for {
		n, err := in.Read(f.ctx, data[len(data):cap(data)], int64(len(data)))
		data = data[:len(data)+n]
		if err != nil {
			return data, &iofs.PathError{Op: "read", Path: name, Err: err}
		}
		if len(data) < cap(data) {
			return data, nil
		}
		data = slices.Grow(data, len(data))
	}
}

// find is the inode that a path leads to, with a reference taken.
func (f imageFS) find(op, name string, follow bool) (*Inode, error) {
	if !iofs.ValidPath(name) {
		return nil, &iofs.PathError{Op: op, Path: name, Err: iofs.ErrInvalid}
	}
	if err := f.ctx.Err(); err != nil {
		return nil, &iofs.PathError{Op: op, Path: name, Err: err}
	}
	in, err := f.fs.InodeByPath(name, follow)
	if err != nil {
		return nil, &iofs.PathError{Op: op, Path: name, Err: err}
	}
	return in, nil
}

// fileInfo describes an inode under a name.
type fileInfo struct {
	name string
	attr Attr
}

func newFileInfo(name string, in *Inode) *fileInfo { return &fileInfo{name, in.Attr()} }

func (i *fileInfo) Name() string        { return i.name }
func (i *fileInfo) Size() int64         { return i.attr.Size }
func (i *fileInfo) Mode() iofs.FileMode { return fileMode(i.attr.Mode) }
func (i *fileInfo) IsDir() bool         { return i.Mode().IsDir() }
func (i *fileInfo) Sys() any            { return &i.attr }
func (i *fileInfo) String() string      { return iofs.FormatFileInfo(i) }
func (i *fileInfo) ModTime() time.Time {
	return time.Unix(i.attr.Mtime.Sec, int64(i.attr.Mtime.Nsec))
}

// fileMode turns i_mode into Go's bits.
func fileMode(mode uint32) iofs.FileMode {
	m := iofs.FileMode(mode & 0o777)
	for _, b := range []struct {
		on uint32
		is iofs.FileMode
	}{{syscall.S_ISUID, iofs.ModeSetuid}, {syscall.S_ISGID, iofs.ModeSetgid}, {syscall.S_ISVTX, iofs.ModeSticky}} {
		if mode&b.on != 0 {
			m |= b.is
		}
	}
	return m | typeMode(disk.FileType(uint16(mode)))
}

// typeMode turns the file type of a directory entry into Go's bits.
func typeMode(t uint8) iofs.FileMode {
	switch t {
	case disk.TypeReg:
		return 0
	case disk.TypeDir:
		return iofs.ModeDir
	case disk.TypeSymlink:
		return iofs.ModeSymlink
	case disk.TypeChar:
		return iofs.ModeDevice | iofs.ModeCharDevice
	case disk.TypeBlock:
		return iofs.ModeDevice
	case disk.TypeFIFO:
		return iofs.ModeNamedPipe
	case disk.TypeSocket:
		return iofs.ModeSocket
	}
	return iofs.ModeIrregular
}
