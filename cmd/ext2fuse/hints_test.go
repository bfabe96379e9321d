//go:build linux

package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/fs/ext2"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
	"github.com/ext2fuse/ext2fuse/fs/ext2/fusefs"
)

// reworded is an error in other words than its own.
type reworded struct{ error }

func (reworded) Error() string   { return "it does not work" }
func (e reworded) Unwrap() error { return e.error }

// What is advised depends on what an error is, and not on its words.
func TestHintsOfRewordedErrors(t *testing.T) {
	const image = "a b.img" // part of no message by chance, and two words for a shell
	missing := filepath.Join(t.TempDir(), "missing")
	open := func(path string, write bool, err error) error {
		return &blockio.OpenError{Path: path, Write: write, Err: err}
	}
	mount := func(err error) error { return &fusefs.MountError{Dir: "mnt", Err: err} }
	for _, tt := range []struct {
		err  error
		want string // part of it; "" for no advice
	}{
		{open(image, true, unix.ENOENT), "check the path"},
		{open("/dev/null", true, unix.EACCES), "-o ro needs to read it only"},
		{open(missing, true, unix.EACCES), ":rw " + missing},
		{open(missing, false, unix.EACCES), ":r " + missing},
		{open(image, true, unix.EROFS), "-o ro needs"},
		{open(image, true, unix.ETXTBSY), "-o ro needs"},
		{open(image, false, unix.ENOTCONN), "mount that anew"},
		{open(image, false, unix.EIO), ""},
		{blockio.ErrLocked, "-o ro at both places"},
		{blockio.ErrBusy, ""}, // its words say how to free it
		{blockio.ErrEmpty, "mke2fs 'a b.img' SIZE"},
		{blockio.ErrNotImage, "the image comes first"},
		{blockio.ErrNoPartition, "ext2fuse info 'a b.img'"},
		{blockio.ErrPastEnd, "ext2fuse info 'a b.img'"},
		{&disk.NotExt2Error{}, "file 'a b.img'"},
		{&disk.NotExt2Error{Looks: disk.Sniff([]byte("\x1f\x8b"))}, "gunzip 'a b.img'"},
		{&disk.NotExt2Error{Looks: disk.Sniff([]byte("QFI\xfb"))}, "qemu-img convert -O raw 'a b.img' 'a b.img'.raw"},
		{&disk.NotExt2Error{Looks: disk.Sniff([]byte("hsqs"))}, "mount or unpack"},
		{&disk.NotExt2Error{Looks: disk.Guess{Partitioned: true}}, "-o part=N"},
		{&ext2.BackupError{Err: &disk.NotExt2Error{}, Places: []int64{3, 4}}, "try -o sb=3 or -o sb=4"},
		{&disk.UnsupportedError{ReadOnlyOK: true}, "-o ro works"},
		{&disk.UnsupportedError{}, ""},
		{ext2.ErrReplayReadOnly, "-o ro,noload"},
		{mount(unix.ENOTDIR), "the image comes first"},
		{mount(unix.ENOSYS), "ext2fuse help"},
		{mount(unix.EPERM), ""},
		{errors.New("cannot open " + image + ": no such image, locked, empty"), ""},
	} {
		err := fmt.Errorf("in other words: %w", reworded{tt.err})
		got := (&config{dir: "mnt"}).hint(image, err)
		if !strings.Contains(got, tt.want) || tt.want == "" && got != "" || got != "" && !strings.HasPrefix(got, "; ") {
			t.Errorf("%T %v: %q, want %q", tt.err, tt.err, got, tt.want)
		}
	}
}

// What is advised for all of an image is not for a part of it: a file system made there would cost
// the others. And to mount read-only helps nobody who copies into an image.
func TestHintsOfParts(t *testing.T) {
	img := filepath.Join(t.TempDir(), "disk.img")
	table := make([]byte, 8<<20)
	copy(table[446:], "\x00\x00\x00\x00\x83\x00\x00\x00\x00\x08\x00\x00\x00\x20\x00\x00") // 4 MiB at 1 MiB
	copy(table[510:], "\x55\xaa")
	writeFile(t, img, string(table))
	whole := ext2test.Make(t, ext2test.Options{})
	for _, tt := range []struct{ image, option, want string }{
		{img, "part=1", `"ext2fuse info ` + img + `" shows what there is`},
		{img, "offset=1m", `"ext2fuse info ` + img + `" shows what there is`},
		{whole, "sb=100", "without sb= it is looked for at the usual place"},
	} {
		if got := complaint(t, "ls", "-o", tt.option, tt.image); !strings.HasSuffix(got, "; "+tt.want+"\n") {
			t.Errorf("%s: %q, want %q", tt.option, got, tt.want)
		}
	}
	for _, err := range []error{unix.EACCES, unix.EROFS, unix.ETXTBSY} {
		if got := (&config{}).hint(img, &blockio.OpenError{Path: img, Write: true, Err: err}); strings.Contains(got, "-o ro") {
			t.Errorf("%v: %q", err, got)
		}
	}
}

// The advice of a mount's error is told once.
func TestMountAdviceOnce(t *testing.T) {
	err := &fusefs.MountError{Dir: "mnt", Reason: "reason", Advice: "do this", Err: unix.ENOTDIR}
	if got := err.Error() + (&config{}).hint("", err); got != "mnt: reason; do this" {
		t.Errorf("mounting: %q", got)
	}
	err.Err = unix.EBUSY
	if got := unmountError(err).Error(); got != "mnt: reason; do this" {
		t.Errorf("unmounting: %q", got)
	}
}

// What somebody types is not taken for advice, and the image is named however short its name is.
func TestWordsOfUsers(t *testing.T) {
	if got := complaint(t, "ls", "-o", "offset=1; 2", "a"); got != `ext2fuse: mount option "offset=1; 2": expected a number of bytes, or one with k, m, g or t behind it; see ext2fuse ls --help`+"\n" {
		t.Errorf("got %q", got)
	}
	t.Chdir(t.TempDir())
	writeFile(t, "e", "no file system "+strings.Repeat("at all ", 10000))
	if got := complaint(t, "ls", "e"); !strings.HasPrefix(got, "ext2fuse: e: not an ext2 file system") {
		t.Errorf("got %q", got)
	}
}
