//go:build linux && !386 && !arm && !mips && !mipsle

package loadtest

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test/hostile"
)

// TestHostile mounts damaged images and works in them. The daemon refuses the mount in one
// line, or serves it until it is unmounted, and no request finds a bug in it.
func TestHostile(t *testing.T) {
	ext2test.NeedFUSE(t)
	seeds, err := hostile.Seeds()
	must(t, err)
	rounds := 4
	if *long {
		rounds = 100
	}
	served := 0
	for i, im := range seeds {
		for round := range rounds {
			program := hostile.Program(rand.New(rand.NewPCG(uint64(round), uint64(i))), 1+round%6)
			if serveDamaged(t, im, program) {
				served++
			}
			if t.Failed() {
				t.Fatalf("%s, program %#v", im.Name, program)
			}
		}
	}
	if t.Logf("%d of %d were mounted", served, rounds*len(seeds)); served < rounds*len(seeds)/2 {
		t.Error("too few were mounted")
	}
}

func serveDamaged(t *testing.T, im *hostile.Image, program []byte) (served bool) {
	t.Helper()
	dev := im.Device()
	im.Mutate(dev, program)
	img := filepath.Join(t.TempDir(), "img")
	must(t, os.WriteFile(img, dev.Bytes(0, dev.Size()), 0o600))
	dir := t.TempDir()
	var log bytes.Buffer
	cmd := exec.Command(bin, "-f", "-o", "errors=continue", img, dir)
	cmd.Stderr = &log
	must(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	if err, refused := mountedOrEnded(dir, ended); refused {
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		if err == nil || !strings.HasPrefix(lines[len(lines)-1], "ext2fuse: ") {
			t.Errorf("the daemon ended with %v:\n%s", err, log.String())
		}
		return false
	}
	vandalise(dir)
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Errorf("statfs afterwards: %v", err)
	}
	if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
		t.Errorf("umount: %v: %s", err, out)
		_ = unix.Unmount(dir, unix.MNT_DETACH)
	}
	err := <-ended
	if text := log.String(); strings.Contains(text, "bug in ext2fuse") || strings.Contains(text, "goroutine ") {
		t.Errorf("the daemon (%v) said:\n%s", err, text)
	}
	return true
}

// mountedOrEnded waits for the mount, or the end of the daemon.
func mountedOrEnded(dir string, ended <-chan error) (err error, refused bool) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			return err, true
		case <-tick.C:
			var here, above unix.Stat_t
			if unix.Stat(dir, &here) == nil && unix.Stat(filepath.Dir(dir), &above) == nil && here.Dev != above.Dev {
				return nil, false
			}
		}
	}
}

// vandalise walks a tree and changes all that it finds. Errors are to be expected.
func vandalise(dir string) {
	n := 0
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if n++; err != nil || n > 300 || path == dir {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		switch {
		case d.Type() == fs.ModeSymlink:
			_, _ = os.Readlink(path)
		case d.IsDir():
			_ = os.WriteFile(filepath.Join(path, "new"), make([]byte, 3000), 0o644)
		case d.Type() == 0:
			if f, err := os.OpenFile(path, os.O_RDWR, 0); err == nil {
				p := make([]byte, 64<<10)
				_, _ = f.Read(p)
				_, _ = f.WriteAt(p[:5000], max(0, min(info.Size(), 1<<30)-2000))
				_ = f.Truncate(info.Size() / 2)
				_ = f.Sync()
				_ = f.Close()
			}
		}
		buf := make([]byte, 4096)
		if k, err := unix.Llistxattr(path, buf); err == nil && k > 0 {
			name, _, _ := strings.Cut(string(buf[:k]), "\x00")
			_, _ = unix.Lgetxattr(path, name, buf)
		}
		_ = unix.Lsetxattr(path, "user.new", []byte("value"), 0)
		switch n % 4 {
		case 0:
			_ = os.Rename(path, filepath.Join(dir, fmt.Sprint("moved-", n)))
		case 1:
			_ = os.Remove(path)
		case 2:
			_ = os.Link(path, filepath.Join(dir, fmt.Sprint("linked-", n)))
		}
		return nil
	})
	_ = exec.Command("cp", "-a", dir, dir+"-copy").Run()
	_ = os.RemoveAll(dir + "-copy")
	_ = exec.Command("rm", "-rf", filepath.Join(dir, "indexed")).Run()
}
