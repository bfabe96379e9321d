//go:build linux

package ext2test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Recipe is one image that a reader of ext2 must show as the kernel does.
type Recipe struct {
	Name   string
	Kernel bool   // made with the kernel's driver: needs root and loop devices
	Large  bool   // block size past the page size: the kernel cannot mount it
	Window string // mount options that find the file system in the image, as "offset=1048576"
	Make   func(t testing.TB) string
}

// Recipes is the list of images, some forty of them, a second or less each.
func Recipes() []Recipe {
	var all []Recipe
	all = append(all, matrix()...)
	all = append(all, special()...)
	all = append(all, copied()...)
	return append(all, large()...)
}

// matrix: block and inode sizes, and the features that change what lies where, in
// pairs that matter; populated by the kernel.
func matrix() []Recipe {
	var all []Recipe
	add := func(name string, o Options) {
		all = append(all, Recipe{Name: name, Kernel: true, Make: func(t testing.TB) string { return populated(t, o) }})
	}
	for _, bs := range []int{1024, 2048, 4096} {
		for _, is := range []int{128, 256, 512} {
			add(fmt.Sprintf("%dk-inode%d", bs/1024, is), Options{BlockSize: bs, InodeSize: is})
		}
		add(fmt.Sprintf("%dk-rev0", bs/1024), Options{BlockSize: bs, Revision0: true})
		add(fmt.Sprintf("%dk-no-dir_index", bs/1024), Options{BlockSize: bs, Features: []string{"^dir_index"}})
		add(fmt.Sprintf("%dk-no-filetype", bs/1024), Options{BlockSize: bs, Features: []string{"^filetype"}})
		add(fmt.Sprintf("%dk-bare", bs/1024), Options{BlockSize: bs, InodeSize: 128,
			Features: []string{"^dir_index", "^filetype", "^sparse_super", "^resize_inode", "^large_file", "^ext_attr"}})
	}
	add("1k-no-sparse_super", Options{Features: []string{"^sparse_super", "^resize_inode"}})
	add("1k-no-resize_inode", Options{Features: []string{"^resize_inode"}})
	add("4k-no-sparse_super", Options{BlockSize: 4096, Features: []string{"^sparse_super", "^resize_inode"}, Size: 160 << 20})
	add("1k-small-groups", Options{Args: []string{"-g", "1024"}})
	add("1k-inode1024", Options{InodeSize: 1024})
	add("1k-meta_bg", Options{Features: []string{"meta_bg", "^resize_inode"}, Args: []string{"-g", "256"}, Size: 64 << 20})
	add("4k-meta_bg", Options{BlockSize: 4096, Features: []string{"meta_bg", "^resize_inode", "^sparse_super"}, Args: []string{"-g", "512"}, Size: 512 << 20})
	add("1k-ext3", Options{Type: "ext3", Size: 24 << 20})
	add("4k-ext3", Options{Type: "ext3", BlockSize: 4096, Size: 32 << 20})
	for _, hash := range []string{"legacy", "half_md4", "tea"} {
		add("1k-hash-"+hash, Options{Extended: []string{"hash_seed=01234567-89ab-cdef-0123-456789abcdef"}, Args: []string{"-O", "dir_index"}})
		last := &all[len(all)-1]
		mk := last.Make
		last.Make = func(t testing.TB) string { return withHash(t, mk(t), hash) }
	}
	return all
}

// populated makes an image and has the kernel fill it with Populate.
func populated(t testing.TB, o Options) string {
	t.Helper()
	if o.Inodes == 0 {
		o.Inodes = 2048
	}
	bs := o.BlockSize
	if bs == 0 {
		bs = 1024
	}
	return Filled(t, o, func(dir string) { Populate(t, dir, bs) })
}

// Filled makes an image, mounts it with the kernel, has fill fill it, and checks it.
func Filled(t testing.TB, o Options, fill func(dir string)) string {
	t.Helper()
	NeedKernelMount(t)
	img := Make(t, o)
	dir := KernelMount(t, img)
	fill(dir)
	Unmount(t, dir)
	Fsck(t, img)
	return img
}

