//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// What a mount that fails prints: one line that names what, where, and what to do.
// The daemon's failure is the command's.
func TestMountFailures(t *testing.T) {
	ext2test.NeedFUSE(t)
	tmp := t.TempDir()
	path := func(name string) string { return filepath.Join(tmp, name) }
	write := func(name string, size int64) string {
		ext2test.Truncate(t, path(name), size)
		return path(name)
	}
	good := ext2test.Make(t, ext2test.Options{})
	patched := func(name string, off int64, data ...byte) string {
		img := ext2test.Copy(t, good)
		f, err := os.OpenFile(img, os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteAt(data, 1024+off)
			f.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(img, path(name)); err != nil {
			t.Fatal(err)
		}
		return path(name)
	}
	truncated := ext2test.Copy(t, good)
	if err := os.Truncate(truncated, 8<<20); err != nil {
		t.Fatal(err)
	}
	ext4 := ext2test.Make(t, ext2test.Options{Type: "ext4", Size: 32 << 20})
	dir := mountPoint(t)
	file := write("file", 0)
	for _, tt := range []struct {
		name    string
		image   string
		dir     string
		options string
		want    string // a regular expression; %i is the image, %d the directory
	}{
		{"missing image", path("none"), dir, "ro", `cannot open %i: there is no such image or device: no such file or directory; check the path`},
		{"directory", tmp, dir, "ro", `%i is a directory: not an image file or block device; .*`},
		{"device file that is no image", "/dev/null", dir, "ro", `%i is a character device: not an image file or block device; .*`},
		{"empty file", file, dir, "ro", `%i is empty: not an image file or block device; make .*`},
		{"zeros", write("zeros", 1<<20), dir, "ro", `%i: not an ext2 file system: s_magic is 0x0000, expected 0xEF53; this looks like nothing: .*zeros only.*`},
		{"ext4", ext4, dir, "ro", `%i: .*extent.*`},
		{"block size", patched("bs", 24, 9), dir, "ro", `%i: .*s_log_block_size.* 9.*`},
		{"inode size", patched("is", 88, 100, 0), dir, "ro", `%i: .*s_inode_size.* 100.*`},
		{"truncated image", truncated, dir, "ro", `%i: .*s_blocks_count.*`},
		{"no partition", good, dir, "ro,part=3", `.*partition.*`},
		{"past the end", good, dir, "ro,offset=1g", `.*offset 1073741824.*`},
		{"no superblock there", good, dir, "ro,sb=4000", `.*`},
		{"missing mount point", good, path("nowhere"), "ro", `%d: the mount point does not exist; make it first: mkdir %d`},
		{"mount point is a file", good, file, "ro", `%d: the mount point is not a directory; .*`},
		{"trace file", good, dir, "ro,trace=/nowhere/trace", `.*trace.*/nowhere/trace.*no such file or directory`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := "^ext2fuse: " + strings.NewReplacer("%i", regexp.QuoteMeta(tt.image), "%d", regexp.QuoteMeta(tt.dir)).Replace(tt.want) + "\n$"
			for _, args := range [][]string{{"-f"}, nil} {
				code, stderr := finish(t, command(t, append(args, tt.image, tt.dir, "-o", tt.options)...))
				if code != exitMount {
					t.Errorf("%q: exit %d, want %d", args, code, exitMount)
				}
				if ok, err := regexp.MatchString(want, stderr); err != nil || !ok || strings.Count(stderr, "\n") != 1 {
					t.Errorf("%q: printed\n%swant %s", args, stderr, want)
				}
			}
		})
	}
	if isMounted(dir) {
		t.Error("something was mounted")
	}
}

// An image that somebody writes to is refused, and the message says who it is.
func TestImageInUse(t *testing.T) {
	ext2test.NeedFUSE(t)
	img, dir := ext2test.Make(t, ext2test.Options{}), mountPoint(t)
	dev, err := blockio.Open(context.Background(), img, blockio.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	code, stderr := finish(t, command(t, "-o", "ro", img, dir))
	if code != exitMount || !strings.Contains(stderr, fmt.Sprintf("%d", os.Getpid())) || !strings.Contains(stderr, "in use") {
		t.Errorf("exit %d, %q; want a refusal that names process %d", code, stderr, os.Getpid())
	}
	if err := dev.Close(); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		return
	}
	kernel := ext2test.KernelMount(t, img)
	code, stderr = finish(t, command(t, "-o", "ro", img, dir))
	if code != exitMount || !strings.Contains(stderr, "/dev/loop") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("exit %d, %q; want a refusal that names the loop device", code, stderr)
	}
	ext2test.Unmount(t, kernel)
}

// Two read-only mounts share an image.
func TestImageShared(t *testing.T) {
	ext2test.NeedFUSE(t)
	img := ext2test.Make(t, ext2test.Options{})
	dirs := []string{mountPoint(t), mountPoint(t)}
	for _, dir := range dirs {
		if code, stderr := finish(t, command(t, "-o", "ro", img, dir)); code != exitOK {
			t.Fatalf("exit %d: %s", code, stderr)
		}
	}
	for _, dir := range dirs {
		pid := daemonOf(t, dir)
		if _, err := os.Stat(filepath.Join(dir, "lost+found")); err != nil {
			t.Error(err)
		}
		unmount(t, dir)
		eventually(t, "the daemon ends", func() bool { return ended(pid) })
	}
}

// What a killed daemon left on the mount point is removed, unless somebody else made it.
func TestDeadMount(t *testing.T) {
	img, dir := ext2test.Make(t, ext2test.Options{}), mountPoint(t)
	cmd, _ := foreground(t, img, dir)
	if err := cmd.Process.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	code, stderr := finish(t, command(t, "-o", "ro,subtype=other", img, dir))
	want := "ext2fuse: " + dir + ": a FUSE mount whose daemon is gone is in the way; remove it with \"umount " + dir + "\" or \"fusermount3 -u " + dir + "\"\n"
	if code != exitMount || stderr != want {
		t.Errorf("exit %d, %q; want %q", code, stderr, want)
	}
	code, stderr = finish(t, command(t, "-o", "ro", img, dir))
	if want := "ext2fuse: " + dir + ": removed the mount of a daemon that is gone\n"; code != exitOK || stderr != want {
		t.Errorf("exit %d, %q; want %q", code, stderr, want)
	}
	if _, err := os.Stat(filepath.Join(dir, "lost+found")); err != nil {
		t.Error(err)
	}
	if code, stderr := finish(t, command(t, "-u", dir)); code != exitOK || stderr != "" {
		t.Errorf("exit %d, %q", code, stderr)
	}
}

// umount(2) does not wait for the daemon; the next mount of the image does.
func TestMountAgainAtOnce(t *testing.T) {
	ext2test.NeedFUSE(t)
	needRoot(t)
	img, dir := ext2test.Make(t, ext2test.Options{Size: 64 << 20}), mountPoint(t)
	for round := range 5 {
		if code, stderr := finish(t, command(t, img, dir)); code != exitOK {
			t.Fatalf("round %d: exit %d: %s", round, code, stderr)
		}
		for i := range 100 {
			writeFile(t, filepath.Join(dir, fmt.Sprint(i)), strings.Repeat("text ", 10000))
		}
		if err := unix.Unmount(dir, 0); err != nil {
			t.Fatal(err)
		}
	}
	if code, stderr := finish(t, command(t, img, dir)); code != exitOK {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	pid := daemonOf(t, dir)
	unmount(t, dir)
	eventually(t, "the daemon ends", func() bool { return ended(pid) })
	ext2test.Fsck(t, img)
}
