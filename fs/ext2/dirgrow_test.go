//go:build linux

package ext2

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// linkMany gives one inode names in a directory, disk.MaxLinks at most to one inode. It returns
// the names.
func (w *writable) linkMany(dir *Inode, from, n int, form string) []string {
	w.Helper()
	var in *Inode
	names := make([]string, 0, n)
	for i := range n {
		name := fmt.Sprintf(form, from+i)
		if i%30_000 == 0 {
			if in != nil {
				in.Put()
			}
			in = must(dir.Create(ctx, name, CreateOptions{Mode: disk.ModeReg | 0o644}))(w)
		} else if err := dir.Link(ctx, name, in, Root); err != nil {
			w.Fatalf("name %d: %v", i, err)
		}
		names = append(names, name)
	}
	in.Put()
	return names
}

// TestTreeGrows fills directories until their htrees have two levels, by short names and
// by long ones, removes every third name and adds others; e2fsck, the library anew and the
// kernel's driver then find every name.
func TestTreeGrows(t *testing.T) {
	for _, c := range []struct {
		bs, n int
		form  string
	}{
		{1024, 12_000, "%d"},
		{1024, 2000, "%0250d"},
		{2048, 3000, "%0200d"},
		{4096, 20_000, "name-%d"},
	} {
		t.Run(fmt.Sprintf("%d %s", c.bs, c.form), func(t *testing.T) {
			w := makeWritable(t, ext2test.Options{Size: 64 << 20, BlockSize: c.bs}, Options{})
			d := w.create("d", disk.ModeDir|0o755)
			names := w.linkMany(d, 0, c.n, c.form)
			var kept []string
			for i, n := range names {
				if i%30_000 != 0 && i%3 == 0 {
					w.wantErr(n, d.Unlink(ctx, n), nil)
				} else {
					kept = append(kept, n)
				}
			}
			kept = append(kept, w.linkMany(d, c.n, c.n/3, c.form)...)
			in := must(d.Lookup(kept[0]))(t)
			w.wantErr("a name that is there", d.Link(ctx, kept[1], in, Root), ErrExist)
			in.Put()
			if a := d.Attr(); a.Flags&disk.InodeIndex == 0 {
				t.Error("the directory has no index")
			}
			levels := 0
			d.mu.RLock()
			r := d.openDirLocked()
			var tree dxTree
			if err := tree.open(d.dir.data(w.fs), &r); err != nil {
				t.Fatal(err)
			}
			levels = tree.depth
			tree.close()
			d.mu.RUnlock()
			if want := 2; c.bs == 1024 && levels != want {
				t.Errorf("the tree has %d levels of tables, want %d", levels, want)
			}
			d.Put()
			w.close()

			w.open(Options{ReadOnly: true})
			d = must(w.root.Lookup("d"))(t)
			for _, n := range kept {
				if _, err := d.lookupIno(n); err != nil {
					t.Fatalf("%s: %v", n, err)
				}
			}
			d.Put()
			w.root.Put()
			w.fs.Close()
			if ext2test.NoKernelMount() != "" || c.bs > ext2test.MaxKernelBlock {
				return
			}
			dir := filepath.Join(ext2test.KernelMount(t, w.img, "ro"), "d")
			for _, n := range kept {
				if _, err := os.Lstat(filepath.Join(dir, n)); err != nil {
					t.Fatalf("the kernel's driver: %v", err)
				}
			}
			if all := must(os.ReadDir(dir))(t); len(all) != len(kept) {
				t.Errorf("the kernel's driver lists %d names, want %d", len(all), len(kept))
			}
		})
	}
}

