//go:build linux

package ext2

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// TestRefusals is a table of what is refused, with the errors that Linux gives.
func TestRefusals(t *testing.T) {
	w := makeWritable(t, ext2test.Options{}, Options{})
	f, d, s := w.create("f", disk.ModeReg|0o644), w.create("d", disk.ModeDir|0o755), w.create("s", disk.ModeSymlink|0o777)
	must(d.Create(ctx, "sub", CreateOptions{Mode: disk.ModeDir | 0o755}))(t).Put()
	long, longest := strings.Repeat("n", 256), strings.Repeat("n", 255)
	make := func(dir *Inode, name string, o CreateOptions) error {
		in, err := dir.Create(ctx, name, o)
		if err == nil {
			in.Put()
		}
		return err
	}
	reg := CreateOptions{Mode: disk.ModeReg | 0o600}
	w.wantErr("longest name", make(w.root, longest, reg), nil)
	w.wantErr("remove it", w.root.Unlink(ctx, longest), nil)
	huge := int64(1) << 60
	for _, c := range []struct {
		what string
		err  error
		want error
	}{
		{"name of 256", make(w.root, long, reg), ErrNameTooLong},
		{"no name", make(w.root, "", reg), ErrNotExist},
		{"slash", make(w.root, "a/b", reg), ErrInvalid},
		{"zero byte", make(w.root, "a\x00", reg), ErrInvalid},
		{"no type", make(w.root, "x", CreateOptions{Mode: 0o600}), ErrInvalid},
		{"there", make(w.root, "f", reg), ErrExist},
		{"dot", make(w.root, ".", reg), ErrExist},
		{"in a file", make(f, "x", reg), ErrNotDir},
		{"no target", make(w.root, "x", CreateOptions{Mode: disk.ModeSymlink}), ErrNotExist},
		{"long target", make(w.root, "x", CreateOptions{Mode: disk.ModeSymlink, Target: strings.Repeat("t", 1024)}), ErrNameTooLong},
		{"unlink a directory", w.root.Unlink(ctx, "d"), ErrIsDir},
		{"unlink nothing", w.root.Unlink(ctx, "x"), ErrNotExist},
		{"unlink 256", w.root.Unlink(ctx, long), ErrNameTooLong},
		{"rmdir a file", w.root.Rmdir(ctx, "f"), ErrNotDir},
		{"rmdir not empty", w.root.Rmdir(ctx, "d"), ErrNotEmpty},
		{"rmdir dot", w.root.Rmdir(ctx, "."), ErrInvalid},
		{"link a directory", w.root.Link(ctx, "x", d, Root), ErrPerm},
		{"link over", w.root.Link(ctx, "s", f, Root), ErrExist},
		{"link with a slash", w.root.Link(ctx, "a/b", f, Root), ErrInvalid},
		{"rename to a slash", w.root.Rename(ctx, "f", w.root, "a/b", 0, Root), ErrInvalid},
		{"rename to 256", w.root.Rename(ctx, "f", w.root, long, 0, Root), ErrNameTooLong},
		{"truncate a directory", d.SetAttr(ctx, SetAttr{Size: ptr(int64(0))}), ErrIsDir},
		{"truncate a link", s.SetAttr(ctx, SetAttr{Size: ptr(int64(0))}), ErrInvalid},
		{"truncate below 0", f.SetAttr(ctx, SetAttr{Size: ptr(int64(-1))}), ErrInvalid},
		{"truncate too far", f.SetAttr(ctx, SetAttr{Size: &huge}), ErrTooBig},
		{"long label", w.fs.SetLabel(ctx, strings.Repeat("l", 17)), ErrInvalid},
		{"xattr name", f.Setxattr(ctx, "user."+long, nil, 0, Root), ErrRange},
		{"xattr namespace", f.Setxattr(ctx, "other.x", nil, 0, Root), ErrNotSupported},
		{"xattr replace", f.Setxattr(ctx, "user.x", []byte("v"), XattrReplace, Root), ErrNoAttr},
		{"xattr too long", f.Setxattr(ctx, "user.x", bytes.Repeat([]byte("v"), 1024), 0, Root), ErrNoSpace},
		{"xattr remove", f.Removexattr(ctx, "user.x", Root), ErrNoAttr},
	} {
		w.wantErr(c.what, c.err, c.want)
	}
	if n, err := f.Write(ctx, []byte("x"), w.fs.sb.MaxFileSize(), WriteOptions{}); n != 0 || err != ErrTooBig {
		t.Errorf("write at the largest size: %d, %v", n, err)
	}
	if size := f.Attr().Size; size != 0 {
		t.Errorf("what was refused made the size %d", size)
	}
	f.Put()
	d.Put()
	s.Put()
	w.close()
}

