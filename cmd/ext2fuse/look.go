//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

var lsVerb = verb{
	name: "ls", operands: "IMAGE [PATH…]", least: 1, most: -1,
	doc: "list directories of an image, without . and .., sorted. IMAGE:PATH is another way to say IMAGE PATH. On a terminal control characters, and what is no UTF-8, are in octal, as ls -b shows them; elsewhere names are printed as they are.",
	flags: func(f *pflag.FlagSet) {
		f.BoolP("long", "l", false, "with mode, links, owner, group, size and time")
		f.BoolP("inode", "i", false, "with inode numbers")
		f.BoolP("directory", "d", false, "directories themselves, not what is in them")
	},
	run: runLs,
}

func runLs(c *call) error {
	v, names, err := c.look()
	if err != nil {
		return err
	}
	for i, name := range names {
		if err := c.list(v, name, len(names) > 1, i > 0); err != nil {
			c.fail(v, name, err)
		}
	}
	return v.end()
}

// list lists a directory, or one file.
func (c *call) list(v *view, name string, title, space bool) error {
	a, err := v.attr(name, !c.set("long") && !c.set("directory"))
	if err != nil {
		return err
	}
	if a.Mode&unix.S_IFMT != unix.S_IFDIR || c.set("directory") {
		c.printTable([][]string{c.lsRow(v, name, shown(name), a)}, c.lsAlign())
		return nil
	}
	names, err := v.list(name)
	var rows [][]string
	for _, n := range names {
		at := path.Join(name, n)
		if a, err := v.attr(at, false); err != nil {
			c.fail(v, at, err)
		} else {
			rows = append(rows, c.lsRow(v, at, n, a))
		}
	}
	if title {
		if space {
			c.printf("\n")
		}
		c.printf("%s:\n", c.name(shown(name)))
	}
	c.printTable(rows, c.lsAlign())
	return err
}

// lsRow is one line of a listing.
func (c *call) lsRow(v *view, name, as string, a ext2.Attr) []string {
	var row []string
	if c.set("inode") {
		row = append(row, fmt.Sprint(a.Ino))
	}
	as = c.name(as)
	if !c.set("long") {
		return append(row, as)
	}
	size := fmt.Sprint(a.Size)
	switch a.Mode & unix.S_IFMT {
	case unix.S_IFCHR, unix.S_IFBLK:
		size = fmt.Sprintf("%d, %d", a.RdevMajor, a.RdevMinor)
	case unix.S_IFLNK:
		as += c.name(c.leads(v, name))
	}
	return append(row, modeText(a.Mode), fmt.Sprint(a.Nlink), fmt.Sprint(a.UID), fmt.Sprint(a.GID), size,
		mtime(a).Format("2006-01-02 15:04"), as)
}

// leads shows where a symbolic link does, if that can be read.
func (c *call) leads(v *view, name string) string {
	target, err := v.readlink(name)
	if err != nil {
		c.fail(v, name, err)
		return ""
	}
	return " -> " + target
}

func mtime(a ext2.Attr) time.Time { return time.Unix(a.Mtime.Sec, int64(a.Mtime.Nsec)) }

// lsAlign is how the columns of lsRow are aligned.
func (c *call) lsAlign() string {
	align := ""
	if c.set("inode") {
		align = "r"
	}
	if c.set("long") {
		align += "lrrrr"
	}
	return align
}

// modeText is a mode as ls -l shows it.
func modeText(mode uint32) string {
	b := []byte("?rwxrwxrwx")
	b[0] = map[uint8]byte{disk.TypeReg: '-', disk.TypeDir: 'd', disk.TypeSymlink: 'l', disk.TypeChar: 'c',
		disk.TypeBlock: 'b', disk.TypeFIFO: 'p', disk.TypeSocket: 's'}[disk.FileType(uint16(mode))]
	for i := range 9 {
		if mode&(0o400>>i) == 0 {
			b[1+i] = '-'
		}
	}
	for i, x := range []struct {
		bit          uint32
		with, almost byte
	}{{0o4000, 's', 'S'}, {0o2000, 's', 'S'}, {0o1000, 't', 'T'}} {
		at := 3 * (i + 1)
		switch {
		case mode&x.bit == 0:
		case b[at] == 'x':
			b[at] = x.with
		default:
			b[at] = x.almost
		}
	}
	return string(b)
}

var catVerb = verb{
	name: "cat", operands: "IMAGE PATH…", least: 1, most: -1,
	doc: "print files of an image, one after the other. IMAGE:PATH is another way to say IMAGE PATH.",
	run: func(c *call) error {
		v, names, err := c.look()
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := c.cat(v, name); err != nil {
				c.fail(v, name, err)
			}
		}
		return v.end()
	},
}

