//go:build linux

package ext2

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// sampleTree makes a directory with files of several sizes, directories deep and wide,
// hard and symbolic links.
func sampleTree(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for i, n := range []int{0, 1, 511, 1024, 5000, 20000} {
		must(os.MkdirAll(filepath.Join(dir, "files", fmt.Sprint(i)), 0o755))
		must(os.WriteFile(filepath.Join(dir, "files", fmt.Sprint(i), fmt.Sprintf("%d bytes", n)), ext2test.Content(uint64(n), n), 0o640))
	}
	must(os.MkdirAll(filepath.Join(dir, "a/b/c/d/e"), 0o700))
	must(os.WriteFile(filepath.Join(dir, "a/b/c/d/e/deep.txt"), []byte("deep\n"), 0o644))
	must(os.Mkdir(filepath.Join(dir, "wide"), 0o755))
	makeNames(t, filepath.Join(dir, "wide"), []string{"a", "b", "c", "x-1", "x-2", "ä", " ", "-", "%41"})
	must(os.Link(filepath.Join(dir, "a/b/c/d/e/deep.txt"), filepath.Join(dir, "hard")))
	for link, target := range map[string]string{"soft": "a/b/c/d/e/deep.txt", "a/up": "../wide", "a/b/here": "./c", "chain": "soft"} {
		must(os.Symlink(target, filepath.Join(dir, link)))
	}
	old := time.Date(1999, 12, 31, 23, 59, 59, 123456789, time.UTC)
	must(os.Chtimes(filepath.Join(dir, "hard"), old, old))
	return dir
}

// TestIOFS is the standard suite, on images of all block sizes.
func TestIOFS(t *testing.T) {
	src := sampleTree(t)
	for bs := 1024; bs <= disk.MaxBlockSize; bs *= 4 {
		o := ext2test.Options{BlockSize: bs, Size: 16 << 20, Root: src}
		if bs == 1024 {
			o.Features = []string{"^filetype"} // the types come from the inodes then
		}
		if bs > 4096 {
			o.Size = int64(bs) << 10
		}
		fs := openImage(t, ext2test.Make(t, o), Options{})
		if err := fstest.TestFS(fs.FS(ctx), "a/b/c/d/e/deep.txt", "files/5/20000 bytes", "wide/ä", "soft", "lost+found"); err != nil {
			t.Errorf("block size %d: %v", bs, err)
		}
	}
}

// TestIOFSLikeDirFS compares the io/fs view with os.DirFS of the tree that the image was
// made from.
func TestIOFSLikeDirFS(t *testing.T) {
	src := sampleTree(t)
	fs := openImage(t, ext2test.Make(t, ext2test.Options{Root: src, InodeSize: 256}), Options{})
	image, host := fs.FS(ctx), os.DirFS(src)
	seen := 0
	err := iofs.WalkDir(image, ".", func(p string, d iofs.DirEntry, err error) error {
		if err != nil || p == "lost+found" {
			return err
		}
		seen++
		got, err1 := iofs.Lstat(image, p)
		want, err2 := iofs.Lstat(host, p)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		if got.Name() != want.Name() || got.Mode() != want.Mode() || got.ModTime().Unix() != want.ModTime().Unix() {
			t.Errorf("%s: %v, want %v", p, got, want)
		}
		if a, ok := got.Sys().(*Attr); !ok || a.Size != got.Size() || !got.IsDir() && got.Size() != want.Size() {
			t.Errorf("%s: Sys %+v, size %d, want %d", p, got.Sys(), got.Size(), want.Size())
		}
		gotStat, err1 := iofs.Stat(image, p)
		wantStat, err2 := iofs.Stat(host, p)
		if err1 != nil || err2 != nil || gotStat.Mode() != wantStat.Mode() {
			t.Errorf("%s: %v, %v; want %v, %v", p, gotStat, err1, wantStat, err2)
		}
		if got.Mode().IsRegular() {
			a, err1 := iofs.ReadFile(image, p)
			b, err2 := iofs.ReadFile(host, p)
			if err1 != nil || err2 != nil || !bytes.Equal(a, b) {
				t.Errorf("%s: %d bytes, %v; want %d, %v", p, len(a), err1, len(b), err2)
			}
		}
		return nil
	})
	if err != nil || seen < 30 {
		t.Errorf("walked %d names: %v", seen, err)
	}
	hostGlob, _ := iofs.Glob(host, "*/*/*")
	imageGlob, err := iofs.Glob(image, "*/*/*")
	if err != nil || !reflect.DeepEqual(hostGlob, imageGlob) {
		t.Errorf("glob: %q, %v; want %q", imageGlob, err, hostGlob)
	}
}

