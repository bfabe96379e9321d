//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// Pipes, and files that tell no size, are read to their end, as cp reads them; with -r a FIFO
// is copied as such.
func TestCopyStreams(t *testing.T) {
	img, dir := ext2test.Make(t, ext2test.Options{}), t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o640); err != nil {
		t.Fatal(err)
	}
	long := ext2test.Content(7, 3<<20+5)
	for _, tt := range []struct {
		source, name string
		want         []byte
		feed         func(cmd *exec.Cmd)
	}{
		{"/dev/stdin", "stdin", long, func(cmd *exec.Cmd) { cmd.Stdin = bytes.NewReader(long) }},
		{"/dev/stdin", "nothing", nil, func(cmd *exec.Cmd) { cmd.Stdin = bytes.NewReader(nil) }},
		{fifo, "fifo", long, func(*exec.Cmd) {
			go func() { _ = os.WriteFile(fifo, long, 0) }()
		}},
		{"/proc/version", "version", readFile(t, "/proc/version"), func(*exec.Cmd) {}},
		{"/dev/null", "null", nil, func(*exec.Cmd) {}},
	} {
		cmd := command(t, "cp", tt.source, img+":/"+tt.name)
		tt.feed(cmd)
		if code, stderr := finish(t, cmd); code != exitOK || stderr != "" {
			t.Errorf("%s: exit %d: %s", tt.source, code, stderr)
			continue
		}
		if got := output(t, "cat", img, tt.name); got != string(tt.want) {
			t.Errorf("%s: %d bytes, want %d", tt.source, len(got), len(tt.want))
		}
	}
	output(t, "cp", "-r", fifo, img+":/as-such")
	if ls := output(t, "ls", "-l", img, "as-such"); !strings.HasPrefix(ls, "prw-r-----") {
		t.Errorf("with -r a FIFO became %q", ls)
	}
	ext2test.Fsck(t, img)
}

// A copy goes into what is no regular file, and through a symbolic link, and leaves them
// there.
func TestCopyIntoStreams(t *testing.T) {
	img, dir := ext2test.Make(t, ext2test.Options{}), t.TempDir()
	long := ext2test.Content(7, 2<<20+5)
	source, fifo, link, behind := filepath.Join(dir, "source"), filepath.Join(dir, "fifo"), filepath.Join(dir, "link"), filepath.Join(dir, "behind")
	writeFile(t, source, string(long))
	writeFile(t, behind, "old")
	if err := unix.Mkfifo(fifo, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("behind", link); err != nil {
		t.Fatal(err)
	}
	output(t, "cp", source, img+":/file")

	cmd := command(t, "cp", img+":/file", "/dev/stdout")
	got, err := cmd.Output()
	if err != nil || !bytes.Equal(got, long) {
		t.Errorf("/dev/stdout got %d bytes (%v), want %d", len(got), err, len(long))
	}
	read := make(chan []byte)
	go func() {
		b, _ := os.ReadFile(fifo)
		read <- b
	}()
	output(t, "cp", img+":/file", dir+"/fifo")
	if got := <-read; !bytes.Equal(got, long) {
		t.Errorf("the FIFO got %d bytes, want %d", len(got), len(long))
	}
	output(t, "cp", img+":/file", link)
	// What is no regular file takes the place of what is there.
	other := filepath.Join(dir, "other")
	if err := os.Symlink("behind", other); err != nil {
		t.Fatal(err)
	}
	output(t, "cp", "-r", other, img+":/link")
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("link", other); err != nil {
		t.Fatal(err)
	}
	output(t, "cp", "-r", img+":/link", other)
	if to, err := os.Readlink(other); err != nil || to != "behind" {
		t.Errorf("the copy of a symbolic link leads to %q (%v)", to, err)
	}
	for name, want := range map[string]os.FileMode{"fifo": os.ModeNamedPipe, "link": os.ModeSymlink, "behind": 0} {
		if st, err := os.Lstat(filepath.Join(dir, name)); err != nil || st.Mode().Type() != want {
			t.Errorf("%s is %v (%v), want %v", name, st.Mode(), err, want)
		}
	}
	if got := readFile(t, behind); !bytes.Equal(got, long) {
		t.Error("the file behind the symbolic link is not the copy")
	}
}

// Who waits for a pipe can be interrupted.
func TestCopyStreamInterrupted(t *testing.T) {
	img, dir := ext2test.Make(t, ext2test.Options{}), t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "source"), "x")
	output(t, "cp", filepath.Join(dir, "source"), img+":/file")
	output(t, "cp", "/dev/null", img+":/empty")
	for _, args := range [][]string{{"cp", fifo, img + ":/x"}, {"cp", img + ":/file", fifo}, {"cp", img + ":/empty", fifo}, {"cp", tracePipe(t), img + ":/x"}} {
		if args[1] == "" {
			continue
		}
		var stderr bytes.Buffer
		cmd := command(t, args...)
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// It catches the signal before it opens the image.
		eventually(t, "the image is open", func() bool { return opened(cmd.Process.Pid, img) })
		if strings.HasSuffix(args[1], "trace_pipe") { // whose opening does not wait
			eventually(t, "the source is open", func() bool { return opened(cmd.Process.Pid, args[1]) })
		}
		if err := cmd.Process.Signal(unix.SIGINT); err != nil {
			t.Fatal(err)
		}
		kill := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		kill.Stop()
		if code := cmd.ProcessState.ExitCode(); code != exitUsage || !strings.Contains(stderr.String(), "interrupted") {
			t.Errorf("%q: exit %d: %s", args, code, stderr.String())
		}
		ext2test.Fsck(t, img)
	}
	if ls := output(t, "ls", img); ls != "empty\nfile\nlost+found\n" {
		t.Errorf("the image has %q", ls)
	}
}

