//go:build linux

package ext2

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	iofs "io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// dirtyJournal is an ext3 image with /hello, and a journal that holds another content
// for it. It gives both contents.
func dirtyJournal(t *testing.T) (img string, old, changed []byte) {
	t.Helper()
	old, changed = bytes.Repeat([]byte("old."), 256), bytes.Repeat([]byte("new!"), 256)
	root := t.TempDir()
	raw := filepath.Join(t.TempDir(), "raw")
	for path, b := range map[string][]byte{filepath.Join(root, "hello"): old, raw: changed} {
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	img = ext2test.Make(t, ext2test.Options{Type: "ext3", Root: root})
	_, block, _ := strings.Cut(ext2test.Debugfs(t, img, "blocks /hello"), "blocks /hello\n")
	ext2test.DebugfsWrite(t, img, "journal_open", "journal_write -b "+strings.TrimSpace(block)+" "+raw, "journal_close")
	return img, old, changed
}

func helloOf(t *testing.T, fs *FS) []byte {
	t.Helper()
	b, err := iofs.ReadFile(fs.FS(ctx), "hello")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func flagged(t *testing.T, img string) bool {
	t.Helper()
	b, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	return binary.LittleEndian.Uint32(b[1024+96:])&disk.IncompatRecover != 0
}

// TestReplayAtMount: a mount replays the journal, a read-only one as well, and leaves an
// image that e2fsck finds nothing wrong with.
func TestReplayAtMount(t *testing.T) {
	for _, readOnly := range []bool{false, true} {
		img, _, changed := dirtyJournal(t)
		if !flagged(t, img) {
			t.Fatal("debugfs did not set needs_recovery")
		}
		fs, err := Open(ctx, img, Options{ReadOnly: readOnly, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		if got := helloOf(t, fs); !bytes.Equal(got, changed) {
			t.Errorf("ro=%t: the file has %.8q", readOnly, got)
		}
		if fs.ReadOnly() != readOnly || fs.Device().ReadOnly() != readOnly {
			t.Errorf("ro=%t: opened with %t, device %t", readOnly, fs.ReadOnly(), fs.Device().ReadOnly())
		}
		if err := fs.Close(); err != nil {
			t.Fatal(err)
		}
		if flagged(t, img) {
			t.Error("needs_recovery is still set")
		}
		ext2test.Fsck(t, img)
	}
}

// TestNoLoad: without replay the old content is to be seen, nothing is written, and
// nothing can be.
func TestNoLoad(t *testing.T) {
	img, old, _ := dirtyJournal(t)
	before, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	fs, err := Open(ctx, img, Options{ReadOnly: true, NoLoad: true, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if got := helloOf(t, fs); !bytes.Equal(got, old) {
		t.Errorf("the file has %.8q", got)
	}
	if w := strings.Join(fs.Warnings(), "\n"); !strings.Contains(w, "not replayed") || strings.Contains(w, "clean") {
		t.Errorf("the warnings are %q", w)
	}
	if err := fs.Close(); err != nil {
		t.Fatal(err)
	}
	var u *disk.UnsupportedError
	if _, err := Open(ctx, img, Options{NoLoad: true, Logger: quiet}); !errors.As(err, &u) || !strings.Contains(err.Error(), "needs_recovery") {
		t.Errorf("read-write without replay: %v", err)
	}
	if after, _ := os.ReadFile(img); !bytes.Equal(before, after) {
		t.Error("something was written")
	}
}

// TestReplayRefused: journals that cannot be replayed, and how it is said; nothing is
// written then.
func TestReplayRefused(t *testing.T) {
	img, _, _ := dirtyJournal(t)
	good, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	inode8 := int(le.Uint32(good[2048+8:]))*1024 + 7*256
	super := int(le.Uint32(good[inode8+40:])) * 1024
	for _, tt := range []struct {
		name   string
		ro     bool
		damage func(b []byte)
		want   string
	}{
		{"read-only device", true, func([]byte) {}, ErrReplayReadOnly.Error()},
		{"external", false, func(b []byte) { le.PutUint32(b[1024+224:], 0); le.PutUint32(b[1024+228:], 0x801) }, "external device (s_journal_dev 0x801)"},
		{"no such inode", false, func(b []byte) { le.PutUint32(b[1024+224:], 1<<31) }, "s_journal_inum is 2147483648"},
		{"no journal", false, func(b []byte) { clear(b[super : super+1024]) }, "h_magic is 0x00000000"},
		{"deleted inode", false, func(b []byte) { clear(b[inode8 : inode8+256]) }, "i_mode 00"},
		{"hole", false, func(b []byte) { le.PutUint32(b[inode8+44:], 0) }, "its block 1 is a hole"},
		{"twice the same block", false, func(b []byte) { le.PutUint32(b[inode8+44:], le.Uint32(b[inode8+40:])) }, "belongs to it twice"},
		{"past the end", false, func(b []byte) { le.PutUint32(b[inode8+44:], 1<<31) }, "2147483648"},
		{"short", false, func(b []byte) { le.PutUint32(b[inode8+4:], 1000*1024) }, "it has 1000 blocks"},
		{"huge", false, func(b []byte) { le.PutUint32(b[inode8+108:], 1<<20) }, "i_size is"},
		{"fast commits", false, func(b []byte) { b[super+0x2B] |= 0x20 }, "journal_fast_commit"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := bytes.Clone(good)
			tt.damage(b)
			dev := blockiotest.MemOf(b)
			dev.SetReadOnly(tt.ro)
			fs, err := New(ctx, dev, Options{ReadOnly: tt.ro, Logger: quiet})
			if err == nil {
				fs.Close()
				t.Fatal("mounted")
			}
			if !strings.Contains(err.Error(), tt.want) || strings.ContainsRune(err.Error(), '\n') || strings.Contains(err.Error(), "backup") || errors.Is(err, ErrReplayReadOnly) != tt.ro {
				t.Errorf("the error is %q, expected %q", err, tt.want)
			}
			if !bytes.Equal(b, dev.Bytes(0, dev.Size())) {
				t.Error("something was written")
			}
		})
	}
}

// TestReplayErrno: a journal whose last user gave up makes a file system with errors.
func TestReplayErrno(t *testing.T) {
	img, _, _ := dirtyJournal(t)
	b, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	super := int(le.Uint32(b[int(le.Uint32(b[2048+8:]))*1024+7*256+40:])) * 1024
	binary.BigEndian.PutUint32(b[super+0x20:], ^uint32(4)) // -5
	dev := blockiotest.MemOf(b)
	fs, err := New(ctx, dev, Options{ReadOnly: true, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if fs.Superblock().State&disk.StateErrors == 0 {
		t.Error("the file system is not marked as having errors")
	}
	if errno := binary.BigEndian.Uint32(dev.Bytes(int64(super)+0x20, 4)); errno != 0 {
		t.Errorf("s_errno is %d", errno)
	}
	if err := fs.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestJournalWithoutFlag: transactions in a journal without needs_recovery are dropped by a
// read-write mount, as the kernel drops them, before they could be replayed over what is
// changed now.
func TestJournalWithoutFlag(t *testing.T) {
	img, old, _ := dirtyJournal(t)
	data, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	data[1024+96] &^= byte(disk.IncompatRecover)
	if err := os.WriteFile(img, data, 0o600); err != nil {
		t.Fatal(err)
	}
	newer := bytes.Repeat([]byte("next"), 256)
	for _, o := range []Options{{}, {NoJournal: true}} {
		var log bytes.Buffer
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		dev := blockiotest.NewRecorder(blockiotest.MemOf(bytes.Clone(data)))
		fs, err := New(context.Background(), dev, o)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(log.String(), "journal is discarded: it holds 1 transactions") {
			t.Errorf("it is not said: %s", log.String())
		}
		if got := helloOf(t, fs); !bytes.Equal(got, old) {
			t.Errorf("the file has %.8q", got)
		}
		root, _ := fs.Root()
		in, err := root.Lookup("hello")
		if err != nil {
			t.Fatal(err)
		}
		root.Put()
		if _, err := in.Write(context.Background(), newer, 0, WriteOptions{}); err != nil {
			t.Error(err)
		}
		in.Put()
		if err := fs.Sync(context.Background()); err != nil {
			t.Error(err)
		}
		synced := len(dev.Log())
		if err := fs.Close(); err != nil {
			t.Error(err)
		}
		// Wherever it was cut off, nothing of the old journal comes back.
		for n := range len(dev.Log()) + 1 {
			m := dev.ImageAt(n)
			code, out := fsckInPlace(t, m, "-p")
			if code > 1 && n > 0 && !o.NoJournal { // what is found is for a person to decide, e2fsck says
				t.Errorf("after %d events: e2fsck -p: %d\n%s", n, code, out)
			}
			switch b := contentAt(t, m, "hello"); {
			case n == 0: // e2fsck replays it, and nobody has mounted yet
			case n >= synced && !bytes.Equal(b, newer), !bytes.Equal(b, newer) && !bytes.Equal(b, old):
				t.Errorf("nojournal=%t, after %d events: the file has %.8q", o.NoJournal, n, b)
			}
		}
	}

	ext2test.NeedKernelMount(t)
	mnt := ext2test.KernelMountAs(t, "ext3", img)
	if got, err := os.ReadFile(filepath.Join(mnt, "hello")); err != nil || !bytes.Equal(got, old) {
		t.Errorf("the kernel's file has %.8q (%v)", got, err)
	}
	ext2test.Unmount(t, mnt)
	ext2test.Fsck(t, img)
	kernel, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	if b := contentAt(t, blockiotest.MemOf(kernel), "hello"); !bytes.Equal(b, old) {
		t.Errorf("after the kernel's mount the file has %.8q", b)
	}
}

// contentAt is what a file of an image has.
func contentAt(t *testing.T, m *blockiotest.Mem, name string) []byte {
	t.Helper()
	fs := must(New(context.Background(), m.Clone(), Options{ReadOnly: true, Logger: quiet}))(t)
	defer fs.Close()
	b, err := iofs.ReadFile(fs.FS(context.Background()), name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
