//go:build linux

package ext2

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// loadImage is an image in memory.
func loadImage(t *testing.T, o ext2test.Options) *blockiotest.Mem {
	t.Helper()
	data, err := os.ReadFile(ext2test.Make(t, o))
	if err != nil {
		t.Fatal(err)
	}
	return blockiotest.MemOf(data)
}

// useOnce mounts the image, makes a file of 100 kB, and unmounts. It returns the image
// as it was while mounted, when everything was durable.
func useOnce(t *testing.T, m *blockiotest.Mem, o Options) (mounted *blockiotest.Mem) {
	t.Helper()
	o.Logger = quiet
	fs, err := New(ctx, m, o)
	if err != nil {
		t.Fatal(err)
	}
	root, _ := fs.Root()
	in, err := root.Create(ctx, "used", CreateOptions{Mode: disk.ModeReg | 0o644})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write(ctx, make([]byte, 100_000), 0, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	in.Put()
	root.Put()
	if err := fs.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	mounted = m.Clone()
	if err := fs.Close(); err != nil {
		t.Fatal(err)
	}
	return mounted
}

// fsck has e2fsck look at an image, and returns its exit code.
func fsck(t *testing.T, m *blockiotest.Mem, args ...string) (code int, out string) {
	t.Helper()
	img := filepath.Join(t.TempDir(), "img")
	if err := os.WriteFile(img, m.Bytes(0, m.Size()), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := exec.Command("e2fsck", append(args, img)...).CombinedOutput()
	if exit, ok := err.(*exec.ExitError); ok {
		return exit.ExitCode(), string(b)
	} else if err != nil {
		t.Fatal(err)
	}
	return 0, string(b)
}

// TestSuperblockLife: a read-write mount clears VALID at once, counts itself and says
// where and when; its end restores the state it found. Backups are left alone, as the
// kernel's ext2 and e2fsck -p leave them: what they are for does not change.
func TestSuperblockLife(t *testing.T) {
	for _, c := range []struct {
		name  string
		found uint16
	}{{"clean", disk.StateValid}, {"unclean", 0}, {"errors", disk.StateValid | disk.StateErrors}} {
		t.Run(c.name, func(t *testing.T) {
			m := loadImage(t, ext2test.Options{Size: 20 << 20, BlockSize: 1024, Inodes: 256})
			setSuper(t, m, func(sb *disk.Superblock) { sb.State, sb.MntCount, sb.Mtime = c.found, 7, 1 })
			backups := m.Bytes(8193<<10, 3<<10)
			before := uint32(time.Now().Unix())
			mounted := useOnce(t, m, Options{MountPoint: "/some/where", NoJournal: true})
			sb := superOf(t, mounted)
			if sb.State != c.found&^disk.StateValid || sb.MntCount != 8 || sb.Mtime < before || string(sb.LastMounted[:12]) != "/some/where\x00" {
				t.Errorf("mounted: state %#x, count %d, s_mtime %d, at %q", sb.State, sb.MntCount, sb.Mtime, sb.LastMounted)
			}
			sb = superOf(t, m)
			if sb.State != c.found || sb.MntCount != 8 || sb.Wtime < before {
				t.Errorf("unmounted: state %#x, count %d, s_wtime %d", sb.State, sb.MntCount, sb.Wtime)
			}
			if !bytes.Equal(m.Bytes(8193<<10, 3<<10), backups) {
				t.Error("the backup superblock or its descriptors changed")
			}
			if code, out := fsck(t, m, "-f", "-n"); c.found&disk.StateErrors == 0 && code != 0 {
				t.Errorf("e2fsck: %d\n%s", code, out)
			}
		})
	}
}

// TestRevisionZero: the original format's superblock ends at s_def_resgid; nothing is
// written behind that until a file needs the feature large_file, which makes it the
// dynamic format.
func TestRevisionZero(t *testing.T) {
	m := loadImage(t, ext2test.Options{Size: 8 << 20, BlockSize: 4096, Revision0: true})
	const dynamic = 84
	before := m.Bytes(disk.SuperblockOffset+dynamic, disk.SuperblockSize-dynamic)
	useOnce(t, m, Options{MountPoint: "/mnt"})
	if !bytes.Equal(m.Bytes(disk.SuperblockOffset+dynamic, disk.SuperblockSize-dynamic), before) {
		t.Error("fields that revision 0 does not have were written")
	}
	fs, err := New(ctx, m.Clone(), Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	dev := fs.dev.(*blockiotest.Mem)
	root, _ := fs.Root()
	in, err := root.Lookup("used")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write(ctx, []byte("far"), 3<<30, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	in.Put()
	root.Put()
	if err := fs.Close(); err != nil {
		t.Fatal(err)
	}
	if sb := superOf(t, dev); sb.RevLevel != disk.DynamicRev || sb.FeatureROCompat != disk.ROCompatLargeFile || sb.FirstIno() != 11 || sb.InodeSize() != 128 {
		t.Errorf("revision %d, ro_compat %#x, first inode %d, inodes of %d bytes", sb.RevLevel, sb.FeatureROCompat, sb.FirstIno(), sb.InodeSize())
	}
	if code, out := fsck(t, dev, "-f", "-n"); code != 0 {
		t.Errorf("e2fsck: %d\n%s", code, out)
	}
}

// TestWriteThroughBackup: with sb=N the superblock at N and the descriptors behind it are
// the ones in use, for writing, too, as in the kernel; e2fsck -p brings the primary ones
// in line.
func TestWriteThroughBackup(t *testing.T) {
	m := loadImage(t, ext2test.Options{Size: 20 << 20, BlockSize: 1024, Inodes: 256})
	primary := m.Bytes(1024, 3<<10)
	useOnce(t, m, Options{Superblock: 8193})
	if !bytes.Equal(m.Bytes(1024, 3<<10), primary) {
		t.Error("the primary superblock or its descriptors changed")
	}
	b := m.Bytes(8193<<10, 1024)
	if sb, err := disk.DecodeSuperblock(b); err != nil || sb.MntCount != 1 {
		t.Errorf("the backup: %v, mounted %d times", err, sb.MntCount)
	}
	if code, out := fsck(t, m, "-f", "-p"); code > 1 {
		t.Errorf("e2fsck -p: %d\n%s", code, out)
	}
}

// TestCleanExt3: the journal of an ext3 image that was cleanly unmounted is left as it
// is, and so is the feature.
func TestCleanExt3(t *testing.T) {
	m := loadImage(t, ext2test.Options{Size: 20 << 20, BlockSize: 1024, Inodes: 256, Type: "ext3"})
	sb := superOf(t, m)
	useOnce(t, m, Options{})
	after := superOf(t, m)
	if after.FeatureCompat != sb.FeatureCompat || after.FeatureIncompat != sb.FeatureIncompat || after.JournalInum != sb.JournalInum {
		t.Errorf("features %#x %#x, were %#x %#x", after.FeatureCompat, after.FeatureIncompat, sb.FeatureCompat, sb.FeatureIncompat)
	}
	if code, out := fsck(t, m, "-f", "-n"); code != 0 {
		t.Errorf("e2fsck: %d\n%s", code, out)
	}
}
