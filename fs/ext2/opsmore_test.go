//go:build linux

package ext2

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
	"golang.org/x/sys/unix"
)

// TestRenameMatrix renames every type over every type, in one directory, into another, and
// into and out of the directory itself, with all flags, and holds errno, types and link
// counts against the kernel's driver.
func TestRenameMatrix(t *testing.T) {
	ext2test.NeedKernelMount(t)
	o := ext2test.Options{Size: 32 << 20, BlockSize: 1024, Inodes: 8192}
	kimg := ext2test.Make(t, o)
	kernel := ext2test.KernelMount(t, kimg)
	w := makeWritable(t, o, Options{})
	kinds := []string{"none", "file", "dir", "full", "link", "fifo"}
	build := func(name string, kind string) {
		path := filepath.Join(kernel, name)
		dir, base := filepath.Split(name)
		parent := w.at(dir)
		defer parent.Put()
		mk := func(n CreateOptions) { must(parent.Create(ctx, base, n))(t).Put() }
		var err error
		switch kind {
		case "file":
			err = os.WriteFile(path, nil, 0o644)
			mk(CreateOptions{Mode: disk.ModeReg | 0o644})
		case "dir", "full":
			err = os.Mkdir(path, 0o755)
			mk(CreateOptions{Mode: disk.ModeDir | 0o755})
		case "link":
			err = os.Symlink("x", path)
			mk(CreateOptions{Mode: disk.ModeSymlink | 0o777, Target: "x"})
		case "fifo":
			err = unix.Mkfifo(path, 0o644)
			mk(CreateOptions{Mode: disk.ModeFIFO | 0o644})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	umask := unix.Umask(0)
	defer unix.Umask(umask)
	n := 0
	for _, flags := range []uint32{0, RenameNoReplace, RenameExchange, RenameWhiteout, RenameNoReplace | RenameWhiteout,
		RenameExchange | RenameNoReplace, RenameExchange | RenameWhiteout, 8} {
		for _, from := range kinds {
			for _, to := range kinds {
				for _, where := range []string{"same", "other", "below", "above"} {
					n++
					top := fmt.Sprint("t", n)
					build(top, "dir")
					build(top+"/p", "dir")
					build(top+"/q", "dir")
					old, dst := top+"/p/a", top+"/p/b"
					switch where {
					case "other":
						dst = top + "/q/b"
					case "below":
						if from != "full" {
							continue
						}
						dst = old + "/inner/b"
					case "above":
						if from != "full" || to != "none" {
							continue
						}
						old, dst = old+"/inner", top+"/p/a"
					}
					build(top+"/p/a", from)
					if from == "full" {
						build(top+"/p/a/inner", "dir")
					}
					if where != "above" {
						build(dst, to)
						if to == "full" {
							build(dst+"/inner", "dir")
						}
					}
					want := unix.Renameat2(unix.AT_FDCWD, filepath.Join(kernel, old), unix.AT_FDCWD, filepath.Join(kernel, dst), uint(flags))
					fromDir, toDir := w.at(filepath.Dir(old)), w.at(filepath.Dir(dst))
					got := fromDir.Rename(ctx, filepath.Base(old), toDir, filepath.Base(dst), flags, Root)
					fromDir.Put()
					toDir.Put()
					errno, _ := want.(syscall.Errno)
					what := fmt.Sprintf("flags %d, %s over %s, %s", flags, from, to, where)
					if Errno(got) != errno {
						t.Errorf("%s: %v, the kernel's driver: %v", what, got, want)
					}
					k, our := kernelTree(t, filepath.Join(kernel, top)), w.tree(top)
					if k != our {
						t.Errorf("%s: the tree is\n%sthe kernel's driver's\n%s", what, our, k)
					}
				}
			}
		}
	}
	t.Logf("%d cases", n)
	w.close()
	ext2test.Unmount(t, kernel)
}

// at is the inode of a path.
func (w *writable) at(path string) *Inode {
	w.Helper()
	in := w.root
	in.Ref()
	for _, name := range bytes.Split([]byte(filepath.Clean(path)), []byte("/")) {
		if len(name) == 0 || string(name) == "." {
			continue
		}
		next := must(in.Lookup(string(name)))(w)
		in.Put()
		in = next
	}
	return in
}

// tree describes what is below a path: names, modes, link counts, where ".." leads.
func (w *writable) tree(path string) (s string) {
	in := w.at(path)
	defer in.Put()
	a := in.Attr()
	s = fmt.Sprintf("%s %o %d\n", path, a.Mode, a.Nlink)
	if !in.IsDir() {
		return s
	}
	up := w.at(filepath.Dir(path))
	if dotdot, err := in.lookupIno(".."); err != nil || dotdot != up.Ino() {
		w.Errorf("%s: .. leads to inode %d, %v, want %d", path, dotdot, err, up.Ino())
	}
	up.Put()
	for _, name := range []string{"a", "b", "inner", "p", "q"} {
		if _, err := in.lookupIno(name); err == nil {
			s += w.tree(path + "/" + name)
		}
	}
	return s
}

func kernelTree(t *testing.T, root string) (s string) {
	t.Helper()
	base := filepath.Dir(root)
	var walk func(path string)
	walk = func(path string) {
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			t.Fatal(err)
		}
		rel, _ := filepath.Rel(base, path)
		s += fmt.Sprintf("%s %o %d\n", rel, st.Mode, st.Nlink)
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return
		}
		for _, name := range []string{"a", "b", "inner", "p", "q"} {
			if unix.Lstat(path+"/"+name, &st) == nil {
				walk(path + "/" + name)
			}
		}
	}
	walk(root)
	return s
}

