//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// asCommand is set for the processes in which this test binary is to be ext2fuse.
const asCommand = "EXT2FUSE_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	// With the race detector each ext2fuse that is run would wait a second before it ends.
	if err := os.Setenv("GORACE", strings.TrimSpace(os.Getenv("GORACE")+" atexit_sleep_ms=0")); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// command is an ext2fuse to run; it is not started yet.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), asCommand+"=1")
	return cmd
}

// finish runs a command to its end and gives its exit code and what it printed on
// standard error.
func finish(t *testing.T, cmd *exec.Cmd) (int, string) {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), stderr.String()
}

// mountPoint is a directory of which the test's end removes any mount.
func mountPoint(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "mnt")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if isMounted(dir) {
			t.Errorf("%s is still mounted", dir)
			if unix.Unmount(dir, unix.MNT_DETACH) != nil {
				exec.Command("fusermount3", "-u", "-z", dir).Run()
			}
		}
	})
	return dir
}

func isMounted(dir string) bool {
	table, err := os.ReadFile("/proc/self/mounts")
	return err == nil && strings.Contains(string(table), " "+dir+" ")
}

// unmount is what a user does.
func unmount(t *testing.T, dir string) {
	t.Helper()
	cmd := exec.Command("umount", dir)
	if os.Geteuid() != 0 {
		cmd = exec.Command("fusermount3", "-u", dir)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("unmount: %v: %s", err, out)
	}
}

// eventually waits for something that another process does.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// daemonOf finds the process that serves a mount point: it has the absolute path among its
// arguments, which others may have, too, and a connection of FUSE open.
func daemonOf(t *testing.T, dir string) int {
	t.Helper()
	if !filepath.IsAbs(dir) {
		t.Fatalf("%s may be anybody's", dir)
	}
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []int
	for _, line := range lines {
		args, err := os.ReadFile(line)
		if err != nil || !bytes.Contains(args, []byte("\x00"+dir+"\x00")) {
			continue
		}
		process := filepath.Dir(line)
		files, _ := filepath.Glob(process + "/fd/*")
		if slices.ContainsFunc(files, func(fd string) bool { to, err := os.Readlink(fd); return err == nil && to == "/dev/fuse" }) {
			pid, _ := strconv.Atoi(filepath.Base(process))
			found = append(found, pid)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%s is served by %d", dir, found)
	}
	return found[0]
}

// ended tells whether a process has ended; who has died but was not collected, has. Its
// first thread may be dead while others still hold the image.
func ended(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil || !strings.Contains(string(stat), ") Z ") {
		return err != nil
	}
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	return err != nil || len(threads) <= 1
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

// The command returns when the mount works, and the daemon left behind is tied to
// nothing of where it was started.
func TestBackground(t *testing.T) {
	ext2test.NeedFUSE(t)
	img, dir := ext2test.Make(t, ext2test.Options{}), mountPoint(t)
	cmd := command(t, "-o", "ro", filepath.Base(img), dir)
	cmd.Dir = filepath.Dir(img) // the image is given by a relative path
	// A pipe that the daemon keeps open would keep this from returning.
	out, err := cmd.CombinedOutput()
	if err != nil || len(out) != 0 {
		t.Fatalf("%v: %s", err, out)
	}
	if _, err := os.Stat(filepath.Join(dir, "lost+found")); err != nil {
		t.Errorf("the command returned before the mount works: %v", err)
	}
	pid := daemonOf(t, dir)
	if sid, err := unix.Getsid(pid); err != nil || sid != pid {
		t.Errorf("the daemon %d is in session %d (%v)", pid, sid, err)
	}
	proc := fmt.Sprintf("/proc/%d/", pid)
	for link, want := range map[string]string{"cwd": "/", "fd/0": "/dev/null", "fd/1": "/dev/null", "fd/2": "/dev/null"} {
		if got, err := os.Readlink(proc + link); err != nil || got != want {
			t.Errorf("%s of the daemon is %s (%v), want %s", link, got, err, want)
		}
	}
	table, err := os.ReadFile("/proc/self/mounts")
	if want := filepath.Base(img) + " " + dir + " fuse.ext2fuse ro,"; err != nil || !strings.Contains(string(table), want) {
		t.Errorf("no %q in the mount table (%v)", want, err)
	}
	if err := unix.Kill(pid, unix.SIGHUP); err != nil { // the terminal is closed
		t.Error(err)
	}
	if _, err := os.ReadDir(dir); err != nil {
		t.Errorf("after SIGHUP: %v", err)
	}
	unmount(t, dir)
	eventually(t, "the daemon ends after umount", func() bool { return ended(pid) })
}

// foreground starts ext2fuse -f and waits for the mount.
func foreground(t *testing.T, img, dir string) (cmd *exec.Cmd, stderr *os.File) {
	t.Helper()
	ext2test.NeedFUSE(t)
	cmd = command(t, img, dir, "-f", "-o", "ro")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Cleanup(func() {
		r.Close()
		if cmd.ProcessState == nil {
			cmd.Process.Kill()
			cmd.Wait()
		}
	})
	eventually(t, "mount in the foreground", func() bool { return isMounted(dir) })
	return cmd, r
}

// SIGINT, SIGTERM and the end of the terminal unmount what is not in use.
func TestSignals(t *testing.T) {
	img := ext2test.Make(t, ext2test.Options{})
	for _, sig := range []syscall.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP} {
		dir := mountPoint(t)
		cmd, stderr := foreground(t, img, dir)
		// The mount is there a moment before the command listens to signals
		// about it; it has opened the image by the time it serves.
		if _, err := os.ReadDir(dir); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %v, want exit code 0", sig, err)
		}
		if text, _ := io.ReadAll(stderr); len(text) != 0 {
			t.Errorf("%v: printed %q", sig, text)
		}
		if isMounted(dir) {
			t.Errorf("%v: still mounted", sig)
		}
	}
}

