//go:build linux && !386 && !arm && !mips && !mipsle

package loadtest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// errno is the name of an error, or what was got.
func errno(err error, got ...any) string {
	var e unix.Errno
	if errors.As(err, &e) {
		return unix.ErrnoName(e)
	}
	return fmt.Sprint(got...)
}

// limits does things at their limits and one past them, and tells what came of each.
func limits(dir string) (results []string) {
	path := func(name string) string { return filepath.Join(dir, name) }
	note := func(what string, err error, got ...any) { results = append(results, what+": "+errno(err, got...)) }
	for _, n := range []int{1, 254, 255, 256, 4000} {
		name := strings.Repeat("n", n)
		note(fmt.Sprint("a name of ", n), unix.Mknod(path(name), unix.S_IFREG|0o644, 0))
		note(fmt.Sprint("a directory's name of ", n), unix.Mkdir(path(name+"d"), 0o755))
		note(fmt.Sprint("renamed to ", n), unix.Rename(path(name), path("m"+name)))
	}
	for _, n := range []int{1, 59, 60, 61, 1023, 1024, 4094, 4095} {
		target := strings.Repeat("t", n)
		link := path(fmt.Sprint("link-", n))
		err := unix.Symlink(target, link)
		got, _ := os.Readlink(link)
		note(fmt.Sprint("a symbolic link of ", n), err, got == target)
	}
	results = append(results, sizes(path("large"))...)
	results = append(results, times(path("time"))...)
	return results
}

// sizes finds the largest size of a file, and writes at it.
func sizes(name string) (results []string) {
	note := func(what string, err error, got ...any) { results = append(results, what+": "+errno(err, got...)) }
	f, err := os.Create(name)
	if err != nil {
		return []string{err.Error()}
	}
	defer f.Close()
	most := int64(0)
	for bit := int64(1) << 62; bit > 0; bit >>= 1 {
		if f.Truncate(most|bit) == nil {
			most |= bit
		}
	}
	note("the largest size", nil, most)
	note("one more", f.Truncate(most+1))
	note("the largest number", f.Truncate(1<<63-1))
	note("a negative one", unix.Ftruncate(int(f.Fd()), -1))
	if err := f.Truncate(10); err != nil {
		return append(results, err.Error())
	}
	n, err := f.WriteAt([]byte("x"), most-1)
	note("the last byte", err, n)
	n, err = f.WriteAt([]byte("x"), most)
	note("a byte behind it", err, n)
	n, err = unix.Pwrite(int(f.Fd()), []byte("xyz"), most-1)
	note("across the end", err, n)
	n, err = unix.Pread(int(f.Fd()), make([]byte, 10), most-1)
	note("read across the end", err, n)
	st, err := f.Stat()
	note("the size then", err, st.Size())
	return results
}

// times sets times before 1970 and after 2038, 2106 and 2446.
func times(name string) (results []string) {
	f, err := os.Create(name)
	if err != nil {
		return []string{err.Error()}
	}
	f.Close()
	for _, sec := range []int64{0, -1, -1 << 31, -1<<31 - 1, -1 << 40, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 3<<32 - 1<<31, 15032385535, 15032385536, 1 << 40} {
		ts := []unix.Timespec{{Sec: sec, Nsec: 123456789}, {Sec: sec, Nsec: 987654321}}
		err := unix.UtimesNanoAt(unix.AT_FDCWD, name, ts, 0)
		var st unix.Stat_t
		if err == nil {
			err = unix.Stat(name, &st)
		}
		results = append(results, fmt.Sprintf("time %d: %s", sec, errno(err, st.Atim.Sec, ".", st.Atim.Nsec, " ", st.Mtim.Sec, ".", st.Mtim.Nsec)))
	}
	return results
}

// At their limits, and one past them, names, targets, sizes and times are what they are
// under the kernel's driver for ext4, which knows the same 256-byte inodes.
func TestLimits(t *testing.T) {
	ext2test.NeedKernelMount(t)
	for _, bs := range []int{1024, 4096} {
		for _, inode := range []int{128, 256} {
			t.Run(fmt.Sprintf("%d-%d", bs, inode), func(t *testing.T) {
				o := ext2test.Options{BlockSize: bs, InodeSize: inode, Size: 32 << 20}
				ours := newMount(t, o)
				kernel := ext2test.KernelMount(t, ext2test.Make(t, o))
				got, want := limits(ours.dir), limits(kernel)
				for i := range want {
					if got[i] != want[i] {
						t.Errorf("%s; the kernel's: %s", got[i], want[i])
					}
				}
				for _, dir := range []string{ours.dir, kernel} {
					must(t, os.Remove(filepath.Join(dir, "large")))
				}
			})
		}
	}
}

// Directories 10,000 deep can be made, walked, and removed.
func TestDepth(t *testing.T) {
	depth := 10_000
	m := newMount(t, ext2test.Options{BlockSize: 1024, Size: 64 << 20, Inodes: 16_000})
	fd, err := unix.Open(m.dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, err)
	step := func(name string) {
		t.Helper()
		next, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		must(t, err)
		must(t, unix.Close(fd))
		fd = next
	}
	for range depth {
		must(t, unix.Mkdirat(fd, "d", 0o755))
		step("d")
	}
	w, err := unix.Openat(fd, "bottom", unix.O_CREAT|unix.O_WRONLY, 0o644)
	must(t, err)
	must(t, unix.Close(w))
	for range depth {
		step("..")
	}
	must(t, unix.Close(fd))
	m.finish()
	m.mount()
	run(t, m.dir, "rm", "-rf", "d")
	m.finish() // the kernel may forget the last of them a moment later than rm ends
	m.mount("ro")
	var st unix.Statfs_t
	must(t, unix.Statfs(m.dir, &st))
	if st.Files-st.Ffree > 11 {
		t.Errorf("%d inodes are in use afterwards", st.Files-st.Ffree)
	}
}

// Many large requests at once do not take much memory: the kernel is told how many it may
// have under way.
func TestMemory(t *testing.T) {
	m := newMount(t, ext2test.Options{BlockSize: 4096, Size: 256 << 20})
	must(t, os.WriteFile(m.path("f"), ext2test.Content(1, 64<<20), 0o644))
	for _, name := range []string{"max_background", "congestion_threshold"} {
		var st unix.Stat_t
		must(t, unix.Stat(m.dir, &st))
		text, err := os.ReadFile(fmt.Sprintf("/sys/fs/fuse/connections/%d/%s", unix.Minor(uint64(st.Dev)), name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // the control file system is not mounted
		}
		must(t, err)
		if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err != nil || n > 256 {
			t.Errorf("%s is %d, %v", name, n, err)
		}
	}
	var wg sync.WaitGroup
	for i := range 128 {
		wg.Go(func() {
			f, err := os.OpenFile(m.path("f"), os.O_RDONLY|unix.O_DIRECT, 0)
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			p, err := unix.Mmap(-1, 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = unix.Munmap(p) }()
			for k := range 4 {
				if _, err := f.ReadAt(p, int64((i*7+k)%64)<<20); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	m.small("128 readers of 1 MiB")
}
