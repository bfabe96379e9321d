//go:build linux

package ext2_test

import (
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/ext2fuse/ext2fuse/fs/ext2"
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
	out, err := exec.Command("mke2fs", "-q", "-t", "ext2", "-d", tree, img, "1M").CombinedOutput()
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

// Walk through an image with the standard library, without mounting it.
func ExampleFS_FS() {
	img, remove := makeImage()
	defer remove()

	disk, err := ext2.Open(img, ext2.Options{ReadOnly: true})
	check(err)
	defer disk.Close()

	err = fs.WalkDir(disk.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			fmt.Println(d.Type(), path)
		}
		return err
	})
	check(err)

	// "hello" is a symbolic link; it is followed.
	data, err := fs.ReadFile(disk.FS(), "hello")
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

// Look a name up, and read the file it stands for.
func ExampleInode_Lookup() {
	img, remove := makeImage()
	defer remove()

	disk, err := ext2.Open(img, ext2.Options{ReadOnly: true})
	check(err)
	defer disk.Close()

	root, err := disk.Root()
	check(err)
	defer root.Put(1) // every inode that was given out is given back

	docs, err := root.Lookup("docs")
	check(err)
	defer docs.Put(1)
	file, err := docs.Lookup("hello.txt")
	check(err)
	defer file.Put(1)

	attr := file.Attr()
	fmt.Printf("%d bytes, mode %o\n", attr.Size, attr.Mode)
	data, err := io.ReadAll(io.NewSectionReader(file, 0, attr.Size))
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

	disk, err := ext2.Open(img, ext2.Options{ReadOnly: true})
	check(err)
	defer disk.Close()
	root, err := disk.Root()
	check(err)
	defer root.Put(1)

	names := map[string]bool{}
	for cookie, more := uint64(0), true; more; {
		more = false
		err := root.ReadDir(cookie, func(e ext2.DirEntry) bool {
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