// TestTreeFull fills a tree of two levels: the name that finds no room is refused, all
// others stay, and the tree is whole.
func TestTreeFull(t *testing.T) {
	w := makeWritable(t, ext2test.Options{Size: 128 << 20, BlockSize: 1024}, Options{})
	d := w.create("d", disk.ModeDir|0o755)
	// Names as long as can be fill a leaf of 1 KiB three at a time; two levels have about
	// 124*126 leaves, of which splitting fills two thirds.
	n := 0
	var in *Inode
	for ; ; n++ {
		name := fmt.Sprintf("%0255d", n)
		var err error
		if n%30_000 == 0 {
			if in != nil {
				in.Put()
			}
			in, err = d.Create(ctx, name, CreateOptions{Mode: disk.ModeReg})
		} else {
			err = d.Link(ctx, name, in, Root)
		}
		if errors.Is(err, ErrNoSpace) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if free := w.fs.space.freeBlocks.Load(); free < 1000 {
		t.Fatalf("the image is full after %d names; the tree was to be", n)
	}
	for i := range n {
		if _, err := d.lookupIno(fmt.Sprintf("%0255d", i)); err != nil {
			t.Fatalf("name %d: %v", i, err)
		}
	}
	t.Logf("%d names, %d bytes", n, d.Attr().Size)
	in.Put()
	d.Put()
	w.close()
}

// TestLinearDirectoryCosts counts the blocks that adding, finding and removing a name in a
// large directory without an htree touches: as few as in a small one.
func TestLinearDirectoryCosts(t *testing.T) {
	const n = 100_000
	w := makeWritable(t, ext2test.Options{Size: 64 << 20, BlockSize: 4096, Features: []string{"^dir_index"}}, Options{})
	d := w.create("d", disk.ModeDir|0o755)
	w.linkMany(d, 0, n, "name-%07d")
	in := must(d.Lookup(name(0)))(t)
	w.wantErr("warm up", d.Unlink(ctx, name(n/2)), nil)
	gets := func(f func()) uint64 {
		before := w.fs.cache.Stats()
		f()
		after := w.fs.cache.Stats()
		return uint64(after.Hits + after.Misses - before.Hits - before.Misses)
	}
	const each = 200
	rnd := rand.New(rand.NewPCG(3, 3))
	for _, c := range []struct {
		what string
		most uint64
		f    func(i int)
	}{
		{"finding", 6, func(int) { _, _ = d.lookupIno(name(rnd.IntN(n))) }},
		{"not finding", 1, func(i int) { _, _ = d.lookupIno(fmt.Sprint("none", i)) }},
		{"adding", 16, func(i int) { w.wantErr("add", d.Link(ctx, name(n+i), in, Root), nil) }},
		{"removing", 20, func(i int) { w.wantErr("remove", d.Unlink(ctx, name(n+i)), nil) }},
		{"adding in gaps", 16, func(i int) { w.wantErr("add", d.Link(ctx, name(n+i), in, Root), nil) }},
	} {
		got := gets(func() {
			for i := range each {
				c.f(i)
			}
		})
		t.Logf("%s: %.1f blocks each", c.what, float64(got)/each)
		if got > c.most*each {
			t.Errorf("%s a name touches %d blocks, at most %d were expected", c.what, got/each, c.most)
		}
	}
	in.Put()
	d.Put()
	w.close()
}

// TestListingWhileChanging lists directories in pieces while names come and go: each name
// that stays comes exactly once, whatever splits or is removed meanwhile.
func TestListingWhileChanging(t *testing.T) {
	for _, features := range []string{"dir_index", "^dir_index"} {
		for seed := range uint64(4) {
			t.Run(fmt.Sprint(features, seed), func(t *testing.T) {
				rnd := rand.New(rand.NewPCG(seed, 9))
				w := makeWritable(t, ext2test.Options{Size: 32 << 20, BlockSize: 1024, Features: []string{features}}, Options{})
				d := w.create("d", disk.ModeDir|0o755)
				in := must(d.Create(ctx, "first", CreateOptions{Mode: disk.ModeReg}))(t)
				stay := map[string]bool{"first": true, ".": true, "..": true}
				var come []string
				next := 0
				add := func(stays bool) {
					name := fmt.Sprintf("%d%s", next, strings.Repeat("x", rnd.IntN(60)))
					next++
					w.wantErr("link", d.Link(ctx, name, in, Root), nil)
					if stays {
						stay[name] = true
					} else {
						come = append(come, name)
					}
				}
				for range []int{5, 30, 300, 3000}[seed] {
					add(rnd.IntN(2) == 0)
				}
				seen := map[string]int{}
				cookie := uint64(0)
				for more := true; more; {
					more = false
					left := rnd.IntN(40) + 1
					err := d.ReadDir(ctx, cookie, func(e DirEntry) bool {
						if left--; left < 0 {
							more = true
							return false
						}
						seen[string(e.Name)]++
						cookie = e.Next
						return true
					})
					if err != nil {
						t.Fatalf("seed %d: %v", seed, err)
					}
					for range rnd.IntN(30) {
						if len(come) > 0 && rnd.IntN(2) == 0 {
							i := rnd.IntN(len(come))
							w.wantErr("unlink", d.Unlink(ctx, come[i]), nil)
							come[i] = come[len(come)-1]
							come = come[:len(come)-1]
						} else if next < 9000 {
							add(false)
						}
					}
				}
				for name := range stay {
					if seen[name] != 1 {
						t.Errorf("seed %d: %q came %d times", seed, name, seen[name])
					}
				}
				for name, n := range seen {
					if n > 1 {
						t.Errorf("seed %d: %q came %d times", seed, name, n)
					}
				}
				in.Put()
				d.Put()
				w.close()
			})
		}
	}
}

// BenchmarkAddName adds names to directories that have many already: the curve is to be
// flat.
func BenchmarkAddName(b *testing.B) {
	for _, features := range []string{"dir_index", "^dir_index"} {
		for _, n := range []int{1000, 10_000, 100_000, 1_000_000} {
			b.Run(fmt.Sprintf("%s/%d", features, n), func(b *testing.B) {
				w := makeWritable(b, ext2test.Options{Size: 256 << 20, BlockSize: 4096, Features: []string{features}}, Options{})
				d := w.create("d", disk.ModeDir|0o755)
				w.linkMany(d, 0, n, "name-%07d")
				in := must(d.Create(ctx, "more", CreateOptions{Mode: disk.ModeReg}))(b)
				i := 0
				for b.Loop() {
					if i%30_000 == 29_999 {
						in.Put()
						in = must(d.Create(ctx, fmt.Sprint("more", i), CreateOptions{Mode: disk.ModeReg}))(b)
					}
					if err := d.Link(ctx, fmt.Sprintf("new-%07d", i), in, Root); err != nil {
						b.Fatal(err)
					}
					i++
				}
				in.Put()
				d.Put()
				w.root.Put()
				w.fs.Close()
			})
		}
	}
}

// TestDirBlockOfTwo: a block of a directory that is another file's table, too, may become
// anything after it was checked. Names in it that need more room than they had do no harm to
// who moves them.
func TestDirBlockOfTwo(t *testing.T) {
	w := makeWritable(t, ext2test.Options{Size: 8 << 20, BlockSize: 1024}, Options{})
	dir := w.create("dir", disk.ModeDir|0o755)
	run, err := (*blockMap)(dir).GetBlock(0, 1, false)
	if err != nil {
		t.Fatal(err)
	}
	buf := must(w.fs.cache.Get(run.Block, blockio.Directory))(t)
	err = w.fs.update(ctx, 1, func() error {
		modify(buf, func(b []byte) {
			off := 24 // behind the dots
			disk.SetRecLen(b, dotDotOff, off-dotDotOff)
			for ; off+26 <= len(b); off += 13 {
				disk.PutDirent(b, off, RootIno, 13, []byte("12345"), 0)
			}
			disk.PutDirent(b, off, RootIno, len(b)-off, []byte("last!"), 0)
		})
		return nil
	})
	buf.Release()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dir.Create(ctx, strings.Repeat("n", 200), CreateOptions{Mode: disk.ModeReg}); !isCorrupt(err) {
		t.Errorf("creating a name: %v, want damage", err)
	}
	dir.Put()
	w.root.Put()
	if err := w.fs.Close(); err != nil {
		t.Fatal(err)
	}
}
