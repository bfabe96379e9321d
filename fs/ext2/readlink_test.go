//go:build linux

package ext2

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// targetOf is a target of n bytes.
func targetOf(n int) string { return strings.Repeat("0123456789/abcde", n/16+1)[:n] }

// lengths around what fits the inode (60 bytes with the terminating zero) and a block.
func targetLengths(blockSize int) (all []int) {
	for _, n := range []int{1, 2, 31, 58, 59, 60, 61, 255, 256, 1000, 1022, 1023, 2047, 4000, 4094, 4095} {
		if n < blockSize {
			all = append(all, n)
		}
	}
	return all
}

// TestReadlink: targets of all lengths, in the inode and in a block, by mke2fs for all
// block sizes and by the kernel; those with a block of attributes, which counts as a block
// of the inode's, too.
func TestReadlink(t *testing.T) {
	check := func(t *testing.T, img string, blockSize int) {
		fs := openImage(t, img, Options{})
		for _, n := range targetLengths(blockSize) {
			in := inodeAt(t, fs, fmt.Sprint("length-", n))
			if got, err := in.Readlink(); got != targetOf(n) || err != nil {
				t.Errorf("length %d: %q, %v", n, got, err)
			}
			if fast := in.raw.FastSymlink(fs.sb); fast != (n < disk.FastSymlinkBytes) {
				t.Errorf("length %d: in the inode: %v", n, fast)
			}
		}
		if _, err := inodeAt(t, fs, ".").Readlink(); !errors.Is(err, ErrInvalid) {
			t.Errorf("a directory's target: %v", err)
		}
	}
	fill := func(t *testing.T, dir string, blockSize int) {
		for _, n := range targetLengths(blockSize) {
			if err := os.Symlink(targetOf(n), filepath.Join(dir, fmt.Sprint("length-", n))); err != nil {
				t.Fatal(err)
			}
		}
	}
	for bs := 1024; bs <= disk.MaxBlockSize; bs *= 2 {
		t.Run(fmt.Sprint("mke2fs ", bs), func(t *testing.T) {
			src := t.TempDir()
			fill(t, src, bs)
			size := int64(8 << 20)
			if bs > 4096 {
				size = int64(bs) << 10
			}
			check(t, ext2test.Make(t, ext2test.Options{BlockSize: bs, Size: size, Root: src}), bs)
		})
	}
	for _, bs := range []int{1024, 4096} {
		t.Run(fmt.Sprint("kernel ", bs), func(t *testing.T) {
			ext2test.NeedKernelMount(t)
			img := ext2test.Filled(t, ext2test.Options{BlockSize: bs, InodeSize: 128}, func(dir string) {
				fill(t, dir, bs)
				for _, n := range targetLengths(bs) {
					setxattr(t, filepath.Join(dir, fmt.Sprint("length-", n)), "trusted.x", 10)
				}
			})
			check(t, img, bs)
		})
	}
}

// TestBadSymlinks: targets that cannot be.
func TestBadSymlinks(t *testing.T) {
	const ino = 20
	link := func(c *crafted, size uint64, blocks int, content string) {
		var iblock [15]uint32
		for i := range blocks {
			iblock[i] = c.take()
		}
		if blocks > 0 {
			c.write([]byte(content), int64(iblock[0])*int64(c.blockSize))
		}
		c.inode(ino, func(in *disk.Inode) {
			*in = disk.Inode{Mode: disk.ModeSymlink | 0o777, Links: 1, Size: size, Block: iblock, Sectors: uint32(blocks * c.blockSize / 512), ExtraSize: in.ExtraSize}
		})
	}
	for _, c := range []struct {
		name string
		lay  func(c *crafted)
		want string
	}{
		{"empty", func(c *crafted) { link(c, 0, 0, "") }, "i_size is 0"},
		{"longer than the inode", func(c *crafted) { link(c, 60, 0, "") }, "i_size is 60"},
		{"zeros in the inode", func(c *crafted) { link(c, 59, 0, "") }, "zero byte"},
		{"of a block", func(c *crafted) { link(c, 1024, 1, targetOf(1024)) }, "i_size is 1024"},
		{"longer than its block", func(c *crafted) { link(c, 1500, 2, targetOf(1024)) }, "i_size is 1500"},
		{"huge", func(c *crafted) { link(c, 1<<40, 1, targetOf(1024)) }, "i_size is"},
		{"zero byte", func(c *crafted) { link(c, 100, 1, targetOf(50)) }, "zero byte at 50"},
		{"no block", func(c *crafted) {
			link(c, 100, 1, targetOf(100))
			c.inode(ino, func(in *disk.Inode) { in.Block[0] = 0 })
		}, "has no block"},
		{"block outside", func(c *crafted) {
			link(c, 100, 1, targetOf(100))
			c.inode(ino, func(in *disk.Inode) { in.Block[0] = 1 << 30 })
		}, "points to"},
	} {
		t.Run(c.name, func(t *testing.T) {
			img := craft(t, 1024)
			c.lay(img)
			fs, log := img.logged()
			for range 3 {
				in, err := fs.Inode(ino)
				if err == nil {
					_, err = in.Readlink()
					in.Put()
				}
				wantDamage(t, err, log, c.want)
			}
		})
	}
	// A target that the block has room for, but no path.
	img := craft(t, 8192)
	link(img, 5000, 1, targetOf(5000))
	in := openInode(t, img.open(Options{}), ino)
	if _, err := in.Readlink(); !errors.Is(err, ErrNameTooLong) {
		t.Errorf("5000 bytes: %v", err)
	}
}
