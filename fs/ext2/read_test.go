//go:build linux

package ext2

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// TestReadCrafted holds reads against the naive reader, on random layouts, for all block
// sizes.
func TestReadCrafted(t *testing.T) {
	seed := rand.Uint64()
	for _, bs := range allBlockSizes {
		t.Run(fmt.Sprintf("%dk", bs/1024), func(t *testing.T) {
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, uint64(bs)))
			c := craft(t, bs)
			iblock, asks := c.scatter(rng, 150)
			for ib := range laidOut(c, iblock) {
				_, b := c.naive.walk(iblock, ib)
				c.write(ext2test.Content(uint64(ib), bs), int64(b)*int64(bs))
			}
			c.inode(fileIno, func(in *disk.Inode) { in.Block, in.Size = iblock, 1<<43 })
			in := openInode(t, c.open(Options{}), fileIno)
			for _, ib := range asks {
				off := ib*int64(bs) + rng.Int64N(int64(bs))
				checkRead(t, c.naive, in, iblock, off, 1+rng.IntN(20*bs))
			}
		})
	}
}

func checkRead(t *testing.T, n naiveImage, in *Inode, iblock [15]uint32, off int64, count int) {
	t.Helper()
	last := borders(int(n.blockSize))
	count = int(min(int64(count), last[len(last)-1]*n.blockSize-off))
	got := bytes.Repeat([]byte{0xA5}, count)
	if m, err := in.Read(ctx, got, off); err != nil || m != count {
		t.Fatalf("Read(%d, %d) = %d, %v", off, count, m, err)
	}
	for i := 0; i < count; {
		ib, skip := (off+int64(i))/n.blockSize, (off+int64(i))%n.blockSize
		k := int(min(n.blockSize-skip, int64(count-i)))
		want := make([]byte, k)
		if _, b := n.walk(iblock, ib); b != 0 {
			want = n.block(b)[skip:][:k]
		}
		if !bytes.Equal(got[i:i+k], want) {
			t.Fatalf("Read(%d, %d): file block %d is wrong", off, count, ib)
		}
		i += k
	}
}

// TestReadLikeKernel holds content, holes and attributes against the kernel's driver.
func TestReadLikeKernel(t *testing.T) {
	ext2test.NeedKernelMount(t)
	for _, o := range []ext2test.Options{
		{BlockSize: 1024, Size: 32 << 20},
		{BlockSize: 4096, InodeSize: 128, Size: 32 << 20},
		{BlockSize: 2048, Revision0: true, Size: 32 << 20},
	} {
		t.Run(fmt.Sprintf("%d rev0=%v", o.BlockSize, o.Revision0), func(t *testing.T) {
			img := ext2test.Filled(t, o, func(dir string) {
				ext2test.Populate(t, dir, o.BlockSize)
				ext2test.FarWrites(t, filepath.Join(dir, "far"), o.BlockSize)
				if o.BlockSize == 4096 {
					ext2test.Fragment(t, dir, o.BlockSize)
				}
			})
			dir := ext2test.KernelMount(t, img, "ro")
			fs, err := Open(ctx, img, Options{ReadOnly: true, Logger: quiet})
			if errors.Is(err, syscall.EBUSY) || err != nil && strings.Contains(err.Error(), "loop") {
				t.Fatalf("a read-only mount shares with a read-only loop device: %v", err)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer fs.Close()
			files := 0
			err = filepath.Walk(dir, func(path string, st os.FileInfo, err error) error {
				if err != nil {
					return err
				}
				in := openInode(t, fs, uint32(st.Sys().(*syscall.Stat_t).Ino))
				checkStat(t, path, in, st.Sys().(*syscall.Stat_t))
				if st.Mode().IsRegular() {
					files++
					checkHoles(t, path, in, st.Size())
					checkContent(t, path, in, st.Size())
				}
				return nil
			})
			if err != nil || files < 100 {
				t.Errorf("%d files, %v", files, err)
			}
		})
	}
}

func checkStat(t *testing.T, path string, in *Inode, st *syscall.Stat_t) {
	t.Helper()
	a := in.Attr()
	rdev := uint64(a.RdevMajor)&0xfff<<8 | uint64(a.RdevMinor)&0xff | uint64(a.RdevMinor)&^0xff<<12
	got := fmt.Sprintf("mode %o links %d owner %d:%d rdev %x size %d blocks %d atime %d.%09d mtime %d.%09d ctime %d.%09d",
		a.Mode, a.Nlink, a.UID, a.GID, rdev, a.Size, a.Blocks, a.Atime.Sec, a.Atime.Nsec, a.Mtime.Sec, a.Mtime.Nsec, a.Ctime.Sec, a.Ctime.Nsec)
	want := fmt.Sprintf("mode %o links %d owner %d:%d rdev %x size %d blocks %d atime %d.%09d mtime %d.%09d ctime %d.%09d",
		st.Mode, st.Nlink, st.Uid, st.Gid, st.Rdev, st.Size, st.Blocks, st.Atim.Sec, st.Atim.Nsec, st.Mtim.Sec, st.Mtim.Nsec, st.Ctim.Sec, st.Ctim.Nsec)
	if got != want {
		t.Errorf("%s:\n  is %s\nkernel %s", path, got, want)
	}
}

// checkHoles compares all holes of a file with those the kernel's driver sees.
func checkHoles(t *testing.T, path string, in *Inode, size int64) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for off := int64(0); off <= size; {
		for _, whence := range []int{3, 4} { // SEEK_DATA, SEEK_HOLE
			seek := in.SeekData
			if whence == 4 {
				seek = in.SeekHole
			}
			got, gotErr := seek(ctx, off)
			want, wantErr := f.Seek(off, whence)
			if gotErr == nil && wantErr == nil && got == want {
				off = max(off, got)
				continue
			}
			if gotErr == nil || !errors.Is(wantErr, Errno(gotErr)) {
				t.Errorf("%s: seek(%d, %d) is %d, %v; kernel %d, %v", path, off, whence, got, gotErr, want, wantErr)
			}
			return
		}
	}
}

