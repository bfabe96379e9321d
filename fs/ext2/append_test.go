//go:build linux

package ext2

import (
	"bytes"
	"sync"
	"testing"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// Appenders overwrite nothing of each other, however much each brings.
func TestParallelAppends(t *testing.T) {
	fs, err := New(ctx, loadImage(t, ext2test.Options{Size: 24 << 20, BlockSize: 1024, Inodes: 64}), Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	root := must(fs.Root())(t)
	in := mustCreate(t, root, "log", disk.ModeReg)
	const writers, each = 4, 5 << 19 // two chunks and a half
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			if n, err := in.Write(ctx, bytes.Repeat([]byte{byte(1 + i)}, each), 0, WriteOptions{Append: true}); n != each || err != nil {
				t.Errorf("%d: %d bytes: %v", i, n, err)
			}
		})
	}
	wg.Wait()
	all := make([]byte, in.Attr().Size)
	if _, err := in.ReaderAt(ctx).ReadAt(all, 0); err != nil || len(all) != writers*each {
		t.Errorf("%d bytes, want %d (%v)", len(all), writers*each, err)
	}
	for i := range writers {
		if n := bytes.Count(all, []byte{byte(1 + i)}); n != each {
			t.Errorf("%d bytes of writer %d, want %d", n, i, each)
		}
	}
	in.Put()
	root.Put()
	if err := fs.Close(); err != nil {
		t.Fatal(err)
	}
}
