//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
	"github.com/ext2fuse/ext2fuse/fs/ext2/fusefs"
)

// statsOf asks a mount for its statistics.
func statsOf(t *testing.T, dir string) (s fusefs.Stats) {
	t.Helper()
	if err := json.Unmarshal([]byte(output(t, "stats", "--json", dir)), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func count(s fusefs.Stats, name string) (n, errors uint64) {
	for _, o := range s.Operations {
		if o.Name == name {
			return o.Count, o.Errors
		}
	}
	return 0, 0
}

// What stats counts is what was done.
func TestStats(t *testing.T) {
	ext2test.NeedFUSE(t)
	img := ext2test.Make(t, ext2test.Options{Size: 64 << 20})
	mounted(t, img, "rw", func(dir string) {
		if _, err := os.ReadDir(dir); err != nil {
			t.Fatal(err)
		}
		before := statsOf(t, dir)
		for i := range 20 {
			writeFile(t, filepath.Join(dir, fmt.Sprint(i)), strings.Repeat("x", 3000))
		}
		f, err := os.Create(filepath.Join(dir, "big"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.Write(make([]byte, 1<<20)); err != nil {
			t.Error(err)
		}
		if err := f.Sync(); err != nil {
			t.Error(err)
		}
		if err := unix.Setxattr(dir, "user.a", nil, unix.XATTR_REPLACE); err == nil {
			t.Error("an attribute that is not there was replaced")
		}
		after := statsOf(t, dir)
		for name, want := range map[string]uint64{"MKNOD": 21, "FSYNC": 1, "SETXATTR": 1} {
			a, ea := count(after, name)
			b, eb := count(before, name)
			if a-b != want || (ea-eb == 1) != (name == "SETXATTR") {
				t.Errorf("%s: %d, %d of them failed; want %d", name, a-b, ea-eb, want)
			}
		}
		if w := after.WriteBytes; w.Bytes != 20*3000+1<<20 || w.P50 > 3000 || w.P50 < 2400 {
			t.Errorf("writes: %+v", w)
		}
		if after.Image != img || after.MountPoint != dir || after.ReadOnly || after.PID != daemonOf(t, dir) {
			t.Errorf("%+v", after)
		}
		c := after.Checkpoint
		if c.Count == 0 || c.Durable == 0 || c.Blocks == 0 || c.Written.P50 == 0 || c.Last == nil || after.Cache.Hits == 0 || len(after.Device) < 3 {
			t.Errorf("%+v, %+v, %d kinds of requests", c, after.Cache, len(after.Device))
		}
		p, pid := after.Process, strconv.Itoa(after.PID)
		fds, err := os.ReadDir(filepath.Join("/proc", pid, "fd"))
		if err != nil || p.Descriptors != len(fds) {
			t.Errorf("%d descriptors, the daemon has %d (%v)", p.Descriptors, len(fds), err)
		}
		if p.Goroutines < 3 || p.Threads < 2 || p.Resident < 1<<20 || p.Live < 0 || p.Live > p.ResidentMost || p.ResidentMost < p.Resident {
			t.Errorf("%+v", p)
		}
		text := output(t, "stats", dir)
		for _, want := range []string{"MKNOD", "P99", "to the image: sync", "checkpoints: ", "metadata cache: ", "process: ", "read-write"} {
			if !strings.Contains(text, want) {
				t.Errorf("no %q in\n%s", want, text)
			}
		}
		if n, err := unix.Listxattr(dir, make([]byte, 4096)); n != 0 || err != nil {
			t.Errorf("the attributes of the root take %d bytes (%v)", n, err)
		}
		if _, err := unix.Getxattr(filepath.Join(dir, "big"), fusefs.StatsXattr, nil); err == nil {
			t.Error("a file has statistics, too")
		}
	})
	for dir, want := range map[string]string{t.TempDir(): "findmnt -t fuse.ext2fuse", "/nowhere": "no such file"} {
		if got := complaint(t, "stats", dir); !strings.Contains(got, want) {
			t.Errorf("%s: %q", dir, got)
		}
	}
}

// Statistics are for who mounted, and for root.
func TestStatsAreForTheOwner(t *testing.T) {
	dir, bin, img := forUser(t)
	mnt := filepath.Join(dir, "mnt")
	if err := os.Chown(img, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	if code, stderr := finish(t, asNobody(exec.Command(bin, img, mnt))); code != exitOK {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	pid := daemonOf(t, mnt)
	if out, err := asNobody(exec.Command(bin, "stats", mnt)).CombinedOutput(); err != nil || !strings.Contains(string(out), "INIT") {
		t.Errorf("his own: %v: %s", err, out)
	}
	if out, err := asNobody(exec.Command("fusermount3", "-u", mnt)).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	eventually(t, "the daemon ends", func() bool { return ended(pid) })
	if code, stderr := finish(t, command(t, img, mnt)); code != exitOK {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	pid = daemonOf(t, mnt)
	if out, err := asNobody(exec.Command(bin, "stats", mnt)).CombinedOutput(); err == nil || !strings.Contains(string(out), "for who mounted it") {
		t.Errorf("root's: %v: %s", err, out)
	}
	unmount(t, mnt)
	eventually(t, "the daemon ends", func() bool { return ended(pid) })
}

// The daemon's errors, and on SIGUSR1 its statistics, go to the system's log, each with its
// level; in normal life it says nothing.
func TestDaemonLogs(t *testing.T) {
	dir, _, img := forUser(t)
	ext2test.DebugfsWrite(t, img, "mkdir bad", "set_inode_field bad block[0] 3")
	log, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "log"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	mnt, fifo := filepath.Join(dir, "mnt"), filepath.Join(dir, "go")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan string, 1)
	go func() {
		out, err := inNamespace(t, fmt.Sprintf(`
			mount -t tmpfs none /dev
			mknod -m 666 /dev/null c 1 3
			mknod -m 666 /dev/fuse c 10 229
			ln -s %s/log /dev/log
			%s/ext2fuse -o errors=continue %s %s
			echo hello >%s/file
			ls %s/bad >/dev/null 2>&1 || true
			read go <%s
			umount %s`, dir, dir, img, mnt, mnt, mnt, fifo, mnt))
		done <- fmt.Sprint(err, out)
	}()
	release := func() {
		if f, err := os.OpenFile(fifo, os.O_RDWR, 0); err == nil { // does not wait for a reader
			fmt.Fprintln(f, "go")
			if got := <-done; got != "<nil>" {
				t.Errorf("the script: %s", got)
			}
			f.Close()
		}
	}
	defer func() { release() }()
	var lines []string
	receive := func() {
		t.Helper()
		buf := make([]byte, 8192)
		if err := log.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := log.Read(buf)
		if err != nil {
			t.Fatalf("%v; so far:\n%s", err, strings.Join(lines, ""))
		}
		lines = append(lines, string(buf[:n]))
	}
	receive()
	pid := daemonOf(t, mnt)
	if err := unix.Kill(pid, unix.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	for !strings.Contains(strings.Join(lines, ""), "checkpoints: ") && !strings.Contains(strings.Join(lines, ""), "metadata cache: ") {
		receive()
	}
	// Facility daemon is 3; level error 3, info 6.
	text := strings.Join(lines, "")
	if !strings.HasPrefix(lines[0], "<27>") || !strings.Contains(lines[0], "ext2fuse[") || !strings.Contains(lines[0], "disk.img: ") {
		t.Errorf("the first line is %q, want one about the damage", lines[0])
	}
	if !strings.Contains(text, "<30>") || !strings.Contains(text, "LOOKUP") {
		t.Errorf("no statistics in\n%s", text)
	}
	release()
	release = func() {}
	eventually(t, "the daemon ends", func() bool { return ended(pid) })
	if got := labels(output(t, "info", img)); got["FS Error count"] == "" || got["First error"] == "" {
		t.Errorf("the superblock does not tell of the damage: %v", got)
	}
}
