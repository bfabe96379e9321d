//go:build linux

package ext2

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// kernelExtents lets the kernel's driver write on an image of its own and counts the
// pieces of the files afterwards.
func kernelExtents(t *testing.T, o ext2test.Options, files []string, write func(dir string)) (n int) {
	t.Helper()
	img := ext2test.Make(t, o)
	dir := ext2test.KernelMount(t, img)
	write(dir)
	ext2test.Unmount(t, dir)
	for _, f := range files {
		n += ext2test.Fragments(t, img, "/"+f)
	}
	return n
}

// TestTwoFilesInTurn writes two files in turn, 1 MiB at a time, and expects them in no
// more pieces than the kernel's driver makes of them.
func TestTwoFilesInTurn(t *testing.T) {
	ext2test.NeedKernelMount(t)
	const turns = 32
	chunk := ext2test.Content(1, 1<<20)
	for _, bs := range []int{1024, 4096} {
		t.Run(fmt.Sprint(bs), func(t *testing.T) {
			o := ext2test.Options{Size: 256 << 20, BlockSize: bs}
			names := []string{"a", "b"}
			kernel := kernelExtents(t, o, names, func(dir string) {
				var f [2]*os.File
				for i, n := range names {
					f[i] = must(os.Create(filepath.Join(dir, n)))(t)
					defer f[i].Close()
				}
				for range turns {
					for i := range f {
						must(f[i].Write(chunk))(t)
					}
				}
			})
			w := makeWritable(t, o, Options{})
			a, b := w.create("a", disk.ModeReg|0o644), w.create("b", disk.ModeReg|0o644)
			for i := range int64(turns) {
				w.write(a, chunk, i<<20)
				w.write(b, chunk, i<<20)
			}
			a.Put()
			b.Put()
			w.close()
			ours := ext2test.Fragments(t, w.img, "/a") + ext2test.Fragments(t, w.img, "/b")
			t.Logf("pieces: %d, the kernel's driver: %d", ours, kernel)
			if ours > kernel {
				t.Errorf("the files are in %d pieces, the kernel makes %d", ours, kernel)
			}
		})
	}
}

// TestOutOfOrder writes a file by requests that overtake each other, as writeback does,
// and expects no more pieces than the kernel's driver makes of writing it in order.
func TestOutOfOrder(t *testing.T) {
	ext2test.NeedKernelMount(t)
	const size = 48
	chunk := ext2test.Content(1, 1<<20)
	for _, bs := range []int{1024, 4096} {
		t.Run(fmt.Sprint(bs), func(t *testing.T) {
			o := ext2test.Options{Size: 256 << 20, BlockSize: bs}
			kernel := kernelExtents(t, o, []string{"f"}, func(dir string) {
				f := must(os.Create(filepath.Join(dir, "f")))(t)
				defer f.Close()
				for range size {
					must(f.Write(chunk))(t)
				}
			})
			for seed := range uint64(4) {
				rnd := rand.New(rand.NewPCG(seed, 1))
				order := make([]int64, size)
				for i := range order {
					order[i] = int64(i)
				}
				for i := range size { // within a window of 6
					j := min(i+rnd.IntN(6), len(order)-1)
					order[i], order[j] = order[j], order[i]
				}
				w := makeWritable(t, o, Options{})
				f := w.create("f", disk.ModeReg|0o644)
				for _, at := range order {
					w.write(f, chunk, at<<20)
				}
				f.Put()
				w.close()
				ours := ext2test.Fragments(t, w.img, "/f")
				t.Logf("seed %d: %d pieces, the kernel's driver in order: %d", seed, ours, kernel)
				if ours > kernel {
					t.Errorf("seed %d: %d pieces, the kernel makes %d; order %v", seed, ours, kernel, order)
				}
			}
		})
	}
}

