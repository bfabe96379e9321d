//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// as runs a command under the name of a helper.
func as(t *testing.T, name string, args ...string) (int, string) {
	t.Helper()
	cmd := command(t, args...)
	cmd.Args[0] = "/sbin/" + name
	return finish(t, cmd)
}

// What mount(8) calls mounts, even if the image is called like a verb.
func TestMountHelperIsNoVerb(t *testing.T) {
	ext2test.NeedFUSE(t)
	img := ext2test.Make(t, ext2test.Options{})
	for i, name := range []string{"info", "umount"} {
		if findVerb(name) == nil {
			t.Fatalf("%s is no verb", name)
		}
		dir := t.TempDir()
		copyFile(t, img, filepath.Join(dir, name), 0o600)
		mnt := mountPoint(t)
		helper := []string{"mount.ext2fuse", "mount.fuse.ext2fuse"}[i]
		cmd := command(t, name, mnt, "-o", "rw,noatime")
		cmd.Args[0], cmd.Dir = "/sbin/"+helper, dir
		if code, stderr := finish(t, cmd); code != exitOK || stderr != "" {
			t.Fatalf("%s %s: exit %d: %s", helper, name, code, stderr)
		}
		if line := tableLine(t, mnt); !strings.HasPrefix(line, filepath.Join(dir, name)+" ") {
			t.Errorf("%s %s: the mount table has %q", helper, name, line)
		}
		output(t, "umount", mnt)
	}
}

// -u unmounts what ext2fuse mounted, whatever it was called, and nothing else.
func TestUnmountOwnOnly(t *testing.T) {
	needRoot(t)
	ext2test.NeedFUSE(t)
	if _, err := exec.LookPath("fuse2fs"); err != nil {
		t.Skip("needs fuse2fs")
	}
	img, mnt := ext2test.Make(t, ext2test.Options{}), mountPoint(t)
	name := "some" + mnt // nobody else's
	for _, words := range []string{"rw", "subtype=other", "subtype=other,fsname=" + name} {
		if code, stderr := finish(t, command(t, "-o", words, img, mnt)); code != exitOK {
			t.Fatalf("exit %d: %s", code, stderr)
		}
		target := mnt
		if strings.Contains(words, "fsname") {
			target = name
		}
		if code, stderr := finish(t, command(t, "-u", target)); code != exitOK || stderr != "" || isMounted(mnt) {
			t.Errorf("-o %s: exit %d, still mounted: %v: %s", words, code, isMounted(mnt), stderr)
		}
	}
	for _, other := range []*exec.Cmd{exec.Command("fuse2fs", img, mnt), exec.Command("mount", "-t", "tmpfs", "none", mnt)} {
		if out, err := other.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", other, err, out)
		}
		want := "ext2fuse: " + mnt + ": not mounted by ext2fuse: the file system is of type "
		for _, args := range [][]string{{"-u", mnt}, {"umount", "-l", mnt}, {"umount", "-F", mnt}} {
			if code, stderr := finish(t, command(t, args...)); code != exitUsage || !strings.HasPrefix(stderr, want) {
				t.Errorf("%v, %q: exit %d: %s", other, args, code, stderr)
			}
		}
		if !isMounted(mnt) {
			t.Errorf("%v: not mounted any more", other)
		}
		unmount(t, mnt)
	}
}

// The flags that umount(8) passes: in use or not, -f unmounts, -l takes out of the tree, -r
// is told not to have an effect where it would.
func TestUnmountHelperFlags(t *testing.T) {
	ext2test.NeedFUSE(t)
	img, mnt := ext2test.Make(t, ext2test.Options{}), mountPoint(t)
	for _, tt := range []struct {
		flags  string
		code   int
		says   string
		silent string // what it does not say
	}{
		{"-nv", exitMount, "in use", "-r"},
		{"-nvtfuse.ext2fuse", exitMount, "in use", "-r"},
		{"-r", exitMount, "-r is not supported", "usage"},
		{"-rtfuse.ext2fuse", exitMount, "-r is not supported", "usage"},
		{"-f", exitOK, "", " "},
		{"-nlv", exitOK, "", " "},
	} {
		if code, stderr := finish(t, command(t, img, mnt)); code != exitOK {
			t.Fatalf("exit %d: %s", code, stderr)
		}
		user, err := os.Open(mnt)
		if err != nil {
			t.Fatal(err)
		}
		code, stderr := as(t, "umount.ext2fuse", mnt, tt.flags, "-t", "fuse.ext2fuse")
		if code != tt.code || !strings.Contains(stderr, tt.says) || strings.Contains(stderr, tt.silent) {
			t.Errorf("%s: exit %d: %s", tt.flags, code, stderr)
		}
		if isMounted(mnt) != (tt.code != exitOK) {
			t.Errorf("%s: mounted: %v", tt.flags, isMounted(mnt))
		}
		_, err = user.ReadDir(1)
		if cut := err != nil; cut != (tt.flags == "-f") {
			t.Errorf("%s: who uses it gets %v", tt.flags, err)
		}
		user.Close()
		if isMounted(mnt) {
			output(t, "umount", mnt)
		}
		if tt.flags == "-nlv" { // it waits for nobody
			if out, err := exec.Command("flock", img, "true").CombinedOutput(); err != nil {
				t.Errorf("flock: %v: %s", err, out)
			}
		}
		ext2test.Fsck(t, img)
	}
}

