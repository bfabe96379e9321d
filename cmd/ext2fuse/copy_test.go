//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// sameTree compares two directories of the host: names, types, modes, owners, times,
// attributes, links, content and, where holes are asked for, that they are there.
func sameTree(t *testing.T, want, got string, holes bool) {
	t.Helper()
	names := func(dir string) (list []string) {
		if err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
			name, _ := filepath.Rel(dir, path)
			if name != "lost+found" {
				list = append(list, name)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return list
	}
	a, b := names(want), names(got)
	if !slices.Equal(a, b) {
		t.Fatalf("%d names, want %d", len(b), len(a))
	}
	first := map[uint64]string{}
	for _, name := range a {
		p, q := filepath.Join(want, name), filepath.Join(got, name)
		x, err := hostTree{}.meta(p, false, true)
		if err != nil {
			t.Fatal(err)
		}
		y, err := hostTree{}.meta(q, false, true)
		if err != nil {
			t.Fatal(err)
		}
		// Reading moved some; links of directories depend on what is in them.
		x.atime, y.atime = x.mtime, y.mtime
		if x.is(unix.S_IFDIR) {
			x.size, y.size, x.links, y.links = 0, 0, 0, 0
		}
		if x.mode != y.mode || x.uid != y.uid || x.gid != y.gid || x.size != y.size || x.mtime != y.mtime || x.links != y.links || x.major != y.major || x.minor != y.minor {
			if name != "." {
				t.Errorf("%s: got %+v, want %+v", name, y, x)
			}
		}
		if !maps.EqualFunc(x.xattrs, y.xattrs, bytes.Equal) {
			t.Errorf("%s: attributes %q, want %q", name, y.xattrs, x.xattrs)
		}
		switch {
		case x.is(unix.S_IFLNK):
			l, _ := os.Readlink(p)
			m, err := os.Readlink(q)
			if l != m || err != nil {
				t.Errorf("%s leads to %q (%v), want %q", name, m, err, l)
			}
		case x.is(unix.S_IFREG):
			sameContent(t, p, q)
			if holes && statOf(t, q).Blocks > statOf(t, p).Blocks+64 {
				t.Errorf("%s has %d sectors, want about %d", name, statOf(t, q).Blocks, statOf(t, p).Blocks)
			}
			if other, ok := first[x.id[1]]; ok && x.links > 1 && statOf(t, q).Ino != statOf(t, filepath.Join(got, other)).Ino {
				t.Errorf("%s is not another name of %s", name, other)
			}
			first[x.id[1]] = name
		}
	}
}

// sameContent compares two files where at least one has data.
func sameContent(t *testing.T, want, got string) {
	t.Helper()
	a, err := hostTree{}.open(want)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := hostTree{}.open(got)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for _, f := range []content{a, b} {
		for off := int64(0); ; {
			from, to, err := f.data(off)
			if err != nil {
				t.Fatal(err)
			}
			if from < 0 {
				break
			}
			p, q := make([]byte, to-from), make([]byte, to-from)
			n, _ := a.ReadAt(p, from)
			m, _ := b.ReadAt(q, from)
			if n != m || !bytes.Equal(p, q) {
				t.Errorf("%s differs between bytes %d and %d", got, from, to)
			}
			off = to
		}
	}
}

// Copied into an image a tree is what the kernel's driver then shows, and copied out
// again it is what it was.
func TestCopyInAndOut(t *testing.T) {
	needRoot(t)
	ext2test.NeedKernelMount(t)
	source := ext2test.Filled(t, ext2test.Options{Size: 48 << 20}, func(dir string) { ext2test.Populate(t, dir, 1024) })
	tree := ext2test.KernelMount(t, source, "ro")
	img := ext2test.Make(t, ext2test.Options{Size: 48 << 20, BlockSize: 4096})
	output(t, "cp", "-r", tree, img+":/tree")
	ext2test.Fsck(t, img)
	mnt := ext2test.KernelMount(t, img, "ro")
	sameTree(t, tree, filepath.Join(mnt, "tree"), false)
	ext2test.Unmount(t, mnt)

	// From image to image, and out to another file system that holds it all.
	second := ext2test.Make(t, ext2test.Options{Size: 48 << 20})
	output(t, "cp", "-a", img+":/tree", second+":")
	ext2test.Fsck(t, second)
	third := ext2test.KernelMount(t, ext2test.Make(t, ext2test.Options{Size: 48 << 20}))
	output(t, "cp", "-a", second+":/tree", filepath.Join(third, "out"))
	sameTree(t, tree, filepath.Join(third, "out"), true)

	// Once more over what is there.
	output(t, "cp", "-a", tree+"/.", img+":/tree")
	ext2test.Fsck(t, img)
	mnt = ext2test.KernelMount(t, img, "ro")
	sameTree(t, tree, filepath.Join(mnt, "tree"), false)
	ext2test.Unmount(t, mnt)
}

// A plain user needs neither FUSE nor root, and owns what he copies out.
func TestCopyAsPlainUser(t *testing.T) {
	dir, _, img := forUser(t)
	if err := os.Chown(img, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	script := `
		set -e
		mkdir in && echo hello >in/file && ln -s file in/link && chmod 4755 in/file
		./ext2fuse cp -r in disk.img:/
		./ext2fuse cp -r disk.img:/in out
		cat out/link
		stat -c '%u %a' out/file
		./ext2fuse ls -l disk.img in`
	cmd := asNobody(exec.Command("sh", "-c", script))
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	for _, want := range []string{"hello\n", fmt.Sprintf("%d 4755\n", nobody), fmt.Sprintf("-rwsr-xr-x  1  %d", nobody), "link -> file"} {
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%v: no %q in\n%s", err, want, out)
		}
	}
}

// What a plain user copies out has the bits that lend rights only if owner and group are those
// that the image has.
func TestCopyLendsNothing(t *testing.T) {
	dir, _, img := forUser(t)
	file := filepath.Join(dir, "file")
	writeFile(t, file, "content")
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	for i, tt := range []struct {
		uid, gid int
		mode     uint32
	}{
		{nobody, nobody, 0o6755},
		{nobody, 0, 0o755},
		{0, nobody, 0o755},
		{0, 0, 0o755},
	} {
		if err := errors.Join(os.Chown(file, tt.uid, tt.gid), unix.Chmod(file, 0o6755)); err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprint("f", i)
		output(t, "cp", file, img+":/"+name)
		for _, to := range []string{name, name} { // made, and written over
			cmd := asNobody(exec.Command("./ext2fuse", "cp", "disk.img:/"+name, to))
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); err != nil || len(out) != 0 {
				t.Errorf("%d:%d: %v: %s", tt.uid, tt.gid, err, out)
			}
			if st := statOf(t, filepath.Join(dir, to)); st.Uid != nobody || st.Gid != nobody || st.Mode&0o7777 != tt.mode {
				t.Errorf("%d:%d: the copy is %d:%d %o, want mode %o", tt.uid, tt.gid, st.Uid, st.Gid, st.Mode&0o7777, tt.mode)
			}
		}
	}
}