// TestSmallFilesPack writes small files one after the other: they leave no gaps.
func TestSmallFilesPack(t *testing.T) {
	w := makeWritable(t, ext2test.Options{Size: 64 << 20, BlockSize: 1024, Features: []string{"^dir_index"}}, Options{})
	var blocks []uint64
	for i := range 500 {
		f := w.create(name(i), disk.ModeReg|0o644)
		w.write(f, make([]byte, 1000+i%3*1024), 0)
		f.mu.RLock()
		for b := range (f.raw.Size + 1023) / 1024 {
			blocks = append(blocks, must(f.bmapLocked(b))(t))
		}
		f.mu.RUnlock()
		f.Put()
	}
	slices.Sort(blocks)
	span := blocks[len(blocks)-1] - blocks[0] + 1
	dir := w.root.Attr().Blocks / 2
	if span > uint64(len(blocks))+dir+8 {
		t.Errorf("%d blocks are spread over %d", len(blocks), span)
	}
	w.close()
}

// TestOneAllocationPerRequest counts how often a request of 1 MiB that meets free room asks
// the allocator: once, and once more for each table that begins in it.
func TestOneAllocationPerRequest(t *testing.T) {
	w := makeWritable(t, ext2test.Options{Size: 64 << 20, BlockSize: 4096}, Options{})
	f := w.create("f", disk.ModeReg|0o644)
	p := make([]byte, 1<<20)
	for i := range int64(8) {
		w.write(f, p, i<<20)
		f.mu.RLock()
		n := len(f.alloc.fresh)
		f.mu.RUnlock()
		if want := 1; i > 0 && i != 4 && n > want || n > 3 {
			t.Errorf("request %d was given its blocks in %d pieces", i, n)
		}
	}
	f.Put()
	w.close()
}

// TestReservedBlocks fills an image as a user, as the reserved user, and as root; directories
// and attributes get no reserved blocks either.
func TestReservedBlocks(t *testing.T) {
	user := Cred{UID: 1000, GID: 1000}
	for _, c := range []struct {
		name string
		cred Cred
		o    Options
		all  bool
	}{
		{"user", user, Options{}, false},
		{"root", Root, Options{}, true},
		{"resuid", user, Options{ResUID: ptr(uint32(1000))}, true},
		{"resgid", user, Options{ResGID: ptr(uint32(1000))}, true},
		{"group", Cred{UID: 5, GID: 5, Groups: func(g uint32) bool { return g == 77 }}, Options{ResGID: ptr(uint32(77))}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.o.NoJournal = true // or part of the reserve would be lent to it
			w := makeWritable(t, ext2test.Options{Size: 8 << 20, BlockSize: 1024, Args: []string{"-m", "10"}}, c.o)
			f := w.fill("f", c.cred)
			left, reserved := w.fs.space.freeBlocks.Load(), int64(w.fs.sb.RBlocksCount)
			// A few blocks may be left over that a branch of tables did not fit into.
			if want := reserved; !c.all && (left < want || left > want+3) || c.all && left > 3 {
				t.Errorf("%d blocks are left, %d are reserved", left, reserved)
			}
			if !c.all {
				_, err := w.root.Create(ctx, "d", CreateOptions{Mode: disk.ModeDir | 0o755, Cred: c.cred})
				w.wantErr("mkdir", err, ErrNoSpace)
				_, err = w.root.Create(ctx, "s", CreateOptions{Mode: disk.ModeSymlink | 0o777, Target: strings.Repeat("x", 200), Cred: c.cred})
				w.wantErr("symlink", err, ErrNoSpace)
				w.wantErr("setxattr", f.Setxattr(ctx, "user.big", make([]byte, 600), 0, c.cred), ErrNoSpace)
				w.wantErr("setxattr of root", f.Setxattr(ctx, "user.big", make([]byte, 600), 0, Root), nil)
			}
			f.Put()
			w.close()
		})
	}
}

func ptr[T any](v T) *T { return &v }

