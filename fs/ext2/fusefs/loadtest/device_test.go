//go:build linux && !386 && !arm && !mips && !mipsle

package loadtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// failing is a mount whose image is about to fail, with two files: old, which the image
// had before, and kept, which was made and fsynced under the mount.
type failing struct {
	*mount
	old, kept []byte
}

// newFailing makes an image with make, which is given the path of one, and mounts what it
// returns.
func newFailing(t *testing.T, size int64, place func(img string) string) *failing {
	t.Helper()
	ext2test.NeedFUSE(t)
	ext2test.NeedKernelMount(t)
	f := &failing{old: ext2test.Content(1, 300_000), kept: ext2test.Content(2, 200_000)}
	tree := t.TempDir()
	must(t, os.WriteFile(filepath.Join(tree, "old"), f.old, 0o644))
	img := place(ext2test.Make(t, ext2test.Options{Size: size, BlockSize: 4096, Root: tree}))
	f.mount = &mount{t: t, img: img, dir: t.TempDir()}
	f.mount.mount()
	t.Cleanup(func() {
		if f.on {
			f.release()
		}
	})
	must(t, writeSync(f.path("kept"), f.kept))
	return f
}

func writeSync(path string, p []byte) error {
	w, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = w.Write(p)
	return errors.Join(err, w.Sync(), w.Close())
}

// fail writes until it is told that something is wrong, and checks that the daemon goes on
// answering. It returns what was said.
func (f *failing) fail() error {
	f.t.Helper()
	var failed error
	for i := 0; failed == nil && i < 200; i++ {
		failed = writeSync(f.path(fmt.Sprint("more-", i)), ext2test.Content(3, 1<<20))
	}
	if failed == nil {
		f.t.Error("200 MiB were written and fsynced, and nobody was told")
	}
	var st unix.Statfs_t
	if err := unix.Statfs(f.dir, &st); err != nil {
		f.t.Errorf("statfs: %v", err)
	}
	if _, err := os.ReadDir(f.dir); err != nil {
		f.t.Errorf("the listing of a directory in memory: %v", err)
	}
	for range 20 { // each gives an answer, whichever
		_, _ = os.ReadFile(f.path("old"))
		_ = os.WriteFile(f.path("another"), []byte("x"), 0o644)
		_ = os.Remove(f.path("more-0"))
	}
	return failed
}

// whole checks an image that works again: e2fsck -p recovers it, and what was durable is
// there.
func (f *failing) whole(img string) {
	f.t.Helper()
	if out, err := exec.Command("e2fsck", "-p", img).CombinedOutput(); err != nil && err.(*exec.ExitError).ExitCode() != 1 {
		f.t.Errorf("e2fsck -p: %v\n%s", err, out)
	}
	ext2test.Fsck(f.t, img)
	m := &mount{t: f.t, img: img, dir: f.t.TempDir()}
	m.mount("ro")
	defer m.release()
	for name, want := range map[string][]byte{"old": f.old, "kept": f.kept} {
		if got, err := os.ReadFile(m.path(name)); err != nil || !bytes.Equal(got, want) {
			f.t.Errorf("%s: %d bytes of %d, %v", name, len(got), len(want), err)
		}
	}
}

// A sparse image on a host file system that is full.
func TestHostFull(t *testing.T) {
	host := t.TempDir()
	f := newFailing(t, 256<<20, func(img string) string {
		run(t, "", "mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", host)
		t.Cleanup(func() { _ = unix.Unmount(host, unix.MNT_DETACH) })
		run(t, "", "cp", "--sparse=always", img, filepath.Join(host, "img"))
		return filepath.Join(host, "img")
	})
	if err := f.fail(); !errors.Is(err, unix.EIO) && !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EROFS) {
		t.Errorf("writing says: %v", err)
	}
	f.release()
	run(t, "", "mount", "-o", "remount,size=300m", host)
	f.whole(f.img)
}

// A loop device that is torn away: its image shrinks to almost nothing.
func TestLoopTornAway(t *testing.T) {
	var backing, saved string
	f := newFailing(t, 64<<20, func(img string) string {
		backing, saved = img, img+".saved"
		dev := strings.TrimSpace(run(t, "", "losetup", "--find", "--show", img))
		t.Cleanup(func() { run(t, "", "losetup", "-d", dev) })
		return dev
	})
	run(t, "", "cp", "--sparse=always", backing, saved)
	must(t, os.Truncate(backing, 1<<20))
	run(t, "", "losetup", "-c", f.img)
	if err := f.fail(); !errors.Is(err, unix.EIO) && !errors.Is(err, unix.EROFS) {
		t.Errorf("writing says: %v", err)
	}
	f.release()
	f.whole(saved)
}

