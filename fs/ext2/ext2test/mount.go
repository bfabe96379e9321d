//go:build linux

package ext2test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// MaxKernelBlock is the largest block size that this machine's kernel mounts.
var MaxKernelBlock = os.Getpagesize()

// NoKernelMount says why images cannot be mounted by the kernel here, or "".
func NoKernelMount() string {
	if os.Geteuid() != 0 {
		return "needs root, to mount an image with the kernel's driver"
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		return "needs loop devices (no /dev/loop-control here)"
	}
	return ""
}

// NeedKernelMount skips the test where images cannot be mounted by the kernel.
func NeedKernelMount(t testing.TB) {
	t.Helper()
	if why := NoKernelMount(); why != "" {
		t.Skip(why)
	}
}

// OwnMounts is a bash script with a mount table of its own, and arguments. What it mounts is seen
// nowhere else; what is unmounted elsewhere is gone there, too (slave), and not kept in use for as
// long as the script runs.
func OwnMounts(script string, args ...string) *exec.Cmd {
	return exec.Command("unshare", append([]string{"--mount", "--propagation", "slave", "bash", "-c", unpin + script, "bash"}, args...)...)
}

// unpin begins the script. It lets go of what was mounted in temporary directories when the table
// was copied: where mounts are not shared, other tests unmount that meanwhile to no effect here.
// What the current directory is on stays, and so do automounts, which would be set off.
const unpin = `awk -v here="$(stat -c %m .)/" '
	($2 ~ "^(/var)?/tmp/" || ENVIRON["TMPDIR"] ~ "^/." && index($2, ENVIRON["TMPDIR"] "/") == 1) && index(here, $2 "/") != 1 && $3 != "autofs" {print $2}
' /proc/self/mounts | tac | xargs -r umount -i -l 2>/dev/null || true
`

// NoFUSE says why a FUSE file system cannot be mounted here, or "".
func NoFUSE() string {
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return "needs FUSE: " + err.Error()
	}
	f.Close()
	if os.Geteuid() != 0 {
		if _, err := exec.LookPath("fusermount3"); err != nil {
			return "needs fusermount3 (package fuse3), to mount without root"
		}
	}
	return ""
}

// NeedFUSE skips the test where FUSE file systems cannot be mounted.
func NeedFUSE(t testing.TB) {
	t.Helper()
	if why := NoFUSE(); why != "" {
		t.Skip(why)
	}
}

// KernelMount mounts the image with the kernel's driver and returns the mount
// point. options are mount(8)'s; without "ro" among them it is mounted read-write.
// The mount goes away with the test, or by Unmount.
func KernelMount(t testing.TB, img string, options ...string) string {
	t.Helper()
	return KernelMountAs(t, "ext2", img, options...)
}

// KernelMountAs is KernelMount with a type of file system other than ext2.
func KernelMountAs(t testing.TB, typ, img string, options ...string) string {
	t.Helper()
	NeedKernelMount(t)
	dir := filepath.Join(t.TempDir(), "kernel")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, "mount", "-t", typ, "-o", strings.Join(append([]string{"loop"}, options...), ","), img, dir)
	t.Cleanup(func() {
		if !mounted(dir) {
			return
		}
		if err := KernelUnmount(dir); err != nil {
			t.Error(err)
			unix.Unmount(dir, unix.MNT_DETACH) // or the test's directory could not be removed
		}
	})
	return dir
}

// Unmount unmounts what KernelMount mounted; the image is complete afterwards.
func Unmount(t testing.TB, dir string) {
	t.Helper()
	if err := KernelUnmount(dir); err != nil {
		t.Fatal(err)
	}
}

// patience is how long KernelUnmount waits for others to let go of a mount.
const patience = time.Minute

// KernelUnmount unmounts an image that the kernel's driver mounted at dir; the image is
// complete when it returns without an error. While the mount is busy it tries again: a
// process that another test starts at this moment holds our descriptors between fork and
// exec. And it waits for the loop device to let go of the image: a process with a mount
// table of its own, which another test has just then, keeps the file system mounted, and
// half of it unwritten.
func KernelUnmount(dir string) error {
	deadline := time.Now().Add(patience)
	backing := backingFile(dir)
	image, _ := os.ReadFile(backing)
	for ; ; time.Sleep(10 * time.Millisecond) {
		out, err := exec.Command(tool("umount"), dir).CombinedOutput()
		if err == nil {
			break
		}
		if !strings.Contains(string(out), "busy") || time.Now().After(deadline) {
			return fmt.Errorf("umount %s: %w: %s", dir, err, out)
		}
	}
	for ; backing != ""; time.Sleep(time.Millisecond) {
		// The device may have been given to somebody else's image at once.
		if now, err := os.ReadFile(backing); err != nil || !bytes.Equal(now, image) {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("umount %s: the loop device does not let go of the image (%s)", dir, backing)
		}
	}
	return nil
}

// backingFile is the file in sysfs that exists as long as the loop device mounted at dir
// has an image; empty when no loop device is mounted there.
func backingFile(dir string) string {
	const loopMajor = 7
	var st unix.Stat_t
	if unix.Lstat(dir, &st) != nil || unix.Major(uint64(st.Dev)) != loopMajor {
		return ""
	}
	return fmt.Sprintf("/sys/dev/block/%d:%d/loop/backing_file", loopMajor, unix.Minor(uint64(st.Dev)))
}

// mounted tells whether something is mounted at dir.
func mounted(dir string) bool {
	var here, above unix.Stat_t
	return unix.Lstat(dir, &here) == nil && unix.Lstat(filepath.Dir(dir), &above) == nil && here.Dev != above.Dev
}
