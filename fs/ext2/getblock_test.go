//go:build linux

package ext2

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
	"github.com/ext2fuse/ext2fuse/mpage"
)

var allBlockSizes = []int{1024, 2048, 4096, 8192, 16384, 32768, 65536}

// TestGetBlock holds the block map against the naive walk, on random files with holes
// at all levels, for all block sizes: what a run says, how long it is, and what it says
// of the table behind it.
func TestGetBlock(t *testing.T) {
	seed := rand.Uint64()
	for _, bs := range allBlockSizes {
		t.Run(fmt.Sprintf("%dk", bs/1024), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, uint64(bs)))
			t.Logf("seed %d", seed)
			for range 4 {
				c := craft(t, bs)
				iblock, asks := c.scatter(rng, 120)
				c.inode(fileIno, func(in *disk.Inode) { in.Block, in.Size = iblock, 1<<40 })
				in := openInode(t, c.open(Options{}), fileIno)
				for _, ib := range asks {
					checkRun(t, c.naive, in, iblock, ib, 1+rng.Int64N(300))
				}
				checkRun(t, c.naive, in, iblock, asks[0], 1<<40)
			}
		})
	}
}

func openInode(t testing.TB, fs *FS, ino uint32) *Inode {
	t.Helper()
	in, err := fs.Inode(ino)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Put() })
	return in
}

// checkRun asks for the run at ib and checks every block of it (of a hole, up to some
// thousand) and that it could not be longer.
func checkRun(t *testing.T, n naiveImage, in *Inode, iblock [15]uint32, ib, max int64) {
	t.Helper()
	r, err := (*blockMap)(in).GetBlock(uint64(ib), uint64(max), false)
	if err != nil {
		t.Fatalf("GetBlock(%d, %d): %v", ib, max, err)
	}
	if r.Count < 1 || r.Count > uint64(max) {
		t.Fatalf("GetBlock(%d, %d): %d blocks", ib, max, r.Count)
	}
	count, mapped := int64(r.Count), r.Flags&mpage.Mapped != 0
	for i := int64(0); i < min(count, 3000); i++ {
		want := uint32(0)
		if mapped {
			want = uint32(r.Block + uint64(i))
		}
		if _, p := n.walk(iblock, ib+i); p != want {
			t.Fatalf("GetBlock(%d, %d) = %+v: file block %d is at %d", ib, max, r, ib+i, p)
		}
	}
	last := borders(int(n.blockSize))
	if ib+count >= last[len(last)-1] {
		return
	}
	_, lastBlock := n.walk(iblock, ib+count-1)
	tables, next := n.walk(iblock, ib+count)
	here, _ := n.walk(iblock, ib)
	sameTable := len(here) == len(tables) && (len(here) == 0 || here[len(here)-1] == tables[len(tables)-1])
	switch {
	case !mapped && lastBlock != 0:
		t.Fatalf("GetBlock(%d, %d) = %+v: its last block is at %d", ib, max, r, lastBlock)
	case count < max && sameTable && (mapped && next == lastBlock+1 || !mapped && next == 0 && len(here) > 0):
		t.Fatalf("GetBlock(%d, %d) = %+v: the run goes on in the same table", ib, max, r)
	case mapped && sameTable && r.Flags&mpage.Boundary != 0:
		t.Fatalf("GetBlock(%d, %d) = %+v: boundary in the middle of a table", ib, max, r)
	case mapped && !sameTable:
		checkBoundary(t, in, r, tables, ib+count)
	}
}

// checkBoundary checks Next and Span of a run that ends with its table: tables is the
// way to the next file block.
func checkBoundary(t *testing.T, in *Inode, r mpage.Run, tables []uint32, next int64) {
	t.Helper()
	if len(tables) == 0 {
		if r.Flags&mpage.Boundary != 0 {
			t.Fatalf("%+v: boundary, but no table is needed for file block %d", r, next)
		}
		return
	}
	if r.Next == 0 && r.Flags&mpage.Boundary == 0 {
		// A pointer of 0 in a table that is in memory: a hole. The way then ends there.
		for _, b := range tables {
			if !in.fs.cache.Cached(uint64(b)) {
				t.Fatalf("%+v: no boundary before file block %d, which needs table %d", r, next, b)
			}
		}
		return
	}
	want := uint64(0)
	for _, b := range tables {
		want = uint64(b)
		if !in.fs.cache.Cached(want) {
			break
		}
	}
	if r.Flags&mpage.Boundary == 0 || r.Next != want {
		t.Fatalf("%+v: the first table to read for file block %d is %d (of %v)", r, next, want, tables)
	}
}