// TestSizeLimits goes to the largest size, by one byte at its end, and past 2 GiB, which
// turns large_file on.
func TestSizeLimits(t *testing.T) {
	for _, bs := range []int{1024, 2048, 4096, 65536} {
		t.Run(fmt.Sprint(bs), func(t *testing.T) {
			w := makeWritable(t, ext2test.Options{BlockSize: bs, Size: 64 << 20, Features: []string{"^large_file", "^resize_inode"}}, Options{})
			f := w.create("f", disk.ModeReg|0o644)
			large := func() bool { return w.fs.Superblock().HasROCompat(disk.ROCompatLargeFile) }
			w.truncate(f, 1<<31-1)
			if large() {
				t.Error("large_file is on before it is needed")
			}
			w.truncate(f, 1<<31)
			if !large() {
				t.Error("large_file is off with a file of 2 GiB")
			}
			limit := w.fs.sb.MaxFileSize()
			if n, err := f.Write(ctx, []byte("end!"), limit-2, WriteOptions{}); n != 2 || err != nil && !errors.Is(err, ErrTooBig) {
				t.Errorf("write across the largest size: %d, %v", n, err)
			}
			if size := f.Attr().Size; size != limit {
				t.Errorf("size %d, want %d", size, limit)
			}
			got := make([]byte, 2)
			if _, err := f.Read(ctx, got, limit-2); err != nil || string(got) != "en" {
				t.Errorf("the end reads %q, %v", got, err)
			}
			f.mu.Lock() // as if the file had nearly all the sectors there can be
			sectors := f.raw.Sectors
			f.raw.Sectors = maxSectors - uint32(bs/512)
			f.mu.Unlock()
			if n, err := f.Write(ctx, []byte("x"), 1<<30, WriteOptions{}); n != 0 || !errors.Is(err, ErrTooBig) {
				t.Errorf("write beyond 2^32-1 sectors: %d, %v", n, err)
			}
			f.mu.Lock()
			f.raw.Sectors = sectors
			f.mu.Unlock()
			w.wantErr("chmod", f.SetAttr(ctx, SetAttr{Mode: ptr(uint32(0o600))}), nil)
			f.Put()
			w.close()
		})
	}
}

// TestMaxLinks fills a file's and a directory's link counts.
func TestMaxLinks(t *testing.T) {
	w := makeWritable(t, ext2test.Options{Size: 64 << 20, BlockSize: 4096, InodeSize: 128, Inodes: 33_000}, Options{})
	d, sub := w.create("d", disk.ModeDir|0o755), w.create("other", disk.ModeDir|0o755)
	f := w.create("f", disk.ModeReg|0o644)
	for i := range disk.MaxLinks - 1 {
		if err := d.Link(ctx, name(i), f, Root); err != nil {
			t.Fatalf("link %d: %v", i, err)
		}
	}
	w.wantErr("one link more", d.Link(ctx, "x", f, Root), ErrTooManyLinks)
	d.mu.Lock() // instead of making them
	d.raw.Links = disk.MaxLinks
	d.mu.Unlock()
	_, err := d.Create(ctx, "sub", CreateOptions{Mode: disk.ModeDir})
	w.wantErr("one subdirectory more", err, ErrTooManyLinks)
	w.wantErr("renamed into it", w.root.Rename(ctx, "other", d, "sub", 0, Root), ErrTooManyLinks)
	w.wantErr("a file renamed into it", w.root.Rename(ctx, "f", d, "file", 0, Root), nil)
	d.mu.Lock()
	d.raw.Links = 2
	d.mu.Unlock()
	w.wantErr("chmod", d.SetAttr(ctx, SetAttr{Mode: ptr(uint32(0o700))}), nil)
	for _, in := range []*Inode{d, sub, f} {
		in.Put()
	}
	w.close()
}

