//go:build linux

package crashtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/fs/ext2"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// ctx is the context of calls that nothing ends.
var ctx = context.Background()

// mountAndUnmount recovers an image as the next mount does: the journal, the orphans, and
// then a clean end.
func mountAndUnmount(m *blockiotest.Mem) (*found, error) {
	if err := cycle(m); err != nil {
		return nil, err
	}
	return look(m, false)
}

// between tells whether an image is an ext2 one that was not cleanly unmounted: the power
// failed while a journal was borrowed, or given back. There may be blocks marked in use
// that nobody has, and an inode 8 that means nothing; a mount of ours and e2fsck put that
// right, a mount by the kernel leaves it.
func between(m *blockiotest.Mem) bool {
	sb, err := disk.DecodeSuperblock(m.View(disk.SuperblockOffset, disk.SuperblockSize))
	return err == nil && !sb.HasCompat(disk.CompatHasJournal) && sb.State&disk.StateValid == 0
}

// cycle mounts what is on a device, which stays open, and unmounts it.
func cycle(dev blockio.Device) error {
	fs, err := ext2.New(ctx, keepOpen{dev}, ext2.Options{Logger: quiet, CacheBytes: 1 << 20})
	if err != nil {
		return fmt.Errorf("mounting: %w", err)
	}
	if err := fs.Close(); err != nil {
		return fmt.Errorf("unmounting: %w", err)
	}
	return nil
}

// e2fsck runs e2fsck on the image at path and returns its exit code and what it said.
func e2fsck(path string, args ...string) (int, string) {
	out, err := exec.Command("e2fsck", append(args, path)...).CombinedOutput()
	if exit, ok := err.(*exec.ExitError); ok {
		return exit.ExitCode(), string(out)
	}
	if err != nil {
		return -1, err.Error()
	}
	return 0, string(out)
}

// store writes an image to a file, which is sparse.
func store(m *blockiotest.Mem, path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	err = f.Truncate(m.Size())
	m.Pieces(func(off int64, data []byte) {
		if err == nil {
			_, err = f.WriteAt(data, off)
		}
	})
	return err
}

func loadFile(path string) (*blockiotest.Mem, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return blockiotest.MemOf(data), nil
}

// preen recovers an image as the boot scripts do: e2fsck -p, without a person. e2fsck
// 1.47.0 forgets the attribute block of an orphan that has no other blocks, and finds it by
// itself the next time; forgetful tells that there is one.
func preen(image *blockiotest.Mem, dir string, forgetful bool) (*found, error) {
	path := filepath.Join(dir, "preen.img")
	if err := store(image, path); err != nil {
		return nil, err
	}
	if code, out := e2fsck(path, "-p"); code > 1 {
		return nil, fmt.Errorf("e2fsck -p wants a person (exit code %d):\n%s", code, out)
	}
	if forgetful {
		if code, out := e2fsck(path, "-f", "-p"); code > 1 {
			return nil, fmt.Errorf("e2fsck -f -p wants a person (exit code %d):\n%s", code, out)
		}
	}
	if code, out := e2fsck(path, "-f", "-n"); code != 0 {
		return nil, fmt.Errorf("after e2fsck -p the image is not clean:\n%s", out)
	}
	m, err := loadFile(path)
	if err != nil {
		return nil, err
	}
	return look(m, false)
}

// forgetful tells whether e2fsck has to be run twice (see preen).
func (f *found) forgetful() bool {
	for _, n := range f.Nodes {
		if n.Orphan && n.Inode.FileACL != 0 && len(n.Content) == 0 {
			return true
		}
	}
	return false
}

// kernelRecover recovers an image with the kernel's driver, which does the journal and the
// orphans, and is asked for the tree it sees, too. That happens in a mount namespace of its
// own, which nobody can copy and thereby keep the file system mounted.
func kernelRecover(image *blockiotest.Mem, dir string) (*found, error) {
	path := filepath.Join(dir, "kernel.img")
	if err := store(image, path); err != nil {
		return nil, err
	}
	const script = `mkdir -p "$2" && mount -t ext4 -o loop "$1" "$2" && find "$2" -printf '%s /%P\n'; s=$?; umount "$2" && exit $s`
	out, err := ext2test.OwnMounts(script, path, filepath.Join(dir, "mnt")).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%v: %s", err, out)
	}
	seen := map[string]int64{}
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		size, name, _ := strings.Cut(line, " ")
		if seen[name], err = strconv.ParseInt(size, 10, 64); err != nil {
			return nil, fmt.Errorf("find says %q", line)
		}
	}
	if code, out := e2fsck(path, "-f", "-n"); code != 0 {
		return nil, fmt.Errorf("after the recovery the image is not clean:\n%s", out)
	}
	m, err := loadFile(path)
	if err != nil {
		return nil, err
	}
	f, err := look(m, false)
	if err != nil {
		return nil, err
	}
	for _, n := range f.Nodes {
		for _, name := range n.Paths {
			if size, ok := seen[name]; !ok || n.Inode.IsReg() && size != int64(n.Inode.Size) {
				return nil, fmt.Errorf("it shows %s: %v, with size %d, expected %d", name, ok, size, n.Inode.Size)
			}
			delete(seen, name)
		}
	}
	if len(seen) > 0 {
		return nil, fmt.Errorf("it shows more names: %v", seen)
	}
	return f, nil
}
