//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
	"github.com/ext2fuse/ext2fuse/fs/ext2/fusefs"
)

// Every change is refused with EROFS, whoever asks.
func TestReadOnlyMount(t *testing.T) {
	m := newMount(t, fileTree(t, 2))
	file, dir := m.path("dir/file-000"), m.path("dir")
	now := []unix.Timespec{{Sec: 1}, {Sec: 1}}
	for _, tt := range []struct {
		what string
		err  error
	}{
		{"create", func() error { _, err := unix.Open(m.path("new"), unix.O_CREAT|unix.O_WRONLY, 0o644); return err }()},
		{"open for writing", func() error { _, err := unix.Open(file, unix.O_RDWR, 0); return err }()},
		{"open and truncate", func() error { _, err := unix.Open(file, unix.O_WRONLY|unix.O_TRUNC, 0); return err }()},
		{"tmpfile", func() error { _, err := unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY, 0o644); return err }()},
		{"truncate", unix.Truncate(file, 0)},
		{"mkdir", unix.Mkdir(m.path("new"), 0o755)},
		{"mknod", unix.Mknod(m.path("new"), unix.S_IFIFO|0o644, 0)},
		{"symlink", unix.Symlink("x", m.path("new"))},
		{"link", unix.Link(file, m.path("new"))},
		{"unlink", unix.Unlink(file)},
		{"rmdir", unix.Rmdir(dir)},
		{"rename", unix.Rename(file, m.path("new"))},
		{"chmod", unix.Chmod(file, 0o600)},
		{"chown", unix.Chown(file, 0, 0)},
		{"utimes", unix.UtimesNanoAt(unix.AT_FDCWD, file, now, 0)},
		{"setxattr", unix.Setxattr(file, "user.a", []byte("b"), 0)},
		{"removexattr", unix.Removexattr(file, "user.a")},
		{"setacl", unix.Setxattr(file, "system.posix_acl_access", ext2test.ACL(), 0)},
	} {
		if !errors.Is(tt.err, unix.EROFS) {
			t.Errorf("%s: %v, want EROFS", tt.what, tt.err)
		}
	}
}