// TestGetBlockLikeDebugfs holds the block map against debugfs, on files that mke2fs
// laid out.
func TestGetBlockLikeDebugfs(t *testing.T) {
	for _, bs := range allBlockSizes {
		t.Run(fmt.Sprintf("%dk", bs/1024), func(t *testing.T) {
			dir := t.TempDir()
			ext2test.FarWrites(t, filepath.Join(dir, "far"), bs)
			if err := os.WriteFile(filepath.Join(dir, "plain"), ext2test.Content(1, 3<<20), 0o644); err != nil {
				t.Fatal(err)
			}
			img := ext2test.Make(t, ext2test.Options{Size: 64 << 20, BlockSize: bs, Root: dir})
			fs, err := Open(ctx, img, Options{ReadOnly: true, Logger: quiet})
			if err != nil {
				t.Fatal(err)
			}
			defer fs.Close()
			for _, name := range []string{"/far", "/plain"} {
				want := debugfsExtents(t, img, name)
				in := openInode(t, fs, debugfsIno(t, img, name))
				if got := mappedBlocks(t, in); got != want {
					t.Errorf("%s:\n got %.2000s\nwant %.2000s", name, got, want)
				}
			}
		})
	}
}

func debugfsIno(t testing.TB, img, name string) uint32 {
	t.Helper()
	out := ext2test.Debugfs(t, img, "stat "+name)
	var ino uint32
	if _, err := fmt.Sscanf(out[strings.Index(out, "Inode:"):], "Inode: %d", &ino); err != nil {
		t.Fatalf("debugfs stat %s: %v\n%s", name, err, out)
	}
	return ino
}

// debugfsExtents is the "BLOCKS:" part of debugfs's stat, data blocks only.
func debugfsExtents(t testing.TB, img, name string) string {
	t.Helper()
	out := ext2test.Debugfs(t, img, "stat "+name)
	_, out, ok := strings.Cut(out, "BLOCKS:\n")
	if !ok {
		t.Fatalf("debugfs stat %s has no blocks:\n%s", name, out)
	}
	out, _, _ = strings.Cut(out, "\n")
	var kept []string
	for _, part := range strings.Split(out, ", ") {
		if strings.Contains(part, "IND)") {
			continue
		}
		kept = append(kept, part)
	}
	// debugfs breaks its ranges where a table lies between; put them together again.
	return joinRanges(t, kept)
}

// joinRanges reads (from-to):block-block ranges and prints them as runs.
func joinRanges(t testing.TB, parts []string) string {
	var runs [][3]int64 // file block, device block, count
	num := func(s string) int64 {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			t.Fatalf("debugfs printed %q: %v", parts, err)
		}
		return n
	}
	for _, p := range parts {
		file, dev, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(p), "("), "):")
		from, to, isRange := strings.Cut(file, "-")
		first, _, _ := strings.Cut(dev, "-")
		count := int64(1)
		if isRange {
			count = num(to) - num(from) + 1
		}
		runs = append(runs, [3]int64{num(from), num(first), count})
	}
	return printRuns(runs)
}

func printRuns(runs [][3]int64) string {
	var out strings.Builder
	for i := 0; i < len(runs); i++ {
		r := runs[i]
		for i+1 < len(runs) && runs[i+1][0] == r[0]+r[2] && runs[i+1][1] == r[1]+r[2] {
			i++
			r[2] += runs[i][2]
		}
		fmt.Fprintf(&out, "%d at %d: %d\n", r[0], r[1], r[2])
	}
	return out.String()
}

