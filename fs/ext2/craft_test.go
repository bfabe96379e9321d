//go:build linux

package ext2

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// ctx is the context of calls that nothing ends.
var ctx = context.Background()

// quiet is a logger for tests that damage images on purpose.
var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// crafted is an image in memory in which tests lay out files by hand, pointer by
// pointer, without the code under test.
type crafted struct {
	t         testing.TB
	dev       *blockiotest.Mem
	blockSize int
	next      uint32 // next block to hand out
	limit     uint32
	naive     naiveImage
	layout    *FS // the image as it was made, to tell where things are
}

// naiveImage reads an image in the simplest way there is: the model for the block map.
type naiveImage struct {
	dev       *blockiotest.Mem
	blockSize int64
}

func (n naiveImage) block(b uint32) []byte { return n.dev.Bytes(int64(b)*n.blockSize, n.blockSize) }

func (n naiveImage) ptr(b uint32, i int64) uint32 {
	return binary.LittleEndian.Uint32(n.dev.Bytes(int64(b)*n.blockSize+4*i, 4))
}

// walk is the way from i_block to file block ib: the tables passed and the device block
// at its end, 0 for a hole.
func (n naiveImage) walk(iblock [15]uint32, ib int64) (tables []uint32, block uint32) {
	per := n.blockSize / 4
	if ib < 12 {
		return nil, iblock[ib]
	}
	ib -= 12
	span := per
	for level := 0; level < 3; level++ {
		if ib >= span {
			ib -= span
			span *= per
			continue
		}
		p := iblock[12+level]
		for p != 0 && span > 1 {
			tables = append(tables, p)
			span /= per
			p = n.ptr(p, ib/span)
			ib %= span
		}
		return tables, p
	}
	panic("past the triple indirect block")
}

// baseImages holds an image per block size, made once.
var baseImages = map[int]*blockiotest.Mem{}

// craft makes an image of 512 blocks, or 8 MiB if that is more, with one empty file, /file.
func craft(t testing.TB, blockSize int) *crafted {
	t.Helper()
	if baseImages[blockSize] == nil {
		dir := t.TempDir()
		if err := os.WriteFile(dir+"/file", nil, 0o644); err != nil {
			t.Fatal(err)
		}
		img := ext2test.Make(t, ext2test.Options{Size: max(8<<20, 512*int64(blockSize)), BlockSize: blockSize, Inodes: 64, Root: dir})
		baseImages[blockSize] = sparseMem(t, img)
	}
	dev := baseImages[blockSize].Clone()
	c := &crafted{t: t, dev: dev, blockSize: blockSize, naive: naiveImage{dev, int64(blockSize)}}
	fs := c.open(Options{})
	c.layout = fs
	last := fs.groups[0]
	c.next = last.inodeTable + fs.sb.InodeTableBlocks() + 32
	c.limit = uint32(min(fs.sb.GroupFirstBlock(0)+uint64(fs.sb.GroupBlocks(0)), uint64(fs.sb.BlocksCount)))
	return c
}

// sparseMem is a device in memory with the content of a file, and memory for those
// parts only that are not zero.
func sparseMem(t testing.TB, path string) *blockiotest.Mem {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dev := blockiotest.NewMem(int64(len(data)))
	const piece = 64 << 10
	zero := make([]byte, piece)
	for off := 0; off < len(data); off += piece {
		part := data[off:min(off+piece, len(data))]
		if bytes.Equal(part, zero[:len(part)]) {
			continue
		}
		if _, err := dev.WritevAt([][]byte{part}, int64(off)); err != nil {
			t.Fatal(err)
		}
	}
	return dev
}

// open opens the image as it is now; it is closed with the test.
func (c *crafted) open(o Options) *FS {
	c.t.Helper()
	fs, err := c.tryOpen(o)
	if err != nil {
		c.t.Fatal(err)
	}
	return fs
}

