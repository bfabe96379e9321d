//go:build linux

package ext2

import (
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// More indirect blocks of a file cannot be read than one operation looks at: deleting it and
// making it shorter end all the same, with an error, and what can be freed is.
func TestFreeingUnreadableTables(t *testing.T) {
	m := loadImage(t, ext2test.Options{Size: 64 << 20, BlockSize: 1024})
	fs := must(New(ctx, m.Clone(), Options{Logger: quiet}))(t)
	root := must(fs.Root())(t)
	in := mustCreate(t, root, "file", disk.ModeReg)
	for i := range int64(3 * freeStep) {
		if _, err := in.Write(ctx, []byte("x"), i*256<<10, WriteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	in.Put()
	root.Put()
	used := fs.dev.(*blockiotest.Mem)
	if err := fs.Close(); err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"unlink", "truncate"} {
		t.Run(what, func(t *testing.T) {
			defer hangs(what)()
			m := used.Clone()
			dev := blockiotest.NewFault(m)
			fs := must(New(ctx, dev, Options{Logger: quiet}))(t)
			root := must(fs.Root())(t)
			in := must(root.Lookup("file"))(t)
			reads := 0
			dev.Fail(blockiotest.Rule{Op: blockio.Read, Match: func(b *blockio.Bio) bool {
				reads++
				return b.For == blockio.Indirect && reads > 2
			}})
			if what == "unlink" {
				if err := root.Unlink(ctx, "file"); err != nil {
					t.Fatal(err)
				}
			} else {
				size := int64(0)
				if err := in.SetAttr(ctx, SetAttr{Size: &size}); err == nil {
					t.Error("nobody was told")
				}
			}
			in.Put()
			dev.Heal()
			root.Put()
			if err := fs.Close(); err != nil {
				t.Error(err)
			}
			if code, out := fsck(t, m.Clone(), "-f", "-n"); code != 0 {
				t.Errorf("e2fsck -f -n: %d\n%s", code, out)
			}
		})
	}
}
