//go:build linux

package ext2

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// mixed is an image with a linear directory (inode 20), an indexed one (21), a symbolic
// link with a block (22) and a file with a block of attributes (fileIno).
func mixed(t testing.TB) (*crafted, []namedIno) {
	img := craft(t, 1024)
	all := names(0, 900)
	img.dir(20, all...)
	img.htree(21, 20, all...)
	block := img.take()
	img.write([]byte(targetOf(500)), int64(block)*1024)
	img.inode(22, func(in *disk.Inode) {
		*in = disk.Inode{Mode: disk.ModeSymlink, Links: 1, Size: 500, Sectors: 2, Block: [15]uint32{block}}
	})
	attrs := make([]byte, 1024)
	if err := disk.EncodeXattrBlock(attrs, 1, []disk.XattrEntry{{Index: disk.XattrUser, Name: "a", Value: []byte("value")}}); err != nil {
		t.Fatal(err)
	}
	block = img.take()
	img.write(attrs, int64(block)*1024)
	img.inode(fileIno, func(in *disk.Inode) { in.FileACL = block })
	img.dir(RootIno, namedIno{"linear", 20}, namedIno{"indexed", 21}, namedIno{"link", 22}, namedIno{"file", fileIno})
	return img, all
}

// useMixed does something with all of it. An answer is right or an error; with whole, it
// is right.
func useMixed(t *testing.T, fs *FS, all []namedIno, whole bool) {
	t.Helper()
	check := func(what string, right bool, err error) {
		t.Helper()
		if err == nil && !right || err != nil && (whole || errors.Is(err, ErrNotExist) || errors.Is(err, ErrNoAttr)) {
			t.Fatalf("%s: right: %v, error: %v", what, right, err)
		}
	}
	for _, dir := range []string{"linear", "indexed"} {
		in, err := fs.InodeByPath(dir, false)
		check(dir, true, err)
		if err != nil {
			continue
		}
		for i := 0; i < len(all); i += 300 {
			ino, err := in.lookupIno(all[i].name)
			check(all[i].name, ino == all[i].ino, err)
		}
		_, err = in.lookupIno("absent")
		if err == nil || whole && !errors.Is(err, ErrNotExist) {
			t.Fatalf("absent: %v", err)
		}
		n := 0
		err = in.ReadDir(ctx, 0, func(DirEntry) bool { n++; return true })
		check("listing", n == len(all)+2, err)
		in.Put()
	}
	if link, err := fs.Inode(22); err == nil {
		target, err := link.Readlink()
		check("target", target == targetOf(500), err)
		link.Put()
	}
	if file, err := fs.Inode(fileIno); err == nil {
		value, err := file.Getxattr("user.a")
		check("attribute", string(value) == "value", err)
		file.Put()
	}
}

// TestFaultNames makes each read fail once. What could not be read is an error and never
// an answer, and nothing of it is left when the device works again.
func TestFaultNames(t *testing.T) {
	img, all := mixed(t)
	for _, times := range []int64{1, 0} { // this read, or all from it on
		for k := int64(1); ; k++ {
			dev := blockiotest.NewFault(img.dev.Clone())
			fs, err := New(ctx, dev, Options{ReadOnly: true, Logger: quiet})
			if err != nil {
				t.Fatal(err)
			}
			dev.Fail(blockiotest.Rule{Op: blockio.Read, From: k, Times: times})
			for range 3 {
				useMixed(t, fs, all, false)
			}
			failed := dev.Failed()
			dev.Heal()
			useMixed(t, fs, all, true)
			fs.Close()
			if failed == 0 {
				if k < 8 {
					t.Errorf("only %d reads", k-1)
				}
				break
			}
		}
	}
}

// TestNamesParallel: everything at once, with little memory, so that inodes, blocks and
// indexes come and go meanwhile.
func TestNamesParallel(t *testing.T) {
	img, all := mixed(t)
	fs := img.open(Options{CacheBytes: 256 << 10})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 1))
			for range 40 {
				in, err := fs.InodeByPath([]string{"linear", "indexed"}[rng.IntN(2)], false)
				if err != nil {
					t.Error(err)
					return
				}
				for range 50 {
					e := all[rng.IntN(len(all))]
					if ino, err := in.lookupIno(e.name); ino != e.ino || err != nil {
						t.Errorf("%s: inode %d, %v", e.name, ino, err)
					}
					if _, err := in.lookupIno(fmt.Sprint("absent", rng.Int())); !errors.Is(err, ErrNotExist) {
						t.Error(err)
					}
				}
				if rng.IntN(10) == 0 {
					fs.names.drop(in.dir.data(fs))
				}
				if got, _, err := listFrom(t, in, 0, 1+rng.IntN(300)); err != nil || len(got) != len(all)+2 {
					t.Errorf("%d entries, %v", len(got), err)
				}
				in.Put()
			}
		})
	}
	wg.Wait()
}
