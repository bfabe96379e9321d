package blockiotest

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// NeedSplicing skips a test on a host that does not tell what its cache has (cachestat,
// Linux 6.5): there blockio passes nothing on by way of pipes.
func NeedSplicing(t testing.TB) {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var found unix.Cachestat_t
	if err := unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{Len: 1}, &found, 0); err != nil {
		t.Skipf("cachestat: %v", err)
	}
}
