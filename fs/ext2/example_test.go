//go:build linux

package ext2_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/ext2fuse/ext2fuse/fs/ext2"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// makeImage makes an image of a small tree with mke2fs and returns its path.
func makeImage() (img string, remove func()) {
	dir, err := os.MkdirTemp("", "ext2-example")
	check(err)
	tree := filepath.Join(dir, "tree")
	check(os.MkdirAll(filepath.Join(tree, "docs"), 0o755))
	check(os.WriteFile(filepath.Join(tree, "docs", "hello.txt"), []byte("Hello, ext2!\n"), 0o644))
	check(os.Symlink("docs/hello.txt", filepath.Join(tree, "hello")))
	img = filepath.Join(dir, "disk.img")
	out, err := exec.Command("mke2fs", "-q", "-t", "ext2", "-d", tree, img, "4M").CombinedOutput()
	if err != nil {
		log.Fatalf("mke2fs: %v\n%s", err, out)
	}
	return img, func() { os.RemoveAll(dir) }
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// Open an image, write a file, read it, close the image.
func Example() {
	img, remove := makeImage()
	defer remove()
	ctx := context.Background()

	fsys, err := ext2.Open(ctx, img, ext2.Options{})
	check(err)
	root, err := fsys.Root()
	check(err)
	file, err := root.Create(ctx, "new.txt", ext2.CreateOptions{Mode: disk.ModeReg | 0o644})
	check(err)
	_, err = file.Write(ctx, []byte("written\n"), 0, ext2.WriteOptions{})
	check(err)
	check(file.Fsync(ctx)) // durable from here on, whatever happens
	file.Put()             // every inode that was given out is given back
	root.Put()

	data, err := fs.ReadFile(fsys.FS(ctx), "new.txt")
	check(err)
	fmt.Printf("%s", data)
	check(fsys.Close())
	// Output: written
}

// Walk through an image with the standard library, without mounting it.
func ExampleFS_FS() {
	img, remove := makeImage()
	defer remove()
	ctx := context.Background()

	disk, err := ext2.Open(ctx, img, ext2.Options{ReadOnly: true})
	check(err)
	defer disk.Close()
	fsys := disk.FS(ctx)

	err = fs.WalkDir(fsys, ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			fmt.Println(d.Type(), path)
		}
		return err
	})
	check(err)

	// "hello" is a symbolic link; it is followed.
	data, err := fs.ReadFile(fsys, "hello")
	check(err)
	fmt.Printf("%s", data)
	// Output:
	// d--------- .
	// d--------- docs
	// ---------- docs/hello.txt
	// L--------- hello
	// d--------- lost+found
	// Hello, ext2!
}

// Serve an image over HTTP. Each request has its own context: when a client hangs up, what
// is read for it ends.
func ExampleFS_FS_http() {
	img, remove := makeImage()
	defer remove()

	fsys, err := ext2.Open(context.Background(), img, ext2.Options{ReadOnly: true})
	check(err)
	defer fsys.Close()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.FileServerFS(fsys.FS(r.Context())).ServeHTTP(w, r)
	}))
	defer server.Close()

	answer, err := http.Get(server.URL + "/docs/hello.txt")
	check(err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	check(err)
	fmt.Printf("%s, %s", answer.Status, text)
	// Output: 200 OK, Hello, ext2!
}

// Give up in the midst of something: by a signal (signal.NotifyContext), a deadline
// (context.WithTimeout), or as here.
func Example_cancel() {
	img, remove := makeImage()
	defer remove()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	fsys, err := ext2.Open(ctx, img, ext2.Options{})
	check(err)
	err = fs.WalkDir(fsys.FS(ctx), ".", func(path string, d fs.DirEntry, err error) error {
		if path == "docs" {
			cancel()
		}
		return err
	})
	fmt.Println(err, errors.Is(err, context.Canceled))
	fmt.Println(fsys.Sync(ctx))

	// The file system is whole, and goes on with another context.
	names, err := fs.ReadDir(fsys.FS(context.Background()), "docs")
	fmt.Println(len(names), err)
	fmt.Println(fsys.Close())
	// Output:
	// readdir docs: context canceled true
	// syncing the file system: context canceled
	// 1 <nil>
	// <nil>
}

// Look a name up, and read the file it stands for.
func ExampleInode_Lookup() {
	img, remove := makeImage()
	defer remove()
	ctx := context.Background()

	fsys, err := ext2.Open(ctx, img, ext2.Options{ReadOnly: true})
	check(err)
	defer fsys.Close()

	root, err := fsys.Root()
	check(err)
	defer root.Put()
	docs, err := root.Lookup("docs")
	check(err)
	defer docs.Put()
	file, err := docs.Lookup("hello.txt")
	check(err)
	defer file.Put()

	attr := file.Attr()
	fmt.Printf("%d bytes, mode %o\n", attr.Size, attr.Mode)
	data, err := io.ReadAll(io.NewSectionReader(file.ReaderAt(ctx), 0, attr.Size))
	check(err)
	fmt.Printf("%s", data)
	// Output:
	// 13 bytes, mode 100644
	// Hello, ext2!
}

// List a directory in pieces. The cookie of an entry is where to go on behind it; it
// stays good when the directory changes.
func ExampleInode_ReadDir() {
	img, remove := makeImage()
	defer remove()
	ctx := context.Background()

	fsys, err := ext2.Open(ctx, img, ext2.Options{ReadOnly: true})
	check(err)
	defer fsys.Close()
	root, err := fsys.Root()
	check(err)
	defer root.Put()

	names := map[string]bool{}
	for cookie, more := uint64(0), true; more; {
		more = false
		err := root.ReadDir(ctx, cookie, func(e ext2.DirEntry) bool {
			if more {
				return false // one entry a piece
			}
			more = true
			names[string(e.Name)] = true
			cookie = e.Next
			return true
		})
		check(err)
	}
	fmt.Println(len(names), names["docs"], names["lost+found"])
	// Output: 5 true true
}

// See where a file lies on the device.
func ExampleInode_Extents() {
	img, remove := makeImage()
	defer remove()
	ctx := context.Background()

	fsys, err := ext2.Open(ctx, img, ext2.Options{})
	check(err)
	defer fsys.Close()
	root, err := fsys.Root()
	check(err)
	defer root.Put()
	file, err := root.Create(ctx, "sparse", ext2.CreateOptions{Mode: disk.ModeReg | 0o644})
	check(err)
	defer file.Put()
	block := make([]byte, fsys.BlockSize())
	for _, at := range []int64{0, 1, 20} { // file blocks; the others are holes
		_, err = file.Write(ctx, block, at*int64(len(block)), ext2.WriteOptions{})
		check(err)
	}

	list, err := file.Extents(ctx)
	check(err)
	for _, e := range list {
		fmt.Printf("level %d, from file block %d on: %d blocks\n", e.Level, e.File, e.Count)
	}
	// Output:
	// level 0, from file block 0 on: 2 blocks
	// level 1, from file block 12 on: 1 blocks
	// level 0, from file block 20 on: 1 blocks
}
