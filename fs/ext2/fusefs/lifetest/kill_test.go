//go:build linux && !386 && !arm && !mips && !mipsle

package lifetest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// workers is how many goroutines write.
const workers = 4

// A daemon that is killed at any moment loses nothing that was synced, shows no byte that
// was not written, and leaves an image that every tool recovers by itself.
func TestKilled(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to recover with the kernel's driver")
	}
	plain := strings.Contains(*options, "nojournal")
	rng := rand.New(rand.NewPCG(uint64(*seed), 2))
	img, dir := image(t, 1024<<(2*rng.IntN(2)), 0)
	v := &victim{t: t, img: img, dir: dir, r: newRecord(), rng: rng, count: map[string]int{}}
	for round := range *rounds {
		if err := v.round(); err != nil {
			v.count["failed rounds"]++
			if !plain { // which promises nothing of the kind
				t.Fatalf("seed %d, round %d, recovered by %s: %v", *seed, round, v.tool, err)
			}
			t.Logf("round %d: %v", round, err)
			if code, _ := fsck("-y", img); code < 0 || code > 1 {
				t.Fatalf("e2fsck -y: exit code %d", code)
			}
			v.r = newRecord()
		}
	}
	t.Logf("seed %d: %v", *seed, v.count)
}

// victim is an image whose daemons are killed.
type victim struct {
	t        *testing.T
	img, dir string
	r        *record
	rng      *rand.Rand
	seqs     [workers]uint32
	said     bytes.Buffer // by the daemons; read when they are gone
	count    map[string]int
	tool     string // that recovered last
}

// mount starts a daemon.
func (v *victim) mount() *exec.Cmd {
	v.t.Helper()
	cmd := exec.Command(bin, "-f", "-o", *options, v.img, v.dir)
	cmd.Stderr = &v.said
	must(v.t, cmd.Start())
	return cmd
}

// alive waits until the mount serves, or the daemon has ended.
func (v *victim) alive(gone <-chan struct{}) bool {
	for {
		var st unix.Statfs_t
		select {
		case <-gone:
			return false
		default:
		}
		if err := unix.Statfs(v.dir, &st); err == nil && st.Type == unix.FUSE_SUPER_MAGIC {
			return true
		}
		time.Sleep(time.Millisecond)
	}
}

// round lets a daemon serve a load, kills it, recovers, and looks at the result.
func (v *victim) round() error {
	daemon := v.mount()
	gone := make(chan struct{})
	go func() {
		_ = daemon.Wait()
		close(gone)
	}()
	// Sometimes it dies while it mounts, sometimes while it unmounts.
	var stop atomic.Bool
	unmounts := v.rng.IntN(4) == 0
	killer := time.AfterFunc(time.Duration(v.rng.IntN(400))*time.Millisecond, func() {
		if stop.Store(true); !unmounts {
			_ = daemon.Process.Kill()
		}
	})
	defer killer.Stop()
	if v.alive(gone) {
		var wg sync.WaitGroup
		for w := range workers {
			rng := rand.New(rand.NewPCG(v.rng.Uint64(), uint64(w)))
			wg.Go(func() { work(v.dir, w, v.r, rng, &v.seqs[w], &stop) })
		}
		wg.Wait()
		if unmounts {
			v.count["killed while unmounting"]++
			umount := exec.Command("umount", "-i", v.dir)
			must(v.t, umount.Start())
			time.Sleep(time.Duration(v.rng.IntN(15000)) * time.Microsecond)
			_ = daemon.Process.Kill()
			_ = umount.Wait()
		}
	}
	<-gone
	// A mount that cannot have a journal promises less.
	if strings.Contains(v.said.String(), "without a journal") && !strings.Contains(*options, "nojournal") {
		return fmt.Errorf("the daemon had no journal: %s", &v.said)
	}
	if err := v.recover(); err != nil {
		return err
	}
	return v.look()
}

// recover has a tool chosen at random recover the image.
func (v *victim) recover() error {
	tools := []string{"e2fsck -p", "ext2fuse", "kernel", "debugfs"}
	tool := tools[v.rng.IntN(len(tools))]
	v.count[tool]++
	v.tool = tool
	if tool != "ext2fuse" {
		// The next mount is to find what the daemon left on the mount point.
		_ = unix.Unmount(v.dir, unix.MNT_DETACH)
	}
	switch tool {
	case "e2fsck -p":
		if code, out := fsck("-p", v.img); code != 0 && code != 1 {
			return fmt.Errorf("e2fsck -p: exit code %d\n%s", code, out)
		}
	case "kernel", "debugfs":
		// Without a journal to run neither recovers anything, and both would leave a file system
		// that is marked as not cleanly unmounted, or mounted since: then the next mount by
		// ext2fuse neither trusts it nor completes what was cut off.
		if out, err := exec.Command("dumpe2fs", "-h", v.img).Output(); err != nil || !bytes.Contains(out, []byte("needs_recovery")) {
			return err
		}
		if tool == "kernel" {
			dir := filepath.Join(filepath.Dir(v.dir), "kernel")
			_ = os.Mkdir(dir, 0o755)
			if err := sh("mount", "-o", "loop", v.img, dir); err != nil {
				return err
			}
			return ext2test.KernelUnmount(dir)
		}
		return sh("debugfs", "-w", "-R", "journal_run", v.img)
	}
	return nil
}

// look mounts the recovered image, compares it with the record, and has it checked.
func (v *victim) look() error {
	v.said.Reset()
	daemon := v.mount()
	gone := make(chan struct{})
	go func() {
		_ = daemon.Wait()
		close(gone)
	}()
	if !v.alive(gone) {
		return fmt.Errorf("the recovered image cannot be mounted: %s", &v.said)
	}
	wrong := v.r.verify(v.dir)
	if err := sh(bin, "-u", v.dir); err != nil {
		return err
	}
	<-gone
	if code, out := fsck("-n", v.img); code != 0 {
		wrong = errors.Join(wrong, fmt.Errorf("e2fsck -f -n: exit code %d\n%s", code, out))
	}
	return wrong
}
