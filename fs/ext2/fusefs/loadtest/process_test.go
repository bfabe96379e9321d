//go:build linux && !386 && !arm && !mips && !mipsle

package loadtest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// helperEnv names what this test binary is to do as another process.
const helperEnv = "LOADTEST_HELPER"

// helper is main of the other process; its arguments are in the environment, too.
func helper(what, path string) error {
	switch what {
	case "append":
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		for i := range appends {
			if _, err := fmt.Fprintf(f, "%8d %6d %s\n", os.Getpid(), i, strings.Repeat("x", i%150)); err != nil {
				return err
			}
		}
		return nil
	case "write-poison", "map-poison":
		return writePoison(path, what == "map-poison")
	case "flock", "fcntl":
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		if what == "flock" {
			return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		}
		return unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Start: 10, Len: 10})
	}
	return errors.New("no such helper")
}

const appends = 2000

func other(what, path string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), helperEnv+"="+what+" "+path)
	return cmd
}

// Two processes that append to one file lose nothing and tear nothing.
func TestAppend(t *testing.T) {
	bothModes(t, func(t *testing.T, word string) {
		m := newMount(t, ext2test.Options{BlockSize: 1024, Size: 64 << 20}, word)
		must(t, os.WriteFile(m.path("log"), nil, 0o644))
		a, b := other("append", m.path("log")), other("append", m.path("log"))
		must(t, errors.Join(a.Start(), b.Start()))
		must(t, errors.Join(a.Wait(), b.Wait()))
		check := func() {
			data, err := os.ReadFile(m.path("log"))
			must(t, err)
			next := map[int]int{}
			for line := range strings.Lines(string(data)) {
				var pid, i int
				if _, err := fmt.Sscanf(line, "%d %d", &pid, &i); err != nil || len(line) != 17+i%150 || next[pid] != i {
					t.Fatalf("line %q, %d expected (%v)", line, next[pid], err)
				}
				next[pid]++
			}
			if next[a.Process.Pid] != appends || next[b.Process.Pid] != appends {
				t.Errorf("%v, want %d of each", next, appends)
			}
		}
		check()
		m.finish()
		m.mount(word)
		check()
	})
}

// Locks keep other processes out, of both kinds and independent of each other.
func TestLocks(t *testing.T) {
	m := newMount(t, ext2test.Options{Size: 16 << 20})
	must(t, os.WriteFile(m.path("f"), make([]byte, 100), 0o644))
	f, err := os.OpenFile(m.path("f"), os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	allowed := func(what string, want bool) {
		t.Helper()
		if err := other(what, m.path("f")).Run(); (err == nil) != want {
			t.Errorf("another process's %s: %v, want it to succeed: %v", what, err, want)
		}
	}
	lock := func(typ int16, start int64) {
		t.Helper()
		must(t, unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: typ, Start: start, Len: 5}))
	}
	allowed("flock", true)
	allowed("fcntl", true)
	must(t, unix.Flock(int(f.Fd()), unix.LOCK_SH))
	allowed("flock", false)
	allowed("fcntl", true)
	must(t, unix.Flock(int(f.Fd()), unix.LOCK_UN))
	allowed("flock", true)
	lock(unix.F_RDLCK, 12)
	allowed("fcntl", false)
	allowed("flock", true)
	lock(unix.F_UNLCK, 12)
	lock(unix.F_WRLCK, 20) // another range
	allowed("fcntl", true)
}