// tracePipe is a file whose reader waits and which seems to be a regular one, empty; "" where
// there is none to be had.
func tracePipe(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if unix.Mount("none", dir, "tracefs", 0, "") != nil {
		return ""
	}
	instance := filepath.Join(dir, "instances", fmt.Sprintf("ext2fuse-test-%d", os.Getpid()))
	err := os.Mkdir(instance, 0o700)
	t.Cleanup(func() {
		if err := os.Remove(instance); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		return ""
	}
	return filepath.Join(instance, "trace_pipe")
}

// opened tells whether a process has a file open.
func opened(pid int, name string) bool {
	links, _ := filepath.Glob(filepath.Join("/proc", fmt.Sprint(pid), "fd", "*"))
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil && to == name {
			return true
		}
	}
	return false
}

// TestCopyIntoDamaged: the first damage that is found ends the copy, and e2fsck has no more
// to do than before.
func TestCopyIntoDamaged(t *testing.T) {
	source := t.TempDir()
	for _, name := range []string{"a", "bad", "c"} {
		if err := os.Mkdir(filepath.Join(source, name), 0o755); err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(source, name, "file"), name)
	}
	for _, tt := range []struct {
		name, damage string // for debugfs
		copied       bool
	}{
		{"bitmap", "freeb 8260 4", false}, // the inode table of group 1; found before anything is written
		{"directory", "zap_block -f bad -o 4 -l 2 -p 3 0", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img := ext2test.Make(t, ext2test.Options{Size: 16 << 20, BlockSize: 1024})
			if info, err := exec.Command("dumpe2fs", img).Output(); err != nil || !strings.Contains(string(info), "Inode table at 8260-") {
				t.Fatalf("block 8260 begins no inode table (%v):\n%s", err, info)
			}
			ext2test.DebugfsWrite(t, img, "mkdir bad")
			ext2test.DebugfsWrite(t, img, tt.damage)
			before := problems(t, img)
			var stdout, stderr bytes.Buffer
			code := run([]string{"cp", "-r", source + "/.", img + ":/"}, &stdout, &stderr)
			text := stderr.String()
			if last := "ext2fuse: " + img + ": nothing is written to it since damage was found; run e2fsck -f " + img; code != exitUsage ||
				!strings.Contains(text, "corrupt") || !strings.Contains(text, last) || strings.Count(text, "\n") != 3 {
				t.Errorf("exit %d:\n%s", code, text)
			}
			if got := problems(t, img); got != before {
				t.Errorf("e2fsck finds\n%s\nand before it found\n%s", got, before)
			}
			if got := output(t, "info", img); !strings.Contains(got, "with errors") {
				t.Errorf("the damage is not noted:\n%s", got)
			}
			repair(t, img)
			ext2test.Fsck(t, img)
			if ls := output(t, "ls", img); strings.Contains(ls, "c\n") || strings.Contains(ls, "a\n") != (tt.copied) {
				t.Errorf("copied: %q", ls)
			}
		})
	}
	t.Run("revision", func(t *testing.T) {
		img := ext2test.Make(t, ext2test.Options{})
		ext2test.DebugfsWrite(t, img, "set_super_value rev_level 2")
		if got, want := complaint(t, "cp", "/dev/null", img+":/x"), "ext2fuse: "+img+": its revision, 2, is newer than those that can be written; -o ro mounts it\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
	t.Run("mknod", func(t *testing.T) {
		img := ext2test.Make(t, ext2test.Options{Size: 16 << 20, BlockSize: 1024})
		ext2test.DebugfsWrite(t, img, "freeb 8260 4")
		if got := complaint(t, "mknod", img+":/null", "c", "1", "3"); !strings.Contains(got, "run e2fsck -f "+img) {
			t.Errorf("%q", got)
		}
		if ls := output(t, "ls", img); ls != "lost+found\n" {
			t.Errorf("made all the same: %q", ls)
		}
	})
}

// problems are what e2fsck would repair, but for the superblock's state and the counts that
// follow from what was copied.
func problems(t *testing.T, img string) string {
	t.Helper()
	work := filepath.Join(t.TempDir(), "copy.img")
	copyFile(t, img, work, 0o600)
	var kept []string
	for _, line := range strings.Split(repair(t, work), "\n") {
		if regexp.MustCompile(`\?|differences|corrupt`).MatchString(line) {
			kept = append(kept, strings.ReplaceAll(line, work, "IMAGE"))
		}
	}
	return strings.Join(kept, "\n")
}

// repair has e2fsck repair an image and gives what it said.
func repair(t *testing.T, img string) string {
	t.Helper()
	out, err := exec.Command("e2fsck", "-f", "-y", img).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		t.Fatalf("e2fsck: %v: %s", err, out)
	}
	return string(out)
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
