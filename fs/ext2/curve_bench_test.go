//go:build linux

package ext2

import (
	"fmt"
	"testing"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// What may not grow with where something is: these curves are to be flat, but for the
// tables that a far offset takes. BenchmarkAddName is the one for the size of a directory.

// BenchmarkFarOffset allocates blocks of a sparse file, near its beginning and far out.
func BenchmarkFarOffset(b *testing.B) {
	const bs, blocks = 4096, 4096
	for _, at := range []string{"0", "1GiB", "1TiB", "end"} {
		b.Run(at, func(b *testing.B) {
			w := makeWritable(b, ext2test.Options{Size: 256 << 20, BlockSize: bs}, Options{})
			off := map[string]int64{"1GiB": 1 << 30, "1TiB": 1 << 40, "end": w.fs.sb.MaxFileSize()&^(bs-1) - blocks*bs}[at]
			f := w.create("f", disk.ModeReg|0o644)
			p := make([]byte, bs)
			i := int64(0)
			for b.Loop() {
				if i == blocks {
					w.truncate(f, 0)
					i = 0
				}
				w.write(f, p, off+i*bs)
				i++
			}
			f.Put()
			w.root.Put()
			w.fs.Close()
		})
	}
}

// BenchmarkLateGroup allocates inodes and blocks where all groups but one are full, which
// is not so: they are only said to be.
func BenchmarkLateGroup(b *testing.B) {
	for _, late := range []uint32{1, 100, 1000, 8191} {
		b.Run(fmt.Sprint(late), func(b *testing.B) {
			w := makeWritable(b, ext2test.Options{Size: 1 << 40, BlockSize: 4096, Extended: []string{"lazy_itable_init=1,nodiscard"}}, Options{})
			for g := range w.fs.space.groups {
				if st := &w.fs.space.groups[g]; uint32(g) != late {
					st.freeBlocks, st.freeInodes, st.longest = 0, 0, 0
					w.fs.space.noteRoom(uint32(g), st)
				}
			}
			p := make([]byte, 4096)
			i := 0
			for b.Loop() {
				n := name(i % 4096)
				if i >= 4096 {
					b.StopTimer()
					if err := w.root.Unlink(ctx, n); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
				f := w.create(n, disk.ModeReg|0o644)
				w.write(f, p, 0)
				f.Put()
				i++
			}
			w.root.Put()
			w.fs.Close()
		})
	}
}
