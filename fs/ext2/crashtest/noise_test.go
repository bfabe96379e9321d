//go:build linux

package crashtest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"

	"github.com/ext2fuse/ext2fuse/cache"
	"github.com/ext2fuse/ext2fuse/fs/ext2"
	"github.com/ext2fuse/ext2fuse/fs/ext2/check"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// noisePrefix begins the names in the root directory under which others are at work while
// a workload runs. The model knows nothing of what they do; that the image is in order and
// that every file of theirs shows one byte value only is looked at all the same.
const noisePrefix = "/noise"

// noise has n others at work at the same time, until stop is called.
func (d *driver) noise(n int) (stop func()) {
	quit := make(chan struct{})
	var wg sync.WaitGroup
	root, err := d.fs.Root()
	if err != nil {
		d.t.Fatal(err)
	}
	for i := range n {
		dir, err := root.Create(ctx, fmt.Sprint(noisePrefix[1:], i), ext2.CreateOptions{Mode: disk.ModeDir | 0o755})
		if err != nil {
			d.t.Fatal(err)
		}
		rnd := rand.New(rand.NewPCG(d.rnd.Uint64(), 5))
		wg.Go(func() {
			defer dir.Put()
			for {
				select {
				case <-quit:
					return
				default:
				}
				if err := noiseStep(rnd, d.fs, dir); err != nil && !expected(err) {
					d.t.Errorf("noise: %v", err)
					return
				}
			}
		})
	}
	root.Put()
	return func() { close(quit); wg.Wait() }
}

// noiseStep does one operation below dir.
func noiseStep(rnd *rand.Rand, fs *ext2.FS, dir *ext2.Inode) error {
	name := func() string { i := rnd.IntN(12); return fmt.Sprint(i, strings.Repeat("y", 15*i)) }
	file := func(f func(in *ext2.Inode) error) error {
		in, err := dir.Lookup(name())
		if errors.Is(err, ext2.ErrNotExist) {
			in, err = dir.Create(ctx, name(), ext2.CreateOptions{Mode: disk.ModeReg | 0o644})
		}
		if err != nil {
			return err
		}
		defer in.Put()
		return f(in)
	}
	switch rnd.IntN(8) {
	case 0:
		return dir.Unlink(ctx, name())
	case 1:
		return dir.Rename(ctx, name(), dir, name(), 0, ext2.Root)
	case 2:
		return file(func(in *ext2.Inode) error { return dir.Link(ctx, name(), in, ext2.Root) })
	case 3:
		size := rnd.Int64N(30_000)
		return file(func(in *ext2.Inode) error { return in.SetAttr(ctx, ext2.SetAttr{Size: &size}) })
	case 4:
		return file(func(in *ext2.Inode) error {
			return in.Setxattr(ctx, "user.noise", make([]byte, rnd.IntN(500)), 0, ext2.Root)
		})
	case 5:
		if rnd.IntN(20) == 0 {
			return fs.Sync(ctx)
		}
		fallthrough
	default:
		return file(func(in *ext2.Inode) error {
			p := make([]byte, 1+rnd.IntN(20_000))
			for i := range p {
				p[i] = noiseByte(in.Generation())
			}
			_, err := in.Write(ctx, p, rnd.Int64N(20_000), ext2.WriteOptions{})
			return err
		})
	}
}

// noiseByte is what a file of this generation is written full of.
func noiseByte(generation uint32) byte { return 1 + byte(generation%127) }

func isNoise(path string) bool { return strings.HasPrefix(path, noisePrefix) }

// noiseContent finds a byte in a file of the others that is not theirs.
func (f *found) noiseContent(n *check.Node) string {
	bs, want := int64(f.Super.BlockSize()), noiseByte(n.Inode.Generation)
	for _, m := range n.Content {
		at := int64(m.Logical) * bs
		b := f.image.View(int64(m.Block)*bs, bs)
		for i := range min(bs, max(int64(n.Inode.Size)-at, 0)) {
			if b[i] != 0 && b[i] != want {
				return fmt.Sprintf("%s: byte %d is %#x%s, and %#x is all that was written there", n.Paths[0], at+i, b[i], stale(b[i]), want)
			}
		}
	}
	return ""
}

// parallel: a mixed load, beside which others are at work.
func parallel(d *driver) {
	stop := d.noise(3)
	defer stop()
	mixed(d)
}

// promised is a writer that holds the operations of an epoch to what they said they would
// change at most.
type promised struct {
	cache.Writer
	d *driver
}

func (p promised) Write(s *cache.Snapshot) error {
	if len(s.Blocks) > s.Credits {
		p.d.t.Errorf("epoch %d changed %d blocks, its operations had promised %d at most", s.Epoch, len(s.Blocks), s.Credits)
	}
	return p.Writer.Write(s)
}

func (p promised) Tidy(idle bool) error { return tidy(p.Writer, idle) }

// tidy is Tidy for a writer that is wrapped.
func tidy(w cache.Writer, idle bool) error {
	if t, ok := w.(cache.Tidier); ok {
		return t.Tidy(idle)
	}
	return nil
}
