//go:build linux

package main

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// hostileTree makes what could give a user rights that he has not: a set-user-ID program,
// one with capabilities, device nodes for everybody, attributes of root's namespaces.
func hostileTree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for from, to := range map[string]string{"id": "suid", "cat": "capable"} {
		path, err := exec.LookPath(from)
		check(err)
		copyFile(t, path, filepath.Join(dir, to), 0o755)
	}
	check(os.Chmod(filepath.Join(dir, "suid"), 0o6755|os.ModeSetuid|os.ModeSetgid))
	// struct vfs_cap_data, revision 2: all capabilities permitted, and effective.
	caps := binary.LittleEndian.AppendUint32(nil, 0x02000001)
	for range 2 {
		caps = binary.LittleEndian.AppendUint32(caps, 0xFFFFFFFF)
		caps = binary.LittleEndian.AppendUint32(caps, 0)
	}
	check(unix.Setxattr(filepath.Join(dir, "capable"), "security.capability", caps, 0))
	check(unix.Setxattr(filepath.Join(dir, "capable"), "trusted.secret", []byte("secret"), 0))
	check(unix.Mknod(filepath.Join(dir, "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	check(os.Chmod(filepath.Join(dir, "null"), 0o666))
	check(os.Symlink("/etc/shadow", filepath.Join(dir, "shadow")))
	return dir
}

// A plain user who mounts an image that somebody prepared is no more than he was.
func TestNoEscalation(t *testing.T) {
	dir, bin, img := forUser(t)
	mnt := filepath.Join(dir, "mnt")
	copyFile(t, ext2test.Make(t, ext2test.Options{Root: hostileTree(t)}), img, 0o666)
	if err := os.Chown(img, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	if out := ext2test.Debugfs(t, img, "ea_get /capable security.capability"); !strings.Contains(out, "ff ff ff ff") {
		t.Fatalf("the image has no capabilities in it: %s", out)
	}
	for _, word := range []string{"ro", "rw", "suid,dev,exec"} {
		if code, stderr := finish(t, asNobody(exec.Command(bin, "-o", word, img, mnt))); code != exitOK {
			t.Fatalf("exit %d: %s", code, stderr)
		}
		pid := daemonOf(t, mnt)
		try := func(what string) string {
			cmd := asNobody(exec.Command("sh", "-c", what))
			cmd.Dir = mnt
			out, _ := cmd.CombinedOutput()
			return strings.TrimSpace(string(out))
		}
		for what, want := range map[string]string{
			"./suid -u": "65534", "./suid -g": "65534",
			"./capable /proc/self/status | grep CapEff | tr -d ' \\t'":                        "CapEff:0000000000000000",
			"echo x 2>/dev/null >null && echo opened || echo refused":                         "refused",
			"cat shadow >/dev/null 2>&1 && echo read || echo refused":                         "refused",
			"getfattr -n trusted.secret capable >/dev/null 2>&1 && echo read || echo refused": "refused",
			"getfattr -m - -d capable 2>/dev/null | grep -c trusted":                          "0",
			"mknod mem c 1 1 2>/dev/null && echo made || echo refused":                        "refused",
			"chown 0 suid 2>/dev/null && echo given || echo refused":                          "refused",
			"setfattr -n trusted.a -v 1 . 2>/dev/null && echo set || echo refused":            "refused",
		} {
			if got := try(what); got != want {
				t.Errorf("%s: %s: %q, want %q", word, what, got, want)
			}
		}
		if out, err := asNobody(exec.Command("fusermount3", "-u", mnt)).CombinedOutput(); err != nil {
			t.Fatalf("fusermount3 -u: %v: %s", err, out)
		}
		eventually(t, "the daemon ends", func() bool { return ended(pid) })
	}
}
