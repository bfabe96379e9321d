package blockio_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/blockio"
)

// holdEnv makes the test binary a process that holds an image: "ro" or "rw", a
// space, and the path.
const holdEnv = "BLOCKIO_TEST_HOLD"

func TestMain(m *testing.M) {
	hold := os.Getenv(holdEnv)
	if hold == "" {
		os.Exit(m.Run())
	}
	mode, path, _ := strings.Cut(hold, " ")
	dev, err := blockio.Open(context.Background(), path, blockio.OpenOptions{ReadOnly: mode == "ro"})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("holding")
	_, _ = os.Stdin.Read(make([]byte, 1)) // until the parent closes the pipe
	_ = dev.Close()
}

// hold starts a process that holds the image, and gives its id and a way to end it.
func hold(t *testing.T, mode, path string) (pid int, release func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holdEnv+"="+mode+" "+path)
	cmd.Stderr = os.Stderr
	stdin, err1 := cmd.StdinPipe()
	stdout, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	ended := false
	release = func() {
		if !ended {
			ended = true
			_ = stdin.Close()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(release)
	if line, _ := bufio.NewReader(stdout).ReadString('\n'); line != "holding\n" {
		t.Fatal("the other process could not take the image")
	}
	return cmd.Process.Pid, release
}

// refused expects a busy image and looks for what the message must say.
func refused(t *testing.T, path string, readOnly bool, says ...string) {
	t.Helper()
	dev, err := blockio.Open(context.Background(), path, blockio.OpenOptions{ReadOnly: readOnly})
	if err == nil {
		_ = dev.Close()
		t.Errorf("%s (read-only %v) was opened", path, readOnly)
		return
	}
	if !errors.Is(err, blockio.ErrBusy) || strings.Contains(err.Error(), "\n") {
		t.Errorf("want ErrBusy in one line, got %q", err)
	}
	for _, s := range append(says, path) {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("%q does not say %q", err, s)
		}
	}
}

func allowed(t *testing.T, path string, readOnly bool) {
	t.Helper()
	dev, err := blockio.Open(context.Background(), path, blockio.OpenOptions{ReadOnly: readOnly})
	if err != nil {
		t.Errorf("read-only %v: %v", readOnly, err)
		return
	}
	_ = dev.Close()
}

func TestLockAmongProcesses(t *testing.T) {
	path := imageFile(t, 64<<10)
	pid, release := hold(t, "ro", path)
	refused(t, path, false, "locked for reading by", fmt.Sprintf("process %d", pid), "blockio")
	allowed(t, path, true)
	release()

	pid, release = hold(t, "rw", path)
	refused(t, path, false, "locked for writing by", fmt.Sprintf("process %d", pid))
	refused(t, path, true, "locked for writing by", fmt.Sprintf("process %d", pid))
	release()
	allowed(t, path, false)
}

func TestLockWait(t *testing.T) {
	path := imageFile(t, 64<<10)
	_, release := hold(t, "rw", path)
	opened := make(chan error)
	go func() {
		dev, err := blockio.Open(context.Background(), path, blockio.OpenOptions{LockWait: time.Minute})
		if err == nil {
			err = dev.Close()
		}
		opened <- err
	}()
	release()
	if err := <-opened; err != nil {
		t.Error(err)
	}
}

// TestLockHeldByChild: the process that took the lock is gone, a child has inherited
// the descriptor. The child is named.
func TestLockHeldByChild(t *testing.T) {
	path := imageFile(t, 64<<10)
	cmd := exec.Command("flock", "--exclusive", "--no-fork", path, "sh", "-c", "sleep 1000 & echo $!")
	var out strings.Builder
	cmd.Stdout = &out
	// sleep keeps the output pipe: do not wait for that.
	cmd.WaitDelay = time.Millisecond
	if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		t.Fatal(err)
	}
	var child int
	if _, err := fmt.Sscan(out.String(), &child); err != nil {
		t.Fatalf("%q: %v", out.String(), err)
	}
	t.Cleanup(func() { _ = unix.Kill(child, unix.SIGKILL) })
	refused(t, path, true, "sleep", fmt.Sprintf("process %d", child))
}