// A mount in use leaves the tree when it is asked to go, by SIGINT only when asked twice,
// and says so. Those who use it finish.
func TestSignalBusy(t *testing.T) {
	img := ext2test.Make(t, ext2test.Options{})
	for _, sig := range []syscall.Signal{unix.SIGTERM, unix.SIGHUP, unix.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) { signalBusy(t, img, sig) })
	}
}

func signalBusy(t *testing.T, img string, sig syscall.Signal) {
	dir := mountPoint(t)
	cmd, stderr := foreground(t, img, dir)
	user, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer user.Close()
	send := func(want string) {
		t.Helper()
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		line := make([]byte, 4096)
		n, err := stderr.Read(line)
		want = "ext2fuse: " + img + ": warning: " + want + " signal=" + sig.String() + "\n"
		if err != nil || string(line[:n]) != want {
			t.Errorf("printed %q (%v), want %q", line[:n], err, want)
		}
	}
	if sig == unix.SIGINT {
		send("not unmounted: files are in use; still serving (once more detaches the mount)")
		if _, err := os.Stat(filepath.Join(dir, "lost+found")); err != nil {
			t.Errorf("does not serve any more: %v", err)
		}
	}
	send("files are in use: out of the tree, serving until the last user is gone")
	eventually(t, "the mount leaves the tree", func() bool { return !isMounted(dir) })
	if names, err := user.Readdirnames(-1); err != nil || len(names) != 1 {
		t.Errorf("who used the mount when it was detached: %q, %v", names, err)
	}
	user.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v, want exit code 0", err)
	}
}

// A daemon whose parent was interrupted unmounts what nobody waits for.
func TestParentGone(t *testing.T) {
	ext2test.NeedFUSE(t)
	img, dir := ext2test.Make(t, ext2test.Options{}), mountPoint(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	cmd := command(t, "-o", "ro", img, dir)
	cmd.Env = append(cmd.Env, statusEnv+"=3")
	cmd.ExtraFiles = []*os.File{w}
	code, stderr := finish(t, cmd)
	w.Close()
	if code != exitInterrupt || stderr != "" || isMounted(dir) {
		t.Errorf("exit %d, %q, mounted %v; want exit %d and no mount", code, stderr, isMounted(dir), exitInterrupt)
	}
}

// The version names what was built.
func TestVersionFlag(t *testing.T) {
	out, err := command(t, "-V").Output()
	if err != nil || !strings.HasPrefix(string(out), "ext2fuse ") || !strings.Contains(string(out), " go1.") {
		t.Errorf("%q, %v", out, err)
	}
}

// The daemon of a mount is not any process that has the mount point among its arguments.
func TestDaemonOf(t *testing.T) {
	ext2test.NeedFUSE(t)
	img, dir := ext2test.Make(t, ext2test.Options{}), mountPoint(t)
	other := exec.Command("sh", "-c", "read x", "sh", dir)
	input, err := other.StdinPipe()
	if err == nil {
		err = other.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer other.Wait()
	defer input.Close()
	if code, stderr := finish(t, command(t, img, dir)); code != exitOK {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	pid := daemonOf(t, dir)
	if pid == other.Process.Pid || pid != statsOf(t, dir).PID {
		t.Errorf("daemonOf gives %d, where %d is %q", pid, other.Process.Pid, other.Args)
	}
	unmount(t, dir)
	eventually(t, "the daemon ends", func() bool { return ended(pid) })
}
