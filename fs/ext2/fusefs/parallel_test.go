//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// Readers, listers and askers at the same time, with the kernel's caches dropped in
// between so that requests keep coming, and the host's, so that they wait for the disk.
func TestParallel(t *testing.T) {
	const files, workers, rounds = 200, 8, 60
	img := fileTree(t, files)
	m := newMount(t, img)
	big := ext2test.Content(1, 1<<20)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			r := rand.New(rand.NewPCG(seed, uint64(w)))
			f, err := os.Open(m.path("big"))
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			for range rounds {
				if err := oneRequest(m, r, f, big, files, img); err != nil {
					t.Error(err)
					return
				}
			}
		}()
	}
	wg.Wait()
}

// oneRequest does one thing at random.
func oneRequest(m *mount, r *rand.Rand, f *os.File, big []byte, files int, img string) error {
	switch r.IntN(6) {
	case 0:
		names, err := os.ReadDir(m.path("dir"))
		if err != nil || len(names) != files {
			return fmt.Errorf("%d names, %w", len(names), err)
		}
	case 1:
		got, err := os.ReadFile(m.path(fmt.Sprintf("dir/file-%03d", r.IntN(files))))
		if err != nil || string(got) != "x" {
			return fmt.Errorf("%q, %w", got, err)
		}
	case 2:
		if _, err := unix.Lgetxattr(m.path("big"), "user.none", nil); err != unix.ENODATA {
			return fmt.Errorf("attribute: %w", err)
		}
	case 3: // from the host's disk again
		dropFile(img)
		fallthrough
	case 4: // from the daemon again
		if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
			return err
		}
		fallthrough
	default:
		off := r.IntN(len(big))
		got := make([]byte, 1+r.IntN(min(len(big)-off, 300<<10)))
		if _, err := f.ReadAt(got, int64(off)); err != nil {
			return err
		}
		if !bytes.Equal(got, big[off:off+len(got)]) {
			return fmt.Errorf("wrong content at %d, %d bytes", off, len(got))
		}
	}
	return nil
}

// dropFile takes a file out of the host's cache, as far as the host likes.
func dropFile(path string) {
	if f, err := os.Open(path); err == nil {
		_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
		f.Close()
	}
}
