//go:build linux

package ext2

import (
	"errors"
	"fmt"
	"testing"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// writable is an image file that is open for writing.
type writable struct {
	testing.TB
	img  string
	fs   *FS
	root *Inode
}

// makeWritable makes an image and opens it.
func makeWritable(t testing.TB, o ext2test.Options, mount Options) *writable {
	t.Helper()
	w := &writable{TB: t, img: ext2test.Make(t, o)}
	w.open(mount)
	return w
}

func (w *writable) open(o Options) {
	w.Helper()
	if o.Logger == nil {
		o.Logger = quiet
	}
	fs, err := Open(ctx, w.img, o)
	if err != nil {
		w.Fatal(err)
	}
	w.fs, w.root = fs, must(fs.Root())(w)
}

// close closes the image and has e2fsck look at it.
func (w *writable) close() {
	w.Helper()
	w.root.Put()
	if err := w.fs.Close(); err != nil {
		w.Fatal(err)
	}
	ext2test.Fsck(w, w.img)
}

// must gives what a call returned, or ends the test.
func must[T any](v T, err error) func(t testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// create makes an object in the root directory, for root.
func (w *writable) create(name string, mode uint32) *Inode {
	w.Helper()
	return must(w.root.Create(ctx, name, CreateOptions{Mode: mode, Major: 8, Minor: 3, Target: "target"}))(w)
}

func (w *writable) write(in *Inode, p []byte, off int64) {
	w.Helper()
	if n, err := in.Write(ctx, p, off, WriteOptions{}); n != len(p) || err != nil {
		w.Fatalf("writing %d bytes at %d: %d, %v", len(p), off, n, err)
	}
}

func (w *writable) truncate(in *Inode, size int64) {
	w.Helper()
	if err := in.SetAttr(ctx, SetAttr{Size: &size}); err != nil {
		w.Fatal(err)
	}
}

// fill takes all the blocks that cred may have, and returns the file that has them.
func (w *writable) fill(name string, cred Cred) *Inode {
	w.Helper()
	in := w.create(name, disk.ModeReg|0o644)
	p := make([]byte, 64<<10)
	for off := int64(0); ; {
		n, err := in.Write(ctx, p, off, WriteOptions{Cred: cred})
		off += int64(n)
		if errors.Is(err, ErrNoSpace) {
			if len(p) == w.fs.blockSize {
				return in
			}
			p = p[:w.fs.blockSize]
		} else if err != nil {
			w.Fatal(err)
		}
	}
}

// wantErr ends the test unless err is want.
func (w *writable) wantErr(what string, err, want error) {
	w.Helper()
	if !errors.Is(err, want) {
		w.Errorf("%s: %v, want %v", what, err, want)
	}
}

func name(i int) string { return fmt.Sprintf("name-%07d", i) }