// mappedBlocks is all of a file's runs, up to its size.
func mappedBlocks(t testing.TB, in *Inode) string {
	t.Helper()
	bs := uint64(in.fs.blockSize)
	end := (in.raw.Size + bs - 1) / bs
	var runs [][3]int64
	for ib := uint64(0); ib < end; {
		r, err := (*blockMap)(in).GetBlock(ib, end-ib, false)
		if err != nil {
			t.Fatal(err)
		}
		if r.Flags&mpage.Mapped != 0 {
			runs = append(runs, [3]int64{int64(ib), int64(r.Block), int64(r.Count)})
		}
		ib += r.Count
	}
	return printRuns(runs)
}

// TestGetBlockHoles: what is not there is skipped in few steps, and without reading.
func TestGetBlockHoles(t *testing.T) {
	c := craft(t, 1024)
	end := borders(1024)[8]
	var iblock [15]uint32
	c.put(&iblock, end-1, c.take())
	c.inode(fileIno, func(in *disk.Inode) { in.Block, in.Size = iblock, uint64(end)*1024 })
	in := openInode(t, c.open(Options{}), fileIno)
	calls := 0
	for ib := uint64(0); ib < uint64(end); calls++ {
		r, err := (*blockMap)(in).GetBlock(ib, uint64(end)-ib, false)
		if err != nil {
			t.Fatal(err)
		}
		ib += r.Count
	}
	// The direct blocks, two missing trees, a hole and the way on in each of three levels.
	if calls != 6 {
		t.Errorf("a file of one block at the far end took %d calls to map", calls)
	}
}

// TestGetBlockAllocs: mapping costs no memory once the tables are cached.
func TestGetBlockAllocs(t *testing.T) {
	c := craft(t, 1024)
	var iblock [15]uint32
	first := borders(1024)[5] + 5
	c.put(&iblock, first, 1) // makes the tables
	for i := range int64(200) {
		c.put(&iblock, first+i, c.take())
	}
	c.inode(fileIno, func(in *disk.Inode) { in.Block, in.Size = iblock, 1<<33 })
	in := openInode(t, c.open(Options{}), fileIno)
	var m mpage.Mapper = (*blockMap)(in)
	if n := testing.AllocsPerRun(100, func() {
		if r, err := m.GetBlock(uint64(first), 256, false); err != nil || r.Count < 100 {
			t.Fatalf("%+v, %v", r, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations per call", n)
	}
}

// TestGetBlockReads: each table is read once, and only when it is needed.
func TestGetBlockReads(t *testing.T) {
	c := craft(t, 4096)
	iblock, _ := c.scatter(rand.New(rand.NewPCG(1, 1)), 200)
	c.inode(fileIno, func(in *disk.Inode) { in.Block, in.Size = iblock, 1<<41 })
	fs := c.open(Options{})
	in := openInode(t, fs, fileIno)
	tables := map[uint32]bool{}
	for range 2 {
		for _, ib := range borders(4096)[:8] {
			way, _ := c.naive.walk(iblock, ib)
			for _, b := range way {
				tables[b] = true
			}
			if _, err := (*blockMap)(in).GetBlock(uint64(ib), 1, false); err != nil {
				t.Fatal(err)
			}
		}
	}
	stats, _ := blockio.StatsOf(fs.dev)
	if got := stats.For(blockio.Read, blockio.Indirect).Requests; got != int64(len(tables)) || got == 0 {
		t.Errorf("%d reads for %d tables", got, len(tables))
	}
}

func BenchmarkGetBlock(b *testing.B) {
	for level, at := range []int{0, 1, 2, 5} {
		b.Run(fmt.Sprintf("level%d", level), func(b *testing.B) {
			c := craft(b, 4096)
			var iblock [15]uint32
			first := borders(4096)[at]
			for i := range int64(300) {
				c.put(&iblock, first+i, uint32(3000+i))
			}
			c.inode(fileIno, func(in *disk.Inode) { in.Block, in.Size = iblock, 1<<41 })
			in := openInode(b, c.open(Options{}), fileIno)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := (*blockMap)(in).GetBlock(uint64(first), 256, false); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
