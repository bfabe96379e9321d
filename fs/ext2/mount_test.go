//go:build linux

package ext2

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// imageWith makes an image with one file, hello, and the given options.
func imageWith(t testing.TB, o ext2test.Options) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "hello"), []byte("hello, world\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	o.Root = dir
	return ext2test.Make(t, o)
}

// checkHello reads hello, so that superblock, descriptors, inode table and block map
// have to be right.
func checkHello(t testing.TB, fs *FS, img string) {
	t.Helper()
	in := openInode(t, fs, debugfsIno(t, img, "/hello"))
	got := make([]byte, 100)
	n, err := in.Read(ctx, got, 0)
	if err != nil || string(got[:n]) != "hello, world\n" {
		t.Errorf("hello is %q, %v", got[:n], err)
	}
}

// TestMountKinds: the shapes of file systems that change where things are. None is a reason
// to warn.
func TestMountKinds(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    ext2test.Options
	}{
		{"1k", ext2test.Options{}},
		{"1k inodes of 1k", ext2test.Options{InodeSize: 1024}},
		{"4k inodes of 4k", ext2test.Options{BlockSize: 4096, InodeSize: 4096, Inodes: 64}},
		{"4k inodes of 128", ext2test.Options{BlockSize: 4096, InodeSize: 128}},
		{"64k", ext2test.Options{BlockSize: 65536}},
		{"rev 0", ext2test.Options{Revision0: true}},
		{"all groups with super", ext2test.Options{Features: []string{"^sparse_super", "^resize_inode"}, Args: []string{"-g", "512"}}},
		{"meta_bg", ext2test.Options{Features: []string{"meta_bg", "^resize_inode"}, Args: []string{"-g", "256"}, Size: 64 << 20}},
		{"meta_bg 64k", ext2test.Options{BlockSize: 65536, Features: []string{"meta_bg", "^resize_inode"}, Args: []string{"-g", "256"}, Size: 256 << 20}},
		{"sparse_super2", ext2test.Options{Features: []string{"sparse_super2", "^resize_inode"}, Args: []string{"-g", "512"}}},
		{"ext3", ext2test.Options{Type: "ext3"}},
		{"many groups", ext2test.Options{Args: []string{"-g", "256"}, Size: 128 << 20, Inodes: 4096}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img := imageWith(t, tt.o)
			var log bytes.Buffer
			fs, err := Open(ctx, img, Options{ReadOnly: true, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			if err != nil {
				t.Fatal(err)
			}
			defer fs.Close()
			checkHello(t, fs, img)
			if w := fs.Warnings(); len(w) != 0 || log.Len() != 0 {
				t.Errorf("warnings %q, the log has %q; all is well", w, log.String())
			}
		})
	}
}

