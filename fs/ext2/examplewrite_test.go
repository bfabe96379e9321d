//go:build linux

package ext2_test

import (
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/ext2fuse/ext2fuse/fs/ext2"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// Write a file, as root of the image. What was written is durable after Fsync, and the image
// is complete after Close.
func ExampleInode_Write() {
	img, remove := makeImage()
	defer remove()

	fsys, err := ext2.Open(img, ext2.Options{})
	check(err)
	root, err := fsys.Root()
	check(err)
	file, err := root.Create("new.txt", ext2.NewInode{Mode: disk.ModeReg | 0o644, Cred: ext2.Root})
	check(err)
	_, err = file.Write([]byte("written\n"), 0, ext2.WriteOptions{Cred: ext2.Root})
	check(err)
	check(file.Fsync())
	file.Put(1)
	root.Put(1)

	data, err := fs.ReadFile(fsys.FS(), "new.txt")
	check(err)
	fmt.Printf("%s", data)
	check(fsys.Close())
	// Output: written
}

// Serve an image over HTTP.
func ExampleFS_FS_http() {
	img, remove := makeImage()
	defer remove()

	fsys, err := ext2.Open(img, ext2.Options{ReadOnly: true})
	check(err)
	defer fsys.Close()
	handler := http.FileServer(http.FS(fsys.FS()))

	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/docs/hello.txt", nil))
	fmt.Print(answer.Code, " ", answer.Body)
	// Output: 200 Hello, ext2!
}

// Copy a directory into a new image, which mke2fs made.
func ExampleInode_Create() {
	img, remove := makeImage()
	defer remove()
	tree, err := os.MkdirTemp("", "ext2-example")
	check(err)
	defer os.RemoveAll(tree)
	check(os.MkdirAll(filepath.Join(tree, "a", "b"), 0o755))
	check(os.WriteFile(filepath.Join(tree, "a", "b", "c"), []byte("copied\n"), 0o600))

	fsys, err := ext2.Open(img, ext2.Options{})
	check(err)
	check(fs.WalkDir(os.DirFS(tree), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		dir, err := fsys.InodeByPath(path.Dir(name), true)
		if err != nil {
			return err
		}
		defer dir.Put(1)
		info, err := d.Info()
		if err != nil {
			return err
		}
		mode := uint32(disk.ModeReg)
		if d.IsDir() {
			mode = disk.ModeDir
		}
		in, err := dir.Create(path.Base(name), ext2.NewInode{Mode: mode | uint32(info.Mode().Perm()), Cred: ext2.Root})
		if err != nil {
			return err
		}
		defer in.Put(1)
		if d.IsDir() {
			return nil
		}
		data, err := os.ReadFile(filepath.Join(tree, name))
		if err == nil {
			_, err = in.Write(data, 0, ext2.WriteOptions{Cred: ext2.Root})
		}
		return err
	}))
	data, err := fs.ReadFile(fsys.FS(), "a/b/c")
	check(err)
	fmt.Println(strings.TrimSpace(string(data)))
	check(fsys.Close())
	// Output: copied
}