// A plain user unmounts his own mounts, and is told about others'; he cuts off who uses his
// where the kernel lets him.
func TestUnmountAsPlainUser(t *testing.T) {
	dir, bin, img := forUser(t)
	if err := os.Chown(img, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	mnt := filepath.Join(dir, "mnt")
	run := func(args ...string) (int, string) { return finish(t, asNobody(exec.Command(bin, args...))) }

	if code, stderr := finish(t, command(t, img, mnt)); code != exitOK {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	for _, args := range [][]string{{"-u", mnt}, {"-u", img}, {"umount", "-l", mnt}, {"umount", "-F", mnt}} {
		code, stderr := run(args...)
		if want := "ext2fuse: " + mnt + ": mounted by another user, and only that one and root can unmount it; as one of these: ext2fuse -u " + mnt + "\n"; code != exitUsage || stderr != want {
			t.Errorf("%q: exit %d: %s", args, code, stderr)
		}
	}
	output(t, "umount", mnt)

	out, err := inNamespace(t, fmt.Sprintf(`
		cd %s
		user="setpriv --reuid %d --regid %d --clear-groups"
		umount /sys/fs/fuse/connections 2>/dev/null || true
		$user ./ext2fuse disk.img mnt
		$user ./ext2fuse umount -F mnt 2>&1 && exit 1
		mount -t fusectl none /sys/fs/fuse/connections
		$user sh -c 'cd mnt && exec tail -f /dev/null' &
		trap "kill $! 2>/dev/null || true" EXIT
		timeout 60 sh -c "until [ \"\$(readlink /proc/$!/cwd)\" = '$PWD/mnt' ]; do :; done"
		$user ./ext2fuse -u mnt 2>&1 && exit 1
		$user ./ext2fuse umount -F mnt 2>&1
		kill $!
		flock disk.img e2fsck -f -n disk.img
		! grep "$PWD/mnt" /proc/self/mounts`, dir, nobody, nobody))
	for _, want := range []string{"cannot be cut off here, except by root", "in use"} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("%v, no %q in\n%s", err, want, out)
		}
	}
}

// An image has its own name in the mount table, whatever is in it, and is found by it; fsname=
// has its place.
func TestSourceNames(t *testing.T) {
	dir, bin, img := forUser(t)
	mnt := filepath.Join(dir, "mnt")
	for _, name := range []string{"a b,c\nd\t#ü\xff", `x\040,fsname=y\,z\`} {
		name = filepath.Base(dir) + name // nobody else's
		image := filepath.Join(dir, name)
		copyFile(t, img, image, 0o666)
		if err := os.Chmod(image, 0o666); err != nil {
			t.Fatal(err)
		}
		for _, plain := range []bool{false, true} {
			start := func(args ...string) {
				t.Helper()
				cmd := command(t, args...)
				if plain {
					cmd = asNobody(exec.Command(bin, args...))
				}
				if code, stderr := finish(t, cmd); code != exitOK || stderr != "" {
					t.Fatalf("%q: exit %d: %s", args, code, stderr)
				}
			}
			start(image, mnt)
			if got := sourceOf(t, mnt); got != image {
				t.Errorf("the mount table has %q, want %q", got, image)
			}
			start("-u", image)
			start("-o", "fsname="+strings.NewReplacer(`\`, `\\`, ",", `\,`).Replace(name), img, mnt, "-o", "ro")
			if got := sourceOf(t, mnt); got != name {
				t.Errorf("the mount table has %q, want %q", got, name)
			}
			start("-u", name)
			if !plain {
				start(image, mnt)
				if out, err := exec.Command("umount", image).CombinedOutput(); err != nil {
					t.Errorf("umount %q: %v: %s", image, err, out)
				}
				if out, err := exec.Command("flock", image, "true").CombinedOutput(); err != nil {
					t.Errorf("flock %q: %v: %s", image, err, out)
				}
			}
			if isMounted(mnt) {
				t.Fatalf("%q is still mounted", image)
			}
		}
	}
}

func sourceOf(t *testing.T, dir string) string {
	t.Helper()
	mounts, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter(dir))
	if err != nil || len(mounts) != 1 {
		t.Fatalf("%d mounts on %s: %v", len(mounts), dir, err)
	}
	return mounts[0].Source
}
