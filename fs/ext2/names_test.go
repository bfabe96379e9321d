//go:build linux

package ext2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// openImage opens an image file read-only; it is closed with the test.
func openImage(t testing.TB, img string, o Options) *FS {
	t.Helper()
	o.ReadOnly = true
	if o.Logger == nil {
		o.Logger = quiet
	}
	fs, err := Open(ctx, img, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fs.Close() })
	return fs
}

// inodeAt is the inode a path leads to, symbolic links not followed at its end.
func inodeAt(t testing.TB, fs *FS, name string) *Inode {
	t.Helper()
	in, err := fs.InodeByPath(name, false)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	t.Cleanup(func() { in.Put() })
	return in
}

// listed is an entry of a listing.
type listed struct {
	name string
	ino  uint32
	typ  uint8 // as getdents gives it
}

func (l listed) String() string { return fmt.Sprintf("%q (inode %d, type %d)", l.name, l.ino, l.typ) }

// direntTypes are the types of getdents by those of directory entries.
var direntTypes = []uint8{unix.DT_UNKNOWN, unix.DT_REG, unix.DT_DIR, unix.DT_CHR, unix.DT_BLK, unix.DT_FIFO, unix.DT_SOCK, unix.DT_LNK}

// listFrom lists a directory from a cookie on in calls of at most n entries each.
func listFrom(t testing.TB, in *Inode, cookie uint64, n int) (all []listed, cookies []uint64, err error) {
	t.Helper()
	for {
		got := 0
		err := in.ReadDir(ctx, cookie, func(e DirEntry) bool {
			if got == n {
				return false
			}
			if e.Next&^uint64(cookieDamaged) <= cookie&^uint64(cookieDamaged) {
				t.Fatalf("cookie %#x after %#x", e.Next, cookie)
			}
			got++
			cookie = e.Next
			all = append(all, listed{string(e.Name), e.Ino, direntTypes[e.Type]})
			cookies = append(cookies, cookie)
			return true
		})
		if got == 0 {
			return all, cookies, err
		}
	}
}

// getdents lists a directory as the kernel does, in its order.
func getdents(t testing.TB, dir string) (all []listed) {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	buf := make([]byte, 1<<16)
	for {
		n, err := unix.Getdents(fd, buf)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return all
		}
		for b := buf[:n]; len(b) > 0; b = b[binary.LittleEndian.Uint16(b[16:]):] {
			name := b[19:binary.LittleEndian.Uint16(b[16:])]
			name = name[:bytes.IndexByte(name, 0)]
			all = append(all, listed{string(name), uint32(binary.LittleEndian.Uint64(b)), b[18]})
		}
	}
}

func sorted(l []listed) []listed {
	l = slices.Clone(l)
	slices.SortFunc(l, func(a, b listed) int { return strings.Compare(a.name, b.name) })
	return l
}

// noDots leaves out "." and "..", which the kernel lists anywhere.
func noDots(l []listed) []listed {
	return slices.DeleteFunc(slices.Clone(l), func(e listed) bool { return e.name == "." || e.name == ".." })
}

// checkSame tells the first difference of two listings.
func checkSame(t testing.TB, what string, got, want []listed) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("%s: entry %d is %v, want %v", what, i, got[i], want[i])
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%s: %d entries, want %d", what, len(got), len(want))
	}
}

// TestNamesLikeKernel compares all that has to do with names and attributes, in whole
// trees, with what the kernel's driver says: listings and their order, look-ups, targets,
// extended attributes and their order, ACLs.
func TestNamesLikeKernel(t *testing.T) {
	ext2test.NeedKernelMount(t)
	want := []string{"1k-inode128", "2k-inode256", "4k-inode512", "1k-rev0", "2k-no-dir_index", "1k-no-filetype",
		"1k-hash-legacy", "1k-hash-half_md4", "1k-hash-tea", "4k-ext3"}
	for _, r := range ext2test.Recipes() {
		if !slices.Contains(want, r.Name) {
			continue
		}
		t.Run(r.Name, func(t *testing.T) {
			img := r.Make(t)
			fs := openImage(t, img, Options{})
			root := ext2test.KernelMount(t, img, "ro", "user_xattr", "acl")
			compareTree(t, fs, root, ".")
		})
	}
}

func compareTree(t *testing.T, fs *FS, root, name string) {
	t.Helper()
	in := inodeAt(t, fs, name)
	kernel := filepath.Join(root, name)
	compareXattrs(t, in, kernel, name)
	switch {
	case in.IsSymlink():
		target, err := in.Readlink()
		want, _ := os.Readlink(kernel)
		if err != nil || target != want {
			t.Errorf("%s: target %q, %v; want %q", name, target, err, want)
		}
	case in.IsDir():
		want := getdents(t, kernel)
		got, _, err := listFrom(t, in, 0, 1<<30)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		checkSame(t, name+" sorted", sorted(got), sorted(want))
		if !strings.Contains(t.Name(), "legacy") { // its ties have no order
			checkSame(t, name, noDots(got), noDots(want))
		}
		for _, e := range want {
			if ino, err := in.lookupIno(e.name); ino != e.ino || err != nil {
				t.Errorf("%s/%s: inode %d, %v; want %d", name, e.name, ino, err, e.ino)
			}
			if ino, err := in.lookupIno(e.name + "\xff"); !errors.Is(err, ErrNotExist) && !errors.Is(err, ErrNameTooLong) {
				t.Errorf("%s/%s\\xff: inode %d, %v", name, e.name, ino, err)
			}
			if e.name != "." && e.name != ".." {
				compareTree(t, fs, root, path.Join(name, e.name))
			}
		}
	}
}

// compareXattrs compares the names, their order and the values.
func compareXattrs(t *testing.T, in *Inode, kernel, name string) {
	t.Helper()
	buf := make([]byte, 1<<16)
	n, err := unix.Llistxattr(kernel, buf)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, s := range strings.Split(string(buf[:n]), "\x00") {
		if s != "" && s != "security.selinux" {
			want = append(want, s)
		}
	}
	got, err := in.Listxattr()
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("%s: attributes %q, %v; want %q", name, got, err, want)
	}
	for _, attr := range want {
		n, err := unix.Lgetxattr(kernel, attr, buf)
		if err != nil {
			t.Fatal(err)
		}
		if value, err := in.Getxattr(attr); err != nil || !bytes.Equal(value, buf[:n]) {
			t.Errorf("%s: %s is %q, %v; want %q", name, attr, value, err, buf[:n])
		}
	}
	for _, attr := range []string{"user.none", "trusted.none", "security.none"} {
		if _, err := in.Getxattr(attr); !errors.Is(err, ErrNoAttr) {
			t.Errorf("%s: %s gives %v", name, attr, err)
		}
	}
}