// TestFallocateModel allocates, punches and zeroes ranges and holds the file against a byte
// slice and a list of blocks; every other mode is refused.
func TestFallocateModel(t *testing.T) {
	for _, bs := range []int{1024, 4096} {
		t.Run(fmt.Sprint(bs), func(t *testing.T) {
			seed := uint64(bs)
			rnd := rand.New(rand.NewPCG(seed, 5))
			w := makeWritable(t, ext2test.Options{Size: 32 << 20, BlockSize: bs}, Options{})
			f := w.create("f", disk.ModeReg|0o644)
			for mode := range uint32(128) {
				err := f.Fallocate(ctx, mode, 0, int64(bs), WriteOptions{})
				switch mode {
				case 0, FallocZeroRange, FallocPunchHole | FallocKeepSize, FallocUnshare,
					FallocKeepSize, FallocZeroRange | FallocKeepSize, FallocUnshare | FallocKeepSize:
					w.wantErr(fmt.Sprintf("mode %#x", mode), err, nil)
				default:
					w.wantErr(fmt.Sprintf("mode %#x", mode), err, ErrNotSupported)
				}
			}
			w.wantErr("kept size behind the end", f.Fallocate(ctx, FallocKeepSize, 0, int64(bs)+1, WriteOptions{}), ErrNotSupported)
			w.wantErr("nothing", f.Fallocate(ctx, 0, 0, 0, WriteOptions{}), ErrInvalid)
			w.wantErr("too far", f.Fallocate(ctx, 0, 1<<62, 1<<62, WriteOptions{}), ErrTooBig)
			w.wantErr("overflow", f.Fallocate(ctx, FallocPunchHole|FallocKeepSize, 1<<62, 1<<62, WriteOptions{}), ErrTooBig)
			w.truncate(f, 0)

			var model []byte
			held := map[int64]bool{} // file blocks that must be allocated, or must not
			grow := func(to int64) {
				if more := to - int64(len(model)); more > 0 {
					model = append(model, make([]byte, more)...)
				}
			}
			for step := range 300 {
				off, n := rnd.Int64N(2<<20), rnd.Int64N(300_000)+1
				if rnd.IntN(3) == 0 {
					off, n = off/int64(bs)*int64(bs), (n/int64(bs)+1)*int64(bs)
				}
				first, last := off/int64(bs), (off+n+int64(bs)-1)/int64(bs)
				mode := []uint32{0, FallocPunchHole | FallocKeepSize, FallocZeroRange, FallocZeroRange | FallocKeepSize, 99, 100}[rnd.IntN(6)]
				if mode&FallocKeepSize != 0 && mode&FallocPunchHole == 0 {
					if n = min(n, int64(len(model))-off); n <= 0 {
						continue
					}
					last = (off + n + int64(bs) - 1) / int64(bs)
				}
				var err error
				switch mode {
				case 99: // write
					p := make([]byte, n)
					for i := range p {
						p[i] = byte(rnd.Uint32()) | 1
					}
					w.write(f, p, off)
					grow(off + n)
					copy(model[off:], p)
				case 100:
					w.truncate(f, off)
					grow(off)
					model = model[:off:off]
					for b := range held {
						if b >= (off+int64(bs)-1)/int64(bs) {
							delete(held, b)
						}
					}
				default:
					err = f.Fallocate(ctx, mode, off, n, WriteOptions{})
				}
				if err != nil {
					t.Fatalf("seed %d step %d: fallocate(%#x, %d, %d): %v", seed, step, mode, off, n, err)
				}
				switch mode {
				case 0, FallocZeroRange, FallocZeroRange | FallocKeepSize:
					grow(off + n)
					fallthrough
				case 99:
					if mode != 0 && mode != 99 {
						clear(model[off : off+n])
					}
					for b := first; b < last; b++ {
						held[b] = true
					}
				case FallocPunchHole | FallocKeepSize:
					end := min(off+n, int64(len(model)))
					if off < end {
						clear(model[off:end])
					}
					to := end / int64(bs)
					if end == int64(len(model)) {
						to = last
					}
					for b := (off + int64(bs) - 1) / int64(bs); b < to; b++ {
						delete(held, b)
					}
				}
				got := make([]byte, len(model))
				if _, err := f.Read(ctx, got, 0); len(got) > 0 && err != nil || f.Attr().Size != int64(len(model)) || !bytes.Equal(got, model) {
					t.Fatalf("seed %d step %d: mode %#x, %d, %d: content differs, size %d, want %d, %v", seed, step, mode, off, n, f.Attr().Size, len(model), err)
				}
				w.checkHoles(f, held, len(model), bs, fmt.Sprintf("seed %d step %d: mode %#x, %d, %d", seed, step, mode, off, n))
			}
			f.Put()
			w.close()
		})
	}
}

