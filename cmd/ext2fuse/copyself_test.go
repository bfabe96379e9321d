//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// An image is one whatever it is called, and is not copied into itself.
func TestCopyOneImageOfTwoNames(t *testing.T) {
	img := ext2test.Make(t, ext2test.Options{})
	dir := t.TempDir()
	symbolic, hard, file := filepath.Join(dir, "symbolic.img"), filepath.Join(filepath.Dir(img), "hard.img"), filepath.Join(dir, "file")
	if err := os.Symlink(img, symbolic); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(img, hard); err != nil {
		t.Fatal(err)
	}
	writeFile(t, file, "content")
	output(t, "cp", file, img+":/a")
	for i, other := range []string{symbolic, hard, filepath.Dir(img) + "/./" + filepath.Base(img)} {
		name := "/b" + fmt.Sprint(i)
		output(t, "cp", img+":/a", other+":"+name)
		if got := output(t, "cat", img, name); got != "content" {
			t.Errorf("%s has %q", name, got)
		}
	}
	if got := complaint(t, "cp", "-r", symbolic+":/a", img+":/a"); !strings.Contains(got, "onto itself") {
		t.Errorf("copied onto itself: %q", got)
	}
	for _, source := range []string{img, hard, filepath.Dir(img)} {
		if got := complaint(t, "cp", "-r", source, symbolic+":/in"); !strings.Contains(got, "the image itself") {
			t.Errorf("%s: copied into itself: %q", source, got)
		}
	}
	ext2test.Fsck(t, img)
}

// A directory is not copied into itself by way of a symbolic link, without end.
func TestCopyDirectoryIntoItself(t *testing.T) {
	img := ext2test.Make(t, ext2test.Options{})
	ext2test.DebugfsWrite(t, img, "mkdir a", "mkdir a/b", "symlink link a", "symlink deep a/b")
	for _, to := range []string{"/link/new", "/deep/"} {
		if got := complaint(t, "cp", "-r", img+":/a", img+":"+to); strings.Count(got, "\n") != 1 || !strings.Contains(got, "a directory cannot be copied into itself") {
			t.Errorf("to %s: %q", to, got)
		}
	}
	if got, want := output(t, "tree", img, "/a"), "/a\n├── b\n│   └── a\n│       ├── b\n│       └── new\n│           └── b\n└── new\n    └── b\n"; !strings.HasPrefix(got, want) {
		t.Errorf("what is there now:\n%s", got)
	}
	ext2test.Fsck(t, img)
}

// An image that is copied from is not written over, whatever it is called as a file of the host.
func TestCopyOntoOpenImage(t *testing.T) {
	dir := t.TempDir()
	img, symbolic, hard := filepath.Join(dir, "disk.img"), filepath.Join(dir, "symbolic.img"), filepath.Join(dir, "hard.img")
	copyFile(t, ext2test.Make(t, ext2test.Options{}), img, 0o600)
	if err := os.Symlink("disk.img", symbolic); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(img, hard); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "disk.img")
	writeFile(t, file, "content")
	// With a second name it would be removed and made anew, as a directory it is in the way.
	ext2test.DebugfsWrite(t, img, "write "+file+" f", "ln f g", "set_inode_field f links_count 2", "write "+file+" disk.img", "mkdir d", "symlink l f")
	ext2test.Fsck(t, img)
	before := readFile(t, img)
	for _, tt := range []struct{ args, target string }{
		{"disk.img:/f disk.img", img},
		{"disk.img:/disk.img disk.img", img},
		{"disk.img:/f symbolic.img", img},
		{"disk.img:/f hard.img", hard},
		{"symbolic.img:/f disk.img", img},
		{"disk.img:/disk.img .", "disk.img"},
		{"-r disk.img:/ .", "disk.img"},
		{"-r disk.img:/d disk.img", "disk.img"},
		{"-r disk.img:/l disk.img", "disk.img"},
		{"file disk.img:/f disk.img", ""},
	} {
		cmd := command(t, append([]string{"cp"}, strings.Fields(tt.args)...)...)
		cmd.Dir = dir
		code, stderr := finish(t, cmd)
		want := "disk.img: is an image that this reads; write "
		if tt.target == hard {
			want = "hard.img: is an image that this reads; write "
		}
		if tt.target == "" {
			want = "is not a directory"
		}
		if code != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("cp %s: exit %d: %q, want %q", tt.args, code, stderr, want)
		}
		if !bytes.Equal(readFile(t, img), before) {
			t.Fatalf("cp %s: the image was written to", tt.args)
		}
	}
	for _, name := range []string{"f", "g"} { // what else is in the image was copied
		if got := readFile(t, filepath.Join(dir, name)); string(got) != "content" {
			t.Errorf("%s is %q", name, got)
		}
	}
}

