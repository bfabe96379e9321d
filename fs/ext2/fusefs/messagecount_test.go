//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
	"github.com/ext2fuse/ext2fuse/fs/ext2/fusefs"
)

// fileTree makes an image from a directory with dir/file-000 and so on, a symbolic
// link and a file of 1 MiB.
func fileTree(t testing.TB, files int) string {
	t.Helper()
	root := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(filepath.Join(root, "dir"), 0o755))
	for i := range files {
		must(os.WriteFile(filepath.Join(root, "dir", fmt.Sprintf("file-%03d", i)), []byte("x"), 0o644))
	}
	must(os.Symlink("dir/file-000", filepath.Join(root, "link")))
	must(os.WriteFile(filepath.Join(root, "big"), ext2test.Content(1, 1<<20), 0o644))
	return ext2test.Make(t, ext2test.Options{Root: root, BlockSize: 4096})
}

// What costs messages the first time costs none the second time.
func TestMessages(t *testing.T) {
	const files = 300
	m := newMount(t, fileTree(t, files))
	list := func() {
		t.Helper()
		if names, err := os.ReadDir(m.path("dir")); err != nil || len(names) != files {
			t.Fatalf("%d names, %v; want %d", len(names), err, files)
		}
	}
	read := func() {
		t.Helper()
		got, err := os.ReadFile(m.path("big"))
		if err != nil || string(got) != string(ext2test.Content(1, 1<<20)) {
			t.Fatalf("wrong content (%v)", err)
		}
	}
	stat := func(name string) {
		t.Helper()
		var st unix.Stat_t
		if err := unix.Lstat(m.path(name), &st); err != nil {
			t.Fatal(err)
		}
	}
	statx := func(name string) {
		t.Helper()
		var st unix.Statx_t
		if err := unix.Statx(unix.AT_FDCWD, m.path(name), unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st); err != nil {
			t.Fatal(err)
		}
		if st.Mask&unix.STATX_BTIME == 0 {
			t.Fatal("no time of birth")
		}
	}
	missing := func() {
		t.Helper()
		if err := unix.Access(m.path("dir/none"), unix.F_OK); err != unix.ENOENT {
			t.Fatalf("got %v, want ENOENT", err)
		}
	}
	readlink := func() {
		t.Helper()
		if got, err := os.Readlink(m.path("link")); err != nil || got != "dir/file-000" {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	acl := func() {
		t.Helper()
		buf := make([]byte, 256)
		if _, err := unix.Lgetxattr(m.path("dir/file-000"), "system.posix_acl_access", buf); err != unix.ENODATA {
			t.Fatalf("got %v, want ENODATA", err)
		}
	}
	fsync := func() {
		t.Helper()
		f, err := os.Open(m.path("big"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	m.messages.take()
	steps := []struct {
		name string
		do   func()
		want map[string]int // the first time
	}{
		{"look-up of a name", func() { stat("big") }, map[string]int{"LOOKUP": 1}},
		{"first open ever, and read", read, map[string]int{"OPEN": 1, "READ": readRequests(1 << 20), "FLUSH": 1}},
		{"listing", list, nil},
		{"attributes after a listing", func() { stat("dir/file-000") }, map[string]int{}},
		{"time of birth", func() { statx("big") }, map[string]int{"STATX": 1}},
		{"a name that does not exist", missing, map[string]int{"LOOKUP": 1}},
		{"symbolic link", readlink, map[string]int{"LOOKUP": 1, "READLINK": 1}},
		{"access list", acl, map[string]int{"GETXATTR": 1}},
		{"fsync", fsync, map[string]int{"FSYNC": 1}},
	}
	for _, s := range steps {
		s.do()
		if got := m.messages.take(); s.want != nil && !maps.Equal(got, s.want) {
			t.Errorf("%s, the first time: %v, want %v", s.name, got, s.want)
		}
		s.do()
		if got := m.messages.take(); len(got) != 0 {
			t.Errorf("%s, the second time: %v, want no message", s.name, got)
		}
	}
	// Another file: nothing is sent for opening and closing it.
	if _, err := os.ReadFile(m.path("dir/file-007")); err != nil {
		t.Fatal(err)
	}
	if got, want := m.messages.take(), map[string]int{"READ": 1}; !maps.Equal(got, want) {
		t.Errorf("open, read and close of a listed file: %v, want %v", got, want)
	}
}

// readRequests is how many READs a sequential reader of n bytes causes at most, with
// the default read-ahead; a plain user's is 128 KiB.
func readRequests(n int) int {
	per := fusefs.DefaultReadAhead
	if os.Geteuid() != 0 {
		per = 128 << 10
	}
	return (n + per - 1) / per
}
