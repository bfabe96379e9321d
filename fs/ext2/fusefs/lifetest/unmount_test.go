//go:build linux && !386 && !arm && !mips && !mipsle

package lifetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// nobody is a plain user.
const nobody = 65534

// way is a way to unmount.
type way struct {
	name    string
	user    uint32 // who does it, and who has mounted
	unmount func(dir string, daemon *exec.Cmd) error
}

// as makes a command run as a user.
func as(user uint32, args ...string) *exec.Cmd {
	cmd := exec.Command(args[0], args[1:]...)
	if user != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
	}
	return cmd
}

// ways are those that promise that the image is complete when they are through. umount(8)
// does with the helper that `make install` brings (scripts/package/test.sh), which is
// ext2fuse -u; umount(2) and fusermount3 return as soon as the kernel has cut the connection.
var ways = []way{
	{"ext2fuse -u", 0, func(dir string, _ *exec.Cmd) error { return sh(bin, "-u", dir) }},
	{"SIGTERM", 0, func(_ string, daemon *exec.Cmd) error {
		return errors.Join(daemon.Process.Signal(unix.SIGTERM), daemon.Wait())
	}},
	{"a user's ext2fuse -u", nobody, func(dir string, _ *exec.Cmd) error { return output(as(nobody, bin, "-u", dir)) }},
}

// When an unmount returns, the image is complete: e2fsck finds a clean file system, the
// lock is free, and not one byte changes afterwards.
func TestUnmountMeansDone(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to become others")
	}
	count := map[string]int{}
	for round := range 2 * *rounds {
		w := ways[round%len(ways)]
		unmountRound(t, w, *seed+int64(round))
		count[w.name]++
	}
	t.Logf("seed %d: %v", *seed, count)
}

func unmountRound(t *testing.T, w way, seed int64) {
	rng := rand.New(rand.NewPCG(uint64(seed), 1))
	img, dir := image(t, 1024<<(2*rng.IntN(2)), w.user)
	daemon := as(w.user, bin, "-f", "-o", *options, img, dir)
	daemon.Stderr = os.Stderr
	must(t, daemon.Start())
	defer func() { _ = daemon.Wait() }()
	waitMounted(t, dir)
	scribble(t, dir, w.user, rng)
	if err := w.unmount(dir, daemon); err != nil {
		t.Fatalf("seed %d, %s: %v", seed, w.name, err)
	}
	at := hash(t, img)
	if code, out := fsck("-n", img); code != 0 {
		t.Errorf("seed %d, %s: e2fsck: exit code %d\n%s", seed, w.name, code, out)
	}
	f, err := os.OpenFile(img, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Errorf("seed %d, %s: the image is locked: %v", seed, w.name, err)
	}
	_ = daemon.Wait()
	if hash(t, img) != at {
		t.Errorf("seed %d, %s: the image changed after the unmount", seed, w.name)
	}
}

// waitMounted waits for a daemon to serve.
func waitMounted(t *testing.T, dir string) {
	t.Helper()
	for !mounted(dir) {
		runtime.Gosched()
	}
}

// scribble changes this and that, from several goroutines, and ends a moment before the
// unmount. A child does it, since nobody but the mounting user may enter.
func scribble(t *testing.T, dir string, user uint32, rng *rand.Rand) {
	t.Helper()
	var wg sync.WaitGroup
	errs := make([]error, 3)
	for w := range errs {
		script := ""
		for i := range 4 + rng.IntN(12) {
			d := filepath.Join(dir, fmt.Sprintf("w%d-%d", w, i/4))
			f := filepath.Join(d, fmt.Sprint(i))
			script += fmt.Sprintf("mkdir -p %s; head -c %d %s >%s; ", d, rng.IntN(200000), bin, f)
			if rng.IntN(3) == 0 {
				script += fmt.Sprintf("rm -r %s; ", d)
			}
		}
		wg.Go(func() { errs[w] = output(as(user, "sh", "-c", script)) })
	}
	wg.Wait()
	must(t, errors.Join(errs...))
}
