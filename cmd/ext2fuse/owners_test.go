//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// effectOwner: all files show one owner, what is stored stays, and nothing can be given
// away.
func effectOwner(t *testing.T) {
	needRoot(t)
	img := ext2test.Make(t, ext2test.Options{})
	ext2test.DebugfsWrite(t, img, "mkdir d", "set_inode_field d uid 12", "set_inode_field d gid 34")
	mounted(t, img, "uid=1234,gid=5678", func(dir string) {
		path := filepath.Join(dir, "d")
		if st := statOf(t, path); st.Uid != 1234 || st.Gid != 5678 {
			t.Errorf("shown as %d:%d", st.Uid, st.Gid)
		}
		if err := os.Chown(path, 1234, 5678); err != nil {
			t.Errorf("changing to what is shown: %v", err)
		}
		if err := os.Chown(path, 1, -1); err == nil {
			t.Error("the owner could be changed")
		}
		if err := os.Chown(path, -1, 1); err == nil {
			t.Error("the group could be changed")
		}
		writeFile(t, filepath.Join(path, "new"), "x")
	})
	ext2test.Fsck(t, img)
	for name, want := range map[string]string{"d": "User:    12   Group:    34", "d/new": "User:     0   Group:     0"} {
		if out := ext2test.Debugfs(t, img, "stat "+name); !strings.Contains(out, want) {
			t.Errorf("%s is stored otherwise than %q:\n%s", name, want, out)
		}
	}
}

// TestOwnersFlags: whom all files are shown as, and not who is stored, may change their flags and
// their version.
func TestOwnersFlags(t *testing.T) {
	dir, bin, img := forUser(t)
	mnt := filepath.Join(dir, "mnt")
	ext2test.DebugfsWrite(t, img, "mkdir d", "set_inode_field d uid 12")
	if err := os.Chown(img, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	out, err := asNobody(exec.Command("sh", "-e", "-c", fmt.Sprintf(
		`%[1]s -o uid=%[2]d,gid=%[2]d %[3]s %[4]s; chattr -v 77 +d %[4]s/d || e=$?; %[1]s -u %[4]s; exit $e`, bin, nobody, img, mnt))).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	ext2test.Fsck(t, img)
	if out := ext2test.Debugfs(t, img, "stat d"); !strings.Contains(out, "Generation: 77 ") || !strings.Contains(out, "Flags: 0x40") {
		t.Errorf("what is stored is\n%s", out)
	}

	if err := os.Chown(img, 0, 0); err != nil {
		t.Fatal(err)
	}
	ext2test.DebugfsWrite(t, img, fmt.Sprintf("set_inode_field d uid %d", nobody), "set_inode_field d mode 040755")
	mounted(t, img, "uid=12", func(mnt string) {
		if out, err := asNobody(exec.Command("chattr", "-v", "78", filepath.Join(mnt, "d"))).CombinedOutput(); err == nil {
			t.Errorf("who is stored, and not shown, may change the version\n%s", out)
		}
	})
}

// rootTree makes a small root file system in the working directory. Root makes device
// files there, too.
const rootTree = `umask 022
mkdir -p bin dev etc home/user tmp var/mail
cp /bin/true bin/su
ln bin/su bin/login
chown 0:0 bin/su
chmod 4755 bin/su
ln -s ../bin/su etc/link
printf 'root:x:0:0::/:/bin/sh\n' >etc/passwd
printf 'secret\n' >etc/shadow
chown 0:42 etc/shadow
chmod 640 etc/shadow
chown 1000:1001 home/user
echo hello >home/user/file
chown -h 1000:1001 home/user/file etc/link
chmod 1777 tmp
chown 0:8 var/mail
chmod 2775 var/mail
echo mail >var/mail/user
mkfifo -m 600 dev/initctl
chown 1000000 var/mail/user
rm home/user/file
echo again >home/user/file
touch -d @1000000000 etc/passwd bin/su
`

// TestFakeRoot: a root file system that a plain user builds is the one that root builds.
// (effect of fakeroot)
func TestFakeRoot(t *testing.T) {
	ext2test.NeedKernelMount(t)
	dir, bin, img := forUser(t)
	mnt := filepath.Join(dir, "mnt")
	if err := os.Chown(img, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	user := func(args ...string) {
		t.Helper()
		cmd := asNobody(exec.Command(args[0], args[1:]...))
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
	}
	user(bin, "-o", "fakeroot", img, mnt)
	if _, err := os.ReadDir(mnt); err == nil {
		t.Error("root may enter a plain user's fakeroot mount")
	}
	user("sh", "-e", "-c", "cd mnt\n"+rootTree)
	user(bin, "-u", mnt)
	user(bin, "mknod", "-m", "666", img+":dev/null", "c", "1", "3")
	user(bin, "mknod", "--gid", "6", img+":/dev/sda", "b", "8", "0")
	ext2test.Fsck(t, img)

	byRoot := ext2test.Make(t, ext2test.Options{})
	mounted(t, byRoot, "rw", func(dir string) {
		cmd := exec.Command("sh", "-e", "-c", rootTree+"mknod -m 666 dev/null c 1 3; mknod -m 660 dev/sda b 8 0; chgrp 6 dev/sda")
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	})
	if got, want := listing(t, img), listing(t, byRoot); got != want {
		t.Errorf("a plain user's tree is\n%s\nroot's is\n%s", got, want)
	}
}

// listing is what the kernel's driver shows of an image: names, types, modes, owners,
// links, device numbers, sizes and content.
func listing(t *testing.T, img string) string {
	t.Helper()
	dir := ext2test.KernelMount(t, img, "ro")
	defer ext2test.Unmount(t, dir)
	cmd := exec.Command("sh", "-e", "-c", `find . -path ./lost+found -o -print | sort | xargs stat -c '%n %F %a %u:%g %h %t:%T %N'
		find . -type f | sort | xargs sha256sum; stat -c %Y etc/passwd bin/su`)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// effectFakeRoot: who mounts is root in the mount, whose files are checked by nobody.
func effectFakeRoot(t *testing.T) {
	TestFakeRoot(t)
	img, dir := ext2test.Make(t, ext2test.Options{}), mountPoint(t)
	code, stderr := finish(t, command(t, "-o", "fakeroot,allow_other", img, dir))
	want := "ext2fuse: fakeroot and allow_other: permissions are not checked, so nobody else can be let in; leave one of them out\n"
	if code != exitMount || stderr != want {
		t.Errorf("exit %d, %q; want %q", code, stderr, want)
	}
	mounted(t, img, "fakeroot", func(dir string) {
		if words := fmt.Sprint(tableWords(t, dir)); strings.Contains(words, "allow_other") || strings.Contains(words, "default_permissions") {
			t.Errorf("mounted with %s", words)
		}
	})
}
