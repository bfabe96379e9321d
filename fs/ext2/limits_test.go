//go:build linux

package ext2

import (
	"math"
	"testing"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// A hole punched at the end of a file of the largest size, where no block can be, is none, and
// by no means damage.
func TestPunchBehindLargestFile(t *testing.T) {
	for _, bs := range []int{1024, 2048, 4096} {
		m := loadImage(t, ext2test.Options{Size: 8 << 20, BlockSize: bs})
		fs := must(New(ctx, m, Options{Logger: quiet, Errors: ErrorsRemountRO}))(t)
		root := must(fs.Root())(t)
		in := mustCreate(t, root, "file", disk.ModeReg)
		size := fs.sb.MaxFileSize()
		if _, err := in.Write(ctx, []byte("end"), size-3, WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		for _, r := range [][2]int64{{size, 1}, {size - 2, 10}, {size, math.MaxInt64 - size}, {size + 1<<20, 1}} {
			if err := in.Fallocate(ctx, FallocPunchHole|FallocKeepSize, r[0], r[1], WriteOptions{}); err != nil {
				t.Errorf("blocks of %d, %d bytes from %d on, the largest size being %d: %v", bs, r[1], r[0], size, err)
			}
		}
		in.Put()
		root.Put()
		if fs.ReadOnly() {
			t.Errorf("blocks of %d: the file system is read-only", bs)
		}
		if err := fs.Close(); err != nil {
			t.Error(err)
		}
		if code, out := fsck(t, m.Clone(), "-f", "-n"); code != 0 {
			t.Errorf("blocks of %d: e2fsck -f -n: %d\n%s", bs, code, out)
		}
	}
}