// TestUnusedJournal: that a journal is there and not used is worth a warning to who writes.
func TestUnusedJournal(t *testing.T) {
	img := imageWith(t, ext2test.Options{Type: "ext3"})
	fs, err := Open(context.Background(), img, Options{NoJournal: true, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if w := strings.Join(fs.Warnings(), "\n"); !strings.Contains(w, "its journal, which is clean, is not used") {
		t.Errorf("warnings %q", w)
	}
	if err := fs.Close(); err != nil {
		t.Error(err)
	}
}

// TestBackupSuperblocks: with the primary superblock and its descriptors gone, each
// backup opens the file system, and the error tells which to try.
func TestBackupSuperblocks(t *testing.T) {
	for _, tt := range []struct {
		name  string
		o     ext2test.Options
		told  []int64 // KiB, as the others
		alive []int64
		dead  []int64
	}{
		{"1k", ext2test.Options{Size: 64 << 20}, []int64{8193}, []int64{8193, 24577, 40961, 57345}, []int64{16385, 8192, 3}},
		{"2k", ext2test.Options{Size: 128 << 20, BlockSize: 2048}, []int64{32768}, []int64{32768, 98304}, []int64{65536}},
		{"4k", ext2test.Options{Size: 512 << 20, BlockSize: 4096}, []int64{131072}, []int64{131072, 393216}, []int64{262144}},
		{"8k", ext2test.Options{Size: 1 << 30, BlockSize: 8192}, []int64{524224}, []int64{524224}, []int64{524288}},
		{"small groups", ext2test.Options{Args: []string{"-g", "2048"}}, nil, []int64{2049, 6145}, []int64{4097}},
		{"meta_bg", ext2test.Options{Features: []string{"meta_bg", "^resize_inode"}, Args: []string{"-g", "256"}, Size: 64 << 20}, nil, []int64{257, 769}, []int64{513}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img := imageWith(t, tt.o)
			smash(t, img, 1024, make([]byte, 2*max(tt.o.BlockSize, 1024)))
			_, err := Open(ctx, img, Options{ReadOnly: true, Logger: quiet})
			if err == nil {
				t.Fatal("opened without a superblock")
			}
			var told *BackupError
			if errors.As(err, &told) != (tt.told != nil) || told != nil && !slices.Equal(told.Places, tt.told) || strings.ContainsRune(err.Error(), '\n') {
				t.Errorf("the error is %q, which does not tell of %d", err, tt.told)
			}
			for _, kib := range tt.alive {
				fs, err := Open(ctx, img, Options{ReadOnly: true, Logger: quiet, Superblock: kib})
				if err != nil {
					t.Errorf("sb=%d: %v", kib, err)
					continue
				}
				if root, err := fs.Root(); err != nil || root.Attr().Nlink != 3 {
					t.Errorf("sb=%d: root %v", kib, err)
				}
				fs.Close()
			}
			for _, kib := range append(tt.dead, -1, 1<<40) {
				if fs, err := Open(ctx, img, Options{ReadOnly: true, Logger: quiet, Superblock: kib}); err == nil {
					fs.Close()
					t.Errorf("sb=%d: opened", kib)
				}
			}
		})
	}
}

func smash(t testing.TB, img string, off int64, p []byte) {
	t.Helper()
	f, err := os.OpenFile(img, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(p, off); err != nil {
		t.Fatal(err)
	}
}

// TestSuperblockBehindPrimary: sb=1 is the primary.
func TestSuperblockBehindPrimary(t *testing.T) {
	for _, bs := range []int{1024, 4096} {
		img := imageWith(t, ext2test.Options{BlockSize: bs})
		fs, err := Open(ctx, img, Options{ReadOnly: true, Superblock: 1, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		checkHello(t, fs, img)
		fs.Close()
	}
}

// TestMountRefused: what cannot be mounted, and how it is said.
func TestMountRefused(t *testing.T) {
	img := imageWith(t, ext2test.Options{Args: []string{"-g", "2048"}})
	good, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	desc := func(g int) int { return 2048 + 32*g } // block 2
	ipg := le.Uint32(good[1024+40:])
	table := int(le.Uint32(good[desc(0)+8:]))
	root := table*1024 + 256
	for _, tt := range []struct {
		name   string
		damage func(b []byte)
		want   string
	}{
		{"no magic", func(b []byte) { le.PutUint16(b[1024+56:], 0) }, "s_magic"},
		{"needs recovery", func(b []byte) { le.PutUint32(b[1024+96:], disk.IncompatFiletype|disk.IncompatRecover) }, "needs_recovery"},
		{"extents", func(b []byte) { le.PutUint32(b[1024+96:], 0x40) }, "extent"},
		{"block size", func(b []byte) { le.PutUint32(b[1024+24:], 7) }, "s_log_block_size is 7"},
		{"inode size", func(b []byte) { le.PutUint16(b[1024+88:], 130) }, "s_inode_size is 130"},
		{"more blocks than the device", func(b []byte) { le.PutUint32(b[1024+4:], 16385) }, "s_blocks_count is 16385"},
		{"inodes", func(b []byte) { le.PutUint32(b[1024:], ipg*8+1) }, "s_inodes_count"},
		{"block bitmap outside", func(b []byte) { le.PutUint32(b[desc(3):], 5) }, "group 3: bg_block_bitmap"},
		{"inode bitmap 0", func(b []byte) { le.PutUint32(b[desc(1)+4:], 0) }, "group 1: bg_inode_bitmap"},
		{"inode table at the end of the group", func(b []byte) { le.PutUint32(b[desc(7)+8:], 16380) }, "group 7: bg_inode_table"},
		{"inode table past the end", func(b []byte) { le.PutUint32(b[desc(7)+8:], 1<<32-1) }, "group 7: bg_inode_table"},
		{"root is a file", func(b []byte) { le.PutUint16(b[root:], 0o100644) }, "root directory, inode 2: i_mode is 0100644"},
		{"root is empty", func(b []byte) { le.PutUint32(b[root+4:], 0) }, "i_size is 0"},
		{"root has no blocks", func(b []byte) { le.PutUint32(b[root+28:], 0) }, "i_blocks is 0"},
		{"root is deleted", func(b []byte) { clear(b[root : root+128]) }, "root directory"},
		{"all zero", func(b []byte) { clear(b) }, "s_magic"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := bytes.Clone(good)
			tt.damage(b)
			fs, err := New(ctx, blockiotest.MemOf(b), Options{ReadOnly: true, Logger: quiet})
			if err == nil {
				fs.Close()
				t.Fatal("mounted")
			}
			if !strings.Contains(err.Error(), tt.want) || strings.ContainsRune(err.Error(), '\n') {
				t.Errorf("the error is %q, expected %q", err, tt.want)
			}
		})
	}
	for _, size := range []int64{0, 1, 1024, 2047, 2048, 4096, 1 << 20, 16<<20 - 1} {
		fs, err := New(ctx, blockiotest.MemOf(good[:size]), Options{ReadOnly: true, Logger: quiet})
		if err == nil {
			fs.Close()
			t.Fatalf("mounted the first %d bytes", size)
		}
		if strings.ContainsRune(err.Error(), '\n') || !strings.Contains(err.Error(), "end") {
			t.Errorf("the first %d bytes: %v", size, err)
		}
	}
}

// TestDescriptorsUnreadable is check 13.
func TestDescriptorsUnreadable(t *testing.T) {
	b, err := os.ReadFile(imageWith(t, ext2test.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	dev := failing{blockiotest.MemOf(b), 2048, 4096}
	_, err = New(ctx, dev, Options{ReadOnly: true, Logger: quiet})
	if err == nil || !strings.Contains(err.Error(), "group descriptors at block 2") || !errors.Is(err, syscall.EIO) {
		t.Errorf("got %v", err)
	}
}

// failing is a device whose bytes from..to cannot be read.
type failing struct {
	blockio.Device
	from, to int64
}

func (f failing) Submit(bios ...*blockio.Bio) {
	for _, b := range bios {
		n := int64(0)
		for _, v := range b.Vecs {
			n += int64(len(v))
		}
		if b.Op == blockio.Read && b.Off < f.to && b.Off+n > f.from {
			b.Complete(0, syscall.EIO)
			continue
		}
		f.Device.Submit(b)
	}
}

// TestMountCost: what a mount reads, and keeps, of an image of 1 TiB.
func TestMountCost(t *testing.T) {
	dev := openTerabyte(t)
	defer dev.Close()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	fs, err := New(ctx, dev, Options{ReadOnly: true, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if n := len(fs.groups); n != 8192 {
		t.Errorf("%d groups", n)
	}
	stats, _ := blockio.StatsOf(dev)
	got := fmt.Sprintf("super %v, descriptors %v, inode table %v, all %v",
		stats.For(blockio.Read, blockio.Super).Requests, stats.For(blockio.Read, blockio.GroupDesc).Requests,
		stats.For(blockio.Read, blockio.InodeTable).Requests, stats.Total(blockio.Read).Requests)
	if want := "super 1, descriptors 1, inode table 1, all 3"; got != want {
		t.Errorf("reads: %s; expected %s", got, want)
	}
	if n := stats.Total(blockio.Read).Bytes; n > 300<<10 {
		t.Errorf("%d bytes read", n)
	}
	if n := stats.Total(blockio.Write).Requests + stats.Total(blockio.Sync).Requests; n != 0 {
		t.Errorf("%d writes", n)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
		t.Errorf("%d bytes of memory", n)
	}
}

// openTerabyte makes a sparse image of 1 TiB and opens it as a device.
func openTerabyte(t testing.TB) blockio.Device {
	t.Helper()
	img := ext2test.Make(t, ext2test.Options{Size: 1 << 40, BlockSize: 4096, Extended: []string{"lazy_itable_init=1,nodiscard"}})
	dev, err := blockio.Open(ctx, img, blockio.OpenOptions{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	return dev
}

func BenchmarkMountTerabyte(b *testing.B) {
	dev := openTerabyte(b)
	defer dev.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := New(ctx, dev, Options{ReadOnly: true, Logger: quiet}); err != nil {
			b.Fatal(err)
		}
	}
}

// TestOpenOptions: the ways to reach the device.
func TestOpenOptions(t *testing.T) {
	img := imageWith(t, ext2test.Options{BlockSize: 4096})
	data, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	moved := filepath.Join(t.TempDir(), "moved.img")
	if err := os.WriteFile(moved, append(make([]byte, 12345*512), data...), 0o644); err != nil {
		t.Fatal(err)
	}
	trace := filepath.Join(t.TempDir(), "trace")
	for _, tt := range []struct {
		name, path string
		o          Options
	}{
		{"direct", img, Options{Direct: true}},
		{"offset", moved, Options{Offset: 12345 * 512}},
		{"offset and size", moved, Options{Offset: 12345 * 512, SizeLimit: int64(len(data))}},
		{"trace", img, Options{Trace: trace}},
		{"small cache", img, Options{CacheBytes: 1}},
		{"16-bit ids", img, Options{NoUID32: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.ReadOnly, tt.o.Logger = true, quiet
			fs, err := Open(ctx, tt.path, tt.o)
			if err != nil {
				t.Fatal(err)
			}
			checkHello(t, fs, img)
			if err := fs.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	if b, err := os.ReadFile(trace); err != nil || strings.Count(string(b), " read ") < 4 {
		t.Errorf("the trace has %q, %v", b, err)
	}
	if _, err := Open(ctx, moved, Options{ReadOnly: true, Logger: quiet, Offset: 12345 * 512, SizeLimit: int64(len(data)) - 4096}); err == nil {
		t.Error("opened a part that is too small")
	}
	if _, err := Open(ctx, img, Options{ReadOnly: true, Logger: quiet, Trace: "/nowhere/trace"}); err == nil {
		t.Error("opened without the trace that was asked for")
	}
}

// TestNoUID32: only the low halves of the ids count.
func TestNoUID32(t *testing.T) {
	c := craft(t, 1024)
	c.inode(fileIno, func(in *disk.Inode) { in.UID, in.GID = 0x12345, 0xABCDE })
	for _, no := range []bool{false, true} {
		a := openInode(t, c.open(Options{NoUID32: no}), fileIno).Attr()
		if no && (a.UID != 0x2345 || a.GID != 0xBCDE) || !no && (a.UID != 0x12345 || a.GID != 0xABCDE) {
			t.Errorf("NoUID32 %v: owner %x:%x", no, a.UID, a.GID)
		}
	}
}

// TestCloseTwice: the second time it says so.
func TestCloseTwice(t *testing.T) {
	fs := craft(t, 1024).open(Options{})
	if err := fs.Close(); err != nil {
		t.Error(err)
	}
	if err := fs.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("the second Close: %v", err)
	}
}
