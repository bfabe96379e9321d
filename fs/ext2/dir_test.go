//go:build linux

package ext2

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// dirNames are n names of 1 to 40 bytes, with bytes above 127 in some: signed and
// unsigned hashes differ there.
func dirNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("%d%.*s", i, i%35, "-\xe4\xf6\xfc-name-that-is-longer-than-needed")
	}
	return names
}

func makeNames(t testing.TB, dir string, names []string) {
	t.Helper()
	for _, name := range names {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
}

func tool(t testing.TB, ok string, name string, args ...string) {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil && (ok == "" || !strings.Contains(string(out), ok)) {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// setHash makes an image hash directories so. version is one of disk's six.
func setHash(t testing.TB, img string, version int) {
	t.Helper()
	tool(t, "", "tune2fs", "-E", "hash_alg="+[]string{"legacy", "half_md4", "tea"}[version%3], img)
	ext2test.DebugfsWrite(t, img, fmt.Sprintf("ssv flags %d", 1+version/3))
}

var hashNames = []string{"legacy", "half_md4", "tea", "legacy-unsigned", "half_md4-unsigned", "tea-unsigned"}

// checkDir looks up every name of a directory, and as many that are not there, and lists
// it in several ways. want is a map because that is the simplest directory there is.
func checkDir(t *testing.T, in *Inode, want map[string]uint32) {
	t.Helper()
	i := 0
	for name, ino := range want {
		if got, err := in.lookupIno(name); got != ino || err != nil {
			t.Fatalf("%q: inode %d, %v; want %d", name, got, err, ino)
		}
		if i++; len(want) > 10000 && i%8 != 0 {
			continue
		}
		absent := name[:len(name)-1] + "\x7f"
		if got, err := in.lookupIno(absent); !errors.Is(err, ErrNotExist) {
			t.Fatalf("%q: inode %d, %v; it does not exist", absent, got, err)
		}
	}
	all, cookies, err := listFrom(t, in, 0, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, e := range all {
		if seen[e.name] {
			t.Fatalf("%q is listed twice", e.name)
		}
		seen[e.name] = true
		if ino, ok := want[e.name]; e.name != "." && e.name != ".." && (!ok || ino != e.ino) {
			t.Fatalf("%v is listed; want inode %d", e, ino)
		}
	}
	if len(all) != len(want)+2 || all[0].name != "." || all[1].name != ".." {
		t.Fatalf("%d entries listed, beginning with %v; want %d", len(all), all[:2], len(want)+2)
	}
	for _, n := range []int{1, 7, 500} {
		if len(want) > 500*n {
			continue
		}
		again, _, err := listFrom(t, in, 0, n)
		if err != nil {
			t.Fatal(err)
		}
		checkSame(t, fmt.Sprint("listed by ", n), again, all)
	}
	// Any cookie leads to what comes behind it, in any order.
	rng := rand.New(rand.NewPCG(1, uint64(len(all))))
	for range 50 {
		i := rng.IntN(len(cookies))
		var next listed
		if err := in.ReadDir(ctx, cookies[i], func(e DirEntry) bool {
			next = listed{string(e.Name), e.Ino, direntTypes[e.Type]}
			return false
		}); err != nil {
			t.Fatal(err)
		}
		if i+1 < len(all) && next != all[i+1] || i+1 == len(all) && next.name != "" {
			t.Fatalf("behind %v comes %v", all[i], next)
		}
	}
}

// inosOf are the inode numbers debugfs knows for the names in a directory.
func inosOf(t testing.TB, img, dir string) map[string]uint32 {
	t.Helper()
	out := ext2test.Debugfs(t, img, "ls -p "+dir)
	inos := map[string]uint32{}
	for _, line := range strings.Split(out, "\n") {
		// /inode/mode/uid/gid/name/size/
		f := strings.Split(line, "/")
		if len(f) < 7 || f[5] == "." || f[5] == ".." || f[1] == "0" {
			continue
		}
		var ino uint32
		if _, err := fmt.Sscan(f[1], &ino); err == nil {
			inos[f[5]] = ino
		}
	}
	return inos
}

// levelsOf is how many levels the htree of a directory has; 0: it has none.
func levelsOf(t testing.TB, in *Inode) int {
	t.Helper()
	d := in.dir.data(in.fs)
	if !in.indexedLocked(d) {
		return 0
	}
	r := in.openDirLocked()
	var tree dxTree
	if err := tree.open(d, &r); err != nil {
		t.Fatal(err)
	}
	defer tree.close()
	return tree.depth
}

// TestDirKernelHtree: htrees that the kernel made, with each hash, of one and two levels.
func TestDirKernelHtree(t *testing.T) {
	ext2test.NeedKernelMount(t)
	for version, hash := range hashNames {
		t.Run(hash, func(t *testing.T) {
			img := ext2test.Make(t, ext2test.Options{Size: 16 << 20, Inodes: 8000, InodeSize: 128})
			setHash(t, img, version)
			dir := ext2test.KernelMount(t, img)
			for _, c := range []struct{ n, levels int }{{0, 0}, {1, 0}, {10, 0}, {400, 1}, {4500, 2}} {
				sub := filepath.Join(dir, fmt.Sprint(c.n))
				if err := os.Mkdir(sub, 0o755); err != nil {
					t.Fatal(err)
				}
				makeNames(t, sub, dirNames(c.n))
			}
			ext2test.Unmount(t, dir)
			fs := openImage(t, img, Options{})
			for _, c := range []struct{ n, levels int }{{0, 0}, {1, 0}, {10, 0}, {400, 1}, {4500, 2}} {
				in := inodeAt(t, fs, fmt.Sprint(c.n))
				if got := levelsOf(t, in); got != c.levels {
					t.Errorf("%d names: %d levels, want %d", c.n, got, c.levels)
				}
				want := inosOf(t, img, fmt.Sprint("/", c.n))
				if len(want) != c.n {
					t.Fatalf("debugfs lists %d names, want %d", len(want), c.n)
				}
				checkDir(t, in, want)
				if in.dir.data(fs).badIndex.Load() {
					t.Error("the index was given up")
				}
			}
		})
	}
}

// TestDirLarge: 50,000 names, with the htree e2fsck makes for each hash, and without one,
// where the name index takes its place.
func TestDirLarge(t *testing.T) {
	ext2test.NeedKernelMount(t)
	const n = 50000
	img := ext2test.Filled(t, ext2test.Options{Size: 32 << 20, Inodes: n + 100, InodeSize: 128},
		func(dir string) { makeNames(t, dir, dirNames(n)) })
	want := inosOf(t, img, "/")
	delete(want, "lost+found")
	check := func(t *testing.T, img string, levels int) {
		fs := openImage(t, img, Options{})
		in := inodeAt(t, fs, ".")
		if got := levelsOf(t, in); got != levels {
			t.Fatalf("%d levels, want %d", got, levels)
		}
		want := want
		if len(want) != n {
			t.Fatalf("debugfs lists %d names", len(want))
		}
		want["lost+found"] = 11
		checkDir(t, in, want)
		delete(want, "lost+found")
		d := in.dir.data(fs)
		if d.badIndex.Load() || (d.index.Load() != nil) != (levels == 0) {
			t.Errorf("htree given up: %v, name index: %v", d.badIndex.Load(), d.index.Load() != nil)
		}
	}
	for _, version := range []int{disk.HashLegacy, disk.HashTEAUnsigned} {
		t.Run(hashNames[version], func(t *testing.T) {
			img := ext2test.Copy(t, img)
			setHash(t, img, version)
			tool(t, "MODIFIED", "e2fsck", "-fyD", img)
			check(t, img, 2)
		})
	}
	t.Run("linear", func(t *testing.T) {
		img := ext2test.Copy(t, img)
		tool(t, "", "tune2fs", "-O", "^dir_index", img)
		tool(t, "MODIFIED", "e2fsck", "-fy", img)
		check(t, img, 0)
	})
}

// TestDirBlockSizes: directories of all block sizes, 64 KiB with its own rec_len rules
// included, as mke2fs makes them: linear.
func TestDirBlockSizes(t *testing.T) {
	src := t.TempDir()
	for _, n := range []int{0, 1, 10, 3000} {
		sub := filepath.Join(src, fmt.Sprint(n))
		if err := os.Mkdir(sub, 0o755); err != nil {
			t.Fatal(err)
		}
		makeNames(t, sub, dirNames(n))
	}
	for bs := 1024; bs <= 65536; bs *= 2 {
		t.Run(fmt.Sprint(bs), func(t *testing.T) {
			o := ext2test.Options{Size: 32 << 20, BlockSize: bs, InodeSize: 128, Inodes: 4000, Root: src}
			if bs > 4096 {
				o.Size = 64 << 20
			}
			img := ext2test.Make(t, o)
			for _, indexed := range []bool{false, true} {
				if indexed {
					tool(t, "MODIFIED", "e2fsck", "-fyD", img)
				}
				fs := openImage(t, img, Options{})
				for _, n := range []int{0, 1, 10, 3000} {
					in := inodeAt(t, fs, fmt.Sprint(n))
					want := inosOf(t, img, fmt.Sprint("/", n))
					if len(want) != n {
						t.Fatalf("debugfs lists %d names, want %d", len(want), n)
					}
					checkDir(t, in, want)
				}
				if in := inodeAt(t, fs, "3000"); indexed && levelsOf(t, in) == 0 {
					t.Error("3000 names have no htree")
				}
			}
		})
	}
}

// TestReadDirWhileChanging: an entry that is there from the beginning of a listing to
// its end comes exactly once, though the kernel splits, fills and converts the directory
// meanwhile. The listing begins on one image and goes on, by the cookie, on the other.
func TestReadDirWhileChanging(t *testing.T) {
	ext2test.NeedKernelMount(t)
	names := dirNames(6000)
	for _, c := range []struct {
		name          string
		features      []string
		before, after int // names there are
	}{
		{"one block becomes an htree", nil, 20, 300},
		{"one block becomes an htree of two levels", nil, 20, 6000},
		{"htree splits", nil, 300, 1500},
		{"htree gets its second level", nil, 1500, 6000},
		{"linear grows", []string{"^dir_index"}, 300, 1500},
		{"linear one block grows", []string{"^dir_index"}, 20, 300},
	} {
		t.Run(c.name, func(t *testing.T) {
			img := ext2test.Make(t, ext2test.Options{Size: 16 << 20, Inodes: 7000, InodeSize: 128, Features: c.features})
			dir := ext2test.KernelMount(t, img)
			if err := os.Mkdir(filepath.Join(dir, "d"), 0o755); err != nil {
				t.Fatal(err)
			}
			makeNames(t, filepath.Join(dir, "d"), names[:c.before])
			ext2test.Unmount(t, dir)
			old := openImage(t, ext2test.Copy(t, img), Options{})
			dir = ext2test.KernelMount(t, img)
			removed := map[string]bool{}
			for i := 0; i < c.before; i += 3 {
				removed[names[i]] = true
				if err := os.Remove(filepath.Join(dir, "d", names[i])); err != nil {
					t.Fatal(err)
				}
			}
			makeNames(t, filepath.Join(dir, "d"), names[c.before:c.after])
			ext2test.Unmount(t, dir)
			now := openImage(t, img, Options{})

			first, cookies, err := listFrom(t, inodeAt(t, old, "d"), 0, 1<<30)
			if err != nil {
				t.Fatal(err)
			}
			for k := 0; k <= len(first); k += max(1, len(first)/25) {
				cookie := uint64(0)
				if k > 0 {
					cookie = cookies[k-1]
				}
				rest, _, err := listFrom(t, inodeAt(t, now, "d"), cookie, 100)
				if err != nil {
					t.Fatal(err)
				}
				count := map[string]int{}
				for _, e := range slices.Concat(first[:k], rest) {
					count[e.name]++
				}
				for _, name := range append([]string{".", ".."}, names[:c.before]...) {
					if !removed[name] && count[name] != 1 {
						t.Fatalf("%q came %d times when the directory changed after %d entries", name, count[name], k)
					}
				}
				for name, n := range count {
					if n > 1 {
						t.Fatalf("%q came %d times when the directory changed after %d entries", name, n, k)
					}
				}
			}
		})
	}
}

func TestLookupNames(t *testing.T) {
	fs := craft(t, 1024).open(Options{})
	root := openInode(t, fs, RootIno)
	file := openInode(t, fs, fileIno)
	for _, c := range []struct {
		in   *Inode
		name string
		want error
	}{
		{root, "", ErrNotExist},
		{root, "file/", ErrNotExist},
		{root, "file\x00", ErrNotExist},
		{root, strings.Repeat("n", 255), ErrNotExist},
		{root, strings.Repeat("n", 256), ErrNameTooLong},
		{root, strings.Repeat("n", 1<<16), ErrNameTooLong},
		{file, "x", ErrNotDir},
		{file, "..", ErrNotDir},
		{file, ".", ErrNotDir},
	} {
		if _, err := c.in.Lookup(c.name); !errors.Is(err, c.want) {
			t.Errorf("%.20q: %v, want %v", c.name, err, c.want)
		}
		if _, err := c.in.lookupIno(c.name); !errors.Is(err, c.want) {
			t.Errorf("%.20q: %v, want %v", c.name, err, c.want)
		}
	}
	for name, want := range map[string]uint32{".": RootIno, "..": RootIno, "file": fileIno, "lost+found": 11} {
		in, err := root.Lookup(name)
		if err != nil || in.Ino() != want {
			t.Fatalf("%q: %v, %v", name, in, err)
		}
		in.Put()
	}
	if err := file.ReadDir(ctx, 0, nil); !errors.Is(err, ErrNotDir) {
		t.Errorf("listing a file: %v", err)
	}
}

// The tools of e2fsprogs are often not on a plain user's PATH.
func init() { os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin") }
