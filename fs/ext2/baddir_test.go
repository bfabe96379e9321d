//go:build linux

package ext2

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// logged opens the image as it is now and gives what is logged from then on.
func (c *crafted) logged() (*FS, *bytes.Buffer) {
	var log bytes.Buffer
	return c.open(Options{Logger: testLogger(&log)}), &log
}

// wantDamage checks that err is damage whose message holds want, and that it was logged
// in one line, however often it was met.
func wantDamage(t *testing.T, err error, log *bytes.Buffer, want string) {
	t.Helper()
	var damage *disk.CorruptError
	if !errors.As(err, &damage) || Errno(err) != syscall.EIO || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %v (errno %v), want damage: %s", err, Errno(err), want)
	}
	wantLog(t, log, want)
}

func wantLog(t *testing.T, log *bytes.Buffer, want string) {
	t.Helper()
	if lines := strings.Count(log.String(), "\n"); lines != 1 || !strings.Contains(log.String(), want) {
		t.Errorf("%d lines were logged, want one with %q:\n%s", lines, want, log)
	}
}

const badIno = 20 // inode of the directory that is damaged

// TestBadDirBlocks: one block of a directory is damaged. The names in the others are
// found and listed; those in it, and names that do not exist, give the error; every
// listing ends in it. It is the same with and without a name index.
func TestBadDirBlocks(t *testing.T) {
	block := func(change func(b []byte)) func(*crafted, int) {
		return func(c *crafted, n int) { c.dirBlock(badIno, n, change) }
	}
	for _, c := range []struct {
		name   string
		damage func(c *crafted, n int) // of file block n
		want   string
		whole  bool // the block is still read, one name of it is lost
	}{
		{"rec_len 0", block(func(b []byte) { put16(b, 4, 0) }), "rec_len is 0", false},
		{"rec_len 0 inside", block(func(b []byte) { put16(b, int(b[4])+4, 0) }), "rec_len is 0", false},
		{"rec_len 8", block(func(b []byte) { put16(b, 4, 8) }), "rec_len is 8", false},
		{"rec_len odd", block(func(b []byte) { put16(b, 4, 33) }), "not a multiple of 4", false},
		{"rec_len too long", block(func(b []byte) { put16(b, 4, 4096) }), "crosses", false},
		{"rec_len ends short", block(func(b []byte) { put16(b, 4, 1016) }), "does not fit", false},
		{"name_len", block(func(b []byte) { b[6] = 255 }), "name_len 255", false},
		{"inode", block(func(b []byte) { put32(b, 0, 1<<30) }), "inode is 1073741824", false},
		{"zeros", block(func(b []byte) { clear(b) }), "rec_len is 0", false},
		{"ones", block(func(b []byte) { copy(b, bytes.Repeat([]byte{255}, len(b))) }), "rec_len is 65535", false},
		{"hole", func(c *crafted, n int) { c.inode(badIno, func(in *disk.Inode) { in.Block[n] = 0 }) }, "is a hole", false},
		{"pointer", func(c *crafted, n int) { c.inode(badIno, func(in *disk.Inode) { in.Block[n] = 1 << 30 }) }, "points to", false},
		{"slash", block(func(b []byte) { b[9] = '/' }), "impossible name", true},
		{"zero byte", block(func(b []byte) { b[9] = 0 }), "impossible name", true},
		{"empty name", block(func(b []byte) { b[6] = 0 }), "empty name", true},
		{"second dot", block(func(b []byte) { b[6], b[8] = 1, '.' }), "it has another", true},
	} {
		for _, big := range []bool{false, true} {
			t.Run(fmt.Sprint(c.name, big), func(t *testing.T) {
				n, n0 := 150, 1
				if big {
					n, n0 = 900, 5
				}
				img := craft(t, 1024)
				all := names(0, n)
				img.dir(badIno, all...)
				img.dir(RootIno, namedIno{"d", badIno}, namedIno{"file", fileIno})
				lost := map[string]bool{}
				img.dirBlock(badIno, n0, func(b []byte) {
					dirEntries(b, func(d disk.Dirent) bool {
						lost[string(d.Name)] = true
						return !c.whole
					})
				})
				c.damage(img, n0)
				fs, log := img.logged()
				in := openInode(t, fs, badIno)
				checkDamaged(t, in, all, lost, c.whole, c.want, log)
			})
		}
	}
}