// checkContent compares the content: all of it, or of large files the parts with data.
func checkContent(t *testing.T, path string, in *Inode, size int64) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const piece = 300_001
	got, want := make([]byte, piece), make([]byte, piece)
	for off := int64(0); off < size; off += piece {
		if size > 64<<20 {
			if off, err = in.SeekData(ctx, off); err != nil {
				break
			}
		}
		n, err := in.ReaderAt(ctx).ReadAt(got, off)
		m, errWant := f.ReadAt(want, off)
		if n != m || err != errWant || !bytes.Equal(got[:n], want[:m]) {
			t.Errorf("%s differs at %d: %d bytes, %v; kernel %d, %v", path, off, n, err, m, errWant)
			return
		}
	}
}

// TestReadAtRules are those of io.ReaderAt, at the end of the file and past it.
func TestReadAtRules(t *testing.T) {
	c := craft(t, 1024)
	var iblock [15]uint32
	for i := range int64(3) {
		b := c.take()
		c.put(&iblock, i, b)
		c.write(bytes.Repeat([]byte{'a' + byte(i)}, 1024), int64(b)*1024)
	}
	c.inode(fileIno, func(in *disk.Inode) { in.Block, in.Size = iblock, 2500 })
	fs := c.open(Options{})
	in := openInode(t, fs, fileIno)
	for _, tt := range []struct {
		off  int64
		n    int
		want int
		err  error
	}{
		{0, 0, 0, nil}, {0, 2500, 2500, nil}, {0, 2501, 2500, io.EOF}, {2499, 1, 1, nil}, {2499, 2, 1, io.EOF},
		{2500, 1, 0, io.EOF}, {1 << 40, 5, 0, io.EOF}, {-1, 1, 0, ErrInvalid}, {1023, 2, 2, nil},
	} {
		p := make([]byte, tt.n)
		n, err := in.ReaderAt(ctx).ReadAt(p, tt.off)
		if n != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("ReadAt(%d bytes, %d) = %d, %v; expected %d, %v", tt.n, tt.off, n, err, tt.want, tt.err)
		}
		if n, err := in.Read(ctx, p, tt.off); n != tt.want || tt.err != io.EOF && !errors.Is(err, tt.err) || tt.err == io.EOF && err != nil {
			t.Errorf("Read(%d bytes, %d) = %d, %v", tt.n, tt.off, n, err)
		}
	}
	p := make([]byte, 2)
	if in.ReaderAt(ctx).ReadAt(p, 1023); string(p) != "ab" {
		t.Errorf("read %q across the first two blocks", p)
	}
	root, _ := fs.Root()
	defer root.Put()
	if _, err := root.Read(ctx, p, 0); Errno(err) != syscall.EISDIR {
		t.Errorf("reading a directory: %v", err)
	}
	if _, err := root.SeekHole(ctx, 0); Errno(err) != syscall.EISDIR {
		t.Errorf("seeking in a directory: %v", err)
	}
}

