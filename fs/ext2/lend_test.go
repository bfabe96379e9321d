//go:build linux

package ext2

import (
	"bytes"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
	"github.com/ext2fuse/ext2fuse/mpage"
)

// lent gives n bytes of a file from off on by way of a pipe; nil if they are not lent.
// between, if set, is called when they are in the pipe.
func lent(t *testing.T, in *Inode, off int64, n int, between func()) []byte {
	t.Helper()
	c, ok := in.Lend(off, int64(n))
	if !ok {
		return nil
	}
	defer c.Return()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if _, err := unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, 1<<20); err != nil {
		t.Fatal(err)
	}
	if got := c.Splice(int(w.Fd())); got != c.Len() {
		t.Fatalf("%d bytes at %d: %d in the pipe, %d lent", n, off, got, c.Len())
	}
	if between != nil {
		between()
	}
	p := make([]byte, c.Len())
	for done := 0; done < len(p); {
		k, err := r.Read(p[done:])
		if err != nil {
			t.Fatal(err)
		}
		done += k
	}
	return p
}

// What is lent is what was written just before, block by block of the image, at every
// size of blocks; and what is overwritten, cut off or punched out while it is lent
// changes only when it was returned.
func TestLendWritten(t *testing.T) {
	blockiotest.NeedSplicing(t)
	for _, bs := range []int{1024, 4096, 65536} {
		w := makeWritable(t, ext2test.Options{BlockSize: bs, Size: 32 << 20}, Options{})
		f := w.create("f", 0o100644)
		want := ext2test.Content(uint64(bs), 3<<20)
		w.write(f, want, 0)
		loans := 0
		for off := int64(0); off < int64(len(want)); off += 400_000 {
			got := lent(t, f, off, 700_000, nil)
			if got == nil {
				continue
			}
			loans++
			if end := min(off+700_000, int64(len(want))); !bytes.Equal(got, want[off:end]) {
				t.Fatalf("block size %d: at %d: not what was written", bs, off)
			}
		}
		if loans == 0 {
			t.Fatalf("block size %d: nothing was lent", bs)
		}
		const at, n = 1100 << 10, 150_000 // of one run, with blocks of 1 KiB, too
		for _, c := range []struct {
			what   string
			change func()
		}{
			{"overwritten", func() { w.write(f, bytes.Repeat([]byte{0xEE}, 500_000), at) }},
			{"cut off", func() { w.truncate(f, 100) }}, // last: see below
		} {
			what := c.what
			w.write(f, want, 0)
			done := make(chan struct{})
			got := lent(t, f, at, n, func() {
				go func() {
					defer close(done)
					c.change()
				}()
				select {
				case <-done:
					t.Errorf("block size %d: content was %s while it was lent", bs, what)
				case <-time.After(20 * time.Millisecond):
				}
			})
			if got == nil {
				t.Fatalf("block size %d: to be %s: not lent", bs, what)
			}
			<-done
			if !bytes.Equal(got, want[at:at+n]) {
				t.Errorf("block size %d: content that was %s meanwhile: not the old one", bs, what)
			}
		}
		if _, ok := f.Lend(0, 1<<20); ok {
			t.Errorf("block size %d: lent what was cut off", bs)
		}
		f.Put()
		w.close()
	}
}

// Directories and links have no content to lend; what is short is read.
func TestNothingToLend(t *testing.T) {
	w := makeWritable(t, ext2test.Options{}, Options{})
	defer w.close()
	if _, ok := w.root.Lend(0, 1<<20); ok {
		t.Error("a directory's content was lent")
	}
	f := w.create("f", 0o100644)
	defer f.Put()
	w.write(f, make([]byte, mpage.MinLent), 0)
	if _, ok := f.Lend(0, mpage.MinLent-1); ok {
		t.Error("lent what is short")
	}
	if _, ok := f.Lend(1, mpage.MinLent); ok {
		t.Error("lent the short end of a file")
	}
}

// A stream that has met a cold image is read until it ends or jumps.
func TestColdStreamIsRead(t *testing.T) {
	blockiotest.NeedSplicing(t)
	w := makeWritable(t, ext2test.Options{BlockSize: 4096}, Options{})
	defer w.close()
	f := w.create("f", 0o100644)
	defer f.Put()
	w.write(f, make([]byte, 4<<20), 0)
	buf := make([]byte, 512<<10)
	for i := range int64(streamAfter) {
		f.stream.next(i*int64(len(buf)), int64(len(buf)), 4<<20, true)
	}
	f.stream.done()
	if lent(t, f, 1<<20, len(buf), nil) != nil {
		t.Error("a stream that met a cold image was lent the next piece")
	}
	for _, off := range []int64{3 << 20, 0} { // and back to the beginning
		if n, err := f.Read(ctx, buf, off); n != len(buf) || err != nil {
			t.Fatal(n, err)
		}
	}
	if lent(t, f, int64(len(buf)), len(buf), nil) == nil {
		t.Error("a reader that has jumped was not lent anything")
	}
}

// Lending notes the access like reading.
func TestLendTouches(t *testing.T) {
	blockiotest.NeedSplicing(t)
	w := makeWritable(t, ext2test.Options{BlockSize: 4096}, Options{Atime: StrictAtime})
	defer w.close()
	f := w.create("f", 0o100644)
	defer f.Put()
	w.write(f, make([]byte, 200<<10), 0)
	old := disk.Timespec{Sec: 1000}
	if err := f.SetAttr(ctx, SetAttr{Atime: &old}); err != nil {
		t.Fatal(err)
	}
	if got := lent(t, f, 0, 200<<10, nil); got == nil {
		t.Fatal("not lent")
	}
	if a := f.Attr().Atime; a == old {
		t.Errorf("the time of the access is %v", a)
	}
}