func checkDamaged(t *testing.T, in *Inode, all []namedIno, lost map[string]bool, whole bool, want string, log *bytes.Buffer) {
	t.Helper()
	for round := range 3 {
		for _, e := range all {
			ino, err := in.lookupIno(e.name)
			switch {
			case !lost[e.name]:
				if ino != e.ino || err != nil {
					t.Fatalf("%s, in another block: inode %d, %v", e.name, ino, err)
				}
			case whole:
				if !errors.Is(err, ErrNotExist) {
					t.Fatalf("%s, overwritten: inode %d, %v", e.name, ino, err)
				}
			default:
				wantDamage(t, err, log, want)
			}
		}
		if _, err := in.lookupIno("absent"); whole && !errors.Is(err, ErrNotExist) {
			t.Errorf("absent: %v", err)
		} else if !whole {
			wantDamage(t, err, log, want)
		}
		for _, n := range []int{1 << 30, 50, 3}[round : round+1] {
			got, _, err := listFrom(t, in, 0, n)
			if err == nil {
				t.Errorf("listing by %d: no error", n)
			}
			if len(got) != len(all)+2-len(lost) {
				t.Errorf("listing by %d: %d entries, want %d", n, len(got), len(all)+2-len(lost))
			}
			for _, e := range got {
				if lost[e.name] {
					t.Errorf("%v is listed", e)
				}
			}
			if Errno(err) != syscall.EIO {
				t.Errorf("listing by %d: %v", n, err)
			}
		}
	}
	wantLog(t, log, want)
}

// TestBadDirSize: sizes that cannot be.
// TestEndlessDir: a directory of many blocks that are all the same one, by an indirect
// block that is used over and over, is not gone through each time.
// looked is how many blocks of metadata f looks at.
func looked(fs *FS, f func()) uint64 {
	before := fs.CacheStats()
	f()
	after := fs.CacheStats()
	return after.Hits + after.Misses - before.Hits - before.Misses
}

// TestSharedDirBlocks: a directory of a million blocks, which is some block a million times, is
// listed up to where that comes again. It does not grow, and is not taken for empty.
// TestLostDirBlocks: one bad pointer to a table is one fault, not as many as there are blocks
// below it; names behind it are found.
// TestEndlessIndex: an index says of each of its leaves, which are all the same, that names with
// the same hash go on in the next.
// TestDirLoops: directories that contain themselves, each other, the root, or have two
// parents. No path goes round.
func TestDirLoops(t *testing.T) {
	const a, b = 21, 22
	img := craft(t, 1024)
	img.dir(RootIno, namedIno{"a", a}, namedIno{"b", b}, namedIno{"self", RootIno})
	img.dir(a, namedIno{"b", b}, namedIno{"self", a}, namedIno{"root", RootIno})
	img.dir(b, namedIno{"a", a})
	for _, c := range []struct{ path, want string }{
		{"self", "leads back"},
		{"a/self", "leads back"},
		{"a/root", "leads back"},
		{"a/b/a", "stands in directory inode 2 already"},
		{"a/b/a/b/a/b/a", "stands in directory inode 2 already"},
	} {
		fs, log := img.logged()
		_, err := fs.FS(ctx).Open(c.path)
		wantDamage(t, err, log, c.want)
	}
	// Two parents: whoever comes second is refused, as long as the first is known.
	fs, log := img.logged()
	inodeAt(t, fs, "a/b")
	_, err := fs.FS(ctx).Open("b")
	wantDamage(t, err, log, "stands in directory inode 21 already")
}

// TestParentOfKeptDirectory: where a directory was found is known as long as it is kept, in
// memory or not, and no longer.
func TestParentOfKeptDirectory(t *testing.T) {
	const a, b = 21, 22
	img := craft(t, 1024)
	img.dir(RootIno, namedIno{"a", a}, namedIno{"b", b})
	img.dir(a, namedIno{"b", b})
	img.dir(b)
	fs, log := img.logged()
	fs.inodes.maxIdle = 0
	parents := func() (n int) {
		for i := range fs.inodes.shards {
			n += len(fs.inodes.shards[i].parents)
		}
		return n
	}
	in, err := fs.InodeByPath("a/b", true)
	if err != nil {
		t.Fatal(err)
	}
	in.Keep()
	if all, _ := inodesInMemory(fs); all != 0 || parents() != 1 {
		t.Errorf("%d inodes in memory, %d parents of others", all, parents())
	}
	for range 2 {
		_, err = fs.InodeByPath("b", true)
		wantDamage(t, err, log, "stands in directory inode 21 already")
	}
	if in, err = fs.InodeByPath("a/b", true); err != nil {
		t.Fatal(err)
	}
	fs.Forget(b, 1)
	in.Put()
	if in, err = fs.InodeByPath("b", true); err != nil {
		t.Fatalf("the other place was forgotten: %v", err)
	}
	in.Keep()
	fs.Forget(b, 1)
	if all, _ := inodesInMemory(fs); all != 0 || parents() != 0 {
		t.Errorf("%d inodes in memory, %d parents", all, parents())
	}
}

