//go:build linux

package main

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// A record is one line, whatever is in it.
func TestLogLines(t *testing.T) {
	var out bytes.Buffer
	l := slog.New(newLogSink(&out, "ext2fuse: disk.img: "))
	l.Debug("not shown")
	l.Info("mounted", "block_size", 4096)
	l.Warn("not clean", "state", "errors found")
	l.With("inode", 12).WithGroup("g").Error("corrupt\ninode", "error", errors.New("a=b"), "empty", "")
	want := `ext2fuse: disk.img: mounted block_size=4096
ext2fuse: disk.img: warning: not clean state="errors found"
ext2fuse: disk.img: corrupt | inode inode=12 error="a=b" empty=""
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

// -d stays in the foreground and shows what the kernel asks; the word debug tells
// what was mounted.
func TestDebug(t *testing.T) {
	ext2test.NeedFUSE(t)
	img, dir := ext2test.Make(t, ext2test.Options{}), mountPoint(t)
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := command(t, "-d", "-o", "ro,debug", img, dir)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	eventually(t, "mount", func() bool { return isMounted(dir) })
	if _, err := os.Stat(filepath.Join(dir, "no-such-name")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(log.Name())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"ext2fuse: " + img + ": mounted block_size=1024 groups=2 ", `LOOKUP n1  "no-such-name"`, "INIT"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}
