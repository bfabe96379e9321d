//go:build linux

package main

import (
	"crypto/sha256"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// Without a word about it the mount is read-write, and after umount the image is a clean
// file system that holds what was written.
func TestReadWriteByDefault(t *testing.T) {
	ext2test.NeedFUSE(t)
	img, dir := ext2test.Make(t, ext2test.Options{}), mountPoint(t)
	if code, stderr := finish(t, command(t, img, dir)); code != exitOK || stderr != "" {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	pid := daemonOf(t, dir)
	err := os.WriteFile(filepath.Join(dir, "a"), []byte("written"), 0o644)
	unmount(t, dir)
	eventually(t, "the daemon ends", func() bool { return ended(pid) })
	if err != nil {
		t.Fatal(err)
	}
	ext2test.Fsck(t, img)
	if out := ext2test.Debugfs(t, img, "cat a"); !strings.Contains(out, "written") {
		t.Errorf("the image holds %q", out)
	}
}

// With ro not one byte of the image changes, whatever is tried and read.
func TestReadOnlyWritesNothing(t *testing.T) {
	ext2test.NeedFUSE(t)
	img, dir := ext2test.Make(t, ext2test.Options{}), mountPoint(t)
	before, st := hashOf(t, img), statOf(t, img)
	if code, stderr := finish(t, command(t, "-o", "ro,strictatime", img, dir)); code != exitOK || stderr != "" {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	pid := daemonOf(t, dir)
	if _, err := os.ReadDir(filepath.Join(dir, "lost+found")); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a"), nil, 0o644); err == nil || !strings.Contains(err.Error(), unix.EROFS.Error()) {
		t.Errorf("a file is made: %v, want EROFS", err)
	}
	unmount(t, dir)
	eventually(t, "the daemon ends", func() bool { return ended(pid) })
	if after := hashOf(t, img); after != before {
		t.Error("the image changed")
	}
	if now := statOf(t, img); now.Mtim != st.Mtim {
		t.Errorf("the image's time of change went from %v to %v", st.Mtim, now.Mtim)
	}
}

func hashOf(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return string(h.Sum(nil))
}

func statOf(t *testing.T, path string) (st unix.Stat_t) {
	t.Helper()
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st
}