// withHash sets the image's default directory hash, and adds a directory indexed by it.
func withHash(t testing.TB, img, hash string) string {
	t.Helper()
	run(t, "tune2fs", "-E", "hash_alg="+hash, img)
	dir := KernelMount(t, img)
	sub := filepath.Join(dir, "indexed")
	if err := os.Mkdir(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	ManyNames(t, sub, 1000)
	Unmount(t, dir)
	Fsck(t, img)
	return img
}

// special: shapes of files and directories.
func special() []Recipe {
	kernel := func(name string, o Options, fill func(t testing.TB, dir string)) Recipe {
		return Recipe{Name: name, Kernel: true, Make: func(t testing.TB) string {
			return Filled(t, o, func(dir string) { fill(t, dir) })
		}}
	}
	var all []Recipe
	for _, bs := range []int{1024, 2048, 4096} {
		o := Options{BlockSize: bs, Size: int64(bs) * 16384, Inodes: 16384}
		all = append(all,
			kernel(fmt.Sprintf("%dk-triple-indirect", bs/1024), o, func(t testing.TB, dir string) {
				FarWrites(t, filepath.Join(dir, "far"), bs)
			}),
			kernel(fmt.Sprintf("%dk-fragmented", bs/1024), o, func(t testing.TB, dir string) {
				Fragment(t, dir, bs)
			}))
	}
	names := func(n int) func(t testing.TB, dir string) {
		return func(t testing.TB, dir string) { ManyNames(t, dir, n) }
	}
	return append(all,
		kernel("1k-50000-names", Options{Size: 32 << 20, Inodes: 51000, InodeSize: 128}, names(50000)),
		kernel("4k-10000-names", Options{Size: 64 << 20, BlockSize: 4096, Inodes: 11000}, names(10000)),
		Recipe{Name: "4k-50000-names-no-dir_index", Kernel: true, Make: unindexed},
	)
}

// unindexed makes a linear directory of 50,000 names: created indexed, because that
// is quick, with the index taken off afterwards.
func unindexed(t testing.TB) string {
	img := Filled(t, Options{Size: 64 << 20, BlockSize: 4096, Inodes: 51000}, func(dir string) { ManyNames(t, dir, 50000) })
	run(t, "tune2fs", "-O", "^dir_index", img)
	// Exit status 1: it cleared the index flags that are left, as it should.
	if out, err := exec.Command(tool("e2fsck"), "-f", "-y", img).CombinedOutput(); err != nil && !strings.Contains(string(out), "MODIFIED") {
		t.Fatalf("e2fsck -f -y: %v\n%s", err, out)
	}
	Fsck(t, img)
	return img
}

// copied: made by mke2fs -d, without any mount, and images from elsewhere.
func copied() []Recipe {
	var all []Recipe
	for _, bs := range []int{1024, 2048, 4096} {
		all = append(all, Recipe{Name: fmt.Sprintf("%dk-mke2fs-d", bs/1024), Make: func(t testing.TB) string {
			return copyOf(t, bs)
		}})
	}
	return append(all,
		Recipe{Name: "partitioned", Window: "offset=1048576", Make: partitioned},
		Recipe{Name: "forensics-samples", Window: "offset=1048576", Make: Forensics})
}

// large: blocks past the page size, which the kernel does not mount.
func large() []Recipe {
	var all []Recipe
	for _, bs := range []int{8192, 16384, 32768, 65536} {
		all = append(all, Recipe{Name: fmt.Sprintf("%dk-mke2fs-d", bs/1024), Large: true, Make: func(t testing.TB) string {
			return copyOf(t, bs)
		}})
	}
	return all
}

// copyOf makes an image that mke2fs -d fills from a populated directory.
func copyOf(t testing.TB, blockSize int) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	Populate(t, root, blockSize)
	many := filepath.Join(root, "many")
	if err := os.Mkdir(many, 0o755); err != nil {
		t.Fatal(err)
	}
	ManyNames(t, many, 2000)
	img := Make(t, Options{BlockSize: blockSize, Size: max(int64(blockSize)*6144, 24<<20), Inodes: 4096, Root: root})
	Fsck(t, img)
	return img
}

// partitioned puts an image into the first partition of a disk.
func partitioned(t testing.TB) string {
	t.Helper()
	fs := copyOf(t, 1024)
	st, err := os.Stat(fs)
	if err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(t.TempDir(), "disk.img")
	Truncate(t, disk, st.Size()+2<<20)
	run(t, "dd", "if="+fs, "of="+disk, "bs=1M", "seek=1", "conv=notrunc,sparse")
	cmd := exec.Command(tool("sfdisk"), "-q", disk)
	cmd.Stdin = strings.NewReader(fmt.Sprintf("2048,%d,L\n", st.Size()/512))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sfdisk %s: %v\n%s", disk, err, out)
	}
	return disk
}

// Forensics is the ext2 image of Debian's package forensics-samples-ext2: a disk
// with one partition, filled on somebody's real system.
func Forensics(t testing.TB) string {
	t.Helper()
	const packed = "/usr/share/forensics-samples/fs.ext2.xz"
	if _, err := os.Stat(packed); err != nil {
		t.Skip("needs the package forensics-samples-ext2: ", err)
	}
	img := filepath.Join(t.TempDir(), "fs.ext2")
	run(t, "sh", "-c", "xz -dc "+packed+` >"$1"`, "sh", img)
	return img
}