// TestIOFSSymlinks: links stay in the image, as in a process with its root there.
func TestIOFSSymlinks(t *testing.T) {
	src := sampleTree(t)
	links := map[string]string{
		"abs": "/soft", "abs-dir": "/a/b", "out": "../../../../etc/passwd", "out-in": "../../../hard", "root": "/", "dots": "../..",
		"trailing": "wide/", "file-slash": "hard/", "self": "self", "ping": "pong", "pong": "ping", "dangling": "nowhere",
		"a/b/abs": "/files", "empty-parts": ".//a//.//b", "through-file": "hard/x",
	}
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join(src, name)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 50 {
		target := "hard"
		if i > 0 {
			target = fmt.Sprint("hop-", i-1)
		}
		if err := os.Symlink(target, filepath.Join(src, fmt.Sprint("hop-", i))); err != nil {
			t.Fatal(err)
		}
	}
	img := ext2test.Make(t, ext2test.Options{Root: src})
	fs := openImage(t, img, Options{})
	for _, c := range []struct {
		path, same string // leads to the same inode as
		want       error
	}{
		{"abs", "hard", nil}, {"abs-dir/c/d", "a/b/c/d", nil}, {"out", "", iofs.ErrNotExist}, {"out-in", "hard", nil},
		{"root", ".", nil}, {"root/root/root/wide", "wide", nil}, {"dots", ".", nil}, {"trailing", "wide", nil},
		{"file-slash", "", ErrNotDir}, {"self", "", ErrLoop}, {"ping", "", ErrLoop}, {"dangling", "", iofs.ErrNotExist},
		{"a/b/abs/0", "files/0", nil}, {"empty-parts/c", "a/b/c", nil}, {"through-file", "", ErrNotDir},
		{"hop-39", "hard", nil}, {"hop-40", "", ErrLoop}, {"chain", "hard", nil}, {"a/up/a", "wide/a", nil},
		{"hard/x", "", ErrNotDir}, {"nowhere/x", "", iofs.ErrNotExist},
		{"/hard", "", iofs.ErrInvalid}, {"", "", iofs.ErrInvalid}, {"a/../hard", "", iofs.ErrInvalid}, {"a/", "", iofs.ErrInvalid},
	} {
		info, err := iofs.Stat(fs.FS(ctx), c.path)
		if c.want != nil {
			var pe *iofs.PathError
			if !errors.Is(err, c.want) || !errors.As(err, &pe) || pe.Path != c.path {
				t.Errorf("%s: %v, want %v", c.path, err, c.want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.path, err)
			continue
		}
		if want := inodeAt(t, fs, c.same).Ino(); info.Sys().(*Attr).Ino != want {
			t.Errorf("%s leads to inode %d, want %d", c.path, info.Sys().(*Attr).Ino, want)
		}
	}
	for name, target := range links {
		if got, err := iofs.ReadLink(fs.FS(ctx), name); got != target || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := iofs.ReadLink(fs.FS(ctx), "hard"); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
}

// TestIOFSFile: seeking, reading at offsets, copying, and use after closing.
func TestIOFSFile(t *testing.T) {
	src := sampleTree(t)
	big := ext2test.Content(9, 3<<20+17)
	if err := os.WriteFile(filepath.Join(src, "big"), big, 0o644); err != nil {
		t.Fatal(err)
	}
	fs := openImage(t, ext2test.Make(t, ext2test.Options{Root: src, BlockSize: 4096}), Options{})
	f, err := fs.FS(ctx).Open("big")
	if err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	if n, err := f.(io.WriterTo).WriteTo(&all); n != int64(len(big)) || err != nil || !bytes.Equal(all.Bytes(), big) {
		t.Errorf("WriteTo: %d bytes, %v", n, err)
	}
	if n, err := f.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("at the end: %d, %v", n, err)
	}
	s := f.(io.Seeker)
	for _, c := range []struct {
		off    int64
		whence int
		want   int64
	}{{100, io.SeekStart, 100}, {-50, io.SeekCurrent, 50}, {-17, io.SeekEnd, 3 << 20}, {5, io.SeekEnd, 3<<20 + 22}} {
		if got, err := s.Seek(c.off, c.whence); got != c.want || err != nil {
			t.Errorf("Seek(%d, %d): %d, %v", c.off, c.whence, got, err)
		}
	}
	for _, whence := range []int{io.SeekStart, 7} {
		if _, err := s.Seek(-1, whence); !errors.Is(err, iofs.ErrInvalid) {
			t.Errorf("Seek(-1, %d): %v", whence, err)
		}
	}
	// Any number of readers at once.
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			p := make([]byte, 10000)
			for i := range 50 {
				off := (g*50 + i) * 7001 % (len(big) - len(p))
				if _, err := f.(io.ReaderAt).ReadAt(p, int64(off)); err != nil || !bytes.Equal(p, big[off:off+len(p)]) {
					t.Errorf("ReadAt %d: %v", off, err)
				}
				if _, err := iofs.ReadDir(fs.FS(ctx), "wide"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	f.Close()
	_, err1 := f.Read(nil)
	_, err2 := f.Stat()
	_, err3 := f.(io.ReaderAt).ReadAt(nil, 0)
	_, err4 := s.Seek(0, 0)
	_, err5 := f.(io.WriterTo).WriteTo(io.Discard)
	for i, err := range []error{err1, err2, err3, err4, err5, f.Close()} {
		if !errors.Is(err, iofs.ErrClosed) {
			t.Errorf("call %d after Close: %v", i, err)
		}
	}
	d, err := fs.FS(ctx).Open("wide")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Read(make([]byte, 1)); !errors.Is(err, ErrIsDir) {
		t.Errorf("reading a directory: %v", err)
	}
	d.Close()
	if _, err := d.(iofs.ReadDirFile).ReadDir(-1); !errors.Is(err, iofs.ErrClosed) {
		t.Error(err)
	}
}

// TestIOFSHTTP serves an image, as http.FS users do.
func TestIOFSHTTP(t *testing.T) {
	src := sampleTree(t)
	fs := openImage(t, ext2test.Make(t, ext2test.Options{Root: src}), Options{})
	srv := httptest.NewServer(http.FileServerFS(fs.FS(ctx)))
	defer srv.Close()
	get := func(path, rng string) (int, []byte) {
		req, _ := http.NewRequest("GET", srv.URL+path, nil)
		if rng != "" {
			req.Header.Set("Range", rng)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, body
	}
	want := ext2test.Content(20000, 20000)
	if code, body := get("/files/5/20000%20bytes", ""); code != 200 || !bytes.Equal(body, want) {
		t.Errorf("file: %d, %d bytes", code, len(body))
	}
	if code, body := get("/files/5/20000%20bytes", "bytes=15000-15099"); code != 206 || !bytes.Equal(body, want[15000:15100]) {
		t.Errorf("range: %d, %d bytes", code, len(body))
	}
	if code, body := get("/wide/", ""); code != 200 || !bytes.Contains(body, []byte("x-2")) {
		t.Errorf("directory: %d, %s", code, body)
	}
	if code, _ := get("/nothing", ""); code != 404 {
		t.Errorf("missing: %d", code)
	}
}

// TestIOFSDamaged: what can be read is given, with the error.
func TestIOFSDamaged(t *testing.T) {
	img := craft(t, 1024)
	img.dir(badIno, names(0, 300)...)
	img.dir(RootIno, namedIno{"d", badIno}, namedIno{"file", fileIno}, namedIno{"gone", 30})
	img.dirBlock(badIno, 1, func(b []byte) { put16(b, 4, 0) })
	fs := img.open(Options{})
	list, err := iofs.ReadDir(fs.FS(ctx), "d")
	if len(list) < 200 || err == nil {
		t.Errorf("%d entries, %v", len(list), err)
	}
	d, err := fs.FS(ctx).Open("d")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	n := 0
	for {
		part, err := d.(iofs.ReadDirFile).ReadDir(9)
		n += len(part)
		if len(part) == 0 {
			if err == io.EOF || err == nil {
				t.Errorf("the listing ends with %v", err)
			}
			break
		}
	}
	if n != len(list) {
		t.Errorf("%d entries in pieces, %d at once", n, len(list))
	}
	root, err := iofs.ReadDir(fs.FS(ctx), ".")
	if err != nil || len(root) != 3 {
		t.Fatalf("%v, %v", root, err)
	}
	if _, err := root[2].Info(); !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("the entry of a deleted inode: %v", err)
	}
	// A size that is not true must not cost memory.
	img.inode(fileIno, func(in *disk.Inode) { in.Block[0], in.Size = 1<<30, 1<<34 })
	fs = img.open(Options{})
	if _, err := iofs.ReadFile(fs.FS(ctx), "file"); err == nil {
		t.Error("no error")
	}
}
