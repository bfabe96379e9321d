//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs_test

import (
	"bytes"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// bothMounts is one image, mounted by us and by the kernel's driver.
type bothMounts struct {
	ours   *mount
	kernel string
	names  []string // every path below the mount point, "." too
}

func mountBoth(t *testing.T, o ext2test.Options) *bothMounts {
	t.Helper()
	ext2test.NeedKernelMount(t)
	bs := o.BlockSize
	o.Inodes = 2048
	img := ext2test.Filled(t, o, func(dir string) { ext2test.Populate(t, dir, bs) })
	b := &bothMounts{ours: newMount(t, img), kernel: ext2test.KernelMount(t, ext2test.Copy(t, img), "ro")}
	err := filepath.WalkDir(b.kernel, func(path string, _ iofs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(b.kernel, path)
		b.names = append(b.names, rel)
		return err
	})
	if err != nil || len(b.names) < 100 {
		t.Fatalf("walk: %d names, %v", len(b.names), err)
	}
	return b
}

// each calls get for every name on both mounts and compares the answers.
func (b *bothMounts) each(t *testing.T, what string, get func(path string) string) {
	t.Helper()
	different := 0
	for _, name := range b.names {
		want, got := get(filepath.Join(b.kernel, name)), get(b.ours.path(name))
		if want != got {
			if different++; different <= 10 {
				t.Errorf("%s of %s:\n  ours   %s\n  kernel %s", what, name, got, want)
			}
		}
	}
	if different > 10 {
		t.Errorf("%s: %d differences", what, different)
	}
}

// Everything that a system call tells of a file is what the kernel's driver tells.
func TestAgainstKernel(t *testing.T) {
	for _, o := range []ext2test.Options{
		{BlockSize: 1024, InodeSize: 128},
		{BlockSize: 1024, InodeSize: 256},
		{BlockSize: 4096, InodeSize: 256},
	} {
		t.Run(fmt.Sprintf("%dk-inode%d", o.BlockSize/1024, o.InodeSize), func(t *testing.T) {
			b := mountBoth(t, o)
			b.each(t, "statx", statxText)
			b.each(t, "stat", statText)
			b.each(t, "extended attributes", xattrText)
			b.each(t, "holes", holeText)
			b.each(t, "ioctls", ioctlText)
			b.each(t, "listing", listText)
			b.each(t, "content", contentText)
			compareStatfs(t, b)
			compareTool(t, b, "lsattr", "-R", "-a", "-l")
			compareTool(t, b, "getfacl", "-R", "-p")
		})
	}
}

func statxText(path string) string {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st)
	if err != nil {
		return err.Error()
	}
	times := ""
	for _, ts := range []unix.StatxTimestamp{st.Atime, st.Mtime, st.Ctime, st.Btime} {
		times += fmt.Sprintf(" %d.%09d", ts.Sec, ts.Nsec)
	}
	return fmt.Sprintf("mask %x ino %d mode %o nlink %d owner %d:%d size %d blocks %d blksize %d rdev %d:%d times%s",
		st.Mask&(unix.STATX_BASIC_STATS|unix.STATX_BTIME), st.Ino, st.Mode, st.Nlink, st.Uid, st.Gid, st.Size, st.Blocks,
		st.Blksize, st.Rdev_major, st.Rdev_minor, times)
}

func statText(path string) string {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return err.Error()
	}
	st.Dev = 0
	return fmt.Sprintf("%+v", st)
}

// xattrText lists names and values, each asked for with too little room, too.
func xattrText(path string) string {
	size, err := unix.Llistxattr(path, nil)
	if err != nil {
		return "list: " + err.Error()
	}
	buf := make([]byte, size)
	if size > 1 {
		if _, err := unix.Llistxattr(path, buf[:size-1]); !errors.Is(err, unix.ERANGE) {
			return fmt.Sprintf("list with too little room: %v", err)
		}
	}
	if size > 0 {
		if n, err := unix.Llistxattr(path, buf); err != nil || n != size {
			return fmt.Sprintf("list: %d, %v, after %d was announced", n, err, size)
		}
	}
	names := strings.Split(strings.TrimSuffix(string(buf), "\x00"), "\x00")
	slices.Sort(names)
	names = append(names, "user.none", "security.none", "system.posix_acl_access", "system.posix_acl_default", "trusted.none", "nonsense.none")
	var text strings.Builder
	for _, name := range names {
		fmt.Fprintf(&text, "%s=%s ", name, xattrValue(path, name))
	}
	return text.String()
}

func xattrValue(path, name string) string {
	size, err := unix.Lgetxattr(path, name, nil)
	if err != nil {
		return err.Error()
	}
	value := make([]byte, size+1)
	if size > 1 {
		if _, err := unix.Lgetxattr(path, name, value[:size-1]); !errors.Is(err, unix.ERANGE) {
			return fmt.Sprintf("with too little room: %v", err)
		}
	}
	n, err := unix.Lgetxattr(path, name, value)
	if err != nil || n != size {
		return fmt.Sprintf("%d, %v, after %d was announced", n, err, size)
	}
	return fmt.Sprintf("%x", value[:n])
}

