//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, for open_by_handle_at")
	}
}

// openHandle opens a file by the handle it got earlier.
func (m *mount) openHandle(t *testing.T, h unix.FileHandle) (*os.File, error) {
	t.Helper()
	root, err := unix.Open(m.dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(root)
	fd, err := unix.OpenByHandleAt(root, h, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "handle"), nil
}

func (m *mount) handleOf(t *testing.T, name string) unix.FileHandle {
	t.Helper()
	h, _, err := unix.NameToHandleAt(unix.AT_FDCWD, m.path(name), 0)
	if err != nil {
		t.Fatalf("handle of %s: %v", name, err)
	}
	return h
}

// A handle outlives the mount it was made on, for files and directories, and leads
// back into the tree.
func TestHandles(t *testing.T) {
	needRoot(t)
	img := fileTree(t, 10)
	first := newMount(t, img)
	names := []string{".", "dir", "dir/file-003", "big"}
	handles := map[string]unix.FileHandle{}
	for _, n := range names {
		handles[n] = first.handleOf(t, n)
	}
	second := newMount(t, img)
	for _, m := range []*mount{first, second} {
		for _, n := range names {
			f, err := m.openHandle(t, handles[n])
			if err != nil {
				t.Fatalf("%s: %v", n, err)
			}
			var want, got unix.Stat_t
			if err := errors.Join(unix.Fstat(int(f.Fd()), &got), unix.Stat(m.path(n), &want)); err != nil {
				t.Fatal(err)
			}
			if got != want {
				t.Errorf("%s: the handle leads to\n%+v, the name to\n%+v", n, got, want)
			}
			// The kernel finds a directory's place in the tree by asking for "..".
			if path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd())); got.Mode&unix.S_IFMT == unix.S_IFDIR && (err != nil || path != filepath.Clean(m.path(n))) {
				t.Errorf("%s: the path is %s (%v), want %s", n, path, err, m.path(n))
			}
			f.Close()
		}
	}
	f, err := second.openHandle(t, handles["big"])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := make([]byte, 1<<20)
	if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, ext2test.Content(1, 1<<20)) {
		t.Errorf("wrong content by handle (%v)", err)
	}
}

// A handle of a file that is gone, or whose inode was used again, is stale.
func TestStaleHandles(t *testing.T) {
	needRoot(t)
	img := fileTree(t, 10)
	const deleted, reused = "dir/file-003", "dir/file-004"
	handles := map[string]unix.FileHandle{}
	t.Run("before", func(t *testing.T) {
		m := newMount(t, img)
		for _, n := range []string{deleted, reused, "big"} {
			handles[n] = m.handleOf(t, n)
		}
	})
	ext2test.DebugfsWrite(t, img, "rm "+deleted, "sif "+reused+" generation 4711")
	m := newMount(t, img)
	for _, n := range []string{deleted, reused} {
		if f, err := m.openHandle(t, handles[n]); !errors.Is(err, unix.ESTALE) {
			t.Errorf("%s: %v, want ESTALE", n, err)
			f.Close()
		}
	}
	f, err := m.openHandle(t, handles["big"])
	if err != nil {
		t.Fatalf("a handle that is not stale: %v", err)
	}
	f.Close()
	// Handles that were never given out: FUSE's form is node, generation (32 bits
	// each part of the node, high first).
	for _, ino := range []uint32{0, 1, 3, 7, 1 << 30, 1<<32 - 1} {
		big := handles["big"]
		raw := big.Bytes()
		forged := append([]byte(nil), raw...)
		for i := range 4 {
			forged[i], forged[4+i] = 0, byte(ino>>(8*i))
		}
		f, err := m.openHandle(t, unix.NewFileHandle(big.Type(), forged))
		if !errors.Is(err, unix.ESTALE) && ino != 1 {
			t.Errorf("inode %d: %v, want ESTALE", ino, err)
		}
		if err == nil {
			f.Close()
		}
	}
}