// TestReadErrors: a block that cannot be read, and what is before it.
func TestReadErrors(t *testing.T) {
	c := craft(t, 4096)
	var iblock [15]uint32
	for i := range int64(8) {
		c.put(&iblock, i, c.take())
	}
	c.inode(fileIno, func(in *disk.Inode) { in.Block, in.Size = iblock, 8*4096 })
	bad := int64(iblock[5]) * 4096
	var log bytes.Buffer
	fs, err := New(ctx, failing{c.dev, bad, bad + 4096}, Options{ReadOnly: true, Logger: testLogger(&log)})
	if err != nil {
		t.Fatal(err)
	}
	in := openInode(t, fs, fileIno)
	p := make([]byte, 8*4096)
	for range 3 {
		n, err := in.ReaderAt(ctx).ReadAt(p, 0)
		if n > 5*4096 || Errno(err) != syscall.EIO {
			t.Errorf("ReadAt = %d, %v", n, err)
		}
	}
	if n, err := in.ReaderAt(ctx).ReadAt(p[:5*4096], 0); n != 5*4096 || err != nil {
		t.Errorf("before the bad block: %d, %v", n, err)
	}
	if n, err := in.ReaderAt(ctx).ReadAt(p[:2*4096], 6*4096); n != 2*4096 || err != nil {
		t.Errorf("behind the bad block: %d, %v", n, err)
	}
	if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), "inode 12") {
		t.Errorf("%d log lines, expected one:\n%s", n, log.String())
	}
}

// TestIndirectUnreadable: one line for a table that cannot be read, whoever wants it.
func TestIndirectUnreadable(t *testing.T) {
	c := craft(t, 4096)
	var iblock [15]uint32
	for i := range int64(20) {
		c.put(&iblock, i, c.take())
		c.take()
	}
	c.inode(fileIno, func(in *disk.Inode) { in.Block, in.Size = iblock, 20*4096 })
	bad := int64(iblock[12]) * 4096
	var log bytes.Buffer
	fs, err := New(ctx, failing{c.dev, bad, bad + 4096}, Options{ReadOnly: true, Logger: testLogger(&log)})
	if err != nil {
		t.Fatal(err)
	}
	in := openInode(t, fs, fileIno)
	for ib := range int64(20) {
		n, err := in.ReaderAt(ctx).ReadAt(make([]byte, 4096), ib*4096)
		if ib < 12 && (n != 4096 || err != nil) || ib >= 12 && (n != 0 || Errno(err) != syscall.EIO) {
			t.Errorf("file block %d: %d, %v", ib, n, err)
		}
	}
	if _, err := in.SeekHole(ctx, 0); Errno(err) != syscall.EIO {
		t.Errorf("SeekHole: %v", err)
	}
	if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), fmt.Sprint("block ", iblock[12])) {
		t.Errorf("%d log lines, expected one:\n%s", n, log.String())
	}
}

