//go:build linux && !386 && !arm && !mips && !mipsle

package loadtest

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
	"github.com/ext2fuse/ext2fuse/fs/ext2/fusefs"
)

// cycles is how often a mount comes and goes.
func cycles() int {
	if *long {
		return 1000
	}
	return 20
}

// leftovers are what mounts that came and went could leave behind.
type leftovers struct {
	daemons, loops, mounts, temporary, descriptors, goroutines int
}

// look counts them. img is the image that was mounted, TMPDIR a directory where nobody else
// is at work.
func look(t *testing.T, img string) (l leftovers) {
	t.Helper()
	list := func(pattern string) []string {
		names, err := filepath.Glob(pattern)
		must(t, err)
		return names
	}
	for _, exe := range list("/proc/[0-9]*/exe") {
		if to, err := os.Readlink(exe); err == nil && to == bin {
			l.daemons++
		}
	}
	for _, file := range list("/sys/block/loop*/loop/backing_file") {
		if to, err := os.ReadFile(file); err == nil && strings.HasPrefix(string(to), img) {
			l.loops++
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	l.mounts = strings.Count(string(mounts), filepath.Dir(img))
	l.temporary = len(list(filepath.Join(os.TempDir(), "*"))) + len(list(filepath.Join(os.TempDir(), ".*")))
	l.descriptors = len(list("/proc/self/fd/*"))
	l.goroutines = runtime.NumGoroutine()
	return l
}

// leavesNothing lets mounts of img come and go, and finds what there was before, and the file
// that the last one wrote.
func leavesNothing(t *testing.T, img string, cycle func(i int)) {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	cycle(0) // what is kept once and for all
	var before, after leftovers
	eventually(t, func() (string, bool) { // a daemon lets go of the image a moment before it has ended
		before = look(t, img)
		return fmt.Sprintf("%+v after the first cycle", before), before.daemons == 0 && before.loops == 0
	})
	begun := time.Now()
	for i := 1; i <= cycles(); i++ {
		cycle(i)
	}
	t.Logf("%d cycles in %v", cycles(), time.Since(begun))
	eventually(t, func() (string, bool) {
		after = look(t, img)
		return fmt.Sprintf("%+v, before the cycles %+v", after, before), after == before
	})
	t.Logf("%+v before, %+v after", before, after)
	ext2test.Fsck(t, img)
	if got, want := run(t, "", bin, "cat", img, "f"), fmt.Sprint(cycles()); got != want {
		t.Errorf("the file has %q, want %q", got, want)
	}
}

// Mounts that come and go leave no process, no loop device and no file behind. Every second
// one is of a loop device, which is to go when the daemon lets go of it.
func TestMountCycles(t *testing.T) {
	ext2test.NeedFUSE(t)
	ext2test.NeedKernelMount(t)
	img := ext2test.Make(t, ext2test.Options{Size: 16 << 20})
	m := &mount{t: t, img: img, dir: t.TempDir()}
	leavesNothing(t, img, func(i int) {
		if m.img = img; i%2 == 1 {
			m.img = strings.TrimSpace(run(t, "", "losetup", "--find", "--show", img))
		}
		m.mount()
		if i%2 == 1 {
			run(t, "", "losetup", "-d", m.img)
		}
		must(t, os.WriteFile(m.path("f"), fmt.Append(nil, i), 0o644))
		m.release()
	})
}

// A program that serves mounts itself, one after the other, gets back all that they took.
func TestServerCycles(t *testing.T) {
	ext2test.NeedFUSE(t)
	img, dir := ext2test.Make(t, ext2test.Options{Size: 16 << 20}), t.TempDir()
	log := slog.New(slog.DiscardHandler)
	leavesNothing(t, img, func(i int) {
		fs, err := ext2.Open(t.Context(), img, ext2.Options{Logger: log})
		must(t, err)
		server, err := fusefs.Mount(fs, dir, fusefs.Options{Source: img, Logger: log, AllowOther: os.Geteuid() == 0})
		must(t, err)
		_, err = quiet("sh", "-c", fmt.Sprintf("printf %d >%s/f", i, dir)) // see Mount: not this process
		if cerr := server.Close(); cerr != nil {
			_ = unix.Unmount(dir, unix.MNT_DETACH)
			t.Error(cerr)
		}
		server.Wait()
		must(t, err)
		must(t, fs.Close())
	})
}