// TestFailedCreateFreesNothing makes objects whose name finds no room: a device number or
// a target in i_block must not be taken for blocks to free.
func TestFailedCreateFreesNothing(t *testing.T) {
	for _, mode := range []uint32{disk.ModeBlock, disk.ModeChar, disk.ModeSymlink, disk.ModeReg, disk.ModeDir} {
		w := makeWritable(t, ext2test.Options{Size: 8 << 20, BlockSize: 1024, Inodes: 1024, Features: []string{"^dir_index"}}, Options{})
		n := 0
		for ; w.root.Attr().Size == 1024; n++ {
			w.create(fmt.Sprintf("%0200d", n), disk.ModeReg).Put()
		}
		for w.dirRoom() { // until the directory needs another block
			w.create(fmt.Sprintf("%0200d", n), disk.ModeReg).Put()
			n++
		}
		f := w.fill("f", Root)
		inodes := w.fs.space.freeInodes.Load() - w.fs.space.pendingIno.Load()
		_, err := w.root.Create(ctx, strings.Repeat("y", 250), CreateOptions{Mode: mode | 0o600, Major: 8, Minor: 3, Target: "\x00\x08\x00\x00"})
		w.wantErr("create", err, ErrNoSpace)
		if got := w.fs.space.freeBlocks.Load(); got != 0 {
			t.Errorf("mode %o: %d blocks are free after the refusal", mode, got)
		}
		if err := w.fs.Sync(ctx); err != nil {
			t.Fatal(err)
		}
		if got := w.fs.space.freeInodes.Load(); got != inodes {
			t.Errorf("mode %o: %d inodes are free, before %d", mode, got, inodes)
		}
		f.Put()
		w.close()
	}
}

// dirRoom tells whether some block of the root directory has room for a long name.
func (w *writable) dirRoom() bool {
	w.root.mu.RLock()
	defer w.root.mu.RUnlock()
	r := w.root.openDirLocked()
	for n := uint64(0); n < r.full; n++ {
		buf := must(r.read(n))(w)
		gap := dirGap(buf.Data())
		buf.Release()
		if gap >= 208 {
			return true
		}
	}
	return false
}

