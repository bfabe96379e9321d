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
	"github.com/ext2fuse/ext2fuse/fs/ext2/fusefs"
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

// Idle, a daemon has what it had after its mount, and a few pipes that are kept for later
// (two descriptors each).
const (
	keptDescriptors = 8
	keptGoroutines  = 2 // somebody who has answered and not ended yet
)

// TestClients has 64 clients do all kinds of things at once. Each finds its own files as it
// left them, the daemon takes no more memory in the second half than in the first, has the
// goroutines and descriptors afterwards that it had before, and the file system is whole.
func TestClients(t *testing.T) {
	m := newMount(t, ext2test.Options{BlockSize: 4096, Size: 512 << 20})
	must(t, os.Mkdir(m.path("shared"), 0o755))
	before := m.process()
	t.Logf("seed %d", *clientSeed)
	var wg sync.WaitGroup
	begun := time.Now()
	end := begun.Add(*clientTime)
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
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	most := m.most(begun, *clientTime, done)
	steps := 0
	for _, c := range clients {
		steps += c.done
	}
	t.Logf("%d steps in %v", steps, time.Since(begun).Round(time.Second))
	for i, p := range most {
		t.Logf("quarter %d: at most %d KiB resident, %d KiB live, %d goroutines, %d threads, %d descriptors", i+1, p.Resident>>10, p.Live>>10, p.Goroutines, p.Threads, p.Descriptors)
	}
	grows := func(what string, of func(p fusefs.ProcessStat) int64) {
		first, second := max(of(most[0]), of(most[1])), max(of(most[2]), of(most[3]))
		if second > first*5/4+16<<20 {
			t.Errorf("%s grows: %d KiB in the first half, %d KiB in the second", what, first>>10, second>>10)
		}
	}
	if *clientTime >= time.Minute { // in less the caches are still being filled
		grows("what is live", func(p fusefs.ProcessStat) int64 { return p.Live })
	}
	if *clientTime >= time.Minute && !*race { // which keeps 8 bytes of each defer until the goroutine ends
		grows("what is resident", func(p fusefs.ProcessStat) int64 { return p.Resident })
	}
	m.small("64 clients")
	var after fusefs.ProcessStat
	eventually(t, func() (string, bool) {
		after = m.process()
		return fmt.Sprintf("%+v, before %+v", after, before),
			after.Goroutines <= before.Goroutines+keptGoroutines && after.Descriptors <= before.Descriptors+keptDescriptors
	})
	t.Logf("goroutines %d before, %d after; descriptors %d before, %d after", before.Goroutines, after.Goroutines, before.Descriptors, after.Descriptors)
}

// most samples the daemon until done is closed, and gives the most of each number in each
// quarter of the time.
func (m *mount) most(begun time.Time, d time.Duration, done <-chan struct{}) (most [4]fusefs.ProcessStat) {
	tick := time.NewTicker(min(d/40, time.Second))
	defer tick.Stop()
	for {
		p, q := m.process(), &most[min(time.Since(begun)*4/d, 3)]
		q.Resident, q.Live = max(q.Resident, p.Resident), max(q.Live, p.Live)
		q.Goroutines, q.Threads, q.Descriptors = max(q.Goroutines, p.Goroutines), max(q.Threads, p.Threads), max(q.Descriptors, p.Descriptors)
		select {
		case <-done:
			return most
		case <-tick.C:
		}
	}
}
