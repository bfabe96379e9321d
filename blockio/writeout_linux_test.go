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
	const total, piece = 64 << 20, 1 << 20
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
	if err := unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{Len: total}, &st, 0); err != nil {
		t.Skipf("needs cachestat(2): %v", err)
	}
	// The first 16 MiB at the least are on their way.
	if dirty := st.Dirty * uint64(os.Getpagesize()); dirty > total-16<<20 {
		t.Errorf("%d MiB of %d are dirty", dirty>>20, total>>20)
	}
}
