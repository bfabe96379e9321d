//go:build linux && !386 && !arm && !mips && !mipsle

package loadtest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// writePoison changes a page of a file, by way of a mapping or not, and has the kernel write
// it back. That is to fail, and only this process's own file is told.
func writePoison(path string, mapped bool) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	const at, page = 3 << 12, 1 << 12
	data := bytes.Repeat(poison, page/len(poison))
	if mapped {
		mem, err := unix.Mmap(int(f.Fd()), at, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return err
		}
		copy(mem, data)
		if err := unix.Munmap(mem); err != nil {
			return err
		}
	} else if _, err := f.WriteAt(data, at); err != nil {
		return err
	}
	err = unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
	if !errors.Is(err, unix.EIO) {
		return fmt.Errorf("writing back what cannot be written: %v, want EIO", err)
	}
	return nil
}

// asker asks fsync, and notes what it says.
type asker struct {
	t       *testing.T
	files   []int
	answers []string
}

// open opens a file as this process does not with os.Open: the runtime must not wait for a
// poll of it, which the mount below serves.
func (a *asker) open(path string, flags int) int {
	a.t.Helper()
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0o644)
	must(a.t, err)
	a.files = append(a.files, fd)
	return fd
}

func (a *asker) close() {
	for _, fd := range a.files {
		_ = unix.Close(fd)
	}
}

func (a *asker) fsync(who string, fd int) {
	a.answers = append(a.answers, who+": "+errno(unix.Fsync(fd), "ok"))
}

// lostPage has a page of a file that is open twice lost, behind the back of both, and asks.
func lostPage(t *testing.T, dir, how string) []string {
	t.Helper()
	a := asker{t: t}
	defer a.close()
	first, second := a.open(dir+"/f", unix.O_RDWR), a.open(dir+"/f", unix.O_RDONLY)
	another := a.open(dir+"/another", unix.O_RDWR)
	if out, err := other(how+"-poison", dir+"/f").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for range 2 {
		a.fsync("the first", first)
		a.fsync("the second", second)
		a.fsync("another file", another)
	}
	a.fsync("opened afterwards", a.open(dir+"/f", unix.O_RDWR))
	_, err := unix.Pwrite(first, []byte("well"), 0)
	must(t, err)
	a.fsync("written again", first)
	return a.answers
}

// What the kernel could not write back is told once to each open file, by fsync, as the
// kernel's own driver tells it, and the file system goes on.
func TestFsyncTellsEachOnce(t *testing.T) {
	ext2test.NeedFUSE(t)
	ext2test.NeedKernelMount(t)
	want := []string{"the first: EIO", "the second: EIO", "another file: ok", "the first: ok", "the second: ok", "another file: ok",
		"opened afterwards: ok", "written again: ok"}
	for _, tt := range []struct{ words, how string }{
		{"kernel", "map"}, {"kernel", "write"},
		{"nowriteback_cache", "map"}, {"writeback_cache", "map"}, {"writeback_cache", "write"},
		{"nojournal", "map"}, {"errors=remount-ro", "map"},
	} {
		t.Run(tt.words+" "+tt.how, func(t *testing.T) {
			root := t.TempDir()
			for _, name := range []string{"f", "another"} {
				must(t, os.WriteFile(root+"/"+name, ext2test.Content(1, 64<<10), 0o644))
			}
			img, below := onFailingHost(t, ext2test.Make(t, ext2test.Options{BlockSize: 4096, Size: 32 << 20, Root: root}))
			var got []string
			if tt.words == "kernel" {
				dir := ext2test.KernelMount(t, img)
				got = lostPage(t, dir, tt.how)
				ext2test.Unmount(t, dir)
			} else {
				m := &mount{t: t, img: img, dir: t.TempDir()}
				m.mount(tt.words)
				got = lostPage(t, m.dir, tt.how)
				m.release()
			}
			if !slices.Equal(got, want) {
				t.Errorf("got  %s\nwant %s", strings.Join(got, ", "), strings.Join(want, ", "))
			}
			ext2test.Fsck(t, below.copy(t))
		})
	}
}