// checkHoles holds SEEK_DATA and SEEK_HOLE against the blocks that a file has.
func (w *writable) checkHoles(f *Inode, held map[int64]bool, size, bs int, what string) {
	w.Helper()
	for off := int64(0); off < int64(size); {
		b := off / int64(bs)
		for !held[b] && b*int64(bs) < int64(size) {
			b++
		}
		data, err := f.SeekData(ctx, off)
		if b*int64(bs) >= int64(size) {
			if err != ErrNoData {
				w.Fatalf("%s: SEEK_DATA from %d: %d, %v, want none", what, off, data, err)
			}
			return
		}
		if want := max(off, b*int64(bs)); err != nil || data != want {
			w.Fatalf("%s: SEEK_DATA from %d: %d, %v, want %d", what, off, data, err, want)
		}
		for held[b] {
			b++
		}
		hole, err := f.SeekHole(ctx, data)
		if want := min(b*int64(bs), int64(size)); err != nil || hole != want {
			w.Fatalf("%s: SEEK_HOLE from %d: %d, %v, want %d", what, data, hole, err, want)
		}
		off = hole
	}
}

// TestTruncateAllLevels makes a file with blocks in every tree and takes them off again,
// one level at a time; the blocks all come back.
func TestTruncateAllLevels(t *testing.T) {
	for _, bs := range []int{1024, 2048, 4096, 8192, 16384, 32768, 65536} {
		t.Run(fmt.Sprint(bs), func(t *testing.T) {
			w := makeWritable(t, ext2test.Options{Size: max(16<<20, 512*int64(bs)), BlockSize: bs}, Options{})
			free := w.fs.space.freeBlocks.Load()
			f := w.create("f", disk.ModeReg|0o644)
			per := int64(bs / 4)
			ends := []int64{1, 12, 12 + per, 12 + per + per*per}
			var offs []int64
			for _, e := range append(ends, 12+per+per*per+per*per*per-1) {
				for _, b := range []int64{e - 1, e, e + 1} {
					if off := b * int64(bs); b >= 0 && off < w.fs.sb.MaxFileSize()-int64(bs) {
						w.write(f, []byte{1, 2, 3}, off+int64(bs)-3)
						offs = append(offs, off)
					}
				}
			}
			for i := len(offs) - 1; i >= 0; i-- {
				w.truncate(f, offs[i]+int64(bs)-1)
				got := make([]byte, 2)
				if _, err := f.Read(ctx, got, offs[i]+int64(bs)-3); err != nil || got[0] != 1 || got[1] != 2 {
					t.Fatalf("block %d reads %v, %v after a truncate behind it", offs[i]/int64(bs), got, err)
				}
				w.truncate(f, offs[i])
				if i == 0 {
					break
				}
			}
			if got := w.fs.space.freeBlocks.Load(); got != free || f.Attr().Blocks != 0 {
				t.Errorf("%d blocks are free, before %d; the file has %d sectors", got, free, f.Attr().Blocks)
			}
			f.Put()
			w.close()
		})
	}
}

// TestOrphans copies the image while files without names are open: e2fsck -p frees them, and
// so does the next mount.
func TestOrphans(t *testing.T) {
	w := makeWritable(t, ext2test.Options{Size: 16 << 20, BlockSize: 1024}, Options{})
	free, inodes := w.fs.space.freeBlocks.Load(), w.fs.space.freeInodes.Load()
	var held []*Inode
	for i := range 12 {
		var in *Inode
		switch i % 4 {
		case 0:
			in = must(w.root.Tmpfile(ctx, CreateOptions{Mode: disk.ModeReg | 0o600}))(t)
		case 3:
			in = w.create(name(i), disk.ModeDir|0o700)
			w.wantErr("step", w.root.Rmdir(ctx, name(i)), nil)
		default:
			in = w.create(name(i), disk.ModeReg|0o600)
		}
		if in.IsReg() {
			w.write(in, ext2test.Content(uint64(i), 20_000*i+1), int64(i)*300_000)
		}
		if i%4 == 1 || i%4 == 2 {
			w.wantErr("step", w.root.Unlink(ctx, name(i)), nil)
		}
		held = append(held, in)
	}
	held[5].Put() // out of the middle of the list
	held[11].Put()
	w.wantErr("step", w.fs.Sync(ctx), nil)
	fsck, again := ext2test.Copy(t, w.img), ext2test.Copy(t, w.img)
	got := make([]byte, 20_000*6+1)
	if _, err := held[6].Read(ctx, got, 6*300_000); err != nil || !bytes.Equal(got, ext2test.Content(6, len(got))) {
		t.Errorf("a file without a name reads something else: %v", err)
	}
	for i, in := range held {
		if i != 5 && i != 11 {
			in.Put()
		}
	}
	if b, n := w.fs.space.freeBlocks.Load(), w.fs.space.freeInodes.Load(); b != free || n != inodes {
		t.Errorf("%d blocks and %d inodes are free, before %d and %d", b, n, free, inodes)
	}
	w.close()

	out, err := exec.Command("e2fsck", "-p", fsck).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 1 || !bytes.Contains(out, []byte("orphan")) {
		t.Errorf("e2fsck -p: %v\n%s", err, out)
	}
	ext2test.Fsck(t, fsck)

	w2 := &writable{TB: t, img: again}
	w2.open(Options{})
	if b, n := w2.fs.space.freeBlocks.Load(), w2.fs.space.freeInodes.Load(); b != free || n != inodes {
		t.Errorf("after a mount %d blocks and %d inodes are free, want %d and %d", b, n, free, inodes)
	}
	w2.close()
}

