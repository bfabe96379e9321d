//go:build linux

package ext2

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// inodesInMemory counts what the table holds.
func inodesInMemory(fs *FS) (all, idle int) {
	for i := range fs.inodes.shards {
		sh := &fs.inodes.shards[i]
		sh.mu.Lock()
		all += len(sh.inodes)
		idle += sh.nIdle
		sh.mu.Unlock()
	}
	return all, idle
}

// manyImages are the images of manyInodes, made once.
var manyImages = map[int][]byte{}

// manyInodes is an image with n files; their inode numbers follow one another from
// fileIno on.
func manyInodes(t testing.TB, n int) []byte {
	t.Helper()
	if b := manyImages[n]; b != nil {
		return b
	}
	dir := t.TempDir()
	for i := range n {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%05d", i)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(ext2test.Make(t, ext2test.Options{Root: dir, Inodes: n + 64, Size: 8 << 20, Args: []string{"-g", "8192"}}))
	if err != nil {
		t.Fatal(err)
	}
	manyImages[n] = b
	return b
}

// held is the inode of a number in memory that somebody has a reference to.
func (t *inodeTable) held(ino uint32) *Inode {
	sh := t.shard(ino)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if in := sh.inodes[ino]; in != nil && in.refs > 0 && in.state == loadDone {
		return in
	}
	return nil
}

func TestInodeReferences(t *testing.T) {
	fs := craft(t, 1024).open(Options{})
	a, err := fs.Inode(fileIno)
	if err != nil {
		t.Fatal(err)
	}
	b, err := fs.Inode(fileIno)
	if err != nil || a != b {
		t.Fatalf("two inodes for one number: %p %p, %v", a, b, err)
	}
	if fs.inodes.held(fileIno) != a {
		t.Error("Held does not find a referenced inode")
	}
	a.Ref()
	a.Put()
	a.Put()
	if fs.inodes.held(fileIno) != a {
		t.Error("gone with one reference left")
	}
	a.Put()
	if fs.inodes.held(fileIno) != nil {
		t.Error("Held gives an inode that nobody holds")
	}
	c, err := fs.Inode(fileIno)
	if err != nil || c != a {
		t.Errorf("an unreferenced inode was not kept: %p %p, %v", a, c, err)
	}
	c.Put()
	c.Put() // one too many does no harm
	if _, idle := inodesInMemory(fs); idle != 2 {
		t.Errorf("%d idle inodes, expected the root and one", idle)
	}
}

// TestKeptInodes: an inode that is kept lives on, in memory or not, until it is forgotten
// as often as it was kept.
func TestKeptInodes(t *testing.T) {
	w := makeWritable(t, ext2test.Options{Size: 8 << 20, BlockSize: 1024, Inodes: 2000}, Options{CacheBytes: 512 << 10})
	const n = 1000
	inos := make([]uint32, n)
	for i := range inos {
		f := w.create(name(i), []uint32{disk.ModeReg | 0o644, disk.ModeDir | 0o755}[i%2])
		inos[i] = f.Ino()
		f.Ref()
		f.Keep()
		f.Keep()
	}
	d := w.create("d", disk.ModeDir|0o755)
	d.Keep()
	limit := w.fs.inodes.maxIdle * inodeShards
	all, idle := inodesInMemory(w.fs)
	if idle > limit || all > idle+2 { // the root, and d
		t.Errorf("%d inodes in memory, %d idle; at most %d", all, idle, limit)
	}
	away := w.fs.inodes.away.len()
	if away+all != n+2 {
		t.Errorf("%d inodes in memory and %d away of %d", all, away, n+2)
	}
	free := func() int64 { must(0, w.fs.Sync(ctx))(t); return int64(w.fs.Statfs().FreeInodes) }
	before := free()
	for i, ino := range inos {
		remove := []func(context.Context, string) error{w.root.Unlink, w.root.Rmdir}[i%2]
		w.wantErr("remove", remove(ctx, name(i)), nil)
		w.fs.Forget(ino, 1)
		if in := must(w.fs.Inode(ino))(t); in.Attr().Nlink != 0 {
			t.Fatalf("inode %d has %d links", ino, in.Attr().Nlink)
		} else {
			in.Put()
		}
	}
	if now := free(); now != before {
		t.Errorf("%d inodes are free, %d before: kept ones were deleted", now, before)
	}
	for _, ino := range inos {
		w.fs.Forget(ino, 5) // too many are as good as all
	}
	w.fs.reaper.wait(ctx)
	if now := free(); now != before+n {
		t.Errorf("%d inodes are free, want %d", now, before+n)
	}
	if k := w.fs.inodes.away.len(); k > 0 {
		t.Errorf("%d inodes are still kept", k)
	}
	w.fs.Forget(d.Ino(), 1)
	w.close()
}

// TestInodesBounded: unreferenced inodes leave memory when there are too many; the
// referenced stay.
func TestInodesBounded(t *testing.T) {
	const n = 2000
	fs, err := New(ctx, blockiotest.MemOf(manyInodes(t, n)), Options{ReadOnly: true, Logger: quiet, CacheBytes: 512 << 10})
	if err != nil {
		t.Fatal(err)
	}
	limit := fs.inodes.maxIdle * inodeShards
	if max := int(512 << 10 / inodeShare / inodeBytes); limit > max && fs.inodes.maxIdle > 4 {
		t.Errorf("up to %d idle inodes, %d have room", limit, max)
	}
	var held []*Inode
	for i := range uint32(n) {
		in, err := fs.Inode(fileIno + i)
		if err != nil {
			t.Fatal(err)
		}
		if i%10 == 0 {
			held = append(held, in)
			continue
		}
		in.Put()
	}
	all, idle := inodesInMemory(fs)
	if idle > limit || all != idle+len(held) {
		t.Errorf("%d inodes in memory, %d idle, %d held; limit %d", all, idle, len(held), limit)
	}
	for i, in := range held {
		if fs.inodes.held(fileIno+uint32(i)*10) != in {
			t.Fatalf("inode %d was referenced and is gone", in.Ino())
		}
		in.Put()
	}
	if all, idle := inodesInMemory(fs); all != idle || idle > limit {
		t.Errorf("%d inodes in memory, %d idle; limit %d", all, idle, limit)
	}
}

// TestInodesParallel: many users of few inodes, with evictions, failures and waiting.
func TestInodesParallel(t *testing.T) {
	const n = 400
	fs, err := New(ctx, blockiotest.MemOf(manyInodes(t, n)), Options{ReadOnly: true, Logger: quiet, CacheBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(7, uint64(w)))
			for range 3000 {
				ino := fileIno + rng.Uint32N(n+20) // the last twenty are not in use
				in, err := fs.Inode(ino)
				switch {
				case ino >= fileIno+n:
					if !errors.Is(err, ErrStale) {
						t.Errorf("inode %d: %v", ino, err)
					}
				case err != nil || in.Ino() != ino || fs.inodes.held(ino) != in:
					t.Errorf("inode %d: %v", ino, err)
				default:
					in.Ref()
					in.Put()
					in.Put()
				}
			}
		})
	}
	wg.Wait()
	if all, idle := inodesInMemory(fs); all != idle || idle > 4*inodeShards {
		t.Errorf("%d inodes in memory, %d idle", all, idle)
	}
}

