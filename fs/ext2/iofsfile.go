package ext2

import (
	"context"
	"errors"
	"io"
	iofs "io/fs"
	"path"
	"sync"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// handle is what open files and directories share.
type handle struct {
	in   *Inode
	ctx  context.Context
	name string

	mu     sync.Mutex
	pos    int64 // of a file, bytes
	cookie uint64
	closed bool
}

// Stat describes the file.
func (o *handle) Stat() (iofs.FileInfo, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil, o.fail("stat", iofs.ErrClosed)
	}
	return newFileInfo(path.Base(o.name), o.in), nil
}

// Close ends the use of the file.
func (o *handle) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return o.fail("close", iofs.ErrClosed)
	}
	o.closed = true
	o.in.Put()
	return nil
}

func (o *handle) fail(op string, err error) error {
	return &iofs.PathError{Op: op, Path: o.name, Err: err}
}

// openFile is an open file that is no directory. Only regular ones have content; reads
// of others fail.
type openFile struct{ handle }

var (
	_ iofs.File   = (*openFile)(nil)
	_ io.ReaderAt = (*openFile)(nil)
	_ io.Seeker   = (*openFile)(nil)
	_ io.WriterTo = (*openFile)(nil)
)

// Read reads on from the file's position.
func (f *openFile) Read(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.readLocked(p, f.pos)
	f.pos += int64(n)
	return n, err
}

func (f *openFile) readLocked(p []byte, off int64) (int, error) {
	if f.closed {
		return 0, f.fail("read", iofs.ErrClosed)
	}
	n, err := f.in.Read(f.ctx, p, off)
	switch {
	case err != nil:
		return n, f.fail("read", err)
	case n == 0 && len(p) > 0:
		return 0, io.EOF
	}
	return n, nil
}

// ReadAt reads as io.ReaderAt says; reads run in parallel.
func (f *openFile) ReadAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return 0, f.fail("read", iofs.ErrClosed)
	}
	f.in.Ref() // Close may come meanwhile
	f.mu.Unlock()
	defer f.in.Put()
	n, err := f.in.ReaderAt(f.ctx).ReadAt(p, off)
	if err != nil && err != io.EOF {
		err = f.fail("read", err)
	}
	return n, err
}

// Seek sets the file's position as io.Seeker says.
func (f *openFile) Seek(offset int64, whence int) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return 0, f.fail("seek", iofs.ErrClosed)
	}
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += f.pos
	case io.SeekEnd:
		offset += f.in.Attr().Size
	default:
		return 0, f.fail("seek", iofs.ErrInvalid)
	}
	if offset < 0 {
		return 0, f.fail("seek", iofs.ErrInvalid)
	}
	f.pos = offset
	return offset, nil
}

// copyChunk is how much WriteTo reads at once: as much as one large I/O carries.
const copyChunk = 1 << 20

// WriteTo writes the rest of the file to w, in large pieces.
func (f *openFile) WriteTo(w io.Writer) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return 0, f.fail("read", iofs.ErrClosed)
	}
	rest := f.in.Attr().Size - f.pos
	if rest <= 0 {
		return 0, nil
	}
	var done int64
	p := make([]byte, min(rest, copyChunk))
	for {
		n, err := f.readLocked(p, f.pos)
		if n > 0 {
			m, werr := w.Write(p[:n])
			done += int64(m)
			f.pos += int64(m)
			if werr != nil {
				return done, werr
			}
		}
		if errors.Is(err, io.EOF) {
			return done, nil
		}
		if err != nil {
			return done, err
		}
	}
}

// openDir is an open directory.
type openDir struct{ handle }

var _ iofs.ReadDirFile = (*openDir)(nil)

// Read fails: a directory has no content to read.
func (d *openDir) Read([]byte) (int, error) { return 0, d.fail("read", ErrIsDir) }

// ReadDir lists the directory as io/fs.ReadDirFile says, in the order of ReadDir of the
// inode, without "." and "..".
func (d *openDir) ReadDir(n int) ([]iofs.DirEntry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, d.fail("readdir", iofs.ErrClosed)
	}
	list := []iofs.DirEntry{}
	err := d.in.ReadDir(d.ctx, d.cookie, func(e DirEntry) bool {
		if n > 0 && len(list) == n {
			return false
		}
		d.cookie = e.Next
		if isDots(e.Name) {
			return true
		}
		list = append(list, d.in.fs.newDirEntry(e))
		return true
	})
	switch {
	case err != nil && (n <= 0 || len(list) == 0):
		return list, d.fail("readdir", err)
	case n > 0 && len(list) == 0:
		return list, io.EOF
	}
	return list, nil
}

// dirEntry is an entry of a listing.
type dirEntry struct {
	fs   *FS
	name string
	ino  uint32
	mode iofs.FileMode // type bits
}

// newDirEntry keeps an entry. Where the image does not say the type, the inode does; if
// it cannot be had, Info will tell why.
func (fs *FS) newDirEntry(e DirEntry) *dirEntry {
	d := &dirEntry{fs: fs, name: string(e.Name), ino: e.Ino, mode: typeMode(e.Type)}
	if e.Type == disk.TypeUnknown {
		if in, err := fs.Inode(e.Ino); err == nil {
			d.mode = fileMode(in.Attr().Mode).Type()
			in.Put()
		}
	}
	return d
}

func (d *dirEntry) Name() string        { return d.name }
func (d *dirEntry) IsDir() bool         { return d.mode.IsDir() }
func (d *dirEntry) Type() iofs.FileMode { return d.mode }
func (d *dirEntry) String() string      { return iofs.FormatDirEntry(d) }

// Info describes the inode, not following a symbolic link.
func (d *dirEntry) Info() (iofs.FileInfo, error) {
	in, err := d.fs.Inode(d.ino)
	if errors.Is(err, ErrStale) {
		err = ErrNotExist
	}
	if err != nil {
		return nil, &iofs.PathError{Op: "lstat", Path: d.name, Err: err}
	}
	defer in.Put()
	return newFileInfo(d.name, in), nil
}
