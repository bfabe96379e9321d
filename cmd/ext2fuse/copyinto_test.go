//go:build linux

package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
	"github.com/ext2fuse/ext2fuse/internal/shell"
)

// TestCopySwapped: who can write to the directory, too, puts a file of his in the place of a copy
// before that gets its attributes, or has one there from the beginning. It does not become
// root's, or not with the bits that give its rights.
func TestCopySwapped(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	h, err := openHostDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	theirs := func(name string) {
		t.Helper()
		writeFile(t, filepath.Join(dir, "theirs"), "theirs")
		if err := errors.Join(os.Chown(filepath.Join(dir, "theirs"), nobody, nobody), os.Rename(filepath.Join(dir, "theirs"), filepath.Join(dir, name))); err != nil {
			t.Fatal(err)
		}
	}
	create := func(name string) {
		t.Helper()
		f, err := h.create(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	want := func(name string, uid, mode uint32) {
		t.Helper()
		if st := statOf(t, filepath.Join(dir, name)); st.Uid != uid || st.Mode&0o7777 != mode {
			t.Errorf("%s is %d's, mode %o; want %d's, %o", name, st.Uid, st.Mode&0o7777, uid, mode)
		}
	}
	su := &fileMeta{mode: unix.S_IFREG | 0o4755, links: 1}
	linked := &fileMeta{mode: unix.S_IFREG | 0o4755, links: 2}

	create("undisturbed")
	if err := h.setMeta("undisturbed", su); err != nil {
		t.Error(err)
	}
	want("undisturbed", 0, 0o4755)

	create("swapped")
	theirs("swapped")
	if err := h.setMeta("swapped", su); !errors.Is(err, errSwapped) {
		t.Errorf("swapped: %v", err)
	}
	want("swapped", nobody, 0o644)

	theirs("before")
	create("before")
	capable := *su
	capable.xattrs = map[string][]byte{fileCaps: append([]byte{1, 0, 0, 2, 0x80}, make([]byte, 15)...)} // cap_setuid
	if err := h.setMeta("before", &capable); err != nil {
		t.Error(err)
	}
	want("before", 0, 0o755)
	if _, err := unix.Getxattr(filepath.Join(dir, "before"), fileCaps, make([]byte, 100)); err != unix.ENODATA {
		t.Errorf("before has capabilities: %v", err)
	}

	create("first")
	if err := errors.Join(h.setMeta("first", linked), h.link("first", "second"), h.setMeta("second", linked)); err != nil {
		t.Error(err)
	}
	want("second", 0, 0o4755)
	theirs("first")
	if err := h.link("first", "third"); !errors.Is(err, errSwapped) {
		t.Errorf("a link to what was swapped: %v", err)
	}
	want("third", nobody, 0o644)

	if err := h.make("dir", &fileMeta{mode: unix.S_IFDIR}, ""); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "dir")); err != nil {
		t.Fatal(err)
	}
	theirs("dir")
	if err := h.setMeta("dir", &fileMeta{mode: unix.S_IFDIR | 0o4755}); !errors.Is(err, errSwapped) {
		t.Errorf("a directory: %v", err)
	}
	want("dir", nobody, 0o644)
}

// A chroot need not have /proc for copies to get their modes. Older hosts than Linux 6.6 know no
// other way.
func TestCopyWithoutProc(t *testing.T) {
	if err := unix.Fchmodat(unix.AT_FDCWD, t.TempDir(), 0o700, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		t.Skipf("needs fchmodat2: %v", err)
	}
	img, dir := ext2test.Make(t, ext2test.Options{}), t.TempDir()
	ext2test.DebugfsWrite(t, img, "mkdir dir", "sif dir mode 040751", "write "+os.DevNull+" dir/file", "sif dir/file mode 0100640")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := inNamespace(t, "mount -t tmpfs none /proc\nexec "+shell.Quote(self)+" cp -r "+shell.Quote(img)+":/dir "+shell.Quote(dir)); err != nil { // the race detector says something of /proc
		t.Errorf("%v: %s", err, out)
	}
	for name, mode := range map[string]uint32{"dir": 0o751, "dir/file": 0o640} {
		if got := statOf(t, filepath.Join(dir, name)).Mode & 0o7777; got != mode {
			t.Errorf("%s has mode %o, want %o", name, got, mode)
		}
	}
}