// TestAttributeBlocks sets equal attributes on many inodes: they share blocks, 1024 to one
// at most; changing one inode's leaves the others' alone; all blocks come back.
func TestAttributeBlocks(t *testing.T) {
	w := makeWritable(t, ext2test.Options{Size: 32 << 20, BlockSize: 1024, InodeSize: 128, Inodes: 4096}, Options{})
	d := w.create("d", disk.ModeDir|0o755)
	const n = 1500
	value := bytes.Repeat([]byte("v"), 300)
	var ins []*Inode
	for i := range n {
		in := must(d.Create(ctx, name(i), CreateOptions{Mode: disk.ModeReg | 0o644}))(t)
		w.wantErr("set", in.Setxattr(ctx, "user.a", value, XattrCreate, Root), nil)
		ins = append(ins, in)
	}
	blocks := map[uint32]int{}
	for _, in := range ins {
		in.mu.RLock()
		blocks[in.raw.FileACL]++
		in.mu.RUnlock()
	}
	if len(blocks) != 2 {
		t.Errorf("%d inodes have their attributes in %d blocks: %v", n, len(blocks), blocks)
	}
	for block, users := range blocks {
		if users > disk.XattrMaxRefcount {
			t.Errorf("block %d has %d users", block, users)
		}
	}
	w.wantErr("create again", ins[7].Setxattr(ctx, "user.a", value, XattrCreate, Root), ErrExist)
	w.wantErr("no change", ins[7].Setxattr(ctx, "user.a", value, 0, Root), nil)
	w.wantErr("change", ins[7].Setxattr(ctx, "user.a", []byte("other"), XattrReplace, Root), nil)
	w.wantErr("too large", ins[8].Setxattr(ctx, "user.b", bytes.Repeat([]byte("v"), 800), 0, Root), ErrNoSpace)
	for i, in := range ins {
		want := value
		if i == 7 {
			want = []byte("other")
		}
		if got, err := in.Getxattr("user.a"); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("inode %d: %q, %v", i, got, err)
		}
		if i%2 == 0 {
			w.wantErr("remove", in.Removexattr(ctx, "user.a", Root), nil)
			if a := in.Attr(); a.Blocks != 0 {
				t.Errorf("inode %d has %d sectors without attributes", i, a.Blocks)
			}
		} else if i%3 == 0 {
			w.wantErr("unlink", d.Unlink(ctx, name(i)), nil)
		}
		in.Put()
	}
	d.Put()
	w.close()
}

// TestAttributesInInode puts attributes into the inode as long as there is room, then into
// the block, at random, held against a map.
func TestAttributesInInode(t *testing.T) {
	const seed = 11
	rnd := rand.New(rand.NewPCG(seed, seed))
	for _, size := range []int{128, 256, 512} {
		w := makeWritable(t, ext2test.Options{Size: 16 << 20, BlockSize: 1024, InodeSize: size}, Options{})
		f := w.create("f", disk.ModeReg|0o644)
		w.wantErr("small", f.Setxattr(ctx, "user.s", []byte("small"), 0, Root), nil)
		if blocks := f.Attr().Blocks; (blocks == 0) != (size > 128) {
			t.Errorf("inodes of %d bytes: a small attribute takes %d sectors", size, blocks)
		}
		model := map[string][]byte{"user.s": []byte("small")}
		for step := range 500 {
			key := fmt.Sprint("user.", rnd.IntN(6))
			if rnd.IntN(3) == 0 {
				_, there := model[key]
				err := f.Removexattr(ctx, key, Root)
				if there && err != nil || !there && err != ErrNoAttr {
					t.Fatalf("seed %d step %d: remove: %v", seed, step, err)
				}
				delete(model, key)
			} else {
				value := bytes.Repeat([]byte{byte(step)}, rnd.IntN(300))
				switch err := f.Setxattr(ctx, key, value, 0, Root); err {
				case nil:
					model[key] = value
				case ErrNoSpace: // then nothing changed
				default:
					t.Fatalf("seed %d step %d: %v", seed, step, err)
				}
			}
			for key, want := range model {
				if got, err := f.Getxattr(key); err != nil || !bytes.Equal(got, want) {
					t.Fatalf("seed %d step %d: %s is %d bytes, %v, want %d", seed, step, key, len(got), err, len(want))
				}
			}
			if names := must(f.Listxattr())(t); len(names) != len(model) {
				t.Fatalf("seed %d step %d: %d names, want %d", seed, step, len(names), len(model))
			}
		}
		f.Put()
		w.close()
	}
}

