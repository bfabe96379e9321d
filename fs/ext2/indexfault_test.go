//go:build linux

package ext2

import (
	"fmt"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// TestUnreadableIndex: blocks of an indexed directory cannot be read for a while. A name
// cannot be added then, and the directory keeps its index.
func TestUnreadableIndex(t *testing.T) {
	m := loadImage(t, ext2test.Options{Size: 16 << 20, BlockSize: 1024})
	fs := must(New(ctx, m, Options{Logger: quiet}))(t)
	root := must(fs.Root())(t)
	dir := mustCreate(t, root, "dir", disk.ModeDir)
	for i := range 3000 { // a root, nodes and leaves
		mustCreate(t, dir, fmt.Sprintf("a-name-as-long-as-any-%04d", i), disk.ModeReg).Put()
	}
	dir.Put()
	root.Put()
	if err := fs.Close(); err != nil {
		t.Fatal(err)
	}
	for bad := range 6 { // root, node, leaf: to see that the name is new, and to add it
		used := m.Clone()
		dev := blockiotest.NewFault(used)
		fs := must(New(ctx, dev, Options{Logger: quiet, CacheBytes: 1}))(t)
		root := must(fs.Root())(t)
		dir := must(root.Lookup("dir"))(t)
		reads := 0
		dev.Fail(blockiotest.Rule{Op: blockio.Read, Match: func(b *blockio.Bio) bool {
			if b.For == blockio.Directory {
				reads++
			}
			return b.For == blockio.Directory && reads > bad
		}})
		if _, err := dir.Create(ctx, fmt.Sprint("new-", bad), CreateOptions{Mode: disk.ModeReg}); err == nil || isCorrupt(err) {
			t.Errorf("block %d: %v", bad, err)
		}
		dev.Heal()
		mustCreate(t, dir, fmt.Sprint("new-", bad), disk.ModeReg).Put()
		if dir.raw.Flags&disk.InodeIndex == 0 {
			t.Errorf("block %d: the directory lost its index", bad)
		}
		dir.Put()
		root.Put()
		if err := fs.Close(); err != nil {
			t.Error(err)
		}
		if code, out := fsck(t, used.Clone(), "-f", "-n"); code != 0 {
			t.Errorf("e2fsck -f -n: %d\n%s", code, out)
		}
	}
}