func TestLoopHolds(t *testing.T) {
	image := imageFile(t, 1<<20)
	t.Run("ReadWrite", func(t *testing.T) {
		loop := attach(t, image)
		refused(t, image, false, "attached read-write to "+loop, "losetup -d "+loop)
		refused(t, image, true, "attached read-write to "+loop)
	})
	t.Run("ReadOnly", func(t *testing.T) {
		loop := attach(t, image, "--read-only")
		refused(t, image, false, "attached read-only to "+loop)
		allowed(t, image, true)
	})
	t.Run("OtherPath", func(t *testing.T) { // as in a container, where it has a path that is none here
		if os.Geteuid() != 0 {
			t.Skip("mounts need root")
		}
		other := t.TempDir()
		if err := unix.Mount(filepath.Dir(image), other, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		loop := attach(t, filepath.Join(other, filepath.Base(image)))
		if err := unix.Unmount(other, unix.MNT_DETACH); err != nil {
			t.Fatal(err)
		}
		refused(t, image, false, "attached read-write to "+loop)
	})
	t.Run("OtherPart", func(t *testing.T) {
		attach(t, image, "--offset=524288")
		refused(t, image, false, "attached")
		dev, err := blockio.Open(context.Background(), image, blockio.OpenOptions{SizeLimit: 512 << 10})
		if err != nil {
			t.Fatalf("a loop device elsewhere in the image is in the way: %v", err)
		}
		_ = dev.Close()
	})
}

// mounted makes an ext2 image and has the kernel mount it.
func mounted(t *testing.T, flags uintptr, loopArgs ...string) (image, loop, dir string) {
	t.Helper()
	image, dir = filepath.Join(t.TempDir(), "my disk.img"), filepath.Join(t.TempDir(), "mount point")
	if err := errors.Join(os.WriteFile(image, make([]byte, 1<<20), 0o600), os.Mkdir(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mke2fs", "-q", "-F", "-t", "ext2", image).CombinedOutput(); err != nil {
		t.Fatalf("mke2fs: %v: %s", err, out)
	}
	loop = attach(t, image, loopArgs...)
	if err := unix.Mount(loop, dir, "ext2", flags, ""); err != nil {
		t.Skipf("the kernel cannot mount ext2: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return image, loop, dir
}

func TestKernelMountHolds(t *testing.T) {
	t.Run("ReadWrite", func(t *testing.T) {
		image, loop, dir := mounted(t, 0)
		refused(t, image, true, "mounted on "+dir)
		refused(t, image, false, "mounted on "+dir)
		refused(t, loop, false, "mounted read-write on "+dir)
		refused(t, loop, true, "mounted read-write on "+dir)
	})
	t.Run("ReadOnly", func(t *testing.T) {
		image, loop, dir := mounted(t, unix.MS_RDONLY, "--read-only")
		refused(t, image, false, "mounted on "+dir)
		allowed(t, image, true)
		allowed(t, loop, true)
	})
	t.Run("ReadOnlyMountOfWritableLoop", func(t *testing.T) {
		_, loop, dir := mounted(t, unix.MS_RDONLY)
		refused(t, loop, false, "mounted read-only on "+dir)
		allowed(t, loop, true)
	})
}

func TestBlockDeviceIsClaimed(t *testing.T) {
	loop := attach(t, imageFile(t, 1<<20))
	dev := open(t, loop, blockio.OpenOptions{})
	dir := t.TempDir()
	if err := unix.Mount(loop, dir, "ext2", 0, ""); !errors.Is(err, unix.EBUSY) {
		t.Errorf("mounting a device we write: %v", err)
		_ = unix.Unmount(dir, 0)
	}
	refused(t, loop, false, fmt.Sprintf("process %d", os.Getpid()))
	refused(t, loop, true, fmt.Sprintf("process %d", os.Getpid()))
	if err := dev.Close(); err != nil {
		t.Fatal(err)
	}
	allowed(t, loop, false)
}

// TestOpenEnds: the wait for a lock ends with its context.
func TestOpenEnds(t *testing.T) {
	img := imageFile(t, 4096)
	open(t, img, blockio.OpenOptions{})
	ctx, stop := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer stop()
	dev, err := blockio.Open(ctx, img, blockio.OpenOptions{LockWait: time.Hour})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "waiting for the lock of "+img) {
		t.Errorf("%v, %v; want the end of the context", dev, err)
	}
}
