//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// Where the kernel does not tell who serves a mount, the image's lock does.
func TestWaitUnlocked(t *testing.T) {
	image := filepath.Join(t.TempDir(), "disk.img")
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	var released atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		waitUnlocked(image)
		if !released.Load() {
			t.Error("returned while the image was locked")
		}
	}()
	released.Store(true)
	if err := unix.Flock(int(f.Fd()), unix.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	<-done
	waitUnlocked(filepath.Join(t.TempDir(), "a name that is no image"))
}
