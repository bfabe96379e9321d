//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

var cpVerb = verb{
	name: "cp", operands: "SOURCE… TARGET", least: 2, most: -1,
	doc: "copy into an image, out of one, or from one to another. What is in an image is written IMAGE:PATH, as in disk.img:/etc/fstab. Modes, owners, times, extended attributes, ACLs, hard links and holes are kept; owners on the host by root only. On a terminal a long copy shows how far it is.",
	flags: func(f *pflag.FlagSet) {
		f.BoolP("recursive", "r", false, "copy directories and all that is in them, symbolic links as such")
		f.BoolP("archive", "a", false, "the same as -r: attributes are always kept")
		f.BoolP("verbose", "v", false, "name each file that is copied")
		f.BoolP("quiet", "q", false, "show no progress")
	},
	run: runCp,
}

// errInterrupted ends a copy that the user interrupted. The image is complete, with what
// was copied until then.
var errInterrupted = errors.New("interrupted; what was copied before is complete")

// fileMeta is what is kept of a file beside its content.
type fileMeta struct {
	mode         uint32 // type and permission bits, as in st_mode
	uid, gid     uint32
	size         int64
	atime, mtime disk.Timespec
	major, minor uint32 // of devices
	links        uint32
	id           [2]uint64 // device and inode: the same for all names of a file
	xattrs       map[string][]byte
}

func (m *fileMeta) is(mode uint32) bool { return m.mode&unix.S_IFMT == mode }

// faulty words what is wrong with a file of a source or target, and what to do.
type faulty interface {
	fault(name string, err error) string
}

// source is where files are copied from: the host, or an image. Names are paths of the host,
// or those of io/fs.
type source interface {
	// meta describes a file, without attributes unless wanted.
	meta(name string, follow, xattrs bool) (*fileMeta, error)
	list(name string) ([]string, error)
	readlink(name string) (string, error)
	open(name string) (content, error)
	// enter notes that what is in a directory is copied, and fails where that must not be.
	enter(name string, m *fileMeta) error
	// join is the name of something in a directory, as people see it in show.
	join(dir, name string) string
	show(name string) string
	faulty
}

// target is where files are copied to: a directory of the host, or an image. Names are those
// of io/fs.
type target interface {
	// stat describes a file, not what a symbolic link leads to, without attributes.
	stat(name string) (*fileMeta, error)
	// create makes a regular file, or empties the one there.
	create(name string) (content, error)
	// make makes anything else, not yet with the attributes; leads is where a
	// symbolic link does.
	make(name string, m *fileMeta, leads string) error
	link(old, name string) error
	remove(name string) error
	// setMeta gives a file the attributes of another.
	setMeta(name string, m *fileMeta) error
	join(dir, name string) string
	show(name string) string
	faulty
}

// content is an open regular file.
type content interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// data is the next part [from, to) that is no hole, at or behind off; from is -1 behind
	// the last one.
	data(off int64) (from, to int64, err error)
	truncate(size int64) error
}

// copier copies.
type copier struct {
	c        *call
	ctx      context.Context
	images   []*imageTree
	target   target
	progress *progress
	links    map[linkKey]string // files of several names, to their first copy
	made     map[[2]uint64]bool // directories of the image that is walked, which the walk copies into
	buffer   []byte
	failed   bool
}

type linkKey struct {
	from source
	id   [2]uint64
}

func runCp(c *call) error {
	last := len(c.args) - 1
	to := parsePlace(c.args[last])
	var from []place
	inImages := to.image != ""
	for _, a := range c.args[:last] {
		p := parsePlace(a)
		from = append(from, p)
		inImages = inImages || p.image != ""
	}
	if !inImages {
		return usagef("nothing of this is in an image%s", whyHost(c.args)).but("write IMAGE:PATH for what is, as in disk.img:/etc")
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program, whatever it waits for
	k := &copier{c: c, ctx: ctx, links: map[linkKey]string{}, buffer: make([]byte, 1<<20)}
	err := k.run(from, to)
	for _, t := range k.images {
		if cerr := t.close(); cerr != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", t.image, cerr))
		}
	}
	k.progress.end()
	if err == nil && k.failed {
		err = errQuiet
	}
	return err
}