// What the kernel keeps from the daemon on a read-only mount is refused there, too.
func TestReadOnlyAdapter(t *testing.T) {
	fs, err := ext2.Open(context.Background(), fileTree(t, 2), ext2.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer fs.Close()
	a := fusefs.New(fs)
	root := fuse.InHeader{NodeId: fuse.FUSE_ROOT_ID}
	var entry fuse.EntryOut
	if st := a.Lookup(nil, &root, "big", &entry); st != fuse.OK {
		t.Fatal(st)
	}
	defer a.Forget(entry.NodeId, 1)
	file := fuse.InHeader{NodeId: entry.NodeId}
	_, write := a.Write(nil, &fuse.WriteIn{InHeader: file}, []byte("x"))
	_, copied := a.CopyFileRange(nil, &fuse.CopyFileRangeIn{InHeader: file, NodeIdOut: file.NodeId, Len: 1})
	mode := fuse.SetAttrIn{SetAttrInCommon: fuse.SetAttrInCommon{InHeader: root, Valid: fuse.FATTR_MODE}}
	flags := []byte{0, 0, 0, 0}
	label := make([]byte, 256)
	ioctl := func(cmd uint32, arg []byte) fuse.Status {
		return a.Ioctl(nil, &fuse.IoctlIn{InHeader: root, Cmd: cmd}, arg, &fuse.IoctlOut{}, nil)
	}
	for what, st := range map[string]fuse.Status{
		"SETATTR":         a.SetAttr(nil, &mode, &fuse.AttrOut{}),
		"MKNOD":           a.Mknod(nil, &fuse.MknodIn{InHeader: root, Mode: unix.S_IFREG}, "x", &fuse.EntryOut{}),
		"MKDIR":           a.Mkdir(nil, &fuse.MkdirIn{InHeader: root}, "x", &fuse.EntryOut{}),
		"UNLINK":          a.Unlink(nil, &root, "x"),
		"RMDIR":           a.Rmdir(nil, &root, "lost+found"),
		"RENAME":          a.Rename(nil, &fuse.RenameIn{InHeader: root, Newdir: fuse.FUSE_ROOT_ID}, "lost+found", "y"),
		"LINK":            a.Link(nil, &fuse.LinkIn{InHeader: root, Oldnodeid: file.NodeId}, "x", &fuse.EntryOut{}),
		"SYMLINK":         a.Symlink(nil, &root, "x", "y", &fuse.EntryOut{}),
		"CREATE":          a.Create(nil, &fuse.CreateIn{InHeader: root}, "x", &fuse.CreateOut{}),
		"TMPFILE":         a.Tmpfile(nil, &fuse.CreateIn{InHeader: root}, &fuse.CreateOut{}),
		"WRITE":           write,
		"COPY_FILE_RANGE": copied,
		"FALLOCATE":       a.Fallocate(nil, &fuse.FallocateIn{InHeader: file, Length: 1}),
		"SETXATTR":        a.SetXAttr(nil, &fuse.SetXAttrIn{InHeader: root}, "user.a", []byte("x")),
		"REMOVEXATTR":     a.RemoveXAttr(nil, &root, "user.a"),
		"SETFLAGS":        ioctl(0x40086602, flags),
		"SETVERSION":      ioctl(0x40087602, flags),
		"SETFSLABEL":      ioctl(0x41009432, label),
	} {
		if st != fuse.EROFS {
			t.Errorf("%s: %v, want EROFS", what, st)
		}
	}
}

// Names that no directory entry can hold do not reach the directory code.
func TestLongName(t *testing.T) {
	m := newMount(t, fileTree(t, 2))
	for n, want := range map[int]error{255: unix.ENOENT, 256: unix.ENAMETOOLONG, 1000: unix.ENAMETOOLONG} {
		var st unix.Stat_t
		if err := unix.Lstat(m.path("dir/"+strings.Repeat("n", n)), &st); err != want {
			t.Errorf("name of %d bytes: %v, want %v", n, err, want)
		}
	}
}

// Damage gives EIO where it lies, and nowhere else, and one line in the log.
func TestDamage(t *testing.T) {
	img := fileTree(t, 3)
	// The directory's block is overwritten; its inode stays.
	out := strings.Fields(ext2test.Debugfs(t, img, "bmap dir 0"))
	block := out[slices.Index(out, "0")+1]
	ext2test.DebugfsWrite(t, img, "zap_block -p 0xff "+block)
	m := newMount(t, img)
	for range 3 {
		if _, err := os.ReadDir(m.path("dir")); !errors.Is(err, unix.EIO) {
			t.Errorf("listing: %v, want EIO", err)
		}
		if _, err := os.Stat(m.path("dir/file-000")); !errors.Is(err, unix.EIO) {
			t.Errorf("look-up: %v, want EIO", err)
		}
	}
	if _, err := os.ReadFile(m.path("big")); err != nil {
		t.Errorf("another file: %v", err)
	}
	if n := strings.Count(m.log.String(), "corrupt"); n != 1 {
		t.Errorf("%d lines in the log, want 1:\n%s", n, m.log)
	}
}

// A handler that panics costs its own request and leaves a line in the log.
func TestPanic(t *testing.T) {
	var log bytes.Buffer
	a := fusefs.Panicking(slog.New(slog.NewTextHandler(&log, nil)))
	if st := a(); st != fuse.EIO {
		t.Errorf("got %v, want EIO", st)
	}
	if !strings.Contains(log.String(), "bug in ext2fuse") || !strings.Contains(log.String(), "Panicking") {
		t.Errorf("the log says %q", log.String())
	}
}

// On a file system without SELinux labels, asking for one is not supported: ls then
// stops asking. On one with labels it is the kernel's ENODATA.
func TestSelinuxLabel(t *testing.T) {
	img := fileTree(t, 2)
	label := func(t *testing.T, name string, want error) {
		t.Helper()
		m := newMount(t, img)
		if _, err := unix.Lgetxattr(m.path(name), "security.selinux", make([]byte, 64)); err != want {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	label(t, "dir/file-000", unix.EOPNOTSUPP)
	ext2test.DebugfsWrite(t, img, `ea_set dir/file-000 security.selinux file_label`)
	label(t, "dir/file-000", nil)
	label(t, "dir/file-001", unix.EOPNOTSUPP)
	ext2test.DebugfsWrite(t, img, `ea_set / security.selinux root_label`)
	label(t, "dir/file-001", unix.ENODATA)
}