// TestLinkTmpfile names a file that was made without a name; one that lost its name stays
// without.
func TestLinkTmpfile(t *testing.T) {
	w := makeWritable(t, ext2test.Options{}, Options{})
	f := must(w.root.Tmpfile(ctx, CreateOptions{Mode: disk.ModeReg | 0o600}))(t)
	w.write(f, []byte("content"), 0)
	w.wantErr("link", w.root.Link(ctx, "f", f, Root), nil)
	f.Put()
	f = must(w.root.Lookup("f"))(t)
	if a := f.Attr(); a.Nlink != 1 || a.Size != 7 {
		t.Errorf("%d links, %d bytes", a.Nlink, a.Size)
	}
	w.wantErr("unlink", w.root.Unlink(ctx, "f"), nil)
	w.wantErr("link again", w.root.Link(ctx, "g", f, Root), ErrNotExist)
	f.Put()
	w.close()
}

// TestParallelRenames moves directories and files between directories that contain each
// other, from several goroutines; it ends, and the tree is whole.
func TestParallelRenames(t *testing.T) {
	const seed = 7
	w := makeWritable(t, ext2test.Options{Size: 32 << 20, BlockSize: 1024}, Options{})
	dirs := []*Inode{w.root}
	for i := range 8 {
		dirs = append(dirs, must(dirs[i/2].Create(ctx, fmt.Sprint("d", i), CreateOptions{Mode: disk.ModeDir | 0o755}))(t))
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var wg sync.WaitGroup
		for g := range uint64(6) {
			wg.Go(func() {
				rnd := rand.New(rand.NewPCG(seed, g))
				for range 400 {
					from, to := dirs[rnd.IntN(len(dirs))], dirs[rnd.IntN(len(dirs))]
					a, b := fmt.Sprint("d", rnd.IntN(8)), fmt.Sprint("d", rnd.IntN(8))
					switch rnd.IntN(6) {
					case 0:
						if in, err := from.Create(ctx, fmt.Sprint("f", rnd.IntN(8)), CreateOptions{Mode: disk.ModeReg}); err == nil {
							in.Put()
						}
					case 1:
						_ = from.Rename(ctx, fmt.Sprint("f", rnd.IntN(8)), to, fmt.Sprint("f", rnd.IntN(8)), 0, Root)
					case 2:
						_ = from.Unlink(ctx, fmt.Sprint("f", rnd.IntN(8)))
					default:
						_ = from.Rename(ctx, a, to, b, []uint32{0, RenameNoReplace, RenameExchange, RenameWhiteout}[rnd.IntN(4)], Root)
					}
				}
			})
		}
		wg.Wait()
	}()
	select {
	case <-done:
	case <-time.After(60 * time.Second):
		t.Fatalf("seed %d: the renames do not end", seed)
	}
	for _, d := range dirs[1:] {
		d.Put()
	}
	w.close()
}

