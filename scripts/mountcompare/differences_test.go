//go:build linux

package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// TestFindsDifferences changes one thing at a time in a copy of an image, and wants
// exactly that to be found. A comparison that overlooks one proves nothing.
func TestFindsDifferences(t *testing.T) {
	base := ext2test.Filled(t, ext2test.Options{}, func(dir string) {
		for _, name := range []string{"file", "other", "gone"} {
			if err := os.WriteFile(filepath.Join(dir, name), ext2test.Content(1, 40000), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "zeros"), make([]byte, 40000), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("file", filepath.Join(dir, "link")); err != nil {
			t.Fatal(err)
		}
	})
	original := lookKernel(t, base, "")
	for _, c := range []struct {
		name   string
		change func(dir string) error
		path   string
		what   []string // of the differences in path, the times aside
	}{
		{"mode", func(d string) error { return os.Chmod(d+"/file", 0o600) }, "/file", []string{"mode"}},
		{"owner", func(d string) error { return os.Chown(d+"/file", 1, 70000) }, "/file", []string{"uid", "gid"}},
		{"nanosecond", func(d string) error { return later(d+"/file", time.Nanosecond) }, "/file", []string{"mtime"}},
		{"byte", func(d string) error { return write(d+"/file", 30000, "x") }, "/file", []string{"content"}},
		{"longer", func(d string) error { return os.Truncate(d+"/file", 80000) }, "/file", []string{"size", "holes"}},
		{"hole", func(d string) error { return punch(d + "/zeros") }, "/zeros", []string{"blocks", "holes"}},
		{"xattr", func(d string) error { return unix.Setxattr(d+"/file", "user.a", []byte("b"), 0) }, "/file", []string{"xattr user.a"}},
		{"link count", func(d string) error { return os.Link(d+"/file", d+"/more") }, "/file", []string{"links"}},
		{"one more", func(d string) error { return os.Link(d+"/file", d+"/more") }, "/more", []string{"name"}},
		{"one less", func(d string) error { return os.Remove(d + "/gone") }, "/gone", []string{"name"}},
		{"list", func(d string) error { return os.Remove(d + "/gone") }, "/", []string{"list"}},
		{"statfs", func(d string) error { return os.Remove(d + "/gone") }, "", []string{"statfs bavail", "statfs bfree", "statfs ffree"}},
		{"target", func(d string) error { return relink(d + "/link") }, "/link", []string{"target"}},
		{"flags", func(d string) error { return noDump(d + "/file") }, "/file", []string{"flags"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			copied := ext2test.Copy(t, base)
			dir := ext2test.KernelMount(t, copied)
			if err := c.change(dir); err != nil {
				t.Fatal(err)
			}
			ext2test.Unmount(t, dir)
			changed := lookKernel(t, copied, "")
			ignore := map[string]bool{"ctime": true, "atime": true}
			if c.name != "nanosecond" {
				ignore["mtime"] = true
			}
			if c.name == "target" {
				ignore = map[string]bool{"ctime": true, "atime": true, "mtime": true, "btime": true, "ino": true, "d_ino": true, "version": true, "size": true}
			}
			var got []string
			for _, d := range compare(original, changed, ignore) {
				if d.path == c.path {
					got = append(got, d.what)
				}
			}
			if strings.Join(got, ", ") != strings.Join(c.what, ", ") {
				t.Errorf("%q: found %q, want %q", c.path, got, c.what)
			}
		})
	}
}

func write(path string, off int64, s string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt([]byte(s), off)
	return err
}

// punch makes a hole where zeros were.
func punch(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 8192, 4096)
}

// later moves a file's mtime.
func later(path string, by time.Duration) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	return os.Chtimes(path, time.Time{}, st.ModTime().Add(by))
}

func relink(path string) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	return os.Symlink("elsewhere", path)
}

func noDump(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, 0x40) // FS_NODUMP_FL
}

// TestDirectories compares two plain directories, through the command line.
func TestDirectories(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	for _, dir := range []string{a, b} {
		if err := os.WriteFile(dir+"/f", []byte("same"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ignore := "ino,d_ino,list,atime,mtime,ctime,btime,version,statfs"
	code, out, errs := command(t, "-dirs", "-ignore", ignore, a, b)
	if code != exitSame || errs != "" || !strings.HasPrefix(out, "mount-compare: same: ") {
		t.Errorf("equal directories: exit %d, %q, %q", code, out, errs)
	}
	if err := os.WriteFile(b+"/f", []byte("diff"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(b+"/f", 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs = command(t, "-dirs", "-ignore", ignore, a, b)
	if code != exitDiffers || errs != "" || !strings.Contains(out, "/f: mode\n    "+a+"  0644\n    "+b+"  0600\n") ||
		!strings.Contains(out, "/f: content\n") || !strings.Contains(out, "the first from byte 0 on") {
		t.Errorf("different directories: exit %d, %q, %q", code, out, errs)
	}
}

// command runs mount-compare's command line.
func command(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e strings.Builder
	code = run(context.Background(), args, &o, &e)
	return code, o.String(), e.String()
}

// TestTrouble: what keeps it from comparing is one line on stderr, and exit code 2.
func TestTrouble(t *testing.T) {
	dir := t.TempDir()
	garbage, image := filepath.Join(dir, "garbage"), ext2test.Make(t, ext2test.Options{})
	if err := os.WriteFile(garbage, make([]byte, 8192), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "wants one image"},
		{[]string{"a", "b"}, "wants one image"},
		{[]string{"-dirs", "a"}, "wants two directories"},
		{[]string{"-dirs", dir + "/no", dir}, "no such file or directory"},
		{[]string{"-nonsense"}, "not defined"},
		{[]string{"-oracle", "me", image}, "want kernel, debugfs or auto"},
		{[]string{"-j", "0", image}, "want 1 or more"},
		{[]string{dir + "/none"}, "no such file or directory"},
		{[]string{garbage}, "no ext2 file system at byte 0"},
		{[]string{"-o", "offset=1m", image}, "no ext2 file system at byte 1048576"},
		{[]string{"-o", "offset=x", image}, "option offset=x"},
		{[]string{"-o", "part=1", image}, "partition 1"},
		{[]string{"-ext2fuse", dir + "/no-driver", image}, "no-driver"},
		{[]string{"-ext2fuse", "false", image}, "exit status 1"},
	} {
		code, out, errs := command(t, c.args...)
		if code != exitTrouble || out != "" || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%q: exit %d, %q, %q; want exit 2 and one line with %q", c.args, code, out, errs, c.want)
		}
	}
	if code, out, _ := command(t, "-h"); code != exitSame || !strings.Contains(out, "Exit status") {
		t.Errorf("-h: exit %d, %q", code, out)
	}
}

// TestInterrupt: when it is told to stop while the driver serves, mount and driver
// are gone afterwards.
func TestInterrupt(t *testing.T) {
	ext2test.NeedFUSE(t)
	driver, err := driverUnderTest()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m, err := mountFUSE(ctx, driver, ext2test.Make(t, ext2test.Options{}), nil)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	c := &config{jobs: 1}
	if _, err := c.lookAt(ctx, "driver", m, nil); err == nil {
		t.Error("looked at everything although it was told to stop")
	}
	if _, err := os.Lstat(m.dir); !os.IsNotExist(err) {
		t.Errorf("the mount point is left: %v", err)
	}
}
