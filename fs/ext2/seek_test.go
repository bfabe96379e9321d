//go:build linux

package ext2

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// TestSeek holds SeekData and SeekHole against a list of the blocks that were laid out.
func TestSeek(t *testing.T) {
	seed := rand.Uint64()
	for _, bs := range allBlockSizes {
		t.Run(fmt.Sprintf("%dk", bs/1024), func(t *testing.T) {
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, uint64(bs)))
			c := craft(t, bs)
			iblock, asks := c.scatter(rng, 150)
			end := borders(bs)[8]
			size := end*int64(bs) - int64(rng.IntN(bs))
			if rng.IntN(2) == 0 {
				size = rng.Int64N(size)
			}
			c.inode(fileIno, func(in *disk.Inode) { in.Block, in.Size = iblock, uint64(size) })
			in := openInode(t, c.open(Options{}), fileIno)
			data := laidOut(c, iblock)
			for _, ib := range append(asks, end-1) {
				off := ib*int64(bs) + rng.Int64N(int64(bs))
				wantData, wantHole := modelSeek(data, off, size, int64(bs))
				checkSeek(t, "SeekData", in.SeekData, off, wantData)
				checkSeek(t, "SeekHole", in.SeekHole, off, wantHole)
			}
		})
	}
}

func checkSeek(t *testing.T, name string, seek func(context.Context, int64) (int64, error), off, want int64) {
	t.Helper()
	got, err := seek(ctx, off)
	if want < 0 && !errors.Is(err, ErrNoData) || want >= 0 && (err != nil || got != want) {
		t.Fatalf("%s(%d) = %d, %v; expected %d", name, off, got, err, want)
	}
}

// laidOut lists the file blocks that have data, by walking every table in the naive way.
func laidOut(c *crafted, iblock [15]uint32) map[int64]bool {
	data := map[int64]bool{}
	per := int64(c.blockSize / 4)
	var walk func(p uint32, base, span int64)
	walk = func(p uint32, base, span int64) {
		if p == 0 {
			return
		}
		if span == 1 {
			data[base] = true
			return
		}
		for i := range per {
			walk(c.naive.ptr(p, i), base+i*span/per, span/per)
		}
	}
	for i := range int64(12) {
		walk(iblock[i], i, 1)
	}
	base, span := int64(12), per
	for i := 12; i < 15; i++ {
		walk(iblock[i], base, span)
		base += span
		span *= per
	}
	return data
}

// modelSeek is what SeekData and SeekHole must give; -1 is ErrNoData.
func modelSeek(data map[int64]bool, off, size, bs int64) (d, h int64) {
	if off >= size {
		return -1, -1
	}
	d = -1
	for ib := range data {
		at := max(ib*bs, off)
		if ib >= off/bs && at < size && (d < 0 || at < d) {
			d = at
		}
	}
	for ib := off / bs; ; ib++ {
		if !data[ib] {
			return d, min(max(ib*bs, off), size)
		}
	}
}

// TestSeekCost: what is not there is not read, and what is there is read with few
// requests.
func TestSeekCost(t *testing.T) {
	c := craft(t, 1024)
	var iblock [15]uint32
	double := borders(1024)[2]
	for i := range int64(200) { // 200 tables in a row, the last one with a hole in it
		for j := range int64(256) {
			if i != 199 || j != 77 {
				c.put(&iblock, double+i*256+j, 3000)
			}
		}
	}
	c.inode(fileIno, func(in *disk.Inode) { in.Block, in.Size = iblock, 16<<30 })
	fs := c.open(Options{})
	in := openInode(t, fs, fileIno)
	before, _ := blockio.StatsOf(fs.dev)
	checkSeek(t, "SeekHole", in.SeekHole, double*1024, (double+199*256+77)*1024)
	checkSeek(t, "SeekData", in.SeekData, 0, double*1024)
	checkSeek(t, "SeekData", in.SeekData, (double+200*256)*1024, -1)
	after, _ := blockio.StatsOf(fs.dev)
	delta := after.Sub(before)
	if n := delta.Total(blockio.Read).Requests; n > 10 {
		t.Errorf("%d reads for 201 tables", n)
	}
}

// TestSeekCrossLinked: trees whose pointers all lead to the same few tables are found
// out, instead of being walked for hours.
func TestSeekCrossLinked(t *testing.T) {
	for _, bs := range []int{1024, 65536} {
		c := craft(t, bs)
		full, empty := c.take(), c.take()
		double, triple, doubleEmpty, tripleEmpty := c.take(), c.take(), c.take(), c.take()
		for i := range int64(bs / 4) {
			c.setPtr(full, i, c.limit-1)
			c.setPtr(double, i, full)
			c.setPtr(triple, i, double)
			c.setPtr(doubleEmpty, i, empty)
			c.setPtr(tripleEmpty, i, doubleEmpty)
		}
		open := func(trees ...uint32) *Inode {
			c.inode(fileIno, func(in *disk.Inode) {
				copy(in.Block[12:], trees)
				in.Size = 1<<63 - 1
			})
			return openInode(t, c.open(Options{}), fileIno)
		}
		in := open(full, double, triple)
		if at, err := in.SeekHole(ctx, 12*int64(bs)); Errno(err) != syscall.EIO {
			t.Errorf("SeekHole = %d, %v", at, err)
		}
		in = open(empty, doubleEmpty, tripleEmpty)
		if at, err := in.SeekData(ctx, 0); Errno(err) != syscall.EIO {
			t.Errorf("SeekData = %d, %v", at, err)
		}
		checkSeek(t, "SeekData", in.SeekData, 1<<63-2, -1)
	}
}
