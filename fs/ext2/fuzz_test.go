//go:build linux

package ext2

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test/hostile"
)

// seedImages are the good images that are damaged.
func seedImages(t testing.TB) []*hostile.Image {
	t.Helper()
	all, err := hostile.Seeds()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// addPrograms adds, for each seed and each kind of structure, a program that changes one.
func addPrograms(f *testing.F, seeds []*hostile.Image) {
	for i := range seeds {
		f.Add(byte(i), []byte{})
		for what := range byte(hostile.Kinds) {
			f.Add(byte(i), []byte{what, 3, 0, 40, 0, 1, 7, 0, 0, 0})
			f.Add(byte(i), []byte{what, 1, 0, 4, 0, 0x20, 255, 255, 255, 255, what, 9, 0, 0, 0, 0x13, 3, 0, 0, 0})
		}
	}
}

// FuzzWalk opens a damaged image and walks it all: no panic, no hang, no endless log, no
// write, and every error is one that this package knows.
func FuzzWalk(f *testing.F) {
	seeds := seedImages(f)
	addPrograms(f, seeds)
	f.Fuzz(func(t *testing.T, seed byte, program []byte) {
		im := seeds[int(seed)%len(seeds)]
		dev := im.Device()
		im.Mutate(dev, program)
		dev.SetReadOnly(true)
		walkDamaged(t, dev, len(program) < hostile.MutationBytes)
	})
}

// walkDamaged opens and walks the image; a good one must have no errors.
func walkDamaged(t *testing.T, dev *blockiotest.Mem, good bool) {
	var log bytes.Buffer
	before := dev.Stats()
	fs, err := New(ctx, dev, Options{ReadOnly: true, NoLoad: true, Logger: testLogger(&log), CacheBytes: 256 << 10})
	if err != nil {
		if good || strings.ContainsRune(err.Error(), '\n') {
			t.Errorf("New: %v", err)
		}
		return
	}
	w := &walker{t: t, fs: fs, good: good, seen: map[uint32]bool{}}
	fs.Statfs()
	root, err := fs.Root()
	w.check("root", err)
	if err == nil {
		w.inode(root, 0)
		root.Put()
	}
	fs.readAhead.stop()
	if all, idle := inodesInMemory(fs); all != idle {
		t.Errorf("%d references leaked", all-idle)
	}
	if n := fs.CacheStats().Pinned; n != 0 {
		t.Errorf("%d buffers are still pinned", n)
	}
	if st := fs.CacheStats(); st.Hits+st.Misses > maxLooks {
		t.Errorf("metadata was looked at %d times", st.Hits+st.Misses)
	}
	stats := dev.Stats().Sub(before)
	if n := stats.Total(blockio.Write).Requests + stats.Total(blockio.Discard).Requests + stats.Total(blockio.Sync).Requests; n != 0 {
		t.Errorf("%d requests to write", n)
	}
	if n := strings.Count(log.String(), "\n"); n > maxFaults+w.steps || good && n > len(fs.Warnings()) {
		t.Errorf("%d lines of log:\n%.3000s", n, log.String())
	}
}

// walker visits every inode that names lead to, once.
type walker struct {
	t     *testing.T
	fs    *FS
	good  bool
	seen  map[uint32]bool
	steps int
	buf   [20_000]byte // what was read last
}

// check takes an error of the walk.
func (w *walker) check(what string, err error) {
	var corrupt *disk.CorruptError
	var known *Error
	switch {
	case err == nil:
	case w.good:
		w.t.Errorf("%s: %v", what, err)
	case !errors.As(err, &corrupt) && !errors.As(err, &known):
		w.t.Errorf("%s: an error of neither the image nor the caller: %v", what, err)
	case strings.ContainsRune(err.Error(), '\n'):
		w.t.Errorf("%s: an error of more than one line: %q", what, err)
	}
}

func (w *walker) inode(in *Inode, depth int) {
	if w.seen[in.Ino()] {
		return
	}
	w.seen[in.Ino()] = true
	w.steps++
	in.Attr()
	names, err := in.Listxattr()
	w.check("Listxattr", err)
	for _, name := range names {
		_, err := in.Getxattr(name)
		w.check("Getxattr "+name, err)
	}
	switch {
	case in.IsDir():
		w.directory(in, depth)
	case in.IsReg():
		w.content(in)
	case in.IsSymlink():
		_, err := in.Readlink()
		w.check("Readlink", err)
	}
}

// directory lists, looks up what was listed, and goes down.
func (w *walker) directory(in *Inode, depth int) {
	var names []string
	err := in.ReadDir(ctx, 0, func(e DirEntry) bool {
		names = append(names, string(e.Name))
		return len(names) < 3000
	})
	w.check("ReadDir", err)
	_, err = in.Lookup("a-name-that-is-not-there")
	if !errors.Is(err, ErrNotExist) {
		w.check("Lookup", err)
	}
	for _, name := range names {
		if name == "." || name == ".." {
			continue
		}
		child, err := in.Lookup(name)
		w.check("Lookup "+name, err)
		if err != nil {
			continue
		}
		if depth < 100 {
			w.inode(child, depth+1)
		}
		child.Put()
	}
}

// content reads the beginning, the end, and some pieces with data.
func (w *walker) content(in *Inode) {
	p := w.buf[:]
	size := in.Attr().Size
	for _, off := range []int64{0, 12 * 1024, size - 100, size / 2} {
		if off < 0 {
			continue
		}
		_, err := in.Read(ctx, p, off)
		w.check("Read", err)
	}
	for off, n := int64(0), 0; n < 20; n++ {
		data, err := in.SeekData(ctx, off)
		if errors.Is(err, ErrNoData) {
			break
		}
		w.check("SeekData", err)
		if err != nil {
			break
		}
		_, err = in.Read(ctx, p[:100], data)
		w.check("Read", err)
		if off, err = in.SeekHole(ctx, data); err != nil {
			w.check("SeekHole", err)
			break
		}
	}
}
