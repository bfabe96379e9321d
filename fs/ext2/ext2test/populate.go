//go:build linux

package ext2test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Content is n bytes that look random and are the same for the same seed.
func Content(seed uint64, n int) []byte {
	p := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})
	rng.Read(p) // never fails
	return p
}

// Populate fills dir with a small tree (some 5 MiB, some 400 files) that holds one of
// everything: files of every length around the borders of the block map, holes,
// all file types, odd names, symlinks of every length, hard links, modes, times,
// owners, xattrs, ACLs and inode flags. blockSize is that of the image the tree is
// meant for, or goes to; it steers the lengths only.
//
// Without root it leaves out what only root may make: devices, owners, trusted
// attributes. Where dir cannot hold xattrs or flags it leaves those out, too: a
// mount by the kernel's ext2 holds them all.
func Populate(t testing.TB, dir string, blockSize int) {
	t.Helper()
	p := populator{TB: t, root: os.Geteuid() == 0, blockSize: blockSize}
	for _, part := range []struct {
		name string
		make func(dir string)
	}{
		{"lengths", p.lengths},
		{"holes", p.holes},
		{"types", p.types},
		{"names", p.names},
		{"symlinks", p.symlinks},
		{"links", p.links},
		{"modes", p.modes},
		{"owners", p.owners},
		{"times", p.times},
		{"xattrs", p.xattrs},
		{"acls", p.acls},
		{"flags", p.flags},
		{"deep", p.deep},
	} {
		sub := filepath.Join(dir, part.name)
		p.check(os.Mkdir(sub, 0o755))
		part.make(sub)
	}
}

// populator makes the parts of the tree.
type populator struct {
	testing.TB
	root      bool
	blockSize int
}