// TestBadEntries: names that lead to inodes that cannot be.
func TestBadEntries(t *testing.T) {
	img := craft(t, 1024)
	img.dir(RootIno, namedIno{"deleted", 30}, namedIno{"reserved", 5}, namedIno{"file", fileIno})
	img.inode(30, func(in *disk.Inode) { *in = disk.Inode{Dtime: 1} })
	for name, want := range map[string]string{"deleted": "which is deleted", "reserved": "inode"} {
		fs, log := img.logged()
		root := openInode(t, fs, RootIno)
		for range 3 {
			_, err := root.Lookup(name)
			wantDamage(t, err, log, want)
		}
	}
}

// TestBadHtree: an index that cannot be followed. Every name is found and listed
// nevertheless.
func TestBadHtree(t *testing.T) {
	const table = 32 // of the root
	for _, c := range []struct {
		name   string
		damage func(root []byte)
		want   string
	}{
		{"limit 0", func(b []byte) { put16(b, table, 0) }, "limit is 0"},
		{"limit too large", func(b []byte) { put16(b, table, 0xFFFF) }, "limit is 65535"},
		{"count 0", func(b []byte) { put16(b, table+2, 0) }, "count is 0"},
		{"count too large", func(b []byte) { put16(b, table+2, 0xFFFF) }, "count is 65535"},
		{"order", func(b []byte) { put32(b, table+8*2, 0xFFFFFFFE) }, "comes after"},
		{"pointer to the root", func(b []byte) { put32(b, table+4, 0) }, "block 0"},
		{"pointer past the end", func(b []byte) { put32(b, table+8*3+4, 1000) }, "block 1000"},
		{"three levels", func(b []byte) { b[30] = 2 }, "indirect_levels is 2"},
		{"levels that are not there", func(b []byte) { b[30] = 1 }, "node does not begin"},
		{"hash version", func(b []byte) { b[28] = 9 }, "hash_version is 9"},
		{"info length", func(b []byte) { b[29] = 0 }, "info_length is 0"},
		{"flags", func(b []byte) { b[31] = 1 }, "unused_flags"},
		{"no dot", func(b []byte) { b[8] = 'x' }, "the first entry is not"},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := names(0, 120)
			img := craft(t, 1024)
			img.htree(badIno, 20, all...)
			fs := img.open(Options{})
			checkAll(t, openInode(t, fs, badIno), all)
			if levelsOf(t, openInode(t, fs, badIno)) != 1 {
				t.Fatal("the tree is no good before it is damaged")
			}
			img.dirBlock(badIno, 0, c.damage)
			for _, listFirst := range []bool{false, true} {
				fs, log := img.logged()
				in := openInode(t, fs, badIno)
				if listFirst {
					listFrom(t, in, 0, 10)
				}
				if c.name != "no dot" {
					checkAll(t, in, all)
				}
				for range 3 {
					for _, e := range all {
						in.lookupIno(e.name)
					}
				}
				in.ReadDir(ctx, 0, func(DirEntry) bool { return true })
				wantLog(t, log, c.want)
			}
		})
	}
}

func checkAll(t *testing.T, in *Inode, all []namedIno) {
	t.Helper()
	want := map[string]uint32{}
	for _, e := range all {
		want[e.name] = e.ino
	}
	checkDir(t, in, want)
}

