//go:build linux

package ext2

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// freshImage makes an empty image and opens it for writing.
func freshImage(t *testing.T, size string, args ...string) (img string, fs *FS) {
	t.Helper()
	img = filepath.Join(t.TempDir(), "img")
	run(t, "truncate", "-s", size, img)
	run(t, "mke2fs", append([]string{"-q", "-F", "-t", "ext2"}, append(args, img)...)...)
	fs, err := Open(ctx, img, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return img, fs
}

// closeAndCheck unmounts and has e2fsck judge the image.
func closeAndCheck(t *testing.T, img string, fs *FS) {
	t.Helper()
	if err := fs.Close(); err != nil {
		t.Fatal(err)
	}
	run(t, "e2fsck", "-f", "-n", img)
}

// TestManyNames adds and removes names of one directory at random, with and without
// htrees, and holds it against a map.
func TestManyNames(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
	}{
		{"htree-1k", []string{"-b", "1024", "-N", "40000"}},
		{"linear-1k", []string{"-b", "1024", "-N", "40000", "-O", "^dir_index"}},
		{"htree-4k", []string{"-b", "4096", "-N", "40000"}},
		{"linear-4k-noft", []string{"-b", "4096", "-N", "40000", "-O", "^dir_index,^filetype"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			const seed = 9
			rnd := rand.New(rand.NewPCG(seed, 1))
			img, fs := freshImage(t, "64M", c.args...)
			root, err := fs.Root()
			if err != nil {
				t.Fatal(err)
			}
			dir, err := root.Create(ctx, "dir", CreateOptions{Mode: disk.ModeDir | 0o755})
			if err != nil {
				t.Fatal(err)
			}
			names := map[string]uint32{}
			name := func() string {
				n := rnd.IntN(20000)
				return fmt.Sprintf("name-%0*d", 1+n%60, n)
			}
			for step := range 30000 {
				n := name()
				ino, there := names[n]
				switch k := rnd.IntN(10); {
				case k < 6:
					in, err := dir.Create(ctx, n, CreateOptions{Mode: disk.ModeReg | 0o644})
					if there != errors.Is(err, ErrExist) || !there && err != nil {
						t.Fatalf("seed %d step %d: create %q: %v, there: %v", seed, step, n, err, there)
					}
					if err == nil {
						names[n] = in.Ino()
						in.Put()
					}
				case k < 8:
					err := dir.Unlink(ctx, n)
					if there != (err == nil) || !there && !errors.Is(err, ErrNotExist) {
						t.Fatalf("seed %d step %d: unlink %q: %v, there: %v", seed, step, n, err, there)
					}
					delete(names, n)
				case k < 9:
					to := name()
					err := dir.Rename(ctx, n, dir, to, 0, Root)
					if there != (err == nil) {
						t.Fatalf("seed %d step %d: rename %q to %q: %v, there: %v", seed, step, n, to, err, there)
					}
					if err == nil && n != to {
						names[to] = names[n]
						delete(names, n)
					}
				default:
					got, err := dir.lookupIno(n)
					if there != (err == nil) || got != ino {
						t.Fatalf("seed %d step %d: lookup %q: %d, %v, want %d", seed, step, n, got, err, ino)
					}
				}
			}
			seen := map[string]uint32{}
			if err := dir.ReadDir(ctx, 0, func(e DirEntry) bool { seen[string(e.Name)] = e.Ino; return true }); err != nil {
				t.Fatal(err)
			}
			delete(seen, ".")
			delete(seen, "..")
			if len(seen) != len(names) {
				t.Errorf("%d names listed, want %d", len(seen), len(names))
			}
			for n, ino := range names {
				if seen[n] != ino {
					t.Errorf("%q is listed as %d, want %d", n, seen[n], ino)
				}
			}
			dir.Put()
			root.Put()
			closeAndCheck(t, img, fs)
		})
	}
}

// TestRenameRound: the ".." of two directories lead to each other. Who asks what is above them
// gets an answer, soon.
func TestRenameRound(t *testing.T) {
	w := makeWritable(t, ext2test.Options{}, Options{})
	a, b := w.create("a", disk.ModeDir|0o755), w.create("b", disk.ModeDir|0o755)
	w.create("file", disk.ModeReg|0o644).Put()
	w.create("dir", disk.ModeDir|0o755).Put()
	w.setParent(a, b.ino)
	w.setParent(b, a.ino)
	n := looked(w.fs, func() {
		if err := w.root.Rename(ctx, "dir", a, "dir", 0, Root); !errors.Is(err, ErrInvalid) {
			t.Errorf("a directory: %v, want %v", err, ErrInvalid)
		}
		w.wantErr("a file", w.root.Rename(ctx, "file", a, "file", 0, Root), nil)
	})
	if n > 200 {
		t.Errorf("%d blocks were looked at", n)
	}
	w.setParent(a, RootIno)
	w.setParent(b, RootIno)
	a.Put()
	b.Put()
	w.close()
}

// setParent makes ".." of a directory lead somewhere.
func (w *writable) setParent(dir *Inode, ino uint32) {
	w.Helper()
	err := w.fs.update(ctx, nameCredits, func() error {
		var p places
		defer p.release()
		up, err := p.pinDotDot(dir)
		if err == nil {
			dir.setParent(&up, ino)
		}
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
}