// Of pages that the kernel writes back in one request some find room and some do not: fsync
// tells, once, though the request was carried out in part.
func TestFsyncTellsOfPart(t *testing.T) {
	ext2test.NeedFUSE(t)
	for _, tt := range []struct{ words, how string }{{"writeback_cache", "write"}, {"writeback_cache", "map"}, {"nowriteback_cache", "map"}} {
		t.Run(tt.words+" "+tt.how, func(t *testing.T) {
			m := newMount(t, ext2test.Options{BlockSize: 4096, Size: 8 << 20}, tt.words, "nojournal")
			var st unix.Statfs_t
			must(t, unix.Statfs(m.dir, &st))
			const pages = 32
			must(t, writeSync(m.path("fill"), make([]byte, (int(st.Bfree)-pages/2)<<12)))
			a := asker{t: t}
			defer a.close()
			fd := a.open(m.path("f"), unix.O_RDWR|unix.O_CREAT)
			data := ext2test.Content(1, pages<<12)
			if tt.how == "write" {
				_, err := unix.Pwrite(fd, data, 0)
				must(t, err)
			} else {
				must(t, unix.Ftruncate(fd, pages<<12))
				mem, err := unix.Mmap(fd, 0, pages<<12, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
				must(t, err)
				copy(mem, data)
				must(t, unix.Munmap(mem))
			}
			a.fsync("first", fd)
			a.fsync("then", fd)
			if got, want := strings.Join(a.answers, ", "), "first: ENOSPC, then: ok"; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

// lostCheckpoint has changes fail to get to the image that nobody waited for, lets the image
// work again, and asks.
func lostCheckpoint(t *testing.T, dir string, below *failingFile) []string {
	t.Helper()
	a := asker{t: t}
	defer a.close()
	first, second := a.open(dir+"/f", unix.O_RDWR), a.open(dir+"/f", unix.O_RDONLY)
	another, top := a.open(dir+"/another", unix.O_RDWR), a.open(dir, unix.O_DIRECTORY)
	_, err := unix.Pwrite(first, []byte("not asked for yet"), 0)
	must(t, err)
	below.failsWriting.Store(true)
	// Made and removed: a full image would be an error, too. Twice: who waits for a commit that
	// fails gets the kernel's first EROFS, and only the next start of an operation has all of
	// the file system notice.
	failures := 0
	eventually(t, func() (string, bool) {
		if err := errors.Join(unix.Mkdir(dir+"/d", 0o755), unix.Rmdir(dir+"/d")); err != nil {
			failures++
		}
		return "directories can be made", failures == 2
	})
	below.failsWriting.Store(false)
	for range 2 {
		a.fsync("the first", first)
		a.fsync("the second", second)
		a.fsync("another file", another)
		a.fsync("a directory", top)
	}
	a.fsync("opened afterwards", a.open(dir+"/another", unix.O_RDONLY))
	if _, err := unix.Pwrite(first, []byte("more"), 0); err == nil {
		a.answers = append(a.answers, "a write: ok")
	}
	a.fsync("written again", first)
	if n, err := unix.Pread(second, make([]byte, 100), 1<<12); n != 100 || err != nil {
		t.Errorf("reading: %d, %v", n, err)
	}
	return a.answers
}

// Where changes of metadata could not be written, whoever waited for them or not, what
// follows cannot be made durable any more either. So every fsync says so, to each open file
// and each time, as the kernel's driver does whose journal failed, also when the device works again.
func TestFsyncAfterLostCheckpoint(t *testing.T) {
	ext2test.NeedFUSE(t)
	ext2test.NeedKernelMount(t)
	for _, words := range []string{"kernel", "errors=continue", "errors=remount-ro", "nojournal", "writeback_cache"} {
		t.Run(words, func(t *testing.T) {
			root := t.TempDir()
			for _, name := range []string{"f", "another"} {
				must(t, os.WriteFile(root+"/"+name, ext2test.Content(1, 64<<10), 0o644))
			}
			o := ext2test.Options{BlockSize: 4096, Size: 32 << 20, Root: root}
			if words == "kernel" {
				o.Type = "ext3"
			}
			img, below := onFailingHost(t, ext2test.Make(t, o))
			var got []string
			if words == "kernel" {
				dir := t.TempDir()
				run(t, "", "mount", "-t", "ext3", "-o", "loop,commit=1", img, dir)
				got = lostCheckpoint(t, dir, below)
				ext2test.Unmount(t, dir)
			} else {
				m := &mount{t: t, img: img, dir: t.TempDir()}
				m.mount(words)
				got = lostCheckpoint(t, m.dir, below)
				m.release()
			}
			for _, answer := range got {
				if words == "writeback_cache" && answer == "a write: ok" {
					continue // the kernel's cache has taken it
				}
				if !strings.HasSuffix(answer, ": EIO") && !strings.HasSuffix(answer, ": EROFS") {
					t.Errorf("%q in %s", answer, strings.Join(got, ", "))
					break
				}
			}
			t.Log(strings.Join(got, ", "))
			if words == "nojournal" {
				return // e2fsck -p may need somebody's help
			}
			repaired := below.copy(t)
			if out, err := quiet("e2fsck", "-p", repaired); err != nil && !strings.Contains(err.Error(), "exit status 1") {
				t.Errorf("e2fsck -p: %v: %s", err, out)
			}
			ext2test.Fsck(t, repaired)
		})
	}
}
