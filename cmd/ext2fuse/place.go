//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2"
)

// place is what an operand of a verb names: a path of the host, or one in an image,
// written IMAGE:PATH as the mtools and e2tools do.
type place struct {
	image string // empty: of the host
	path  string // in an image: from its root, in the form of io/fs
	slash bool   // it ended with a slash: a directory is meant
	dot   bool   // it ended with "/.": what is in the directory is meant
}

// String is the place as a user would write it.
func (p place) String() string {
	if p.image == "" {
		return p.path
	}
	return p.image + ":" + shown(p.path)
}

// shown is a path of io/fs as people write it, from the root.
func shown(name string) string {
	if name == "." {
		return "/"
	}
	return "/" + name
}

// inImage is a path of an image in the form that io/fs wants.
func inImage(name string) string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	if name == "" {
		return "."
	}
	return name
}

// parsePlace reads an operand. What exists on the host under the whole name is meant;
// otherwise what stands before the first colon that follows an existing file.
func parsePlace(operand string) place {
	p := place{path: operand, slash: strings.HasSuffix(operand, "/"), dot: operand == "." || strings.HasSuffix(operand, "/.")}
	if _, err := os.Lstat(operand); err == nil {
		return p
	}
	for i := range len(operand) {
		if operand[i] != ':' {
			continue
		}
		if st, err := os.Stat(operand[:i]); err == nil && !st.IsDir() {
			p.image, p.path = operand[:i], inImage(operand[i+1:])
			return p
		}
	}
	return p
}

// places reads the operands of a verb that looks into one image: IMAGE PATH… or
// IMAGE:PATH; without a path it is the root.
func places(args []string) (image string, names []string, err error) {
	first := parsePlace(args[0])
	if first.image != "" {
		if len(args) > 1 {
			return "", nil, usagef("a path stands in %q already, %q is one too many", args[0], args[1])
		}
		return first.image, []string{first.path}, nil
	}
	for _, a := range args[1:] {
		names = append(names, inImage(a))
	}
	if len(names) == 0 {
		names = []string{"."}
	}
	return args[0], names, nil
}

// view is an image that a verb looks into. Its paths are in the form of inImage; names may
// be any bytes, which those of io/fs may not.
type view struct {
	fs      *ext2.FS
	image   string
	entered map[uint32]string // directories that a walk has come to, by number
	failed  bool              // not all of it could be read
}

// look opens the image that the operands name.
func (c *call) look() (*view, []string, error) {
	image, names, err := places(c.args)
	if err != nil {
		return nil, nil, err
	}
	fs, err := c.open(image, false)
	if err != nil {
		return nil, nil, err
	}
	return &view{fs: fs, image: image}, names, nil
}

func (v *view) show(name string) string { return v.image + ":" + shown(name) }

// fault says what is wrong with a path, and what to do.
func (v *view) fault(name string, err error) string {
	return fmt.Sprintf("%s: %v%s", v.show(name), reason(err), hintInside(v.image, err))
}

// fail tells what is wrong with a path.
func (c *call) fail(v *view, name string, err error) {
	c.warn("%s", v.fault(name, err))
	v.failed = true
}

// end closes the image. What failed was told.
func (v *view) end() error {
	if err := v.fs.Close(); err != nil || !v.failed {
		return err
	}
	return errQuiet
}

// inode is the inode a path leads to, with a reference taken.
func (v *view) inode(name string, follow bool) (*ext2.Inode, error) {
	return v.fs.InodeByPath(name, follow)
}

// attr are the attributes of a file.
func (v *view) attr(name string, follow bool) (ext2.Attr, error) {
	in, err := v.inode(name, follow)
	if err != nil {
		return ext2.Attr{}, err
	}
	defer in.Put()
	return in.Attr(), nil
}

// list is the names in a directory, sorted, without "." and "..". Where it is damaged they
// are those that could be read, and the error.
func (v *view) list(name string) ([]string, error) {
	in, err := v.inode(name, true)
	if err != nil {
		return nil, err
	}
	defer in.Put()
	if !in.IsDir() {
		return nil, ext2.ErrNotDir
	}
	var names []string
	err = in.ReadDir(context.Background(), 0, func(e ext2.DirEntry) bool {
		if n := string(e.Name); n != "." && n != ".." {
			names = append(names, n)
		}
		return true
	})
	slices.Sort(names)
	return names, err
}

// enter notes that a walk has come to a directory. One that it comes to again has two names,
// which none may have: a few of those, one below the other, are more paths than anybody can walk.
func (v *view) enter(name string, ino uint32) error {
	if first, ok := v.entered[ino]; ok {
		return fmt.Errorf("the directory is %s under another name, which is damage; run e2fsck", shown(first))
	}
	if v.entered == nil {
		v.entered = map[uint32]string{}
	}
	v.entered[ino] = name
	return nil
}

// readlink is the target of a symbolic link.
func (v *view) readlink(name string) (string, error) {
	in, err := v.inode(name, false)
	if err != nil {
		return "", err
	}
	defer in.Put()
	return in.Readlink()
}

// walk calls fn with every file from a path on, directories before what is in them, and
// with what could not be read.
func (v *view) walk(name string, fn func(name string, a ext2.Attr, err error)) {
	a, err := v.attr(name, false)
	fn(name, a, err)
	if err != nil || a.Mode&unix.S_IFMT != unix.S_IFDIR {
		return
	}
	if err := v.enter(name, a.Ino); err != nil {
		fn(name, a, err)
		return
	}
	names, err := v.list(name)
	if err != nil {
		fn(name, a, err)
	}
	for _, n := range names {
		v.walk(path.Join(name, n), fn)
	}
}

// reason is the cause of an error in as few words as possible: without the path and the
// place in the file that others find useful.
func reason(err error) error {
	var own *ext2.Error
	if errors.As(err, &own) {
		return own
	}
	var p *iofs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
