//go:build linux

package ext2test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Fragment makes files in dir whose blocks are scattered over the device: four grow
// in turns, block by block, each block on the disk before the next is written; one
// fills the gaps that removing every second of many small files left. It needs some
// 3000 free blocks and leaves fewer than 100.
func Fragment(t testing.TB, dir string, blockSize int) {
	t.Helper()
	p := populator{TB: t, blockSize: blockSize}
	var files [4]*os.File
	for i := range files {
		f, err := os.OpenFile(filepath.Join(dir, fmt.Sprint("in-turns-", i)), os.O_CREATE|os.O_WRONLY|os.O_SYNC, 0o644)
		p.check(err)
		defer f.Close()
		files[i] = f
	}
	for block := range 100 {
		for i, f := range files {
			_, err := f.WriteAt(Content(uint64(block*4+i), blockSize), int64(block*blockSize))
			p.check(err)
		}
	}

	// Fill the device with files of one to three blocks, then free every second.
	crumbs := filepath.Join(dir, "crumbs")
	p.check(os.Mkdir(crumbs, 0o755))
	var made int
	for ; ; made++ {
		data := Content(uint64(made), (1+made%3)*blockSize)
		if os.WriteFile(filepath.Join(crumbs, fmt.Sprint(made)), data, 0o644) != nil {
			break // full
		}
	}
	if made < 500 {
		t.Fatalf("only %d small files fit: the image is too small to fragment", made)
	}
	for i := 0; i < made; i += 2 {
		p.check(os.Remove(filepath.Join(crumbs, fmt.Sprint(i))))
	}
	f, err := os.Create(filepath.Join(dir, "in-gaps"))
	p.check(err)
	defer f.Close()
	for block := range int64(made) / 2 {
		if _, err := f.WriteAt(Content(uint64(block), blockSize), block*int64(blockSize)); err != nil {
			break
		}
	}
}

// ManyNames makes n empty files in dir, with names of 1 to 40 bytes.
func ManyNames(t testing.TB, dir string, n int) {
	t.Helper()
	for i := range n {
		name := fmt.Sprintf("%d%.*s", i, i%35, "-and-a-name-that-is-longer-than-needed")
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
}

// FarWrites makes a sparse file at path with a little data on both sides of every
// border of the block map that an image of this block size reaches: direct, single,
// double and triple indirect, and at the very end of what the format can address.
func FarWrites(t testing.TB, path string, blockSize int) {
	t.Helper()
	p := populator{TB: t, blockSize: blockSize}
	bs, ptrs := int64(blockSize), int64(blockSize/4)
	single := 12 + ptrs
	double := single + ptrs*ptrs
	triple := double + ptrs*ptrs*ptrs
	// The kernel stops short of 2 TiB: sectors of a file are counted in 32 bits,
	// those of its indirect blocks included.
	limit := min(triple, (1<<31-1<<23)*512/bs*2)
	var at []int64
	for _, border := range []int64{12, single, single + ptrs, double, double + ptrs, double + ptrs*ptrs, (double + limit) / 2, limit} {
		for _, block := range []int64{border - 2, border - 1, border, border + 3} {
			if block < limit {
				at = append(at, block*bs+int64(len(at)))
			}
		}
	}
	p.sparse(path, 0, at...)
}
