//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// locked is an image with a lock on it, and what takes the lock off.
func locked(t *testing.T) (image string, unlock func()) {
	t.Helper()
	image = filepath.Join(t.TempDir(), "disk.img")
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	return image, func() {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_UN); err != nil {
			t.Fatal(err)
		}
	}
}

// Where the kernel does not tell who serves a mount, the image's lock does: it is waited for
// as long as it is there, and no longer.
func TestWaitUnlocked(t *testing.T) {
	image, unlock := locked(t)
	looks := 0
	waitUnlocked(image, func() {
		if looks++; looks == 3 {
			unlock()
		}
		if looks > 3 {
			t.Fatal("it waits for a lock that is gone")
		}
	})
	if looks != 3 {
		t.Errorf("it looked %d times, and the lock was there 3 times", looks)
	}
	none := func() { t.Fatal("it waits for what is not locked") }
	waitUnlocked(image, none)
	waitUnlocked(filepath.Join(t.TempDir(), "a name that is no image"), none)
	waitUnlocked(t.TempDir(), none)
}

// Mounted again meanwhile, the image is not waited for any more.
func TestWaitUnlockedMountedAgain(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	image, _ := locked(t)
	dir, looks := t.TempDir(), 0
	waitUnlocked(image, func() {
		switch looks++; looks {
		case 2:
			if err := unix.Mount(image, dir, "tmpfs", 0, ""); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
		case 3:
			t.Fatal("it waits for the lock of a new mount")
		}
	})
	if looks != 2 {
		t.Errorf("it looked %d times, and the new mount was there after 2", looks)
	}
}