func (p populator) check(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

func (p populator) file(path string, data []byte) {
	p.Helper()
	p.check(os.WriteFile(path, data, 0o644))
}

// lengths: the borders of blocks and of the levels of the block map.
func (p populator) lengths(dir string) {
	bs := p.blockSize
	single := 12 + bs/4 // blocks reached with the single indirect block
	blocks := []int{0, 1, 2, 4, 11, 12, 13, 17}
	if bs <= 4096 {
		blocks = append(blocks, single)
	}
	if bs == 1024 {
		blocks = append(blocks, single+1, single+256, single+257)
	}
	for _, n := range blocks {
		for _, more := range []int{-1, 0, 1} {
			if length := n*bs + more; length >= 0 {
				name := fmt.Sprintf("%d-blocks%+d", n, more)
				p.file(filepath.Join(dir, name), Content(uint64(length), length))
			}
		}
	}
}

// holes: nothing, something, nothing, in all orders, and far out.
func (p populator) holes(dir string) {
	bs := int64(p.blockSize)
	for _, h := range []struct {
		name string
		size int64
		at   []int64 // where a little data lies
	}{
		{"all-hole", 20 * bs, nil},
		{"all-hole-odd", 5*bs + 123, nil},
		{"leading", 4 * bs, []int64{3 * bs}},
		{"trailing", 30 * bs, []int64{0}},
		{"middle", 0, []int64{0, 9 * bs}},
		{"every-second", 0, []int64{0, 2 * bs, 4 * bs, 6 * bs, 8 * bs, 10 * bs, 12 * bs, 14 * bs, 16 * bs, 18 * bs}},
		{"only-indirect", 0, []int64{12 * bs}},
		{"mid-block", 7*bs + bs/2, []int64{2*bs + bs/2, 5*bs - 1}},
		{"past-2GiB", 0, []int64{5, 1 << 31, 1<<31 + 5*bs}},
		{"past-4GiB", 0, []int64{1<<32 - bs, 1 << 32}},
		{"size-past-4GiB", 1<<32 + 77, nil},
	} {
		p.sparse(filepath.Join(dir, h.name), h.size, h.at...)
	}
}

// sparse makes a file with a few bytes at each of the offsets. A size of 0 leaves
// the file to end behind the last of them.
func (p populator) sparse(path string, size int64, at ...int64) {
	p.Helper()
	f, err := os.Create(path)
	p.check(err)
	defer f.Close()
	for i, off := range at {
		_, err := f.WriteAt(Content(uint64(i)+uint64(off), 100), off)
		p.check(err)
	}
	if size > 0 {
		p.check(f.Truncate(size))
	}
}

// types: one file of each, numbers of devices in the old and the new encoding.
func (p populator) types(dir string) {
	p.file(filepath.Join(dir, "file"), []byte("a file\n"))
	p.check(os.Mkdir(filepath.Join(dir, "directory"), 0o750))
	p.check(os.Symlink("file", filepath.Join(dir, "symlink")))
	p.check(unix.Mkfifo(filepath.Join(dir, "fifo"), 0o640))
	p.check(unix.Mknod(filepath.Join(dir, "socket"), unix.S_IFSOCK|0o600, 0))
	if !p.root {
		return
	}
	for _, d := range []struct{ major, minor uint32 }{{0, 0}, {1, 3}, {8, 255}, {8, 256}, {255, 255}, {256, 0}, {4095, 1048575}} {
		name := fmt.Sprintf("%d:%d", d.major, d.minor)
		dev := int(unix.Mkdev(d.major, d.minor))
		p.check(unix.Mknod(filepath.Join(dir, "block-"+name), unix.S_IFBLK|0o660, dev))
		p.check(unix.Mknod(filepath.Join(dir, "char-"+name), unix.S_IFCHR|0o666, dev))
	}
}

// oddNames are names that somebody will escape, split or decode wrongly.
var oddNames = []string{
	"-", "--help", " ", " leading", "trailing ", "two  spaces", "tab\there", "new\nline", "cr\rhere", "bell\a",
	"...", "..a", ".hidden", "back\\slash", "'single'", "\"double\"", "`tick`", "$HOME", "%s%n%d", "*?[a]", "a:b", "a=b,c=d", "#comment", "~",
	"grüße", "漢字", "🐧", "e\u0301", "\u00e9", "\u202emirrored", "\xff\xfe\x80", "\xc3(", "half\xe2\x82", "del\x7f", "\x01",
	"<lost+found>", "<12>", "a/b"[:1] + "\\040b",
}

// names: odd ones, and one of every length.
func (p populator) names(dir string) {
	for i, name := range oddNames {
		p.file(filepath.Join(dir, name), fmt.Appendf(nil, "%d\n", i))
	}
	for n := 2; n <= 255; n++ {
		p.file(filepath.Join(dir, strings.Repeat("n", n)), nil)
	}
}

// symlinks: around the length that still fits the inode, and up to a block.
func (p populator) symlinks(dir string) {
	for _, n := range []int{1, 2, 58, 59, 60, 61, 62, 255, 512, 1000, 1022, 1023, 1024, 2048, 4000, 4095} {
		if n < p.blockSize {
			target := string(bytes.Repeat([]byte("0123456789/"), n/11+1)[:n])
			p.check(os.Symlink(target, filepath.Join(dir, fmt.Sprint("length-", n))))
		}
	}
	for name, target := range map[string]string{
		"absolute": "/etc/passwd", "dangling": "nowhere", "itself": "itself", "up": "..", "newline": "a\nb\"c",
		"high": "\xff\xfe", "slashes": "//.//",
	} {
		p.check(os.Symlink(target, filepath.Join(dir, name)))
	}
}

// links: several names for one inode, of every type that may have them.
func (p populator) links(dir string) {
	sub := filepath.Join(dir, "sub")
	p.check(os.Mkdir(sub, 0o755))
	p.file(filepath.Join(dir, "file"), []byte("linked\n"))
	p.check(os.Symlink("file", filepath.Join(dir, "symlink")))
	p.check(unix.Mkfifo(filepath.Join(dir, "fifo"), 0o644))
	for i := range 100 {
		for _, name := range []string{"file", "symlink", "fifo"} {
			p.check(os.Link(filepath.Join(dir, name), filepath.Join(sub, fmt.Sprintf("%s-%d", name, i))))
		}
	}
}

// modes: each bit, and the usual combinations.
func (p populator) modes(dir string) {
	modes := []uint32{0, 0o644, 0o755, 0o777, 0o4755, 0o2755, 0o6755, 0o1644, 0o7777, 0o2644, 0o4000}
	for bit := uint32(1); bit < 0o10000; bit <<= 1 {
		modes = append(modes, bit)
	}
	for _, mode := range modes {
		path := filepath.Join(dir, fmt.Sprintf("%04o", mode))
		if _, err := os.Lstat(path); err == nil {
			continue
		}
		p.file(path, []byte("mode\n"))
		p.check(os.Mkdir(path+".dir", 0o755))
		if !p.root {
			mode |= 0o400 // or mke2fs -d could not read it
		}
		p.check(unix.Chmod(path, mode))
		if !p.root {
			mode |= 0o700
		}
		p.check(unix.Chmod(path+".dir", mode))
	}
}

// owners: ids past 16 bits, whose high halves lie elsewhere in the inode.
func (p populator) owners(dir string) {
	if !p.root {
		return
	}
	for _, id := range []int64{0, 1, 1000, 65534, 65535, 65536, 65537, 1 << 24, 1<<31 - 1, 1 << 31, 1<<32 - 2} {
		path := filepath.Join(dir, fmt.Sprint(id))
		p.file(path, []byte("owned\n"))
		p.check(os.Lchown(path, int(id), int((id+1)%(1<<32-1))))
	}
}

// timespec is a time in what fields the machine has for it.
func timespec(sec, nsec int64) (t unix.Timespec) {
	set(&t.Sec, sec)
	set(&t.Nsec, nsec)
	return t
}

func set[T int32 | int64](field *T, v int64) { *field = T(v) }

// times: before the epoch, past each wrap of 32 bits, to the nanosecond. What the
// image cannot hold (inodes of 128 bytes) the kernel rounds or clamps.
func (p populator) times(dir string) {
	for _, sec := range []int64{-1 << 31, -631152000, -1, 0, 1, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1<<33 + 5, 15032385535} {
		for _, nsec := range []int64{0, 1, 999999999} {
			path := filepath.Join(dir, fmt.Sprintf("%d.%09d", sec, nsec))
			p.file(path, nil)
			mtime := timespec(sec, nsec)
			atime := timespec(sec/2, 999999999-nsec)
			p.check(unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{atime, mtime}, unix.AT_SYMLINK_NOFOLLOW))
		}
	}
	link := filepath.Join(dir, "symlink")
	p.check(os.Symlink("target", link))
	stamp := unix.NsecToTimespec(time.Date(1999, 12, 31, 23, 59, 59, 5, time.UTC).UnixNano())
	p.check(unix.UtimesNanoAt(unix.AT_FDCWD, link, []unix.Timespec{stamp, stamp}, unix.AT_SYMLINK_NOFOLLOW))
}

// deep: directories in directories.
func (p populator) deep(dir string) {
	for i := range 60 {
		dir = filepath.Join(dir, fmt.Sprint("d", i))
		p.check(os.Mkdir(dir, 0o755))
		p.file(filepath.Join(dir, "file"), fmt.Appendf(nil, "level %d\n", i))
	}
}
