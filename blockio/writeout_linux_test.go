package blockio_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/blockio"
)

// A host begins to write what a stream of large writes left in its cache before anybody
// syncs.
func TestWriteOut(t *testing.T) {
	const total = 64 << 20
	for range 5 { // a busy host may put it off
		// The first 16 MiB at the least are on their way.
		if dirty := dirtyAfter(t, total); dirty <= total-16<<20 {
			return
		}
	}
	t.Error("a host was never asked to begin writing")
}

// dirtyAfter is how much of an image is dirty in the host's cache after so many bytes were
// written to it.
func dirtyAfter(t *testing.T, total int64) int64 {
	t.Helper()
	const piece = 1 << 20
	path := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, total); err != nil {
		t.Fatal(err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil || fs.Type == unix.TMPFS_MAGIC {
		t.Skipf("needs a file system on a disk for temporary files (%v)", err)
	}
	dev := open(t, path, blockio.OpenOptions{})
	buf := make([]byte, piece)
	for off := int64(0); off < total; off += piece {
		if _, err := dev.WritevAt([][]byte{buf}, off); err != nil {
			t.Fatal(err)
		}
	}
	if err := dev.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var st unix.Cachestat_t
	if err := unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{Len: uint64(total)}, &st, 0); err != nil {
		t.Skipf("needs cachestat(2): %v", err)
	}
	return int64(st.Dirty) * int64(os.Getpagesize())
}
