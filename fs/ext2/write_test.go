//go:build linux

package ext2

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestWriteModel writes and truncates one file at random, on several block sizes, and
// holds it against a byte slice; then e2fsck judges the image and debugfs the content.
func TestWriteModel(t *testing.T) {
	for _, bs := range []int{1024, 2048, 4096, 65536} {
		t.Run(fmt.Sprint(bs), func(t *testing.T) {
			t.Parallel()
			seed := uint64(bs)
			rnd := rand.New(rand.NewPCG(seed, 3))
			dir := t.TempDir()
			src := filepath.Join(dir, "src")
			os.Mkdir(src, 0o755)
			os.WriteFile(filepath.Join(src, "f"), []byte("seed"), 0o644)
			img := filepath.Join(dir, "img")
			run(t, "truncate", "-s", "64M", img)
			run(t, "mke2fs", "-q", "-F", "-t", "ext2", "-b", fmt.Sprint(bs), "-d", src, img)
			fs, err := Open(ctx, img, Options{})
			if err != nil {
				t.Fatal(err)
			}
			root, _ := fs.Root()
			f, err := root.Lookup("f")
			if err != nil {
				t.Fatal(err)
			}
			model := []byte("seed")
			const limit = 20 << 20
			for step := range 400 {
				off := rnd.IntN(limit)
				if rnd.IntN(2) == 0 {
					off = rnd.IntN(20) * bs
				}
				switch rnd.IntN(6) {
				case 0:
					more, err := truncateOnce(f, int64(off))
					if err == nil && more {
						err = f.finishTruncate(ctx)
					}
					if err != nil {
						t.Fatal(err)
					}
					if off <= len(model) {
						model = model[:off:off]
					} else {
						model = append(model, make([]byte, off-len(model))...)
					}
				case 1:
					fs.Sync(ctx)
				default:
					p := make([]byte, rnd.IntN(3*bs+100_000))
					for i := range p {
						p[i] = byte(rnd.Uint32())
					}
					n, err := f.Write(ctx, p, int64(off), WriteOptions{})
					if err != nil || n != len(p) {
						t.Fatalf("seed %d step %d: write %d at %d: %d, %v", seed, step, len(p), off, n, err)
					}
					if need := off + len(p) - len(model); need > 0 && len(p) > 0 {
						model = append(model, make([]byte, need)...)
					}
					copy(model[min(off, len(model)):], p)
				}
				if step%20 == 0 {
					got, err := io.ReadAll(io.NewSectionReader(f.ReaderAt(ctx), 0, int64(len(model))+1))
					if err != nil || !bytes.Equal(got, model) {
						t.Fatalf("seed %d step %d: content differs: %v, %d bytes, want %d", seed, step, err, len(got), len(model))
					}
				}
			}
			f.Put()
			root.Put()
			if err := fs.Close(); err != nil {
				t.Fatal(err)
			}
			run(t, "e2fsck", "-f", "-n", img)
			got := run(t, "debugfs", "-R", "cat /f", img)
			if got != string(model) {
				t.Fatalf("debugfs reads something else: %d bytes, want %d", len(got), len(model))
			}
		})
	}
}

func truncateOnce(f *Inode, size int64) (more bool, err error) {
	err = f.fs.update(ctx, freeCredits+4, func() (err error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if more, err = f.truncateLocked(size); err != nil {
			return err
		}
		return f.flushLocked()
	})
	return more, err
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s%s", name, args, err, out, &stderr)
	}
	return string(out)
}