// A full image says so, and is in order afterwards.
func TestCopyFull(t *testing.T) {
	img := ext2test.Make(t, ext2test.Options{Size: 2 << 20})
	big := filepath.Join(t.TempDir(), "big")
	if err := os.WriteFile(big, ext2test.Content(1, 3<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, want := complaint(t, "cp", big, img+":/"), "ext2fuse: "+img+":/big: no space left on the file system; make room, or enlarge the image: truncate -s +1G "+img+" && e2fsck -f -p "+img+" && resize2fs "+img+"\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	ext2test.Fsck(t, img)
}

// An interrupted copy leaves a file system in order.
func TestCopyInterrupted(t *testing.T) {
	img := ext2test.Make(t, ext2test.Options{})
	fs, err := (&call{verb: &cpVerb, config: newConfig(), stderr: os.Stderr}).open(img, true)
	if err != nil {
		t.Fatal(err)
	}
	c, err := cpVerb.parse([]string{"-r", "/etc/hostname", img + ":/a"})
	if err != nil {
		t.Fatal(err)
	}
	c.stdout, c.stderr = &bytes.Buffer{}, &bytes.Buffer{}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	id, err := fileID(img)
	if err != nil {
		t.Fatal(err)
	}
	target := newImageTree(img, fs, id)
	k := &copier{c: c, ctx: ctx, images: []*imageTree{target}, links: map[linkKey]string{}, buffer: make([]byte, 4096)}
	if err := k.run([]place{{path: "/etc/hostname"}}, place{image: img, path: "a"}); !errors.Is(err, errInterrupted) {
		t.Errorf("%v, want %v", err, errInterrupted)
	}
	if err := target.close(); err != nil {
		t.Error(err)
	}
	ext2test.Fsck(t, img)
}

// terminal is a pseudo terminal: what is written to the slave is read from the master.
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("needs a pseudo terminal: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 100})
	}
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// On a terminal a long copy shows how much, how fast and how long, and cleans up behind
// itself.
func TestProgress(t *testing.T) {
	master, slave := terminal(t)
	defer func(p, t time.Duration) { patience, throttle = p, t }(patience, throttle)
	patience, throttle = 0, 0
	big := filepath.Join(t.TempDir(), "big")
	if err := os.WriteFile(big, ext2test.Content(1, 5<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	img := ext2test.Make(t, ext2test.Options{})
	var stdout bytes.Buffer
	if code := run([]string{"cp", big, img + ":/"}, &stdout, slave); code != exitOK {
		t.Errorf("exit %d", code)
	}
	fmt.Fprint(slave, "END")
	var shown []byte
	for buf := make([]byte, 4096); !bytes.Contains(shown, []byte("END")); {
		n, err := master.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		shown = append(shown, buf[:n]...)
	}
	slave.Close()
	text := string(shown)
	for _, want := range []string{"%", "5.0 MiB", "iB/s", "s]"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %q", want, text)
		}
	}
	lines := strings.Split(text, "\r")
	if last := strings.TrimSpace(strings.TrimPrefix(lines[len(lines)-1], "\x1b[2K")); last != "END" {
		t.Errorf("%q is left on the line", last)
	}
}
