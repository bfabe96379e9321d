package ext2

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// seedImage is a good image and what mutate has to know of it.
type seedImage struct {
	name   string
	dev    *blockiotest.Mem
	size   int64
	bs     int64
	isize  int64
	inodes []int64  // byte offsets of the inodes in use
	tables []int64  // of indirect blocks
	dirs   []int64  // of directory blocks
	xattrs []int64  // of attribute blocks
	groups []int64  // of group descriptors
	values []uint32 // numbers that mean something in this image
}

// seedImages are those of testdata, made by make-seeds.sh.
func seedImages(t testing.TB) []*seedImage {
	t.Helper()
	names, err := filepath.Glob("testdata/seed-*.img.gz")
	if err != nil || len(names) == 0 {
		t.Fatalf("no seed images: %v", err)
	}
	var all []*seedImage
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		s := &seedImage{name: name, dev: blockiotest.MemOf(data), size: int64(len(data))}
		s.survey(t)
		all = append(all, s)
	}
	return all
}

// survey finds the structures of the image.
func (s *seedImage) survey(t testing.TB) {
	fs, err := New(s.dev.Clone(), Options{ReadOnly: true, Logger: quiet})
	if err != nil {
		t.Fatalf("%s: %v", s.name, err)
	}
	s.bs, s.isize = int64(fs.blockSize), int64(fs.sb.InodeSize())
	naive := naiveImage{s.dev, s.bs}
	for g, gr := range fs.groups {
		block := fs.descBlock(uint32(g) / fs.sb.DescPerBlock())
		s.groups = append(s.groups, int64(block)*s.bs+int64(uint32(g)%fs.sb.DescPerBlock())*disk.GroupDescSize)
		s.values = append(s.values, gr.blockBitmap, gr.inodeBitmap, gr.inodeTable)
	}
	s.values = append(s.values, 0, 1, 2, 11, 12, fs.sb.InodesCount, fs.sb.InodesCount+1, fs.sb.BlocksCount, fs.sb.BlocksCount-1,
		1<<31, 1<<31-1, 1<<32-1, uint32(s.bs), uint32(s.bs)-1, 0xFFFF, 0x7FFF, 255, 256)
	for ino := uint32(1); ino <= fs.sb.InodesCount; ino++ {
		in, err := fs.Inode(ino)
		if err != nil {
			continue
		}
		block, off := fs.inodeBlock(ino)
		s.inodes = append(s.inodes, int64(block)*s.bs+int64(off))
		if acl := in.raw.FileACL; acl != 0 {
			s.xattrs = append(s.xattrs, int64(acl)*s.bs)
			s.values = append(s.values, acl)
		}
		if in.IsReg() || in.IsDir() || in.IsSymlink() && !in.raw.FastSymlink(fs.sb) {
			s.surveyMap(naive, in)
		}
	}
	if len(s.tables) == 0 || len(s.dirs) == 0 || len(s.inodes) < 20 {
		t.Fatalf("%s: too little in it: %d tables, %d directory blocks, %d inodes", s.name, len(s.tables), len(s.dirs), len(s.inodes))
	}
}

func (s *seedImage) surveyMap(naive naiveImage, in *Inode) {
	seen := map[uint32]bool{}
	for ib := int64(0); ib < (int64(in.raw.Size)+s.bs-1)/s.bs; ib++ {
		tables, b := naive.walk(in.raw.Block, ib)
		for _, table := range tables {
			if !seen[table] {
				seen[table] = true
				s.tables = append(s.tables, int64(table)*s.bs)
				s.values = append(s.values, table)
			}
		}
		if in.IsDir() && b != 0 {
			s.dirs = append(s.dirs, int64(b)*s.bs)
			s.values = append(s.values, b)
		}
	}
}

// mutationBytes is the length of one mutation: what, which, where (2 bytes), how, value.
const mutationBytes = 9

