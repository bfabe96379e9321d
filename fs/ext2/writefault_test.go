//go:build linux

package ext2

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
)

// A write into a hole whose k-th data write fails gives its blocks back: the file does not
// show what they held before, and the image is whole. Every k fails in turn, and the write
// begins at a block, and in the middle of one.
func TestWriteFaultShowsNothingOld(t *testing.T) {
	const bs, size = 1024, 300 * 1024
	dir := t.TempDir()
	img := filepath.Join(dir, "img")
	old := bytes.Repeat([]byte{0xEE}, 8<<20)
	if err := os.WriteFile(img, old, 0o600); err != nil {
		t.Fatal(err)
	}
	src := filepath.Join(dir, "src")
	os.Mkdir(src, 0o755)
	os.WriteFile(filepath.Join(src, "f"), nil, 0o644)
	run(t, "mke2fs", "-q", "-F", "-E", "nodiscard", "-t", "ext2", "-b", fmt.Sprint(bs), "-d", src, img)
	image, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	for _, off := range []int64{0, 700, 20 * bs, 20*bs + 1} {
		for k := int64(1); ; k++ {
			mem := blockiotest.MemOf(image)
			fault := blockiotest.NewFault(mem)
			fs, err := New(ctx, fault, Options{})
			if err != nil {
				t.Fatal(err)
			}
			root, _ := fs.Root()
			f, err := root.Lookup("f")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.Write(ctx, []byte{1}, size, WriteOptions{}); err != nil {
				t.Fatal(err)
			}
			fault.Fail(blockiotest.Rule{Op: blockio.Write, From: k, Match: func(b *blockio.Bio) bool { return b.For == blockio.Data }})
			p := bytes.Repeat([]byte{7}, 200*bs)
			n, err := f.Write(ctx, p, off, WriteOptions{})
			failed := fault.Failed() > 0
			fault.Heal()
			if failed != (err != nil) {
				t.Fatalf("off %d, write %d fails: %d, %v", off, k, n, err)
			}
			got := make([]byte, size)
			if _, err := f.Read(ctx, got, 0); err != nil {
				t.Fatal(err)
			}
			want := make([]byte, size)
			copy(want[off:], p[:n])
			for i := range got {
				// What is behind n may be there, as long as it is what was to be written.
				if in := int64(i) >= off && int64(i) < off+int64(len(p)); got[i] != want[i] && !(in && got[i] == 7) {
					t.Fatalf("off %d, write %d fails, %d bytes written: byte %d is %#x", off, k, n, i, got[i])
				}
			}
			f.Put()
			root.Put()
			if err := fs.Close(); err != nil {
				t.Fatal(err)
			}
			out := filepath.Join(dir, "after")
			if err := os.WriteFile(out, mem.Bytes(0, mem.Size()), 0o600); err != nil {
				t.Fatal(err)
			}
			run(t, "e2fsck", "-f", "-n", out)
			if !failed {
				if k < 2 {
					t.Errorf("off %d: nothing failed", off)
				}
				break
			}
		}
	}
}