// holeText walks a file with SEEK_DATA and SEEK_HOLE, and tries the ends.
func holeText(path string) string {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Sprintf("not a regular file (%v)", err)
	}
	fd, err := unix.Open(path, unix.O_RDONLY, 0)
	if err != nil {
		return err.Error()
	}
	defer unix.Close(fd)
	var text strings.Builder
	seek := func(off int64, whence int) (int64, error) {
		at, err := unix.Seek(fd, off, whence)
		fmt.Fprintf(&text, "%d:%d→%d,%v ", whence, off, at, err)
		return at, err
	}
	for _, off := range []int64{-1, st.Size - 1, st.Size, st.Size + 1} {
		seek(off, unix.SEEK_DATA)
		seek(off, unix.SEEK_HOLE)
	}
	for at, whence := int64(0), unix.SEEK_DATA; at < st.Size; {
		next, err := seek(at, whence)
		if err != nil {
			break
		}
		at, whence = next, unix.SEEK_DATA+unix.SEEK_HOLE-whence
	}
	return text.String()
}

// ioctlText asks regular files and directories all that can be asked.
func ioctlText(path string) string {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return fmt.Sprintf("neither file nor directory (%v)", err)
	}
	fd, err := unix.Open(path, unix.O_RDONLY, 0)
	if err != nil {
		return err.Error()
	}
	defer unix.Close(fd)
	var text strings.Builder
	for _, cmd := range []uint{
		0x80086601, // FS_IOC_GETFLAGS
		0x801c581f, // FS_IOC_FSGETXATTR
		0x80087601, // FS_IOC_GETVERSION
		0x81009431, // FS_IOC_GETFSLABEL
		0x80086603, // EXT4_IOC_GETVERSION
		0x8008667f, // not a command
	} {
		// The pattern shows which bytes were written.
		buf := bytes.Repeat([]byte{0xa5}, 512)
		err := ioctl(fd, cmd, buf)
		fmt.Fprintf(&text, "%x=%v,%x ", cmd, err, bytes.TrimRight(buf, "\xa5"))
	}
	return text.String()
}

// listText is a listing with inode numbers, types and order of kinds; the order of
// names is the file system's own affair.
func listText(path string) string {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err.Error()
	}
	defer unix.Close(fd)
	var entries []string
	buf := make([]byte, 8192)
	for {
		n, err := unix.Getdents(fd, buf)
		if err != nil {
			return err.Error()
		}
		if n == 0 {
			break
		}
		for b := buf[:n]; len(b) > 0; {
			e := parseDirent(b)
			entries = append(entries, e.text)
			b = b[e.len:]
		}
	}
	slices.Sort(entries)
	return strings.Join(entries, " ")
}

func contentText(path string) string {
	st, err := os.Lstat(path)
	if err != nil {
		return err.Error()
	}
	if st.Mode()&os.ModeSymlink != 0 {
		target, err := os.Readlink(path)
		return fmt.Sprintf("→%q, %v", target, err)
	}
	if !st.Mode().IsRegular() {
		return "no content"
	}
	if st.Size() > 64<<20 {
		return "too large to read in a test; holes were compared"
	}
	data, err := os.ReadFile(path)
	return fmt.Sprintf("%d bytes, %x, %v", len(data), checksum(data), err)
}

func compareStatfs(t *testing.T, b *bothMounts) {
	t.Helper()
	var ours, kernel unix.Statfs_t
	if err := errors.Join(unix.Statfs(b.ours.dir, &ours), unix.Statfs(b.kernel, &kernel)); err != nil {
		t.Fatal(err)
	}
	// What FUSE has no word for: its own magic number, the file system's id, the
	// flags of the mount.
	ours.Type, ours.Fsid, ours.Flags = kernel.Type, kernel.Fsid, kernel.Flags
	if ours != kernel {
		t.Errorf("statfs:\n  ours   %+v\n  kernel %+v", ours, kernel)
	}
}

// compareTool runs a program in both mounts and compares its output, sorted by lines.
func compareTool(t *testing.T, b *bothMounts, name string, args ...string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("needs %s: %v", name, err)
	}
	run := func(dir string) []string {
		cmd := exec.Command(name, append(args, ".")...)
		cmd.Dir = dir
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("%s in %s: %v: %s", name, dir, err, stderr.String())
		}
		lines := strings.Split(string(out), "\n")
		slices.Sort(lines)
		return lines
	}
	ours, kernel := run(b.ours.dir), run(b.kernel)
	if !slices.Equal(ours, kernel) {
		t.Errorf("%s %s differs:\n%s", name, strings.Join(args, " "), firstDifference(ours, kernel))
	}
	if len(kernel) < 50 {
		t.Errorf("%s said little: %q", name, kernel)
	}
}

func firstDifference(ours, kernel []string) string {
	for i := range min(len(ours), len(kernel)) {
		if ours[i] != kernel[i] {
			return fmt.Sprintf("  ours   %s\n  kernel %s", ours[i], kernel[i])
		}
	}
	return fmt.Sprintf("  ours %d lines, kernel %d", len(ours), len(kernel))
}