// TestStrayLeaf: a name in a leaf of other hashes. Whoever lists finds out; from then on
// the directory is read linearly.
func TestStrayLeaf(t *testing.T) {
	for _, swap := range [][2]int{{1, 2}, {1, 6}, {5, 2}} {
		all := names(0, 120)
		img := craft(t, 1024)
		img.htree(badIno, 20, all...)
		var first []byte
		img.dirBlock(badIno, swap[0], func(b []byte) { first = slices.Clone(b) })
		img.dirBlock(badIno, swap[1], func(b []byte) {
			other := slices.Clone(b)
			copy(b, first)
			first = other
		})
		img.dirBlock(badIno, swap[0], func(b []byte) { copy(b, first) })
		fs, log := img.logged()
		in := openInode(t, fs, badIno)
		_, _, err := listFrom(t, in, 0, 7)
		if Errno(err) != syscall.EIO {
			t.Errorf("leaves %v swapped: the listing ends with %v", swap, err)
		}
		checkAll(t, in, all)
		if !strings.Contains(log.String(), "another leaf's hashes") {
			t.Errorf("logged:\n%s", log)
		}
	}
}

// TestHtreeCollisions: names whose hashes are equal, over several leaves. They are told
// apart by what follows the hash in the order of a listing, and by the continuation bit
// in the index.
func TestHtreeCollisions(t *testing.T) {
	var all []namedIno
	img := craft(t, 1024)
	h := img.open(Options{}).hasher()
	h.version = disk.HashLegacy
	byHash := map[uint32]string{}
	for i := 0; len(all) < 100; i++ {
		name := fmt.Sprintf("%x", uint32(i)*2654435761)
		_, major := h.pos([]byte(name))
		if twin, ok := byHash[major]; ok {
			all = append(all, namedIno{twin, fileIno}, namedIno{name, fileIno})
			delete(byHash, major)
		} else {
			byHash[major] = name
		}
	}
	for _, c := range [][2]int{{1, 0}, {3, 0}, {7, 0}, {1, 1}, {1, 3}, {3, 2}, {5, 9}} {
		img.htreeWith(badIno, h, c[0], c[1], all...)
		fs := img.open(Options{})
		in := openInode(t, fs, badIno)
		checkAll(t, in, all)
		if in.dir.data(fs).badIndex.Load() {
			t.Errorf("%d names per leaf, %d leaves per node: the index was given up", c[0], c[1])
		}
	}
}

// TestIndexLostWhileListing: the index becomes unusable in the middle of a listing. What
// is left comes in the order it began in, from a directory that is far larger than a
// batch, and the end is an error.
func TestIndexLostWhileListing(t *testing.T) {
	all := names(0, 20000)
	img := craft(t, 4096)
	img.dir(badIno, all...)
	img.inode(badIno, func(in *disk.Inode) { in.Flags |= disk.InodeIndex })
	fs, log := img.logged()
	in := openInode(t, fs, badIno)
	got, _, err := listFrom(t, in, posDotDot, 1000)
	if Errno(err) != syscall.EIO || len(got) != len(all)+1 {
		t.Errorf("%d entries, %v; want %d", len(got), err, len(all)+1)
	}
	seen := map[string]bool{}
	for _, e := range got {
		if seen[e.name] {
			t.Fatalf("%v came twice", e)
		}
		seen[e.name] = true
	}
	if lines := strings.Count(log.String(), "\n"); lines > 2 {
		t.Errorf("%d lines logged:\n%s", lines, log)
	}
}

// TestSameNames: more entries of one name than can be told apart. The listing ends, and
// says that it is not complete.
func TestSameNames(t *testing.T) {
	var all []namedIno
	for range 200 {
		all = append(all, namedIno{"twin", fileIno})
	}
	img := craft(t, 4096)
	img.dir(badIno, all...)
	fs, log := img.logged()
	got, _, err := listFrom(t, openInode(t, fs, badIno), 0, 3)
	if len(got) != 2+maxOrdinal+1 {
		t.Errorf("%d entries", len(got))
	}
	if Errno(err) != syscall.EIO {
		t.Error(err)
	}
	wantLog(t, log, "equal hashes")
}

// TestWildCookies: cookies nobody gave.
func TestWildCookies(t *testing.T) {
	img := craft(t, 1024)
	img.dir(badIno, names(0, 300)...)
	img.htree(badIno+1, 20, names(0, 100)...)
	fs := img.open(Options{})
	for ino := uint32(badIno); ino <= badIno+1; ino++ {
		in := openInode(t, fs, ino)
		for bit := range 64 {
			for _, d := range []uint64{0, 1, ^uint64(0), 12345} {
				n := 0
				in.ReadDir(ctx, 1<<bit+d, func(DirEntry) bool { n++; return true })
				if n > 302 {
					t.Fatalf("cookie %#x: %d entries", uint64(1)<<bit+d, n)
				}
			}
		}
	}
}
