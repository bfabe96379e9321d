//go:build linux

package loadtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// TestUnreadableMetadata: a block of metadata cannot be read. The operation says EIO, and
// errors= is followed where the kernel's driver does.
func TestUnreadableMetadata(t *testing.T) {
	ext2test.NeedFUSE(t)
	ext2test.NeedKernelMount(t)
	root := t.TempDir()
	must(t, os.WriteFile(root+"/big", ext2test.Content(1, 12<<20), 0o644))
	must(t, os.Mkdir(root+"/sub", 0o755))
	for i := range 100 {
		must(t, os.WriteFile(fmt.Sprintf("%s/sub/f-%03d", root, i), nil, 0o644))
	}
	img := ext2test.Make(t, ext2test.Options{BlockSize: 1024, Size: 32 << 20, InodeSize: 128, Inodes: 256, Root: root})
	const last = "/sub/f-099"
	run(t, "", "debugfs", "-w", "-R", "ea_set "+last+" user.a some-value", img)
	number := func(pattern, out string) int64 {
		t.Helper()
		m := regexp.MustCompile(pattern).FindStringSubmatch(out)
		if m == nil {
			t.Fatalf("no %q in:\n%s", pattern, out)
		}
		n, err := strconv.ParseInt(m[1], 10, 64)
		must(t, err)
		return n
	}
	debugfs := func(pattern, request string) int64 { return number(pattern, run(t, "", "debugfs", "-R", request, img)) }
	unlink := func(name string) func(dir string) error {
		return func(dir string) error { return unix.Unlink(dir + name) }
	}
	for _, c := range []struct {
		what  string
		block int64
		do    func(dir string) error
	}{
		{"block bitmap", debugfs(`(?s)Group  1: block bitmap at (\d+)`, "stats"), unlink("/big")},
		{"inode bitmap", debugfs(`(?s)Group  1: block bitmap at \d+, inode bitmap at (\d+)`, "stats"), unlink(last)},
		{"inode table", debugfs(`located at block (\d+)`, "imap "+last), func(dir string) error {
			var st unix.Stat_t
			return unix.Stat(dir+last, &st)
		}},
		{"indirect block", debugfs(`\(IND\):(\d+)`, "stat /big"), func(dir string) error {
			f, err := os.Open(dir + "/big")
			must(t, err)
			defer f.Close()
			_, err = f.ReadAt(make([]byte, 100), 20<<10)
			return err
		}},
		{"directory block", debugfs(`^(\d+)`, "bmap /sub 0"), func(dir string) error {
			_, err := os.ReadDir(dir + "/sub")
			return err
		}},
		{"attribute block", debugfs(`File ACL: (\d+)`, "stat "+last), func(dir string) error {
			_, err := unix.Getxattr(dir+last, "user.a", make([]byte, 100))
			return err
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			kernel := unreadable(t, img, c.block*1024, c.do, func(img string) (dir string, end func()) {
				dir = t.TempDir()
				run(t, "", "mount", "-t", "ext2", "-o", "loop,errors=remount-ro,no_prefetch_block_bitmaps", img, dir)
				return dir, func() { ext2test.Unmount(t, dir) }
			})
			ours := unreadable(t, img, c.block*1024, c.do, func(img string) (dir string, end func()) {
				m := &mount{t: t, img: img, dir: t.TempDir()}
				m.mount("errors=remount-ro")
				return m.dir, m.release
			})
			if t.Logf("%+v", kernel); ours != kernel {
				t.Errorf("got %+v, want, as the kernel's driver, %+v", ours, kernel)
			}
		})
	}
}

// consequences are those of a block that cannot be read.
type consequences struct {
	answer   unix.Errno // of the operation that needs it
	readOnly bool       // nothing can be changed any more
	code     uint8      // s_last_error_errcode
}

// unreadable mounts a copy of the image with a bad sector at off and does what needs that.
func unreadable(t *testing.T, img string, off int64, do func(dir string) error, mount func(img string) (dir string, end func())) (c consequences) {
	t.Helper()
	img, below := onFailingHost(t, img)
	below.unreadable.Store(off)
	dir, end := mount(img)
	if err := do(dir); err != nil && !errors.As(err, &c.answer) {
		t.Fatal(err)
	}
	change := func() error { return errors.Join(unix.Mkdir(dir+"/new", 0o755), unix.Rmdir(dir+"/new")) }
	state := func() uint16 {
		return binary.LittleEndian.Uint16(below.mem.Bytes(disk.SuperblockOffset+58, 2))
	}
	if c.answer == 0 { // a file is deleted when its last user has let go of it, which is later
		eventually(t, func() (string, bool) { return "it is noted", state()&disk.StateErrors != 0 })
	}
	c.readOnly = errors.Is(change(), unix.EROFS)
	below.unreadable.Store(-1)
	end()
	sb, err := disk.DecodeSuperblock(below.mem.Bytes(disk.SuperblockOffset, disk.SuperblockSize))
	must(t, err)
	if noted := sb.State&disk.StateErrors != 0; noted != c.readOnly {
		t.Errorf("read-only %v, noted %v", c.readOnly, noted)
	}
	c.code = sb.LastErrorCode
	repaired := below.copy(t) // where writing ended early, e2fsck frees what was to be freed
	if out, err := quiet("e2fsck", "-p", repaired); err != nil && !strings.Contains(err.Error(), "exit status 1") {
		t.Errorf("e2fsck -p: %v: %s", err, out)
	}
	ext2test.Fsck(t, repaired)
	return c
}