// A device that is copied from is not written over either, under whichever name.
func TestCopyOntoOpenDevice(t *testing.T) {
	needRoot(t)
	ext2test.NeedKernelMount(t)
	img := ext2test.Make(t, ext2test.Options{})
	file := filepath.Join(t.TempDir(), "file")
	writeFile(t, file, "content")
	output(t, "cp", file, img+":/f")
	dev := loopOf(t, img)
	var st unix.Stat_t
	if err := unix.Stat(dev, &st); err != nil {
		t.Fatal(err)
	}
	node := filepath.Join(t.TempDir(), "node")
	if err := unix.Mknod(node, unix.S_IFBLK|0o600, int(st.Rdev)); err != nil {
		t.Fatal(err)
	}
	before := readFile(t, dev)
	for _, to := range []string{dev, node} {
		if got, want := complaint(t, "cp", dev+":/f", to), "ext2fuse: "+to+": is an image that this reads; write "+to+":/ to copy into it, or name another target\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if !bytes.Equal(readFile(t, dev), before) {
			t.Fatalf("%s was written to", to)
		}
	}
	for _, from := range []string{dev, node} {
		if got := complaint(t, "cp", from, dev+":/in"); !strings.Contains(got, "the image itself") {
			t.Errorf("%s: copied into itself: %q", from, got)
		}
	}
	ext2test.Fsck(t, dev)
	if ls := output(t, "ls", dev); ls != "f\nlost+found\n" {
		t.Errorf("the image has %q", ls)
	}
}

// loopOf attaches a file, or a device, to a loop device.
func loopOf(t *testing.T, of string, options ...string) string {
	t.Helper()
	out, err := exec.Command("losetup", append(options, "-f", "--show", of)...).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup: %v: %s", err, out)
	}
	dev := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "-d", dev).CombinedOutput(); err != nil {
			t.Errorf("losetup -d: %v: %s", err, out)
		}
	})
	return dev
}

// Nor is what lies in the same place as the image: the file behind a loop device, the disk of a
// partition. Another partition of it is as good as any target.
func TestCopyOntoSameStorage(t *testing.T) {
	needRoot(t)
	ext2test.NeedKernelMount(t)
	whole := partitioned(t)
	disk := loopOf(t, whole)
	parts := map[int]string{}
	for n, place := range map[int][2]string{1: {"2048", "32768"}, 2: {"34816", "2048"}} {
		if out, err := exec.Command("addpart", disk, fmt.Sprint(n), place[0], place[1]).CombinedOutput(); err != nil {
			t.Fatalf("addpart: %v: %s", err, out)
		}
		number, err := os.ReadFile(fmt.Sprintf("/sys/block/%s/%[1]sp%d/dev", filepath.Base(disk), n))
		if err != nil {
			t.Fatal(err)
		}
		var major, minor uint32
		if _, err := fmt.Sscanf(string(number), "%d:%d", &major, &minor); err != nil {
			t.Fatal(err)
		}
		parts[n] = filepath.Join(t.TempDir(), fmt.Sprint("part", n)) // whether or not there is a udev
		if err := unix.Mknod(parts[n], unix.S_IFBLK|0o600, int(unix.Mkdev(major, minor))); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if out, err := exec.Command("delpart", disk, fmt.Sprint(n)).CombinedOutput(); err != nil {
				t.Errorf("delpart: %v: %s", err, out)
			}
		})
	}
	file := filepath.Join(t.TempDir(), "file")
	writeFile(t, file, "content")
	output(t, "cp", file, parts[1]+":/f")
	output(t, "cp", parts[1]+":/f", parts[2])
	if got := readFile(t, parts[2]); !bytes.HasPrefix(got, []byte("content")) {
		t.Errorf("another partition has %.10q", got)
	}
	before := readFile(t, whole)
	refused := func(image, onto string) {
		t.Helper()
		want := "ext2fuse: " + onto + ": has the same bytes as " + image + ", an image that this reads; name another target\n"
		if got := complaint(t, "cp", image+":/f", onto); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if !bytes.Equal(readFile(t, whole), before) {
			t.Fatalf("cp %s:/f %s: the image was written to", image, onto)
		}
	}
	for _, onto := range []string{disk, whole, loopOf(t, whole, "-o", fmt.Sprint(1<<20))} {
		refused(parts[1], onto)
	}
	above := loopOf(t, parts[1])
	for _, onto := range []string{parts[1], disk, whole} {
		refused(above, onto)
	}
	for _, onto := range []string{parts[1], disk, whole} {
		if got := complaint(t, "cp", onto, above+":/in"); !strings.HasSuffix(got, ":/in: is the image itself, which cannot be copied into itself\n") {
			t.Errorf("%s: copied into itself: %q", onto, got)
		}
	}
	ext2test.Fsck(t, above)
}
