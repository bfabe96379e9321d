//go:build linux

package ext2

import (
	"strings"
	"syscall"
	"testing"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

func TestBadDirSize(t *testing.T) {
	for name, size := range map[string]uint64{"part of a block": 2048 + 100, "larger than the file system": 1 << 31} {
		t.Run(name, func(t *testing.T) {
			img := craft(t, 1024)
			img.dir(badIno, names(0, 50)...)
			img.inode(badIno, func(in *disk.Inode) { in.Size = size })
			fs, log := img.logged()
			in := openInode(t, fs, badIno)
			for range 3 {
				if ino, err := in.lookupIno("name-0-7"); ino != fileIno || err != nil {
					t.Errorf("name-0-7: inode %d, %v", ino, err)
				}
				if _, err := in.lookupIno("absent"); Errno(err) != syscall.EIO {
					t.Errorf("absent: %v", err)
				}
				if got, _, err := listFrom(t, in, 0, 10); Errno(err) != syscall.EIO || len(got) < 40 {
					t.Errorf("%d entries, %v", len(got), err)
				}
			}
			if lines := strings.Count(log.String(), "\n"); lines > 2 {
				t.Errorf("%d lines logged:\n%s", lines, log)
			}
		})
	}
}

func TestEndlessDir(t *testing.T) {
	img := craft(t, 1024)
	img.dir(badIno, names(0, 30)...)
	dind, ind, leaf := img.take(), img.take(), img.take()
	img.write(packLeaf(1024, names(1, 20)), int64(leaf)*1024)
	for i := range int64(256) {
		img.setPtr(ind, i, leaf)
		img.setPtr(dind, i, ind)
	}
	img.inode(badIno, func(in *disk.Inode) {
		for i := 1; i < disk.NDirBlocks; i++ {
			in.Block[i] = leaf
		}
		in.Block[disk.IndBlock], in.Block[disk.DIndBlock], in.Block[disk.TIndBlock] = ind, dind, 0
		in.Size = 30000 << 10
	})
	fs, log := img.logged()
	in := openInode(t, fs, badIno)
	for range 10 {
		if ino, err := in.lookupIno("name-1-7"); ino != fileIno || err != nil {
			t.Errorf("inode %d, %v", ino, err)
		}
	}
	before := fs.CacheStats()
	for range 100 {
		_, err := in.lookupIno("absent")
		wantDamage(t, err, log, "stands in it twice")
		if t.Failed() {
			break
		}
	}
	if after := fs.CacheStats(); after.Hits-before.Hits > 1000 {
		t.Errorf("%d blocks were looked at", after.Hits-before.Hits)
	}
}

func TestSharedDirBlocks(t *testing.T) {
	img := craft(t, 1024)
	img.dir(badIno, names(0, 3)...)
	img.dir(RootIno, namedIno{"d", badIno}, namedIno{"file", fileIno})
	one, two, leaf := img.take(), img.take(), img.take()
	free := make([]byte, 1024)
	disk.PutDirent(free, 0, 0, len(free), nil, disk.TypeUnknown)
	img.write(free, int64(leaf)*1024)
	for i := range int64(256) {
		img.setPtr(one, i, leaf)
		img.setPtr(two, i, one)
	}
	img.inode(badIno, func(in *disk.Inode) {
		in.Block[disk.IndBlock], in.Block[disk.DIndBlock], in.Size = one, two, 8000<<10
	})
	for i := 1; i < disk.NDirBlocks; i++ {
		block := img.take()
		img.write(free, int64(block)*1024)
		img.inode(badIno, func(in *disk.Inode) { in.Block[i] = block })
	}
	const want = "the block stands in it twice, once as file block 13"
	fs, log := img.logged()
	in := openInode(t, fs, badIno)
	n := looked(fs, func() {
		got, _, err := listFrom(t, in, 0, 1<<30)
		if len(got) != 5 {
			t.Errorf("%d entries are listed, want 5", len(got))
		}
		wantDamage(t, err, log, want)
	})
	if n > 3000 {
		t.Errorf("%d blocks were looked at", n)
	}

	dev := img.dev.Clone()
	fs = must(New(ctx, dev, Options{Logger: quiet}))(t)
	root := must(fs.Root())(t)
	if err := root.Rmdir(ctx, "d"); !isCorrupt(err) {
		t.Errorf("rmdir: %v", err)
	}
	in = must(fs.Inode(badIno))(t)
	if _, err := in.Create(ctx, strings.Repeat("n", 250), CreateOptions{Mode: disk.ModeReg}); !isCorrupt(err) {
		t.Errorf("create: %v", err)
	}
	in.Put()
	root.Put()
	if err := fs.Close(); err != nil {
		t.Error(err)
	}
}

func TestLostDirBlocks(t *testing.T) {
	img := craft(t, 1024)
	img.dir(badIno, names(0, 3)...)
	leaf, one, two := img.take(), img.take(), img.take()
	img.write(packLeaf(1024, []namedIno{{"behind", fileIno}}), int64(leaf)*1024)
	for i := range int64(256) {
		img.setPtr(two, i, 1<<30)
	}
	img.setPtr(two, 20, one)
	img.setPtr(one, 7, leaf)
	img.inode(badIno, func(in *disk.Inode) { in.Block[disk.DIndBlock], in.Size = two, 8000<<10 })
	fs, log := img.logged()
	in := openInode(t, fs, badIno)
	n := looked(fs, func() {
		for range 3 {
			if ino, err := in.lookupIno("behind"); ino != fileIno || err != nil {
				t.Errorf("behind: inode %d, %v", ino, err)
			}
			if _, err := in.lookupIno("absent"); !isCorrupt(err) {
				t.Errorf("absent: %v", err)
			}
		}
		if got, _, err := listFrom(t, in, 0, 1<<30); len(got) != 6 || !isCorrupt(err) {
			t.Errorf("%d entries are listed, %v", len(got), err)
		}
	})
	if n > 2000 {
		t.Errorf("%d blocks were looked at", n)
	}
	if !strings.Contains(log.String(), "block 1073741824") {
		t.Errorf("the log has %s", log)
	}
}

func TestEndlessIndex(t *testing.T) {
	img := craft(t, 1024)
	h := img.open(Options{}).hasher()
	_, hash := h.pos([]byte("absent"))
	root, node := make([]byte, 1024), make([]byte, 1024)
	table, inner := disk.InitDxRoot(root, badIno, RootIno, true, h.version%3), disk.InitDxNode(node)
	table.SetLevels(root, 1)
	for at, n := range map[uint32]*disk.DxNode{1: &table.DxNode, 2: &inner} {
		var all []disk.DxEntry
		for range n.Limit {
			all = append(all, disk.DxEntry{Hash: hash | 1, Block: at})
		}
		setTable(n, all)
	}
	img.inode(badIno, func(in *disk.Inode) { in.Flags |= disk.InodeIndex })
	img.dirOf(badIno, root, node, packLeaf(1024, names(0, 30)))
	for what, use := range map[string]func(in *Inode) error{
		"look-up": func(in *Inode) error { _, err := in.lookupIno("absent"); return err },
		"listing": func(in *Inode) error { _, _, err := listFrom(t, in, 0, 1<<30); return err },
	} {
		fs, log := img.logged()
		in := openInode(t, fs, badIno)
		n := looked(fs, func() { _ = use(in) })
		if n > 200 {
			t.Errorf("%s: %d blocks were looked at", what, n)
		}
		if !strings.Contains(log.String(), "it goes on to more leaves than the directory has blocks") {
			t.Errorf("%s: the log has %s", what, log)
		}
	}
}