// TestReadParallel: many readers of the same and of other files, with evictions.
func TestReadParallel(t *testing.T) {
	dir := t.TempDir()
	want := map[string][]byte{}
	for i := range 20 {
		name := fmt.Sprint("f", i)
		want[name] = ext2test.Content(uint64(i), 1000+i*31_000)
		if err := os.WriteFile(filepath.Join(dir, name), want[name], 0o644); err != nil {
			t.Fatal(err)
		}
	}
	img := ext2test.Make(t, ext2test.Options{Root: dir, Size: 32 << 20})
	fs, err := Open(ctx, img, Options{ReadOnly: true, Logger: quiet, CacheBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer fs.Close()
	inos := map[string]uint32{}
	for name := range want {
		inos[name] = debugfsIno(t, img, "/"+name)
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(w)))
			p := make([]byte, 50_000)
			for range 200 {
				name := fmt.Sprint("f", rng.IntN(20))
				in, err := fs.Inode(inos[name])
				if err != nil {
					t.Error(err)
					return
				}
				off := rng.IntN(len(want[name]))
				n, err := in.Read(ctx, p, int64(off))
				if err != nil || !bytes.Equal(p[:n], want[name][off:min(off+len(p), len(want[name]))]) {
					t.Errorf("%s at %d: %d, %v", name, off, n, err)
				}
				in.Put()
			}
		})
	}
	wg.Wait()
}

// TestReadRequests: a contiguous file reaches the device in few requests, in order, and
// its indirect blocks cost none.
func TestReadRequests(t *testing.T) {
	dir := t.TempDir()
	const size = 64 << 20
	if err := os.WriteFile(filepath.Join(dir, "f"), ext2test.Content(1, size), 0o644); err != nil {
		t.Fatal(err)
	}
	img := ext2test.Make(t, ext2test.Options{Root: dir, Size: 80 << 20, BlockSize: 4096, Features: []string{"^resize_inode"}})
	fs, err := Open(ctx, img, Options{ReadOnly: true, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer fs.Close()
	in := openInode(t, fs, debugfsIno(t, img, "/f"))
	for _, request := range []int64{128 << 10, 1 << 20} {
		before, _ := blockio.StatsOf(fs.dev)
		p := make([]byte, request)
		for off := int64(0); off < size; off += request {
			if n, err := in.Read(ctx, p, off); n != len(p) || err != nil {
				t.Fatalf("at %d: %d, %v", off, n, err)
			}
		}
		after, _ := blockio.StatsOf(fs.dev)
		delta := after.Sub(before)
		got, ideal := delta.Total(blockio.Read).Requests, size/request
		t.Logf("requests of %d KiB: %d, ideal %d; data %v, indirect %v", request>>10, got, ideal,
			delta.For(blockio.Read, blockio.Data), delta.For(blockio.Read, blockio.Indirect))
		if got*10 > ideal*12 {
			t.Errorf("requests of %d KiB: %d, more than 1.2 x %d", request>>10, got, ideal)
		}
	}
}

// BenchmarkRead reads a file that the host has in its cache, straight and at random.
func BenchmarkRead(b *testing.B) {
	dir := b.TempDir()
	const size = 64 << 20
	if err := os.WriteFile(filepath.Join(dir, "f"), ext2test.Content(1, size), 0o644); err != nil {
		b.Fatal(err)
	}
	img := ext2test.Make(b, ext2test.Options{Root: dir, Size: 80 << 20, BlockSize: 4096})
	fs, err := Open(ctx, img, Options{ReadOnly: true, Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	defer fs.Close()
	in := openInode(b, fs, debugfsIno(b, img, "/f"))
	for _, n := range []int64{4 << 10, 128 << 10, 1 << 20} {
		p := make([]byte, n)
		b.Run(fmt.Sprintf("straight/%dk", n>>10), func(b *testing.B) {
			b.SetBytes(n)
			b.ReportAllocs()
			off := int64(0)
			for b.Loop() {
				if _, err := in.Read(ctx, p, off); err != nil {
					b.Fatal(err)
				}
				off = (off + n) % size
			}
		})
	}
	b.Run("random/4k", func(b *testing.B) {
		b.SetBytes(4096)
		b.ReportAllocs()
		rng := rand.New(rand.NewPCG(1, 1))
		p := make([]byte, 4096)
		for b.Loop() {
			if _, err := in.Read(ctx, p, rng.Int64N(size/4096)*4096); err != nil {
				b.Fatal(err)
			}
		}
	})
}
