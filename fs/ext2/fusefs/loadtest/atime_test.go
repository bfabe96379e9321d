//go:build linux && !386 && !arm && !mips && !mipsle

package loadtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// The time of last access moves with the first read of something as the mount options
// say, and the image keeps it: both as with the kernel's driver.
func TestAccessTimes(t *testing.T) {
	ext2test.NeedKernelMount(t)
	ext2test.NeedFUSE(t)
	now := time.Now()
	// Names say whether the time of last access is before the last change, or behind it.
	past, future := now.Add(-48*time.Hour), now.Add(time.Hour)
	paths := []string{"file", "dir", "dir/in", "link", "marked"}
	img := ext2test.Make(t, ext2test.Options{BlockSize: 1024, Size: 8 << 20})
	prepared := ext2test.KernelMount(t, img)
	for name, at := range map[string]time.Time{"past": past, "future": future} {
		p := func(n string) string { return filepath.Join(prepared, name, n) }
		must(t, errors.Join(os.MkdirAll(p("dir"), 0o755), os.Symlink(strings.Repeat("t", 100), p("link"))))
		for _, n := range []string{"file", "dir/in", "marked"} {
			must(t, os.WriteFile(p(n), []byte("content"), 0o644))
		}
		run(t, "", "chattr", "+A", p("marked"))
		ts := []unix.Timespec{unix.NsecToTimespec(at.UnixNano()), {Nsec: unix.UTIME_OMIT}}
		for _, n := range paths {
			must(t, unix.UtimesNanoAt(unix.AT_FDCWD, p(n), ts, unix.AT_SYMLINK_NOFOLLOW))
		}
	}
	ext2test.Unmount(t, prepared)

	// read reads everything once; moved tells what that, or something before, moved.
	read := func(dir string) {
		for _, name := range []string{"past", "future"} {
			p := func(n string) string { return filepath.Join(dir, name, n) }
			for _, n := range []string{"file", "dir/in", "marked"} {
				_, err := os.ReadFile(p(n))
				must(t, err)
			}
			_, err := os.ReadDir(p("dir"))
			must(t, err)
			_, err = os.Readlink(p("link"))
			must(t, err)
		}
	}
	moved := func(dir string) string {
		var b strings.Builder
		for name, at := range map[string]time.Time{"past": past, "future": future} {
			for _, n := range paths {
				var st unix.Stat_t
				must(t, unix.Lstat(filepath.Join(dir, name, n), &st))
				if d := time.Unix(st.Atim.Unix()).Sub(at); d != 0 {
					fmt.Fprintf(&b, " %s/%s", name, n)
				}
			}
		}
		words := strings.Fields(b.String())
		slices.Sort(words)
		return strings.Join(words, " ")
	}
	for _, word := range []string{"relatime", "noatime", "nodiratime", "strictatime", "lazytime", "nodiratime,strictatime"} {
		t.Run(word, func(t *testing.T) {
			ours, theirs := ext2test.Copy(t, img), ext2test.Copy(t, img)
			m, kernel := mountImage(t, ours, word), ext2test.KernelMount(t, theirs, word)
			read(m.dir)
			read(kernel)
			a, b := moved(m.dir), moved(kernel)
			m.finish()
			ext2test.Unmount(t, kernel)
			if a != b {
				t.Errorf("ours moved   %s\nkernel moved %s", a, b)
			}
			again := ext2test.KernelMount(t, ours, "ro")
			if c := moved(again); c != a {
				t.Errorf("the mount moved %s\nthe image has    %s", a, c)
			}
			ext2test.Unmount(t, again)
		})
	}
}