// whyHost says why operands are taken for the host's.
func whyHost(args []string) string {
	for _, a := range args {
		if image, _, ok := strings.Cut(a, ":"); ok {
			return " (there is no image " + image + ")"
		}
	}
	return ""
}

func (k *copier) run(from []place, to place) error {
	// What is written to is opened first, so that an image on both sides is opened once.
	at, into, err := k.openTarget(to, from)
	if err != nil {
		return err
	}
	if h, ok := k.target.(*hostDir); ok {
		defer h.close()
	}
	sources := make([]source, len(from))
	for i, p := range from {
		if sources[i], err = k.source(p); err != nil {
			return err
		}
	}
	k.progress = newProgress(k, sources, from)
	for i, p := range from {
		name := at
		if into {
			name = k.target.join(at, p.base())
		}
		if k.target != nil {
			k.beginWalk(sources[i])
			k.copy(sources[i], p.path, k.target, name, !k.recursive())
		} else if err := k.writeStream(sources[i], p.path, name); err != nil {
			k.failCopy(sources[i], p.path, hostTree{}, name, err)
		}
		if k.over() {
			return k.why()
		}
	}
	return nil
}

// over tells whether there is nothing more to do: the user interrupted, or nothing more can
// be written to the image.
func (k *copier) over() bool {
	t, ok := k.target.(*imageTree)
	return k.ctx.Err() != nil || ok && t.fs.ReadOnly()
}

// why is the reason for over.
func (k *copier) why() error {
	if k.ctx.Err() != nil {
		return errInterrupted
	}
	t := k.target.(*imageTree)
	err := writeEnded(t.image, t.fs)
	if t.fs.Failure() != nil {
		err = fmt.Errorf("%w, and then do this again; what was copied before is complete", err)
	}
	return err
}

func (k *copier) recursive() bool { return k.c.set("recursive") || k.c.set("archive") }

// beginWalk begins to walk a tree, from wherever.
func (k *copier) beginWalk(from source) {
	if t, ok := from.(*imageTree); ok {
		t.entered = nil
		k.made = map[[2]uint64]bool{}
	}
}

// fail says what of a source or target could not be copied, and why.
func (k *copier) fail(where faulty, name string, err error) {
	if k.over() {
		return // said once, at the end
	}
	k.progress.pause()
	k.c.warn("%s", where.fault(name, err))
	k.failed = true
}

// failCopy says that a file could not be copied, and on which side that lies.
func (k *copier) failCopy(from source, src string, to faulty, dst string, err error) {
	var reading readError
	if errors.As(err, &reading) {
		k.fail(from, src, reading.error)
		return
	}
	k.fail(to, dst, err)
}

// copy copies one file, and what is below it.
func (k *copier) copy(from source, src string, to target, dst string, follow bool) {
	if k.over() {
		return
	}
	m, err := from.meta(src, follow, true)
	if err != nil {
		k.fail(from, src, err)
		return
	}
	if from == (hostTree{}) {
		switch {
		case follow && m.isStream():
			m.asContent() // with -r it is copied as such; cp has it so
		case m.is(unix.S_IFREG) && m.size == 0:
			m.size = unknownSize // files of /proc say so and have content
		}
	}
	if m.is(unix.S_IFDIR) && same(from, to) && (isBelow(src, dst) || k.made[m.id]) {
		k.fail(to, dst, errors.New("a directory cannot be copied into itself"))
		return
	}
	if m.is(unix.S_IFDIR) {
		if !k.recursive() {
			k.fail(from, src, errors.New("is a directory; with -r it is copied"))
			return
		}
		if err := from.enter(src, m); err != nil {
			k.fail(from, src, err)
			return
		}
	}
	if k.c.set("verbose") {
		k.c.printf("%s -> %s\n", safe(from.show(src)), safe(to.show(dst)))
	}
	if err := k.copyOne(from, src, to, dst, m); err != nil {
		k.failCopy(from, src, to, dst, err)
		return
	}
	if m.is(unix.S_IFDIR) {
		if same(from, to) { // a symbolic link may have led into what is copied
			if d, err := to.stat(dst); err == nil {
				k.made[d.id] = true
			}
		}
		k.copyBelow(from, src, to, dst)
	}
	// Last: what is made in a directory changes its times.
	if err := to.setMeta(dst, m); err != nil {
		k.fail(to, dst, err)
	}
}