// TestEveryReadFails runs one operation of each kind with its k-th read failing, for each
// k: it fails or succeeds, and what is on the disk in the end is whole,
// but for what e2fsck -p frees.
func TestEveryReadFails(t *testing.T) {
	img := ext2test.Make(t, ext2test.Options{Size: 8 << 20, BlockSize: 1024})
	w := &writable{TB: t, img: img}
	w.open(Options{})
	f := w.create("f", disk.ModeReg|0o644)
	w.write(f, ext2test.Content(1, 600_000), 0)
	w.write(f, []byte("x"), 70<<20)
	for i := range 100 {
		w.create(name(i), disk.ModeReg).Put()
	}
	d := w.create("d", disk.ModeDir|0o755)
	must(d.Create(ctx, "in", CreateOptions{Mode: disk.ModeReg}))(t).Put()
	d.Put()
	f.Put()
	w.close()
	base := sparseMem(t, img)
	run := func(t *testing.T, what string, op func(fs *FS, root, f *Inode) error) {
		for k := int64(1); ; k++ {
			mem := base.Clone()
			dev := blockiotest.NewFault(mem)
			fs, err := New(ctx, dev, Options{Logger: quiet})
			if err != nil {
				t.Fatal(err)
			}
			root := must(fs.Root())(t)
			f := must(root.Lookup("f"))(t)
			dev.Fail(blockiotest.Rule{From: k, Times: 1})
			err = op(fs, root, f)
			failed := dev.Failed()
			dev.Heal()
			f.Put()
			root.Put()
			copied := t.TempDir() + "/img"
			if cerr := fs.ckpt.Close(); cerr != nil { // as Close, but the memory stays
				t.Fatalf("%s, read %d: closing: %v", what, k, cerr)
			}
			if err := os.WriteFile(copied, mem.Bytes(0, mem.Size()), 0o600); err != nil {
				t.Fatal(err)
			}
			if failed > 0 { // it may be left to the orphan list, and what could not be freed to e2fsck
				exec.Command("e2fsck", "-p", copied).Run()
			}
			out, ferr := exec.Command("e2fsck", "-f", "-n", copied).CombinedOutput()
			os.Remove(copied)
			if ferr != nil {
				t.Errorf("%s, read %d failed (%v): %v: %s", what, k, err, ferr, out)
			}
			if failed == 0 {
				if err != nil {
					t.Errorf("%s without a fault: %v", what, err)
				}
				return
			}
		}
	}
	for _, c := range []struct {
		what string
		op   func(fs *FS, root, f *Inode) error
	}{
		{"create", func(_ *FS, root, _ *Inode) error {
			in, err := root.Create(ctx, "new", CreateOptions{Mode: disk.ModeReg})
			if err == nil {
				in.Put()
			}
			return err
		}},
		{"mkdir", func(_ *FS, root, _ *Inode) error {
			in, err := root.Create(ctx, "new", CreateOptions{Mode: disk.ModeDir})
			if err == nil {
				in.Put()
			}
			return err
		}},
		{"link", func(_ *FS, root, f *Inode) error { return root.Link(ctx, "new", f, Root) }},
		{"unlink", func(_ *FS, root, _ *Inode) error { return root.Unlink(ctx, name(50)) }},
		{"rename", func(_ *FS, root, _ *Inode) error { return root.Rename(ctx, name(50), root, "new", 0, Root) }},
		{"rename over", func(_ *FS, root, _ *Inode) error {
			return root.Rename(ctx, name(50), root, name(60), RenameWhiteout, Root)
		}},
		{"write", func(_ *FS, _, f *Inode) error {
			_, err := f.Write(ctx, make([]byte, 100_000), 590_000, WriteOptions{})
			return err
		}},
		{"write far", func(_ *FS, _, f *Inode) error {
			_, err := f.Write(ctx, []byte("x"), 75<<20, WriteOptions{})
			return err
		}},
		{"truncate", func(_ *FS, _, f *Inode) error { return f.SetAttr(ctx, SetAttr{Size: ptr(int64(1000))}) }},
		{"punch", func(_ *FS, _, f *Inode) error {
			return f.Fallocate(ctx, FallocPunchHole|FallocKeepSize, 5000, 500_000, WriteOptions{})
		}},
		{"fallocate", func(_ *FS, _, f *Inode) error { return f.Fallocate(ctx, 0, 500_000, 400_000, WriteOptions{}) }},
		{"setxattr", func(_ *FS, _, f *Inode) error { return f.Setxattr(ctx, "user.x", make([]byte, 500), 0, Root) }},
	} {
		t.Run(c.what, func(t *testing.T) { run(t, c.what, c.op) })
	}
}