// TestDiscard frees a file of a sparse image: the image shrinks, by the mount option or by
// a trim.
func TestDiscard(t *testing.T) {
	for _, discard := range []bool{true, false} {
		w := makeWritable(t, ext2test.Options{Size: 64 << 20, BlockSize: 4096}, Options{Discard: discard})
		held := func() int64 {
			var st unix.Stat_t
			if err := unix.Stat(w.img, &st); err != nil {
				t.Fatal(err)
			}
			return st.Blocks * 512
		}
		f := w.create("f", disk.ModeReg|0o644)
		w.write(f, ext2test.Content(1, 16<<20), 0)
		w.wantErr("sync", w.fs.Sync(ctx), nil)
		full := held()
		w.wantErr("unlink", w.root.Unlink(ctx, "f"), nil)
		f.Put()
		w.wantErr("sync", w.fs.Sync(ctx), nil)
		if !discard {
			if got := held(); got < full-1<<20 {
				t.Errorf("without discard the image shrank from %d to %d", full, got)
			}
			_, err := w.fs.Trim(ctx, 0, 1<<62, 1<<62)
			w.wantErr("too long a minimum", err, ErrInvalid)
			free := uint64(w.fs.space.freeBlocks.Load()) << 12
			if n := must(w.fs.Trim(ctx, 0, ^uint64(0), 0))(t); n != free {
				t.Errorf("trimmed %d bytes, %d are free", n, free)
			}
		}
		if got := held(); got > full-15<<20 {
			t.Errorf("discard %v: the image has %d bytes, with the file it had %d", discard, got, full)
		}
		w.close()
	}
}

// TestLoopedTables deletes files whose tables lead back to themselves, to each other, or to
// the file system's own blocks: it ends soon, and nothing but the file is lost.
func TestLoopedTables(t *testing.T) {
	w := makeWritable(t, ext2test.Options{Size: 16 << 20, BlockSize: 4096}, Options{})
	f := w.create("f", disk.ModeReg|0o644)
	keep := w.create("keep", disk.ModeReg|0o644)
	content := ext2test.Content(5, 300_000)
	w.write(keep, content, 0)
	w.write(f, []byte("x"), 12<<12)
	w.write(f, []byte("x"), (12+1024)<<12)
	w.write(f, []byte("x"), (12+1024+1024*1024)<<12)
	f.mu.RLock()
	iblock := f.raw.Block
	f.mu.RUnlock()
	f.Put()
	keep.Put()
	g := w.fs.groups[0]
	w.close()
	fill := func(block uint32, ptr func(i int) uint32) {
		file := must(os.OpenFile(w.img, os.O_RDWR, 0))(t)
		defer file.Close()
		b := make([]byte, 4096)
		for i := range 1024 {
			binary.LittleEndian.PutUint32(b[4*i:], ptr(i))
		}
		must(file.WriteAt(b, int64(block)<<12))(t)
	}
	fill(iblock[12], func(i int) uint32 { return []uint32{g.inodeTable, g.blockBitmap, 0xFFFFFFFF, iblock[12]}[i%4] })
	fill(iblock[13], func(int) uint32 { return iblock[12] })
	fill(iblock[14], func(i int) uint32 { return []uint32{iblock[13], iblock[14], iblock[12]}[i%3] })
	w.open(Options{Errors: ErrorsContinue})
	start := time.Now()
	w.wantErr("unlink", w.root.Unlink(ctx, "f"), nil)
	w.wantErr("sync", w.fs.Sync(ctx), nil)
	if d := time.Since(start); d > 30*time.Second {
		t.Errorf("deleting took %v", d)
	}
	keep = must(w.root.Lookup("keep"))(t)
	got := make([]byte, len(content))
	if _, err := keep.Read(ctx, got, 0); err != nil || !bytes.Equal(got, content) {
		t.Errorf("another file reads something else: %v", err)
	}
	keep.Put()
	w.root.Put()
	w.fs.Close()
}
