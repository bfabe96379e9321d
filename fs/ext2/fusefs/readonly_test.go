package fusefs_test

import (
	"bytes"
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
	fs, err := ext2.Open(ext2test.Make(t, ext2test.Options{}), ext2.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer fs.Close()
	a := fusefs.New(fs)
	_, write := a.Write(nil, &fuse.WriteIn{}, nil)
	_, writev := a.Writev(nil, &fuse.WriteIn{}, nil)
	_, copied := a.CopyFileRange(nil, &fuse.CopyFileRangeIn{})
	for what, st := range map[string]fuse.Status{
		"SETATTR":         a.SetAttr(nil, &fuse.SetAttrIn{}, &fuse.AttrOut{}),
		"MKNOD":           a.Mknod(nil, &fuse.MknodIn{}, "x", &fuse.EntryOut{}),
		"MKDIR":           a.Mkdir(nil, &fuse.MkdirIn{}, "x", &fuse.EntryOut{}),
		"UNLINK":          a.Unlink(nil, &fuse.InHeader{}, "x"),
		"RMDIR":           a.Rmdir(nil, &fuse.InHeader{}, "x"),
		"RENAME":          a.Rename(nil, &fuse.RenameIn{}, "x", "y"),
		"LINK":            a.Link(nil, &fuse.LinkIn{}, "x", &fuse.EntryOut{}),
		"SYMLINK":         a.Symlink(nil, &fuse.InHeader{}, "x", "y", &fuse.EntryOut{}),
		"CREATE":          a.Create(nil, &fuse.CreateIn{}, "x", &fuse.CreateOut{}),
		"TMPFILE":         a.Tmpfile(nil, &fuse.CreateIn{}, &fuse.CreateOut{}),
		"WRITE":           write,
		"WRITE, vectored": writev,
		"COPY_FILE_RANGE": copied,
		"FALLOCATE":       a.Fallocate(nil, &fuse.FallocateIn{}),
		"SETXATTR":        a.SetXAttr(nil, &fuse.SetXAttrIn{}, "user.a", nil),
		"REMOVEXATTR":     a.RemoveXAttr(nil, &fuse.InHeader{}, "user.a"),
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
