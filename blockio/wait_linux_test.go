package blockio

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A read that the host's cache cannot serve tells before it waits, one that it can
// does not; through a stack of devices, too.
func TestOnWait(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	dev, err := Open(context.Background(), path, OpenOptions{ReadOnly: true, Offset: 4096})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	waits := 0
	if !OnWait(dev, func() { waits++ }) {
		t.Fatal("a window of a file is no Waiter")
	}
	buf := make([]byte, 4096)
	read := func() (cold bool) {
		b := Bio{Op: Read, Off: 8192, Vecs: [][]byte{buf}}
		dev.Submit(&b)
		if b.Err != nil {
			t.Fatal(b.Err)
		}
		return b.Cold
	}
	if read() {
		waits = 0 // a host that is short of memory, or has no RWF_NOWAIT here
	}
	if cold := read(); cold != (waits == 1) {
		t.Errorf("cached read: cold %v, told %d times", cold, waits)
	}
	waits = 0
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fsync(int(f.Fd())); err != nil { // dirty pages cannot be dropped
		t.Fatal(err)
	}
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
	if cold := read(); cold != (waits == 1) {
		t.Errorf("dropped from the cache: cold %v, told %d times", cold, waits)
	}
	if OnWait(nil, func() {}) {
		t.Error("nothing is a Waiter")
	}
}