// A full file system says so to the write, or else to fsync and close; nothing that was
// reported as written is lost, and what is deleted can be used again.
func TestNoSpace(t *testing.T) {
	bothModes(t, func(t *testing.T, word string) {
		for _, end := range []string{"fsync", "close"} {
			m := newMount(t, ext2test.Options{BlockSize: 1024, Size: 4 << 20}, word)
			must(t, os.WriteFile(m.path("keep"), ext2test.Content(1, 500_000), 0o644))
			fd, err := unix.Open(m.path("big"), unix.O_CREAT|unix.O_WRONLY, 0o644)
			must(t, err)
			var failed error
			written := int64(0)
			for piece := ext2test.Content(2, 64<<10); failed == nil && written < 8<<20; {
				n, err := unix.Write(fd, piece)
				written += int64(max(n, 0))
				failed = err
			}
			if word == "nowriteback_cache" && failed != unix.ENOSPC {
				t.Errorf("write: %v, want ENOSPC", failed)
			}
			if end == "fsync" {
				if err := unix.Fsync(fd); failed == nil {
					failed = err
				}
			}
			if err := unix.Close(fd); failed == nil {
				failed = err
			}
			if failed != unix.ENOSPC {
				t.Errorf("until %s: %v, want ENOSPC", end, failed)
			}
			if word == "nowriteback_cache" {
				data, err := os.ReadFile(m.path("big"))
				piece := ext2test.Content(2, 64<<10)
				for i := 0; i < len(data); i += len(piece) {
					if n := min(len(piece), len(data)-i); !bytes.Equal(data[i:i+n], piece[:n]) {
						t.Fatalf("wrong content behind %d", i)
					}
				}
				if err != nil || int64(len(data)) != written {
					t.Errorf("%d bytes in the file (%v), %d were written", len(data), err, written)
				}
			}
			must(t, unix.Unlink(m.path("big")))
			again := ext2test.Content(3, 2_500_000)
			f, err := os.Create(m.path("again"))
			must(t, err)
			_, err = f.Write(again)
			if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
				t.Errorf("room that was given back: %v", err)
			}
			m.finish()
			m.mount(word)
			for name, want := range map[string][]byte{"keep": ext2test.Content(1, 500_000), "again": again} {
				if got, err := os.ReadFile(m.path(name)); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s is not as it was written (%v)", name, err)
				}
			}
			m.finish()
		}
	})
}

// grpid gives new files their directory's group, as on System V only a set-group-ID
// directory does.
func TestGroupID(t *testing.T) {
	for _, tt := range []struct {
		word string
		want uint32
	}{{"grpid", 555}, {"nogrpid", 0}, {"bsdgroups", 555}, {"sysvgroups", 0}} {
		m := newMount(t, ext2test.Options{Size: 8 << 20}, tt.word)
		must(t, os.Mkdir(m.path("d"), 0o777))
		must(t, os.Chown(m.path("d"), 0, 555))
		must(t, errors.Join(os.Mkdir(m.path("d/sub"), 0o755), os.WriteFile(m.path("d/f"), nil, 0o644), os.Symlink("x", m.path("d/l"))))
		for _, n := range []string{"d/sub", "d/f", "d/l"} {
			var st unix.Stat_t
			must(t, unix.Lstat(m.path(n), &st))
			if st.Gid != tt.want || st.Mode&unix.S_ISGID != 0 {
				t.Errorf("%s: %s has group %d, mode %o; want group %d", tt.word, n, st.Gid, st.Mode, tt.want)
			}
		}
		m.finish()
	}
}

// fstrim, and with discard the deletion itself, gives the image's blocks back to the
// host.
func TestTrim(t *testing.T) {
	need(t, "fstrim")
	for _, word := range []string{"nodiscard", "discard"} {
		m := newMount(t, ext2test.Options{BlockSize: 4096, Size: 128 << 20}, word)
		const size = 40 << 20
		must(t, os.WriteFile(m.path("f"), ext2test.Content(1, size), 0o644))
		run(t, "", "sync", m.path("f"))
		full := allocated(t, m.img)
		must(t, os.Remove(m.path("f")))
		if word == "nodiscard" {
			run(t, "", "fstrim", m.dir)
		}
		m.finish()
		if now := allocated(t, m.img); full-now < size*9/10 {
			t.Errorf("%s: %d bytes of the image were allocated with the file, %d are without", word, full, now)
		}
	}
}

func allocated(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Stat(path, &st))
	return st.Blocks * 512
}
