//go:build linux

package ext2_test

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"testing/fstest"

	"github.com/ext2fuse/ext2fuse/fs/ext2"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// copyInto copies directories, files and symbolic links into an image, as root's.
func copyInto(ctx context.Context, fsys *ext2.FS, tree fs.FS) error {
	return fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		dir, err := fsys.InodeByPath(path.Dir(name), false)
		if err != nil {
			return err
		}
		defer dir.Put()
		info, err := d.Info()
		if err != nil {
			return err
		}
		o := ext2.CreateOptions{Mode: uint32(info.Mode().Perm())}
		switch d.Type() {
		case fs.ModeDir:
			o.Mode |= disk.ModeDir
		case fs.ModeSymlink:
			o.Mode |= disk.ModeSymlink
			if o.Target, err = fs.ReadLink(tree, name); err != nil {
				return err
			}
		case 0:
			o.Mode |= disk.ModeReg
		default:
			return fmt.Errorf("%s: %v is left to another example", name, d.Type())
		}
		in, err := dir.Create(ctx, path.Base(name), o)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		defer in.Put()
		if d.Type() != 0 {
			return nil
		}
		from, err := tree.Open(name)
		if err != nil {
			return err
		}
		defer from.Close()
		_, err = io.Copy(io.NewOffsetWriter(in.WriterAt(ctx, ext2.WriteOptions{}), 0), from)
		return err
	})
}

// Copy a directory into a new image, which mke2fs makes. What is to be copied is any fs.FS:
// os.DirFS of a host directory, a zip.Reader, an embed.FS, another image.
func Example_copy() {
	img := filepath.Join(os.TempDir(), fmt.Sprintf("ext2-example-%d.img", os.Getpid()))
	defer os.Remove(img)
	if out, err := exec.Command("mke2fs", "-q", "-t", "ext2", img, "4M").CombinedOutput(); err != nil {
		log.Fatalf("mke2fs: %v\n%s", err, out)
	}
	tree := fstest.MapFS{
		"etc":          {Mode: fs.ModeDir | 0o755},
		"etc/hostname": {Mode: 0o644, Data: []byte("box\n")},
		"name":         {Mode: fs.ModeSymlink | 0o777, Data: []byte("etc/hostname")},
	}

	ctx := context.Background()
	fsys, err := ext2.Open(ctx, img, ext2.Options{})
	if err != nil {
		log.Fatal(err)
	}
	if err := copyInto(ctx, fsys, tree); err != nil {
		log.Fatal(err)
	}
	data, err := fs.ReadFile(fsys.FS(ctx), "name")
	fmt.Printf("%s%v\n", data, err)
	if err := fsys.Close(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// box
	// <nil>
}
