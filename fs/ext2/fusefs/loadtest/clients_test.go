//go:build linux && !386 && !arm && !mips && !mipsle

package loadtest

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

var (
	clientTime = flag.Duration("clients", 3*time.Second, "how long TestClients works")
	clientSeed = flag.Uint64("clients-seed", 1, "of what its clients do")
)

// client works in a directory of its own, whose files it knows, and in one that all share,
// where everything may have changed.
type client struct {
	rnd         *rand.Rand
	own, shared string
	files       map[string][]byte
	done        int
}

// raced are the errors that work in the shared directory may meet.
func raced(err error) bool {
	for _, e := range []error{unix.ENOENT, unix.EEXIST, unix.ENOTEMPTY, unix.ENOTDIR, unix.EISDIR, unix.ENOSPC, unix.EINVAL, unix.EBUSY, unix.ENODATA, unix.EPERM, unix.ELOOP} {
		if errors.Is(err, e) {
			return true
		}
	}
	return err == nil
}

// step does one thing.
func (c *client) step() error {
	c.done++
	name := fmt.Sprint("f", c.rnd.IntN(12))
	path := filepath.Join(c.own, name)
	want, have := c.files[name]
	switch k := c.rnd.IntN(16); {
	case k < 3 || !have && k < 9:
		p := bytes.Repeat([]byte{byte(c.rnd.Uint32())}, c.rnd.IntN(60_000))
		if err := os.WriteFile(path, p, 0o644); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		c.files[name] = p
	case k < 6 && have:
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, want) {
			return fmt.Errorf("%s: %d bytes, not the %d that were written, %w", path, len(got), len(want), err)
		}
	case k == 6 && have:
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		off := c.rnd.IntN(100_000)
		_, err = f.WriteAt([]byte("overwritten"), int64(off))
		if c.rnd.IntN(2) == 0 {
			err = errors.Join(err, f.Sync())
		}
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		c.files[name] = overwritten(want, off)
	case k == 7 && have:
		size := c.rnd.IntN(50_000)
		if err := os.Truncate(path, int64(size)); err != nil {
			return err
		}
		c.files[name] = append(append([]byte{}, want[:min(size, len(want))]...), make([]byte, max(0, size-len(want)))...)
	case k == 8 && have:
		delete(c.files, name)
		return os.Remove(path)
	case k == 9:
		list, err := os.ReadDir(c.own)
		if err != nil || len(list) != len(c.files) {
			return fmt.Errorf("%s: %d names, not %d, %w", c.own, len(list), len(c.files), err)
		}
	default:
		if err := c.share(); !raced(err) {
			return fmt.Errorf("in the shared directory: %w", err)
		}
	}
	return nil
}

// overwritten is p with the text of step at off.
func overwritten(p []byte, off int) []byte {
	q := make([]byte, max(len(p), off+len("overwritten")))
	copy(q, p)
	copy(q[off:], "overwritten")
	return q
}

// share does one thing where others are at work.
func (c *client) share() error {
	a, b := filepath.Join(c.shared, fmt.Sprint("s", c.rnd.IntN(20))), filepath.Join(c.shared, fmt.Sprint("s", c.rnd.IntN(20)))
	switch c.rnd.IntN(12) {
	case 0:
		return os.WriteFile(a, make([]byte, c.rnd.IntN(30_000)), 0o644)
	case 1:
		return os.Mkdir(a, 0o755)
	case 2:
		return os.Rename(a, b)
	case 3:
		return os.Link(a, b)
	case 4:
		return os.Symlink("target", a)
	case 5:
		return os.Remove(a)
	case 6:
		_, err := os.ReadDir(c.shared)
		return err
	case 7:
		return os.WriteFile(filepath.Join(a, "below"), []byte("x"), 0o644)
	case 8:
		return os.RemoveAll(a)
	case 9:
		return unix.Setxattr(a, "user.a", make([]byte, c.rnd.IntN(200)), 0)
	case 10:
		return unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
	}
	_, err := os.Stat(a)
	return err
}

// TestClients has 64 clients do all kinds of things at once. Each finds its own files as it
// left them, the daemon takes no more memory and descriptors in the second half than in the
// first, and the file system is whole.
func TestClients(t *testing.T) {
	m := newMount(t, ext2test.Options{BlockSize: 4096, Size: 512 << 20})
	d := daemonOf(t, m.img)
	must(t, os.Mkdir(m.path("shared"), 0o755))
	t.Logf("seed %d", *clientSeed)
	var wg sync.WaitGroup
	end := time.Now().Add(*clientTime)
	clients := make([]*client, 64)
	for i := range clients {
		c := &client{rand.New(rand.NewPCG(*clientSeed, uint64(i))), m.path(fmt.Sprint("own-", i)), m.path("shared"), map[string][]byte{}, 0}
		clients[i] = c
		must(t, os.Mkdir(c.own, 0o755))
		wg.Go(func() {
			for time.Now().Before(end) {
				if err := c.step(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	time.Sleep(*clientTime / 2) // a sample is wanted from the middle of the work
	middle := d.status(t, "VmRSS")
	wg.Wait()
	last, steps := d.status(t, "VmRSS"), 0
	for _, c := range clients {
		steps += c.done
	}
	t.Logf("%d steps; resident %d KiB in the middle, %d KiB at the end, at most %d; %d threads, %d descriptors",
		steps, middle, last, d.status(t, "VmHWM"), d.status(t, "Threads"), d.files(t))
	if last > middle*3/2+32<<10 {
		t.Errorf("memory grows: %d KiB in the middle, %d KiB at the end", middle, last)
	}
	if n := d.files(t); n > 32 {
		t.Errorf("the daemon has %d descriptors open", n)
	}
}

// TestMountCycles: mounts that come and go leave no process, no loop device and no file
// behind.
func TestMountCycles(t *testing.T) {
	cycles := 20
	if *long {
		cycles = 1000
	}
	m := newMount(t, ext2test.Options{Size: 16 << 20})
	m.release()
	t.Setenv("TMPDIR", t.TempDir()) // where nobody else is at work
	before := leftovers(t)
	for i := range cycles {
		m.mount()
		must(t, os.WriteFile(m.path("f"), fmt.Append(nil, i), 0o644))
		m.release()
	}
	if after := leftovers(t); after != before {
		t.Errorf("%d cycles left something: %s before, %s after", cycles, before, after)
	}
	m.mount()
	if got, err := os.ReadFile(m.path("f")); err != nil || string(got) != fmt.Sprint(cycles-1) {
		t.Errorf("the file has %q, %v", got, err)
	}
}

// leftovers counts what this test program's daemons could leave behind.
func leftovers(t *testing.T) string {
	t.Helper()
	daemons := 0
	all, err := filepath.Glob("/proc/[0-9]*/exe")
	must(t, err)
	for _, exe := range all {
		if to, err := os.Readlink(exe); err == nil && to == bin {
			daemons++
		}
	}
	temp, err := os.ReadDir(os.TempDir())
	must(t, err)
	own, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return fmt.Sprintf("%d daemons, %d temporary files, %d descriptors of ours", daemons, len(temp), len(own))
}
