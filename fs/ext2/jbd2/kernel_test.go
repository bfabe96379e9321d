//go:build linux

package jbd2

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// The kernel's EXT4_IOC_SHUTDOWN and what it may do with the running transaction.
const (
	iocShutdown        = 0x8004587D // _IOR('X', 125, __u32)
	shutdownLogFlush   = 1          // commit it
	shutdownNoLogFlush = 2          // drop it
)

// shutdown stops the mounted file system as it is, journal and all.
func shutdown(t testing.TB, dir string, how uint32) {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), iocShutdown, uintptr(unsafe.Pointer(&how))); errno != 0 {
		t.Fatalf("EXT4_IOC_SHUTDOWN: %v", errno)
	}
}

// load works on a mounted file system: files, directories (deleted ones make revoke
// records), content that begins like a journal's block.
func load(t testing.TB, dir string, rng *rand.Rand, rounds int) {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range rounds {
		d := filepath.Join(dir, fmt.Sprintf("d%d", rng.IntN(8)))
		switch rng.IntN(6) {
		case 0:
			check(os.RemoveAll(d))
		case 1:
			check(os.MkdirAll(filepath.Join(d, "a", "b", fmt.Sprint(i)), 0o755))
		case 2:
			f, err := os.Open(dir)
			check(err)
			check(unix.Syncfs(int(f.Fd())))
			f.Close()
		default:
			check(os.MkdirAll(d, 0o755))
			b := ext2test.Content(uint64(i), 1+rng.IntN(60000))
			if len(b) > 4096 {
				header{kind: typeCommit, sequence: 1}.encode(b)
				header{kind: typeDescriptor, sequence: 1}.encode(b[1024:])
			}
			check(os.WriteFile(filepath.Join(d, fmt.Sprintf("f%d", i%20)), b, 0o644))
		}
	}
}

// TestKernelJournals: journals that the kernel left behind when it was stopped in the
// middle of work, with each kind of checksum it knows, are replayed by the kernel, by
// e2fsprogs and by us to the same, block by block.
func TestKernelJournals(t *testing.T) {
	ext2test.NeedKernelMount(t)
	total := Result{}
	t.Log("the seed of a load is the number of its case")
	for i, tt := range []struct {
		name, options string
		blockSize     int
		features      []string
	}{
		{"ordered", "data=ordered", 1024, nil},
		{"journaled data", "data=journal", 1024, nil},
		{"journaled data 4k", "data=journal", 4096, nil},
		{"checksum v1", "journal_checksum,data=journal", 1024, nil},
		{"async", "journal_async_commit,data=writeback", 1024, nil},
		{"checksum v3", "data=journal", 1024, []string{"metadata_csum"}},
		{"async v3", "journal_async_commit,data=writeback", 4096, []string{"metadata_csum"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(uint64(i), 99))
			img := ext2test.Make(t, ext2test.Options{Type: "ext3", Size: int64(tt.blockSize) * int64(20480/(1+tt.blockSize/2048)), BlockSize: tt.blockSize,
				Features: tt.features, Args: []string{"-J", fmt.Sprintf("size=%d", tt.blockSize*1024>>20)}})
			// No background commit while the image is copied.
			dir := mountExt3(t, img, tt.options+",commit=300")
			load(t, dir, rng, 150)
			live := ext2test.Copy(t, img) // as it is now, mounted
			load(t, dir, rng, 60)
			shutdown(t, dir, uint32(shutdownLogFlush+i%2))
			unmountExt3(t, dir)
			for _, what := range []string{live, img} {
				if !superOf(t, what).HasIncompat(disk.IncompatRecover) {
					t.Fatalf("the kernel left nothing to recover")
				}
				res := replayAll(t, what)
				t.Logf("%s (%s)", res, res.Stop)
				total.Transactions += res.Transactions
				total.Blocks += res.Blocks
				total.Revoked += res.Revoked
			}
		})
	}
	if total.Transactions == 0 || total.Blocks == 0 || total.Revoked == 0 {
		t.Errorf("too little happened: %+v", total)
	}
}

// TestCopiedInMotion: an image copied while the kernel works on it is like no moment of
// its life; whatever is in its journal, all replay the same or refuse.
func TestCopiedInMotion(t *testing.T) {
	ext2test.NeedKernelMount(t)
	img := ext2test.Make(t, ext2test.Options{Type: "ext3", Size: 20 << 20, Args: []string{"-J", "size=1"}})
	dir := mountExt3(t, img, "data=journal,commit=1")
	moved, stop, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		rng := rand.New(rand.NewPCG(5, 5))
		root, err := os.Open(dir)
		if err != nil {
			t.Error(err)
			return
		}
		defer root.Close()
		for i := 0; ; i++ {
			name := filepath.Join(dir, fmt.Sprintf("f%d", rng.IntN(50)))
			if i%3 == 0 {
				os.Remove(name) // may not exist
			} else if err := os.WriteFile(name, ext2test.Content(uint64(i), rng.IntN(40000)), 0o644); err != nil {
				t.Error(err)
			}
			if i%10 == 0 {
				unix.Syncfs(int(root.Fd()))
			}
			select {
			case moved <- struct{}{}:
			case <-stop:
				return
			default:
			}
		}
	}()
	var all []string
	for range 8 {
		for range 4 {
			select {
			case <-moved:
			case <-done:
				t.Fatal("nothing moves")
			}
		}
		all = append(all, ext2test.Copy(t, img))
	}
	close(stop)
	<-done
	unmountExt3(t, dir)
	replayed := 0
	for _, c := range all {
		mine, theirs := ext2test.Copy(t, c), ext2test.Copy(t, c)
		res, err := replayImage(t, mine)
		if err != nil {
			t.Fatal(err)
		}
		ext2test.DebugfsWrite(t, theirs, "journal_run")
		sameImages(t, "debugfs's journal_run", mine, theirs)
		t.Log(res, res.Stop)
		replayed += res.Transactions
	}
	if replayed == 0 {
		t.Error("none of the copies had anything to replay")
	}
}

// TestKernelSuperblock: the superblock of a journal of mke2fs is as Create would make
// it, but for what is chosen.
func TestKernelSuperblock(t *testing.T) {
	img := ext2test.Make(t, ext2test.Options{Type: "ext3"})
	p := placeOf(t, img)
	defer p.Dev.Close()
	theirs, err := Open(p)
	if err != nil {
		t.Fatal(err)
	}
	sb := theirs.Superblock()
	ours, err := Create(p, Format{}, sb.UUID, sb.Sequence)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(ours.raw, theirs.raw) {
		t.Errorf("mke2fs has %+v, Create makes %+v", sb, ours.Superblock())
	}
}
