//go:build linux

package ext2

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// fsckInPlace lets e2fsck change an image in memory.
func fsckInPlace(t testing.TB, m *blockiotest.Mem, args ...string) (code int, out string) {
	t.Helper()
	img := filepath.Join(t.TempDir(), "img")
	if err := os.WriteFile(img, m.Bytes(0, m.Size()), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := exec.Command("e2fsck", append(args, img)...).CombinedOutput()
	if exit, ok := err.(*exec.ExitError); ok {
		code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	blockiotest.Apply(m, blockiotest.Event{Op: blockio.Write, Len: int64(len(data)), Data: data})
	return code, string(b)
}

// kernelUses has the kernel's ext3 driver mount an image, which replays the journal that
// needs it, and unmounts it again.
func kernelUses(t testing.TB, img string, use func(dir string)) {
	t.Helper()
	dir := ext2test.KernelMountAs(t, "ext3", img)
	use(dir)
	ext2test.Unmount(t, dir)
}
