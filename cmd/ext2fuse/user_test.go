//go:build linux

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// nobody is a user without rights and without a name in this test's world.
const nobody = 65534

// forUser makes a directory that a plain user can reach and write to, with a copy of
// this test binary and of an image in it.
func forUser(t *testing.T) (dir, bin, img string) {
	t.Helper()
	needRoot(t)
	ext2test.NeedFUSE(t)
	if _, err := exec.LookPath("fusermount3"); err != nil {
		t.Skip("needs fusermount3 (package fuse3)")
	}
	dir, err := os.MkdirTemp("/var/tmp", "ext2fuse-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin, img = filepath.Join(dir, "ext2fuse"), filepath.Join(dir, "disk.img")
	copyFile(t, self, bin, 0o755)
	copyFile(t, ext2test.Make(t, ext2test.Options{}), img, 0o644)
	for _, path := range []string{dir, filepath.Join(dir, "mnt")} {
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if isMounted(filepath.Join(dir, "mnt")) {
			t.Error("still mounted")
			unix.Unmount(filepath.Join(dir, "mnt"), unix.MNT_DETACH)
		}
	})
	return dir, bin, img
}

func copyFile(t *testing.T, from, to string, mode os.FileMode) {
	t.Helper()
	r, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, mode)
	if err == nil {
		_, err = io.Copy(w, r)
		w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// asNobody makes a command run as the plain user.
func asNobody(cmd *exec.Cmd) *exec.Cmd {
	cmd.Env = append(os.Environ(), asCommand+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	return cmd
}

// A plain user mounts through fusermount3, enters, and unmounts.
func TestPlainUser(t *testing.T) {
	dir, bin, img := forUser(t)
	mnt := filepath.Join(dir, "mnt")
	if code, stderr := finish(t, asNobody(exec.Command(bin, "-o", "ro,dev,suid,noatime,fsname=a\\,b", img, mnt))); code != exitOK || stderr != "" {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	pid := daemonOf(t, mnt)
	table, err := os.ReadFile("/proc/self/mounts")
	i := bytes.Index(table, []byte("a,b "+mnt+" fuse.ext2fuse "))
	if err != nil || i < 0 {
		t.Fatalf("not in the mount table (%v):\n%s", err, table)
	}
	line, _, _ := strings.Cut(string(table[i:]), "\n")
	for _, word := range []string{"ro", "nosuid", "nodev", "noatime", "default_permissions", "user_id=65534"} {
		if !strings.Contains(line, word) {
			t.Errorf("no %s in %s", word, line)
		}
	}
	if strings.Contains(line, "allow_other") {
		t.Errorf("others may enter: %s", line)
	}
	if out, err := asNobody(exec.Command("ls", mnt)).CombinedOutput(); err != nil || string(out) != "lost+found\n" {
		t.Errorf("ls: %v: %s", err, out)
	}
	if _, err := os.ReadDir(mnt); err == nil {
		t.Error("another user, root, may enter without allow_other")
	}
	if out, err := asNobody(exec.Command("fusermount3", "-u", mnt)).CombinedOutput(); err != nil {
		t.Errorf("fusermount3 -u: %v: %s", err, out)
	}
	eventually(t, "the daemon ends", func() bool { return ended(pid) })
}

// The daemon of a plain user unmounts by itself when it is asked to.
func TestPlainUserSignal(t *testing.T) {
	dir, bin, img := forUser(t)
	mnt := filepath.Join(dir, "mnt")
	cmd := asNobody(exec.Command(bin, "-f", "-o", "ro", img, mnt))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	eventually(t, "mount", func() bool { return isMounted(mnt) })
	if out, err := asNobody(exec.Command("ls", mnt)).CombinedOutput(); err != nil {
		t.Errorf("ls: %v: %s", err, out)
	}
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v, want exit code 0", err)
	}
}

// What a plain user is told when something is in the way.
func TestPlainUserFailures(t *testing.T) {
	dir, bin, img := forUser(t)
	mnt := filepath.Join(dir, "mnt")
	conf, _ := os.ReadFile("/etc/fuse.conf")
	if allowed := bytes.Contains(append([]byte("\n"), conf...), []byte("\nuser_allow_other")); !allowed {
		code, stderr := finish(t, asNobody(exec.Command(bin, "-o", "ro,allow_other", img, mnt)))
		want := "ext2fuse: " + mnt + ": fusermount3: option allow_other only allowed if 'user_allow_other' is set in /etc/fuse.conf; root can allow it: echo user_allow_other >>/etc/fuse.conf\n"
		if code != exitMount || stderr != want {
			t.Errorf("allow_other: exit %d, %q; want %q", code, stderr, want)
		}
	}
	for _, tt := range []struct{ options, dir, want string }{
		{"ro,allow_root", mnt, "ext2fuse: allow_root: only root can use it, as the kernel knows allow_other alone; leave it out\n"},
		{"ro", "/mnt", "ext2fuse: /mnt: fusermount3: user has no write access to mountpoint /mnt; mount on a directory of your own\n"},
	} {
		code, stderr := finish(t, asNobody(exec.Command(bin, "-o", tt.options, img, tt.dir)))
		if code != exitMount || stderr != tt.want {
			t.Errorf("%s: exit %d, %q; want %q", tt.options, code, stderr, tt.want)
		}
	}
	if err := os.Chmod(img, 0o600); err != nil {
		t.Fatal(err)
	}
	code, stderr := finish(t, asNobody(exec.Command(bin, "-o", "ro", img, mnt)))
	if code != exitMount || !strings.Contains(stderr, img) || !strings.Contains(stderr, "permission denied") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("no permission: exit %d, %q", code, stderr)
	}
}

// waitDelay is how long what a script leaves behind may hold its output: no daemon does.
const waitDelay = 10 * time.Second

// inNamespace runs a shell script with a mount table of its own, in which nothing stays
// mounted that other tests unmount meanwhile.
func inNamespace(t *testing.T, script string, env ...string) (string, error) {
	t.Helper()
	needRoot(t)
	cmd := ext2test.OwnMounts("set -e\n" + script)
	cmd.Env = append(append(os.Environ(), asCommand+"=1"), env...)
	cmd.WaitDelay = waitDelay
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Without the helper a plain user is told what is missing.
func TestNoFusermount(t *testing.T) {
	dir, _, _ := forUser(t)
	out, err := inNamespace(t, fmt.Sprintf(`
		mount --bind /dev/null "$(readlink -f "$(command -v fusermount3)")"
		cd %s
		exec setpriv --reuid %d --regid %d --clear-groups ./ext2fuse -o ro disk.img mnt`, dir, nobody, nobody))
	want := "ext2fuse: mnt: fusermount3 is not installed, and without it only root can mount; install the package fuse3\n"
	if err == nil || out != want {
		t.Errorf("%v, %q; want %q", err, out, want)
	}
}

// Without FUSE root is told how to get it.
func TestNoDevice(t *testing.T) {
	dir, _, _ := forUser(t)
	out, err := inNamespace(t, fmt.Sprintf(`
		cd %s
		mount -t tmpfs none /dev
		mknod -m 666 /dev/null c 1 3
		exec ./ext2fuse -o ro disk.img mnt`, dir))
	want := "ext2fuse: mnt: the kernel has no FUSE here (/dev/fuse: no such file or directory); load it with \"modprobe fuse\", or give /dev/fuse to the container\n"
	if err == nil || out != want {
		t.Errorf("%v, %q; want %q", err, out, want)
	}
}

// mount(8) finds ext2fuse by the type, and passes words of its own; umount(8) ends it.
func TestMountHelper(t *testing.T) {
	dir, _, img := forUser(t)
	if _, err := exec.LookPath("mount.fuse3"); err != nil {
		t.Skip("needs mount.fuse3 (package fuse3)")
	}
	for _, tt := range []struct{ options, want string }{
		{"ro", " fuse.ext2fuse ro,relatime,user_id=0,group_id=0,default_permissions,allow_other"},
		{"ro,noatime,nofail,x-systemd.automount,_netdev,user", " fuse.ext2fuse ro,nosuid,nodev,noexec,noatime,"},
		{"ro,noexec,defaults", " fuse.ext2fuse ro,noexec,"},
		{"defaults", " fuse.ext2fuse rw,relatime,"},
		{"noatime,nofail", " fuse.ext2fuse rw,noatime,"},
	} {
		// mount(8) does not pass PATH on; the shell's own one begins with this.
		out, err := inNamespace(t, fmt.Sprintf(`
			mount --bind %s /usr/local/sbin
			cd %s
			mount -t fuse.ext2fuse -o %s disk.img mnt
			grep %s/mnt /proc/self/mounts
			ls mnt
			umount mnt
			flock disk.img true # the daemon has ended`, dir, dir, tt.options, dir))
		if want := img + " " + filepath.Join(dir, "mnt") + tt.want; err != nil || !strings.HasPrefix(out, want) || !strings.HasSuffix(out, "\nlost+found\n") {
			t.Errorf("%s: %v\n got %swant %s…", tt.options, err, out, want)
		}
	}
}
