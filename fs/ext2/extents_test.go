//go:build linux

package ext2

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// Extents of sparse and of full files, tables included, are what debugfs lists.
func TestExtents(t *testing.T) {
	for _, bs := range []int{1024, 4096} {
		root := t.TempDir()
		ext2test.FarWrites(t, filepath.Join(root, "far"), bs)
		for name, blocks := range map[string]int{"empty": 0, "direct": 12, "single": 13, "double": 12 + bs/4 + 5} {
			if err := os.WriteFile(filepath.Join(root, name), ext2test.Content(1, blocks*bs), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		img := ext2test.Make(t, ext2test.Options{BlockSize: bs, Size: 32 << 20, Root: root})
		fs := must(Open(ctx, img, Options{ReadOnly: true, Logger: quiet}))(t)
		top := must(fs.Root())(t)
		for _, name := range []string{"far", "empty", "direct", "single", "double", "lost+found"} {
			in := must(top.Lookup(name))(t)
			var got []string
			next := uint64(0)
			for _, e := range must(in.Extents(ctx))(t) {
				if e.Level == 0 && e.File < next {
					t.Errorf("%s: %+v lies before file block %d", name, e, next)
				}
				if e.Level == 0 {
					next = e.File + e.Count
				}
				for i := range e.Count {
					got = append(got, fmt.Sprint(e.Block+i))
				}
			}
			in.Put()
			_, list, _ := strings.Cut(ext2test.Debugfs(t, img, "blocks /"+name), "/"+name)
			if want := strings.Fields(list); !slices.Equal(got, want) {
				t.Errorf("%d-byte blocks, %s: %d blocks that are not the %d of debugfs", bs, name, len(got), len(want))
			}
		}
		top.Put()
		fs.Close()
	}
}

// Free runs are those that dumpe2fs lists, joined across groups.
func TestFreeRuns(t *testing.T) {
	w := makeWritable(t, ext2test.Options{Size: 40 << 20}, Options{})
	for i := range 40 {
		in := w.create(fmt.Sprintf("f%d", i), disk.ModeReg|0o644)
		w.write(in, make([]byte, (i%7+1)*5000), 0)
		in.Put()
		if i%3 == 2 {
			if err := w.root.Unlink(ctx, fmt.Sprintf("f%d", i-1)); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.close()
	out, err := exec.Command("dumpe2fs", w.img).Output()
	if err != nil {
		t.Fatal(err)
	}
	free := map[uint64]bool{}
	for _, line := range strings.Split(string(out), "\n") {
		list, ok := strings.CutPrefix(line, "  Free blocks: ")
		for _, r := range strings.Split(list, ", ") {
			var a, b uint64
			switch n, _ := fmt.Sscanf(r, "%d-%d", &a, &b); {
			case !ok || n == 0:
				continue
			case n == 1:
				b = a
			}
			for ; a <= b; a++ {
				free[a] = true
			}
		}
	}
	fs := must(Open(ctx, w.img, Options{ReadOnly: true, Logger: quiet}))(t)
	defer fs.Close()
	n := 0
	end := uint64(0)
	if err := fs.FreeRuns(ctx, func(block, count uint64) bool {
		if block <= end {
			t.Errorf("a run at %d touches the one that ends at %d", block, end)
		}
		end = block + count
		for i := range count {
			if !free[block+i] {
				t.Errorf("block %d is not free", block+i)
			}
		}
		n += int(count)
		return true
	}); err != nil || n != len(free) || n == 0 {
		t.Errorf("%d free blocks (%v), want %d", n, err, len(free))
	}
}

// oldalloc takes the group with most free blocks, where Orlov stays near the parent;
// without reservations two files written in turn lie mixed.
func TestAllocationOptions(t *testing.T) {
	w := makeWritable(t, ext2test.Options{Size: 64 << 20}, Options{})
	top := w.create("top", disk.ModeDir|0o755)
	topIno := top.Ino()
	group := func(ino uint32) uint32 { g, _ := w.fs.sb.InodeGroup(ino); return g }
	below := func() uint32 {
		t.Helper()
		in := must(top.Create(ctx, "d"+fmt.Sprint(len(w.fs.opts.MountPoint), w.fs.opts.OldAlloc), CreateOptions{Mode: disk.ModeDir | 0o755}))(t)
		defer in.Put()
		return group(in.Ino())
	}
	// The parent's group is the fullest one.
	f := must(top.Create(ctx, "full", CreateOptions{Mode: disk.ModeReg | 0o644}))(t)
	w.write(f, make([]byte, 1<<20), 0)
	f.Put()
	if g := below(); g != group(topIno) {
		t.Errorf("Orlov put a directory into group %d, its parent is in group %d", g, group(topIno))
	}
	top.Put()
	w.close()
	w.open(Options{OldAlloc: true})
	top = must(w.root.Lookup("top"))(t)
	if g := below(); g == group(topIno) {
		t.Errorf("oldalloc put a directory into its parent's group %d, the fullest", g)
	}
	top.Put()
	w.close()

	pieces := map[bool]int{}
	for _, off := range []bool{false, true} {
		w := makeWritable(t, ext2test.Options{Size: 64 << 20}, Options{NoReservation: off})
		a, b := w.create("a", disk.ModeReg|0o644), w.create("b", disk.ModeReg|0o644)
		for i := range int64(32) {
			w.write(a, make([]byte, 32<<10), i<<15)
			w.write(b, make([]byte, 32<<10), i<<15)
		}
		a.Put()
		b.Put()
		w.close()
		pieces[off] = ext2test.Fragments(t, w.img, "/a") + ext2test.Fragments(t, w.img, "/b")
	}
	if pieces[true] <= 2*pieces[false] {
		t.Errorf("%d pieces without reservation, %d with", pieces[true], pieces[false])
	}
}

// shareTables makes inode ino a file of n blocks, of which a few tables that lead to each other
// make very many.
func (c *crafted) shareTables(ino uint32, n uint64) {
	first, data := c.take(), c.take()
	var tables [3]uint32
	for i := range tables {
		tables[i] = c.take()
		below := data
		if i > 0 {
			below = tables[i-1]
		}
		for j := range int64(c.blockSize / 4) {
			c.setPtr(tables[i], j, below)
		}
	}
	c.inode(ino, func(in *disk.Inode) {
		in.Mode, in.Links, in.Size = disk.ModeReg|0o600, 1, n*uint64(c.blockSize)
		in.Block = [15]uint32{12: tables[0], 13: tables[1], 14: tables[2]}
		for i := range disk.NDirBlocks {
			in.Block[i] = first
		}
	})
}

// TestSharedTables: the memory that a tree of blocks takes, of a file as of a journal, is bounded
// by what the image has of it, not by how many blocks a few shared tables and i_size make of it.
func TestSharedTables(t *testing.T) {
	const want = "file block 268 points to an indirect block of the same file"
	c := craft(t, 1024)
	c.shareTables(fileIno, 8000)
	in := openInode(t, c.open(Options{}), fileIno)
	if list, err := in.Extents(ctx); err == nil || !strings.Contains(err.Error(), want) || len(list) > 300 {
		t.Errorf("%d extents, %v; want damage: %s", len(list), err, want)
	}

	c.shareTables(disk.JournalIno, 8000)
	if list, _, err := journalExtents(c.dev, Options{Logger: quiet}, disk.JournalIno); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%d pieces of a journal, %v; want damage: %s", len(list), err, want)
	}
}
