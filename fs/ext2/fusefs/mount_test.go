//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
	"github.com/ext2fuse/ext2fuse/fs/ext2/fusefs"
)

// mount is a mounted image with a count of the messages it got.
type mount struct {
	dir      string
	messages *counter
	server   *fusefs.Server
	log      *lockedBuffer // of warnings
}

// newMount mounts an image read-only. The mount goes away with the test.
func newMount(t testing.TB, img string, change ...func(*ext2.Options, *fusefs.Options)) *mount {
	t.Helper()
	return mountWith(t, img, func(o ext2.Options) (*ext2.FS, error) { return ext2.Open(context.Background(), img, o) }, change...)
}

// mountWith mounts what open opens.
func mountWith(t testing.TB, source string, open func(ext2.Options) (*ext2.FS, error), change ...func(*ext2.Options, *fusefs.Options)) *mount {
	t.Helper()
	ext2test.NeedFUSE(t)
	m := &mount{dir: t.TempDir(), messages: &counter{n: map[string]int{}}, log: new(lockedBuffer)}
	logger := slog.New(slog.NewTextHandler(m.log, nil))
	fo := ext2.Options{ReadOnly: true, Logger: logger}
	mo := fusefs.Options{Source: source, ReadAhead: -1, AllowOther: os.Geteuid() == 0, Logger: logger,
		Messages: log.New(m.messages, "", 0)}
	for _, f := range change {
		f(&fo, &mo)
	}
	fs, err := open(fo)
	if err != nil {
		t.Fatal(err)
	}
	m.server, err = fusefs.Mount(fs, m.dir, mo)
	if err != nil {
		fs.Close()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.server.Close(); err != nil {
			t.Errorf("unmount: %v", err)
			m.server.Detach()
		}
		m.server.Wait()
		if err := fs.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	m.settlePoll(t)
	return m
}

// settlePoll has the kernel learn that files cannot be polled, by a system call that
// the Go runtime knows to block. Otherwise os.Open would bring it up inside
// epoll_ctl(2), which the runtime takes for quick, and this process, which serves the
// mount it reads, could wait for itself on a single processor.
func (m *mount) settlePoll(t testing.TB) {
	t.Helper()
	// go-fuse answers for this name by itself, for this purpose.
	fd, err := unix.Open(filepath.Join(m.dir, ".go-fuse-epoll-hack"), unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0); err != nil {
		t.Fatal(err)
	}
}

func (m *mount) path(name string) string { return filepath.Join(m.dir, name) }

// counter counts requests by name from go-fuse's message log, whose lines for them are
// "rx 12: LOOKUP n1 …".
type counter struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *counter) Write(line []byte) (int, error) {
	if rest, ok := bytes.CutPrefix(line, []byte("rx ")); ok {
		f := strings.Fields(string(rest))
		rootACL := bytes.Contains(rest, []byte("GETXATTR n1 ")) && bytes.Contains(rest, []byte("posix_acl_access"))
		if len(f) > 2 && f[2] != settleNode && !rootACL {
			c.mu.Lock()
			c.n[f[1]]++
			c.mu.Unlock()
		}
	}
	return len(line), nil
}

// take gives the counts since the last call. What the kernel sends when it likes
// (forgets, interrupts), and the root directory's access list, which it asks for again
// and again when a plain user walks a path, are not among them.
func (c *counter) take() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.n
	c.n = map[string]int{}
	for _, name := range []string{"FORGET", "BATCH_FORGET", "INTERRUPT"} {
		delete(n, name)
	}
	return n
}

// settleNode is the node of the file that settlePoll opens.
const settleNode = "n18446744073709551615"

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestMountPointMessages(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		path string
		want string
		err  error
	}{
		{filepath.Join(dir, "none"), "the mount point does not exist; make it first: mkdir " + filepath.Join(dir, "none"), unix.ENOENT},
		{file, "the mount point is not a directory", unix.ENOTDIR},
		{filepath.Join(file, "x"), "the mount point cannot be used: not a directory", unix.ENOTDIR},
	} {
		_, err := fusefs.CheckMountPoint(tt.path)
		var m *fusefs.MountError
		if !errors.As(err, &m) || err.Error() != tt.path+": "+tt.want || !errors.Is(err, tt.err) {
			t.Errorf("got %v, want %s: %s", err, tt.path, tt.want)
		}
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(".", link); err != nil {
		t.Fatal(err)
	}
	want, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := fusefs.CheckMountPoint(link); err != nil || got != want {
		t.Errorf("%s: got %s, %v; want %s", link, got, err, want)
	}
}

// The mount table shows the image as it was given, our type, and what root's mounts
// are like.
func TestMountTable(t *testing.T) {
	img := ext2test.Make(t, ext2test.Options{})
	m := newMount(t, img, func(_ *ext2.Options, o *fusefs.Options) {
		o.Source, o.Flags, o.MaxRead = "disk,a.img", unix.MS_NOATIME|unix.MS_NOEXEC, 128<<10
	})
	table, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("disk,a.img %s fuse.ext2fuse ro,", m.dir)
	i := strings.Index(string(table), want)
	if i < 0 {
		t.Fatalf("no line %q in\n%s", want, table)
	}
	line, _, _ := strings.Cut(string(table[i:]), "\n")
	words := []string{"noexec", "noatime", "default_permissions", "max_read=131072"}
	if os.Geteuid() == 0 {
		words = append(words, "allow_other")
		if strings.Contains(line, "nosuid") || strings.Contains(line, "nodev") {
			t.Errorf("nosuid or nodev without being asked for: %s", line)
		}
	}
	for _, w := range words {
		if !strings.Contains(line, w) {
			t.Errorf("no %s in %s", w, line)
		}
	}
}

// Root's mounts read ahead what they were asked to.
func TestReadAhead(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to set the read-ahead of a mount")
	}
	img := ext2test.Make(t, ext2test.Options{})
	for _, tt := range []struct {
		size int64
		want string
	}{{-1, fmt.Sprint(fusefs.DefaultReadAhead >> 10)}, {256 << 10, "256"}, {0, "0"}} {
		m := newMount(t, img, func(_ *ext2.Options, o *fusefs.Options) { o.ReadAhead = tt.size })
		var st unix.Stat_t
		if err := unix.Stat(m.dir, &st); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", unix.Major(st.Dev), unix.Minor(st.Dev)))
		if err != nil || strings.TrimSpace(string(got)) != tt.want {
			t.Errorf("asked for %d: %s KiB (%v), want %s", tt.size, got, err, tt.want)
		}
	}
}

func TestUnmountBusy(t *testing.T) {
	m := newMount(t, ext2test.Make(t, ext2test.Options{}))
	f, err := os.Open(m.dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.server.Close(); !errors.Is(err, unix.EBUSY) {
		t.Errorf("unmount of a mount in use: %v, want EBUSY", err)
	}
	if _, err := os.Stat(m.path("lost+found")); err != nil {
		t.Errorf("the mount does not serve any more: %v", err)
	}
	f.Close()
}

// A mount whose daemon died is recognised, and the message says how to get rid of it.
func TestDeadMountPoint(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount without a server")
	}
	dir := t.TempDir()
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	data := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)
	if err := unix.Mount("dead", dir, "fuse.ext2fuse", unix.MS_RDONLY, data); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	unix.Close(fd) // the daemon is gone
	_, err = fusefs.CheckMountPoint(dir)
	if !errors.Is(err, unix.ENOTCONN) || !strings.Contains(err.Error(), "umount "+dir) {
		t.Errorf("got %v, want how to remove the dead mount", err)
	}
}