func (c *call) cat(v *view, name string) error {
	in, err := v.inode(name, true)
	if err != nil {
		return err
	}
	defer in.Put()
	buf := make([]byte, 1<<20)
	for off := int64(0); ; {
		n, err := in.Read(context.Background(), buf, off)
		if _, werr := c.stdout.Write(buf[:n]); werr != nil || err != nil {
			return err // what cannot be printed is told at the end, and is not the file's fault
		}
		if n < len(buf) {
			return nil
		}
		off += int64(n)
	}
}

var treeVerb = verb{
	name: "tree", operands: "IMAGE [PATH]", least: 1, most: 2,
	doc: "show a directory of an image and all that is below. With --json it is a nest of objects, with the attributes of each; a name that is not UTF-8 stands in name_bytes, too, in base64, and so with all JSON.",
	flags: func(f *pflag.FlagSet) {
		f.Bool("json", false, "print JSON, for programs")
	},
	run: runTree,
}

func runTree(c *call) error {
	v, names, err := c.look()
	if err != nil {
		return err
	}
	w, top := treeWalk{c: c, v: v}, names[0]
	a, err := v.attr(top, true)
	switch {
	case err != nil:
		c.fail(v, top, err)
		err = nil
	case c.set("json"):
		err = c.printJSON(w.node(top, a))
	default:
		c.printf("%s\n", safe(shown(top)))
		w.draw(top, a.Ino, "")
		c.printf("\n%d directories, %d files\n", w.dirs, w.files)
	}
	return errors.Join(err, v.end())
}

// treeWalk shows a tree. What is damaged is told, and left out.
type treeWalk struct {
	c           *call
	v           *view
	dirs, files int
}

// below calls fn with what is in a directory, whose number is ino.
func (w *treeWalk) below(name string, ino uint32, fn func(name string, a ext2.Attr, last bool)) {
	if err := w.v.enter(name, ino); err != nil {
		w.c.fail(w.v, name, err)
		return
	}
	names, err := w.v.list(name)
	if err != nil {
		w.c.fail(w.v, name, err)
	}
	for i, n := range names {
		at := path.Join(name, n)
		if a, err := w.v.attr(at, false); err != nil {
			w.c.fail(w.v, at, err)
		} else {
			fn(at, a, i == len(names)-1)
		}
	}
}

// draw draws what is in a directory, each line behind indent.
func (w *treeWalk) draw(name string, ino uint32, indent string) {
	w.below(name, ino, func(at string, a ext2.Attr, last bool) {
		branch, below := "├── ", "│   "
		if last {
			branch, below = "└── ", "    "
		}
		text := safe(path.Base(at))
		if a.Mode&unix.S_IFMT == unix.S_IFLNK {
			text += safe(w.c.leads(w.v, at))
		}
		w.c.printf("%s%s%s\n", indent, branch, text)
		if a.Mode&unix.S_IFMT == unix.S_IFDIR {
			w.dirs++
			w.draw(at, a.Ino, indent+below)
		} else {
			w.files++
		}
	})
}

// treeNode is one object of the JSON of a tree.
type treeNode struct {
	Name     string      `json:"name"`
	Bytes    []byte      `json:"name_bytes,omitempty"` // as rawBytes
	Type     string      `json:"type"`
	Ino      uint32      `json:"inode"`
	Mode     string      `json:"mode"` // octal
	Nlink    uint32      `json:"links"`
	UID      uint32      `json:"uid"`
	GID      uint32      `json:"gid"`
	Size     int64       `json:"size"`
	Mtime    time.Time   `json:"mtime"`
	Target   string      `json:"target,omitempty"`
	Leads    []byte      `json:"target_bytes,omitempty"` // as rawBytes
	Device   string      `json:"device,omitempty"`       // major:minor
	Children []*treeNode `json:"children,omitempty"`
}

var typeNames = map[uint8]string{disk.TypeReg: "file", disk.TypeDir: "directory", disk.TypeSymlink: "link",
	disk.TypeChar: "char", disk.TypeBlock: "block", disk.TypeFIFO: "fifo", disk.TypeSocket: "socket"}

func (w *treeWalk) node(name string, a ext2.Attr) *treeNode {
	base := path.Base(shown(name))
	n := &treeNode{Name: base, Bytes: rawBytes(base), Type: typeNames[disk.FileType(uint16(a.Mode))], Ino: a.Ino,
		Mode:  fmt.Sprintf("%04o", a.Mode&0o7777),
		Nlink: a.Nlink, UID: a.UID, GID: a.GID, Size: a.Size, Mtime: mtime(a).UTC()}
	switch a.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		target, err := w.v.readlink(name)
		if err != nil {
			w.c.fail(w.v, name, err)
		}
		n.Target, n.Leads = target, rawBytes(target)
	case unix.S_IFCHR, unix.S_IFBLK:
		n.Device = fmt.Sprintf("%d:%d", a.RdevMajor, a.RdevMinor)
	case unix.S_IFDIR:
		w.below(name, a.Ino, func(at string, a ext2.Attr, _ bool) { n.Children = append(n.Children, w.node(at, a)) })
	}
	return n
}
