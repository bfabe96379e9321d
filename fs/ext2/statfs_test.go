//go:build linux

package ext2

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
	"golang.org/x/sys/unix"
)

// TestStatfsLikeKernel holds statfs against the kernel's, in both ways of counting.
func TestStatfsLikeKernel(t *testing.T) {
	ext2test.NeedKernelMount(t)
	for _, tt := range []struct {
		name string
		o    ext2test.Options
	}{
		{"1k", ext2test.Options{}},
		{"4k", ext2test.Options{BlockSize: 4096, Size: 200 << 20}},
		{"rev 0", ext2test.Options{Revision0: true}},
		{"all groups with super", ext2test.Options{Features: []string{"^sparse_super", "^resize_inode"}, Args: []string{"-g", "512"}}},
		{"meta_bg", ext2test.Options{Features: []string{"meta_bg", "^resize_inode"}, Args: []string{"-g", "256"}, Size: 64 << 20}},
		{"ext3", ext2test.Options{Type: "ext3", Size: 24 << 20}},
		{"reserved", ext2test.Options{Args: []string{"-m", "50"}}},
	} {
		for _, counted := range []bool{true, false} { // does the superblock know its overhead?
			t.Run(fmt.Sprintf("%s/overhead known %v", tt.name, counted), func(t *testing.T) {
				img := imageWith(t, tt.o)
				if !counted {
					ext2test.DebugfsWrite(t, img, "set_super_value overhead_blocks 0")
				}
				if strings.HasPrefix(tt.name, "reserved") {
					ext2test.DebugfsWrite(t, img, "set_super_value r_blocks_count 16000")
				}
				for _, df := range []string{"bsddf", "minixdf"} {
					dir := ext2test.KernelMount(t, img, "ro,"+df)
					var st unix.Statfs_t
					if err := unix.Statfs(dir, &st); err != nil {
						t.Fatal(err)
					}
					ext2test.Unmount(t, dir)
					fs, err := Open(ctx, img, Options{ReadOnly: true, Logger: quiet, MinixDF: df == "minixdf"})
					if err != nil {
						t.Fatal(err)
					}
					s := fs.Statfs()
					fs.Close()
					got := fmt.Sprint(s.BlockSize, s.Blocks, s.FreeBlocks, s.Available, s.Inodes, s.FreeInodes, s.NameLen, uint32(s.FSID), s.FSID>>32)
					want := fmt.Sprint(st.Bsize, st.Blocks, st.Bfree, st.Bavail, st.Files, st.Ffree, st.Namelen, uint32(st.Fsid.Val[0]), uint32(st.Fsid.Val[1]))
					if got != want {
						t.Errorf("%s:\n   got %s\nkernel %s", df, got, want)
					}
				}
			})
		}
	}
}