// An image that somebody truncates under a live mount.
func TestTruncatedImage(t *testing.T) {
	f := newFailing(t, 64<<20, func(img string) string { return img })
	must(t, os.Truncate(f.img, 300<<10))
	drop(t, f.path("old"))
	if _, err := os.ReadFile(f.path("old")); !errors.Is(err, unix.EIO) {
		t.Errorf("reading what is cut off: %v, want EIO", err)
	}
	for range 20 { // the host lets the image grow again: each gives an answer, whichever
		_ = os.WriteFile(f.path("another"), ext2test.Content(5, 50_000), 0o644)
		_ = os.Remove(f.path("kept"))
	}
	var st unix.Statfs_t
	must(t, unix.Statfs(f.dir, &st))
	f.release()
}

// drop has the kernel forget the content of a file.
func drop(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	must(t, unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
}

// An image on a file system, here one of FUSE, that begins to fail as a network one does
// whose server is gone.
func TestHostFails(t *testing.T) {
	var below *failingFile
	f := newFailing(t, 64<<20, func(img string) string {
		img, below = onFailingHost(t, img)
		return img
	})
	below.fails.Store(true)
	if err := f.fail(); !errors.Is(err, unix.EIO) && !errors.Is(err, unix.EROFS) {
		t.Errorf("writing says: %v", err)
	}
	below.fails.Store(false)
	f.release()
	f.whole(below.copy(t))
}

// onFailingHost puts an image on a file system of FUSE that can be made to fail, and gives
// its path there.
func onFailingHost(t *testing.T, img string) (string, *failingFile) {
	t.Helper()
	host := t.TempDir()
	data, err := os.ReadFile(img)
	must(t, err)
	below := &failingFile{mem: blockiotest.MemOf(data)}
	server, err := fs.Mount(host, &failingDir{file: below}, &fs.Options{MountOptions: fuse.MountOptions{DirectMount: true}})
	must(t, err)
	t.Cleanup(func() {
		if err := server.Unmount(); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(host, "img"), below
}

// failingDir is a file system with one file, img.
type failingDir struct {
	fs.Inode
	file *failingFile
}

func (d *failingDir) OnAdd(ctx context.Context) {
	d.AddChild("img", d.NewPersistentInode(ctx, d.file, fs.StableAttr{Mode: syscall.S_IFREG}), true)
}

// failingFile is a file in memory that can be made to fail. Content that has poison in it
// cannot be written there at any time.
type failingFile struct {
	fs.Inode
	mem          *blockiotest.Mem
	fails        atomic.Bool
	failsWriting atomic.Bool  // reading works
	unreadable   atomic.Int64 // offset of a byte that cannot be read, if positive
}

var poison = []byte("this cannot be written; ")

// copy is what it holds, in a file that does not fail.
func (f *failingFile) copy(t *testing.T) string {
	t.Helper()
	img := filepath.Join(t.TempDir(), "img")
	must(t, os.WriteFile(img, f.mem.Bytes(0, f.mem.Size()), 0o600))
	return img
}

var (
	_ fs.NodeOpener    = (*failingFile)(nil)
	_ fs.NodeGetattrer = (*failingFile)(nil)
	_ fs.NodeReader    = (*failingFile)(nil)
	_ fs.NodeWriter    = (*failingFile)(nil)
	_ fs.NodeFsyncer   = (*failingFile)(nil)
)

// Open implements fs.NodeOpener: nothing is cached above, so that failures are seen.
func (f *failingFile) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, 0
}

// Getattr implements fs.NodeGetattrer.
func (f *failingFile) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Size, out.Mode = uint64(f.mem.Size()), syscall.S_IFREG|0o600
	return 0
}

func (f *failingFile) answer(err error) syscall.Errno {
	if err != nil || f.fails.Load() {
		return syscall.EIO
	}
	return 0
}

// Read implements fs.NodeReader.
func (f *failingFile) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	dest = dest[:max(0, min(int64(len(dest)), f.mem.Size()-off))]
	_, err := f.mem.ReadvAt([][]byte{dest}, off)
	if bad := f.unreadable.Load(); bad > 0 && bad >= off && bad < off+int64(len(dest)) {
		err = syscall.EIO
	}
	return fuse.ReadResultData(dest), f.answer(err)
}

// Write implements fs.NodeWriter.
func (f *failingFile) Write(_ context.Context, _ fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	if f.fails.Load() || f.failsWriting.Load() || bytes.Contains(data, poison) {
		return 0, syscall.EIO
	}
	n, err := f.mem.WritevAt([][]byte{data}, off)
	return uint32(n), f.answer(err)
}

// Fsync implements fs.NodeFsyncer.
func (f *failingFile) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	if f.failsWriting.Load() {
		return syscall.EIO
	}
	return f.answer(nil)
}