// TestInodeErrors: which numbers give what.
func TestInodeErrors(t *testing.T) {
	c := craft(t, 1024)
	c.inode(fileIno, func(in *disk.Inode) { in.Generation = 77 })
	fs := c.open(Options{})
	count := fs.sb.InodesCount
	for _, ino := range []uint32{0, 1, 3, 7, 8, 10, count + 1, 1<<32 - 1} {
		var corrupt *disk.CorruptError
		if _, err := fs.Inode(ino); !errors.As(err, &corrupt) {
			t.Errorf("inode %d: %v", ino, err)
		}
		if _, err := fs.InodeByHandle(ino, 0); !errors.Is(err, ErrStale) {
			t.Errorf("handle of inode %d: %v", ino, err)
		}
	}
	if _, err := fs.Inode(fileIno + 1); !errors.Is(err, ErrStale) {
		t.Errorf("an inode that is not in use: %v", err)
	}
	for generation, ok := range map[uint32]bool{0: true, 77: true, 78: false} {
		in, err := fs.InodeByHandle(fileIno, generation)
		if ok != (err == nil) || !ok && !errors.Is(err, ErrStale) {
			t.Errorf("generation %d: %v", generation, err)
		}
		if err == nil {
			in.Put()
		}
	}
	if all, idle := inodesInMemory(fs); all != idle {
		t.Errorf("%d references leaked", all-idle)
	}
}

// TestInodeTableReads: inodes in a row are read by the window, scattered ones by the
// block, and announced ones with one request.
func TestInodeTableReads(t *testing.T) {
	const n = 2000 // 4 to a block: 500 blocks
	image := manyInodes(t, n)
	reads := func(use func(fs *FS)) (requests, bytes int64) {
		fs, err := New(ctx, blockiotest.MemOf(image), Options{ReadOnly: true, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		before, _ := blockio.StatsOf(fs.dev)
		use(fs)
		after, _ := blockio.StatsOf(fs.dev)
		delta := after.Sub(before)
		got := delta.For(blockio.Read, blockio.InodeTable)
		return got.Requests, got.Bytes
	}
	touch := func(fs *FS, ino uint32) {
		in, err := fs.Inode(ino)
		if err != nil {
			t.Fatal(err)
		}
		in.Put()
	}
	if n, bytes := reads(func(fs *FS) {
		for i := range uint32(n) {
			touch(fs, fileIno+i)
		}
	}); n > 500/tableWindow+2 || bytes > 540<<10 {
		t.Errorf("2000 inodes in a row: %d requests, %d bytes", n, bytes)
	}
	if n, bytes := reads(func(fs *FS) {
		for i := range uint32(10) {
			touch(fs, fileIno+200+(i*7%10)*170)
		}
	}); n != 10 || bytes != 10<<10 {
		t.Errorf("10 scattered inodes: %d requests, %d bytes", n, bytes)
	}
	if n, _ := reads(func(fs *FS) {
		var inos []uint32
		for i := range uint32(800) {
			inos = append(inos, fileIno+i, 0, 1<<31)
		}
		fs.PrefetchInodes(inos)
		for i := range uint32(800) {
			touch(fs, fileIno+i)
		}
	}); n != 1 {
		t.Errorf("800 announced inodes: %d requests", n)
	}
}

func BenchmarkInode(b *testing.B) {
	fs := craft(b, 4096).open(Options{})
	in := openInode(b, fs, fileIno)
	b.Run("get", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := fs.Inode(fileIno); err != nil {
				b.Fatal(err)
			}
			in.Put()
		}
	})
	b.Run("held", func(b *testing.B) {
		for b.Loop() {
			if fs.inodes.held(fileIno) == nil {
				b.Fatal("not held")
			}
		}
	})
	b.Run("attr", func(b *testing.B) {
		for b.Loop() {
			if in.Attr().Ino != fileIno {
				b.Fatal("another inode")
			}
		}
	})
}