// same tells whether it is one image that is copied from and to.
func same(from source, to target) bool { return any(from) == any(to) }

// isBelow tells whether an image's path is dir, or below it.
func isBelow(dir, name string) bool {
	return dir == "." || name == dir || strings.HasPrefix(name, dir+"/")
}

func (k *copier) copyBelow(from source, src string, to target, dst string) {
	names, err := from.list(src)
	if err != nil {
		k.fail(from, src, err)
	}
	for _, n := range names {
		if src == "." && n == "lost+found" {
			// The file system's own, which the target has or wants none of.
			if m, err := to.stat(to.join(dst, n)); err == nil && m.is(unix.S_IFDIR) {
				continue
			}
		}
		k.copy(from, from.join(src, n), to, to.join(dst, n), false)
	}
}

// copyOne makes the copy of a file, attributes excepted.
func (k *copier) copyOne(from source, src string, to target, dst string, m *fileMeta) error {
	there, err := to.stat(dst)
	if _, onHost := to.(*hostDir); onHost && err == nil {
		if err := k.checkInUse(to.show(dst), there); err != nil {
			return err
		}
	}
	switch {
	case err == nil && same(from, to) && there.id == m.id:
		return errors.New("a file cannot be copied onto itself")
	case k.inTarget(from, m.id):
		return errors.New("is the image itself, which cannot be copied into itself")
	case err == nil && there.is(unix.S_IFDIR) != m.is(unix.S_IFDIR):
		if there.is(unix.S_IFDIR) {
			return errors.New("is a directory, and what is copied is none")
		}
		return errors.New("is in the way of a directory")
	case err == nil && there.is(unix.S_IFDIR):
		return nil
	case err == nil && (!there.is(unix.S_IFREG) || !m.is(unix.S_IFREG) || m.links > 1):
		if err := to.remove(dst); err != nil {
			return err
		}
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return err
	}
	key := linkKey{from, m.id}
	if m.links > 1 && !m.is(unix.S_IFDIR) {
		if first, ok := k.links[key]; ok {
			return to.link(first, dst)
		}
	}
	switch err = nil; {
	case m.is(unix.S_IFREG):
		err = k.copyContent(from, src, to, dst, m.size)
	case m.is(unix.S_IFLNK):
		var leads string
		if leads, err = from.readlink(src); err != nil {
			return readError{err}
		}
		err = to.make(dst, m, leads)
	default:
		err = to.make(dst, m, "")
	}
	if err == nil && m.links > 1 {
		k.links[key] = dst
	}
	return err
}

func (k *copier) copyContent(from source, src string, to target, dst string, size int64) (err error) {
	if size == unknownSize {
		return k.copyStream(src, to, dst)
	}
	r, err := from.open(src)
	if err != nil {
		return readError{err}
	}
	defer func() { _ = r.Close() }() // it was only read
	w, err := to.create(dst)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	for off := int64(0); off < size; {
		start, end, err := r.data(off)
		if err != nil {
			return readError{err}
		}
		if start < 0 {
			k.progress.add(size - off)
			break
		}
		k.progress.add(start - off)
		for off = start; off < end; {
			if k.ctx.Err() != nil {
				return errInterrupted
			}
			n, err := r.ReadAt(k.buffer[:min(int64(len(k.buffer)), end-off)], off)
			if n == 0 {
				if err == nil || errors.Is(err, io.EOF) {
					err = errors.New("became shorter while it was copied")
				}
				return readError{err}
			}
			if _, err := w.WriteAt(k.buffer[:n], off); err != nil {
				return err
			}
			off += int64(n)
			k.progress.add(int64(n))
		}
	}
	return w.truncate(size)
}