// mutate changes the image as the program says, at most 16 times.
func (s *seedImage) mutate(dev *blockiotest.Mem, program []byte) {
	for n := 0; len(program) >= mutationBytes && n < 16; n++ {
		m := program[:mutationBytes]
		program = program[mutationBytes:]
		where := int64(binary.LittleEndian.Uint16(m[2:]))
		at := s.target(m[0], int(m[1]), where)
		width := []int64{1, 2, 4, 4}[m[4]&3]
		if at < 0 || at+width > s.size {
			continue
		}
		old := dev.Bytes(at, width)
		var p [8]byte
		copy(p[:], old)
		v := binary.LittleEndian.Uint32(p[:])
		arg := binary.LittleEndian.Uint32(m[5:])
		switch m[4] >> 2 & 3 {
		case 0:
			v = arg
		case 1:
			v = s.values[arg%uint32(len(s.values))]
		case 2:
			v += uint32(int32(int8(arg)))
		case 3:
			v ^= 1 << (arg & 31)
		}
		binary.LittleEndian.PutUint32(p[:], v)
		if _, err := dev.WritevAt([][]byte{p[:width]}, at); err != nil {
			panic(err)
		}
	}
}

// target is the byte that a mutation begins at, or -1.
func (s *seedImage) target(what byte, which int, where int64) int64 {
	pick := func(list []int64, n int64) int64 {
		if len(list) == 0 {
			return -1
		}
		return list[which%len(list)] + where%n
	}
	switch what % 8 {
	case 0:
		return disk.SuperblockOffset + where%disk.SuperblockSize
	case 1:
		return pick(s.groups, disk.GroupDescSize)
	case 2:
		return pick(s.inodes, s.isize)
	case 3:
		return pick(s.inodes, 112) // leaves out most of what has no meaning
	case 4:
		return pick(s.tables, s.bs) &^ 3
	case 5:
		return pick(s.dirs, s.bs)
	case 6:
		return pick(s.xattrs, s.bs)
	}
	return (int64(which)<<16 | where) % s.size
}

// FuzzWalk opens a damaged image and walks it all: no panic, no hang, no endless log, no
// write, and every error is one that this package knows.
func FuzzWalk(f *testing.F) {
	seeds := seedImages(f)
	for i := range seeds {
		f.Add(byte(i), []byte{})
		for what := range byte(8) {
			f.Add(byte(i), []byte{what, 3, 40, 0, 6, 7, 0, 0, 0})
			f.Add(byte(i), []byte{what, 1, 4, 0, 2, 255, 255, 255, 255, what, 9, 0, 0, 13, 3, 0, 0, 0})
		}
	}
	f.Fuzz(func(t *testing.T, seed byte, program []byte) {
		s := seeds[int(seed)%len(seeds)]
		dev := s.dev.Clone()
		s.mutate(dev, program)
		dev.SetReadOnly(true)
		walkDamaged(t, dev, len(program) < mutationBytes)
	})
}

// walkDamaged opens and walks the image; a good one must have no errors.
func walkDamaged(t *testing.T, dev *blockiotest.Mem, good bool) {
	var log bytes.Buffer
	before := dev.Stats()
	fs, err := New(dev, Options{ReadOnly: true, Logger: testLogger(&log), CacheBytes: 256 << 10})
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
		root.Put(1)
	}
	fs.readAhead.stop()
	if all, idle := inodesInMemory(fs); all != idle {
		t.Errorf("%d references leaked", all-idle)
	}
	if n := fs.CacheStats().Pinned; n != 0 {
		t.Errorf("%d buffers are still pinned", n)
	}
	stats := dev.Stats().Sub(before)
	if n := stats.Total(blockio.Write).Requests + stats.Total(blockio.Discard).Requests + stats.Total(blockio.Sync).Requests; n != 0 {
		t.Errorf("%d requests to write", n)
	}
	if n := strings.Count(log.String(), "\n"); n > maxFaults+w.steps || good && n != 0 {
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
	err := in.ReadDir(0, func(e DirEntry) bool {
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
		child.Put(1)
	}
}

// content reads the beginning, the end, and some pieces with data.
func (w *walker) content(in *Inode) {
	p := make([]byte, 20_000)
	size := in.Attr().Size
	for _, off := range []int64{0, 12 * 1024, size - 100, size / 2} {
		if off < 0 {
			continue
		}
		_, err := in.Read(p, off)
		w.check("Read", err)
	}
	for off, n := int64(0), 0; n < 20; n++ {
		data, err := in.SeekData(off)
		if errors.Is(err, ErrNoData) {
			break
		}
		w.check("SeekData", err)
		if err != nil {
			break
		}
		_, err = in.Read(p[:100], data)
		w.check("Read", err)
		if off, err = in.SeekHole(data); err != nil {
			w.check("SeekHole", err)
			break
		}
	}
}