func (c *crafted) tryOpen(o Options) (*FS, error) {
	o.ReadOnly = true
	if o.Logger == nil {
		o.Logger = quiet
	}
	return New(ctx, c.dev.Clone(), o)
}

// fileIno is the inode number of /file: the first behind lost+found.
const fileIno = 12

// inode changes an inode in its table.
func (c *crafted) inode(ino uint32, change func(*disk.Inode)) {
	fs := c.layout
	block, off := fs.inodeBlock(ino)
	at := int64(block)*int64(c.blockSize) + int64(off)
	raw := c.dev.Bytes(at, int64(fs.sb.InodeSize()))
	in := disk.DecodeInode(raw, fs.sb)
	change(&in)
	in.Encode(raw, fs.sb)
	c.write(raw, at)
}

func (c *crafted) write(p []byte, off int64) {
	if _, err := c.dev.WritevAt([][]byte{p}, off); err != nil {
		c.t.Fatal(err)
	}
}

func (c *crafted) setPtr(table uint32, i int64, p uint32) {
	c.write(binary.LittleEndian.AppendUint32(nil, p), int64(table)*int64(c.blockSize)+4*i)
}

// take hands out a block of the data area.
func (c *crafted) take() uint32 {
	c.next++
	if c.next >= c.limit {
		c.t.Fatal("the crafted image is full")
	}
	return c.next - 1
}

// put maps file block ib to device block p and makes the tables it takes.
func (c *crafted) put(iblock *[15]uint32, ib int64, p uint32) {
	per := int64(c.blockSize / 4)
	if ib < 12 {
		iblock[ib] = p
		return
	}
	ib -= 12
	span := per
	level := 0
	for ; ib >= span; level++ {
		ib -= span
		span *= per
	}
	if iblock[12+level] == 0 {
		iblock[12+level] = c.take()
	}
	table := iblock[12+level]
	for {
		span /= per
		i := ib / span
		ib %= span
		if span == 1 {
			c.setPtr(table, i, p)
			return
		}
		below := c.naive.ptr(table, i)
		if below == 0 {
			below = c.take()
			c.setPtr(table, i, below)
		}
		table = below
	}
}

// borders are the first file blocks of the trees and of some tables in them, and the
// last block that the format reaches or that i_size can tell.
func borders(blockSize int) []int64 {
	per := int64(blockSize / 4)
	single, double := 12+per, 12+per+per*per
	all := []int64{0, 12, single, single + per, single + per*(per-1), double, double + per, double + per*per}
	end := min(double+per*per*per, (1<<32-1)*512/int64(blockSize))
	return append(all, end)
}

// scatter lays out a random file: pieces around the borders and elsewhere, contiguous or
// not, and returns the file blocks worth asking for.
func (c *crafted) scatter(rng *rand.Rand, budget int) (iblock [15]uint32, asks []int64) {
	marks := borders(c.blockSize)
	end := marks[len(marks)-1]
	for budget > 0 {
		at := marks[rng.IntN(len(marks))] - int64(rng.IntN(20))
		if rng.IntN(4) == 0 {
			at = rng.Int64N(end)
		}
		n := 1 + rng.IntN(min(budget, 40))
		gap := rng.IntN(3) // none, some, or any pointer out of line
		for i := int64(0); i < int64(n); i++ {
			if ib := at + i; ib >= 0 && ib < end && rng.IntN(12) != 0 {
				if gap > 0 && rng.IntN(4/gap) == 0 {
					c.take()
				}
				c.put(&iblock, ib, c.take())
				budget--
			}
			budget--
		}
		asks = append(asks, at, at+int64(n)-1, at+int64(n), at-1, at+rng.Int64N(int64(n)))
	}
	asks = append(asks, marks...)
	ok := asks[:0]
	for _, ib := range asks {
		if ib >= 0 && ib < end {
			ok = append(ok, ib)
		}
	}
	return iblock, ok
}
