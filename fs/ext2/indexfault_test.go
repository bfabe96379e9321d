//go:build linux

package ext2

import (
	"fmt"
	"os"
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

// TestUnreadableDirTable: thousands of blocks of a directory are out of reach with one table. The
// device is not asked for that once for each of them, and when it gives it again all names are found.
func TestUnreadableDirTable(t *testing.T) {
	for _, features := range []string{"dir_index", "^dir_index"} {
		t.Run(features, func(t *testing.T) {
			w := makeWritable(t, ext2test.Options{Size: 64 << 20, BlockSize: 1024, Features: []string{features}}, Options{})
			dir := w.create("dir", disk.ModeDir|0o755)
			names := w.linkMany(dir, 0, 6000, "%0250d")
			table := int64(dir.raw.Block[disk.IndBlock+1]) << 10
			dir.Put()
			w.close()
			dev := blockiotest.NewFault(blockiotest.MemOf(must(os.ReadFile(w.img))(t)))
			fs := must(New(ctx, dev, Options{Logger: quiet}))(t)
			root := must(fs.Root())(t)
			dir = must(root.Lookup("dir"))(t)
			dev.Fail(blockiotest.Rule{Op: blockio.Read, Match: func(b *blockio.Bio) bool { return b.Off == table }})
			list := func() (n int, err error) {
				err = dir.ReadDir(ctx, 0, func(DirEntry) bool { n++; return true })
				return n, err
			}
			for range 3 { // the second makes an index in memory, if it can
				if _, err := dir.lookupIno("none"); err == nil || err == ErrNotExist {
					t.Errorf("looking a name up: %v", err)
				}
			}
			if n, err := list(); n > len(names) || err == nil {
				t.Errorf("listing: %d names, %v", n, err)
			}
			if n := dev.Failed(); n > 100 {
				t.Errorf("the table was read %d times", n)
			}
			dev.Heal()
			for _, name := range names {
				if _, err := dir.lookupIno(name); err != nil {
					t.Fatal(err)
				}
			}
			if n, err := list(); n != len(names)+2 || err != nil {
				t.Errorf("listing: %d names, %v", n, err)
			}
			dir.Put()
			root.Put()
			if err := fs.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