// TestDeferredReuse frees a file's blocks and inode: nobody gets them before that is
// durable, and a full file system makes it so and goes on.
func TestDeferredReuse(t *testing.T) {
	w := makeWritable(t, ext2test.Options{Size: 8 << 20, BlockSize: 1024, Args: []string{"-m", "0"}}, Options{})
	f := w.fill("f", Root)
	blocks := map[uint64]bool{}
	f.mu.RLock()
	for b := range f.raw.Size >> w.fs.blockBits {
		blocks[must(f.bmapLocked(b))(t)] = true
	}
	f.mu.RUnlock()
	if err := w.fs.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	w.truncate(f, 4<<20)
	freed := map[uint64]bool{}
	f.mu.RLock()
	for b := range blocks {
		freed[b] = true
	}
	for b := range f.raw.Size >> w.fs.blockBits {
		delete(freed, must(f.bmapLocked(b))(t))
	}
	f.mu.RUnlock()
	epoch := w.fs.ckpt.Epoch()
	err := w.fs.update(ctx, 8, func() error {
		if w.fs.ckpt.Epoch() != epoch {
			return nil // the background checkpoint came in between: nothing to see here
		}
		block, n, err := w.fs.allocBlocks(blockRequest{owner: 99, goal: 4000, want: 100, privileged: true})
		if err == nil {
			t.Errorf("%d blocks from %d on are handed out, freed in the same epoch: %v", n, block, freed[block])
			w.fs.freeBlocks(block, n)
		} else if !errors.Is(err, errRetry) {
			t.Errorf("no room, but releases are pending: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	w.write(f, make([]byte, 1<<20), 4<<20) // checkpoints by itself
	ino := f.Ino()
	if err := w.root.Unlink(ctx, "f"); err != nil {
		t.Fatal(err)
	}
	f.Put()
	epoch = w.fs.ckpt.Epoch()
	g := w.create("g", disk.ModeReg)
	if g.Ino() == ino && w.fs.ckpt.Epoch() == epoch {
		t.Errorf("inode %d is handed out again in the epoch it was freed in", ino)
	}
	g.Put()
	w.close()
}

// TestLyingBitmap has a bitmap that calls the file system's own blocks free: they are not
// handed out, and not freed.
func TestLyingBitmap(t *testing.T) {
	img := ext2test.Make(t, ext2test.Options{Size: 8 << 20, BlockSize: 1024})
	fs := must(Open(ctx, img, Options{ReadOnly: true, Logger: quiet}))(t)
	g := fs.groups[0]
	own := map[uint64]bool{uint64(g.blockBitmap): true, uint64(g.inodeBitmap): true, uint64(g.inodeTable): true, uint64(g.inodeTable) + 3: true, 1: true, 2: true}
	fs.Close()
	for b := range own {
		ext2test.DebugfsWrite(t, img, fmt.Sprintf("freeb %d", b))
	}
	w := &writable{TB: t, img: img}
	w.open(Options{})
	f := w.fill("f", Root)
	f.mu.RLock()
	for b := range f.raw.Size >> w.fs.blockBits {
		if block := must(f.bmapLocked(b))(t); own[block] {
			t.Errorf("block %d, which is the file system's own, is handed out", block)
		}
	}
	f.mu.RUnlock()
	f.Put()
	w.root.Put()
	w.fs.Close()
}

// TestWindows holds the reservation windows against a list that is looked through.
func TestWindows(t *testing.T) {
	const seed = 1
	rnd := rand.New(rand.NewPCG(seed, seed))
	var w windows
	model := map[uint32][2]uint64{}
	for step := range 20_000 {
		owner, from := rnd.Uint32N(12)+1, rnd.Uint64N(1000)
		to := from + rnd.Uint64N(80)
		switch rnd.IntN(6) {
		case 0:
			delete(model, owner)
			end := to
			for _, v := range model {
				if v[0] <= from && from < v[1] {
					end = from
				} else if v[0] > from {
					end = min(end, v[0])
				}
			}
			if end > from {
				model[owner] = [2]uint64{from, end}
			}
			w.set(owner, from, to)
		case 1:
			delete(model, owner)
			w.drop(owner)
		case 2:
			if step%500 == 0 {
				clear(model)
				w.dropAll()
			}
		default:
			taken := func(b uint64) bool {
				for o, v := range model {
					if o != owner && v[0] <= b && b < v[1] {
						return true
					}
				}
				return false
			}
			a := from
			for a < to && taken(a) {
				a++
			}
			b := a
			for b < to && !taken(b) {
				b++
			}
			x, y := w.next(from, to, owner)
			if x != a || y != b {
				t.Fatalf("seed %d step %d: next(%d, %d, %d) is [%d, %d), want [%d, %d); windows %v", seed, step, from, to, owner, x, y, a, b, w.sorted)
			}
		}
	}
}

// TestOrlov spreads directories at the top over the groups and keeps the others, and
// files, near their parents.
func TestOrlov(t *testing.T) {
	w := makeWritable(t, ext2test.Options{Size: 128 << 20, BlockSize: 1024}, Options{})
	groups := map[uint32]int{}
	for i := range 12 {
		d := w.create(name(i), disk.ModeDir|0o755)
		g, _ := w.fs.sb.InodeGroup(d.Ino())
		groups[g]++
		sub := must(d.Create(ctx, "sub", CreateOptions{Mode: disk.ModeDir | 0o755}))(t)
		file := must(d.Create(ctx, "file", CreateOptions{Mode: disk.ModeReg}))(t)
		for _, in := range []*Inode{sub, file} {
			if at, _ := w.fs.sb.InodeGroup(in.Ino()); at != g {
				t.Errorf("inode %d is in group %d, its directory in %d", in.Ino(), at, g)
			}
			in.Put()
		}
		d.Put()
	}
	if len(groups) < 8 {
		t.Errorf("12 directories at the top are in %d of %d groups", len(groups), len(w.fs.groups))
	}
	w.close()
}
