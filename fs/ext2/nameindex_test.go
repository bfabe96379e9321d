//go:build linux

package ext2

import (
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// TestNameIndex holds the table against a map, with hashes that collide often.
func TestNameIndex(t *testing.T) {
	for _, hashes := range []uint32{3, 1000, 1 << 31} {
		seed := rand.Uint64()
		t.Logf("seed %d, %d hashes", seed, hashes)
		rng := rand.New(rand.NewPCG(seed, 0))
		x := newNameIndex(rng.IntN(300))
		model := map[uint32]map[int64]bool{}
		n := 20000
		if hashes == 3 {
			n = 1000 // each find looks at a third of them
		}
		for i := range n {
			h := rng.Uint32N(hashes) * 2654435761
			off := (rng.Int64N(1<<30) + 1<<30*(rng.Int64N(4))) &^ 3
			if i == 0 {
				off = 0
			}
			if model[h] == nil {
				model[h] = map[int64]bool{}
			}
			if !model[h][off] {
				x.add(h, off)
			}
			model[h][off] = true
		}
		for h, want := range model {
			got := map[int64]bool{}
			x.find(h, func(off int64) bool {
				if got[off] {
					t.Fatalf("offset %d found twice", off)
				}
				got[off] = true
				return false
			})
			for off := range want {
				if !got[off] {
					t.Fatalf("hash %#x: offset %d is missing", h, off)
				}
			}
			if len(got) != len(want) {
				t.Fatalf("hash %#x: %d offsets, want %d", h, len(got), len(want))
			}
		}
		for range 1000 {
			h := rng.Uint32()
			if model[h] == nil {
				x.find(h, func(off int64) bool { t.Fatalf("hash %#x, never added, found", h); return true })
			}
		}
		if per := float64(x.bytes()) / float64(x.n); per > 2*nameSlotBytes {
			t.Errorf("%.1f bytes per name", per)
		}
	}
}

// manyNames makes an image in memory with linear directories d0, d1, … of n names each,
// spread over blocks that lie apart.
func manyNames(t testing.TB, blockSize, dirs, n int) *blockiotest.Mem {
	c := craft(t, blockSize)
	var entries []namedIno
	for i := range dirs {
		entries = append(entries, namedIno{fmt.Sprint("d", i), c.dir(uint32(20+i), names(i, n)...)})
	}
	c.dir(RootIno, append(entries, namedIno{"file", fileIno})...)
	return c.dev
}

func names(dir, n int) (all []namedIno) {
	for i := range n {
		all = append(all, namedIno{fmt.Sprintf("name-%d-%d", dir, i), fileIno})
	}
	return all
}

// TestNameIndexMemory: the indexes of many directories stay within their bound, the
// least recently used leave, and look-ups are right throughout.
func TestNameIndexMemory(t *testing.T) {
	const dirs, n = 12, 1000
	fs, err := New(ctx, manyNames(t, 1024, dirs, n), Options{ReadOnly: true, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	fs.names.maxBytes = 48 << 10 // room for three to four
	var ins []*Inode
	for i := range dirs {
		ins = append(ins, openInode(t, fs, uint32(20+i)))
	}
	rng := rand.New(rand.NewPCG(7, 7))
	for range 3000 {
		i, k := rng.IntN(dirs), rng.IntN(2*n)
		ino, err := ins[i].lookupIno(fmt.Sprintf("name-%d-%d", i, k))
		if k < n && (err != nil || ino != fileIno) || k >= n && !errors.Is(err, ErrNotExist) {
			t.Fatalf("name-%d-%d: inode %d, %v", i, k, ino, err)
		}
		if fs.names.bytes > fs.names.maxBytes {
			t.Fatalf("%d bytes of indexes, at most %d are allowed", fs.names.bytes, fs.names.maxBytes)
		}
	}
	sum, count := int64(0), 0
	for i, in := range ins {
		if x := in.dir.data(fs).index.Load(); x != nil {
			sum += x.bytes()
			count++
			if fs.names.indexes[in.dir.data(fs)] != x {
				t.Errorf("the index of d%d is not accounted for", i)
			}
		}
	}
	if sum != fs.names.bytes || count != len(fs.names.indexes) || count < 2 {
		t.Errorf("%d indexes of %d bytes are in use; accounted for are %d of %d", count, sum, len(fs.names.indexes), fs.names.bytes)
	}
	// Use one directory between all others: it must stay.
	keep := ins[0].dir.data(fs)
	for range 3 {
		ins[0].lookupIno("name-0-1")
	}
	x := keep.index.Load()
	for i := 1; i < dirs; i++ {
		ins[0].lookupIno("name-0-1")
		ins[i].lookupIno("nothing")
		ins[i].lookupIno("nothing")
	}
	if x == nil || keep.index.Load() != x {
		t.Error("the index in use was thrown out for others")
	}
	ins[0].dir.evicted()
	if keep.index.Load() != nil {
		t.Error("the index outlives its inode")
	}
	// A directory too large for an index is read linearly.
	fs.names.maxBytes = 4 << 10
	for range 3 {
		if ino, err := ins[5].lookupIno("name-5-999"); ino != fileIno || err != nil {
			t.Errorf("inode %d, %v", ino, err)
		}
	}
	if d := ins[5].dir.data(fs); !d.hopeless.Load() && d.index.Load() == nil {
		t.Error("no index and no reason")
	}
}

// TestNameIndexHole: a directory whose second block lies behind a large hole makes no index as
// large as what it would have with all of them.
func TestNameIndexHole(t *testing.T) {
	img := craft(t, 1024)
	img.dir(badIno, names(0, 3)...)
	far := img.take()
	img.write(packLeaf(1024, []namedIno{{"far", fileIno}}), int64(far)*1024)
	img.inode(badIno, func(in *disk.Inode) {
		in.Size = 8000 << 10
		img.put(&in.Block, 7999, far)
	})
	fs := img.open(Options{})
	fs.names.maxBytes = 48 << 10
	in := openInode(t, fs, badIno)
	_, _ = in.lookupIno("absent") // the next one makes the index
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if ino, err := in.lookupIno("far"); ino != fileIno || err != nil {
		t.Errorf("inode %d, %v", ino, err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 3*uint64(fs.names.maxBytes) {
		t.Errorf("%d bytes were allocated", n)
	}
	if _, err := in.lookupIno("absent"); !isCorrupt(err) {
		t.Errorf("absent: %v", err)
	}
}

// TestNameIndexCost: once the index is there, a name costs one directory block, and a
// name that does not exist none, however many there are.
func TestNameIndexCost(t *testing.T) {
	fs, err := New(ctx, manyNames(t, 1024, 1, 9000), Options{ReadOnly: true, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	in := openInode(t, fs, 20)
	in.lookupIno("warm")
	in.lookupIno("warm")
	// Mapping a block may take tables, too.
	for _, c := range []struct {
		name string
		most uint64
	}{{"name-0-4711", 4}, {"name-0-8999", 4}, {"absent", 0}} {
		before := fs.CacheStats()
		in.lookupIno(c.name)
		after := fs.CacheStats()
		if got := after.Hits + after.Misses - before.Hits - before.Misses; got > c.most {
			t.Errorf("%s: %d blocks looked at, want at most %d", c.name, got, c.most)
		}
	}
	key := "absent"
	if n := testing.AllocsPerRun(100, func() { in.lookupIno(key) }); n > 0 {
		t.Errorf("%v allocations per look-up", n)
	}
}

func BenchmarkLookup(b *testing.B) {
	fs, err := New(ctx, manyNames(b, 4096, 1, 9000), Options{ReadOnly: true, Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	in := openInode(b, fs, 20)
	for _, name := range []string{"name-0-8999", "absent"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				in.lookupIno(name)
			}
		})
	}
	b.Run("ReadDir", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			in.ReadDir(ctx, 0, func(DirEntry) bool { return true })
		}
	})
	seed := maphash.MakeSeed()
	b.Run("maphash", func(b *testing.B) {
		for b.Loop() {
			maphash.Bytes(seed, []byte("name-0-8999"))
		}
	})
	b.Run("half_md4", func(b *testing.B) {
		for b.Loop() {
			disk.DirHash(disk.HashHalfMD4, [4]uint32{}, []byte("name-0-8999"))
		}
	})
}
