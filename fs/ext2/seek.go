package ext2

import (
	"context"
	"math/bits"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// SeekData is the first offset from off on that has data, as lseek(2) says: ErrNoData
// when there is none before the end of the file.
func (in *Inode) SeekData(ctx context.Context, off int64) (int64, error) {
	return in.seek(ctx, off, true)
}

// SeekHole is the first offset from off on that lies in a hole; the end of the file
// counts as one. It gives ErrNoData when off is past the end.
func (in *Inode) SeekHole(ctx context.Context, off int64) (int64, error) {
	return in.seek(ctx, off, false)
}

// maxContent bounds the size of a file's content in bytes: i_blocks counts 512-byte
// sectors in 32 bits.
const maxContent = (1<<32 - 1) * 512

func (in *Inode) seek(ctx context.Context, off int64, data bool) (int64, error) {
	if err := in.readable(); err != nil {
		return 0, err
	}
	in.mu.RLock()
	defer in.mu.RUnlock()
	size := int64(in.raw.Size)
	if off < 0 || off >= size {
		return 0, ErrNoData
	}
	fs := in.fs
	// Where no file can reach there is nothing to look for, and a damaged tree could
	// make the looking endless.
	reach := uint64(min(size, maxContent))
	w := seekWalk{m: (*blockMap)(in), data: data,
		perBits: uint(bits.TrailingZeros32(fs.sb.AddrPerBlock())),
		end:     (reach + uint64(fs.blockSize) - 1) >> fs.blockBits}
	var at uint64
	var found bool
	var err error
	if from := uint64(off) >> fs.blockBits; from < w.end {
		at, found, err = w.from(ctx, from)
	}
	if err != nil {
		return 0, in.stopped(ctx, err, "looking for data or a hole in")
	}
	switch {
	case found:
		return min(max(off, int64(at<<fs.blockBits)), size), nil
	case data:
		return 0, ErrNoData
	}
	return size, nil
}

// seekWalk looks for the first pointer that is, or is not, zero. It reads tables, not
// runs: where data lies does not matter to it.
type seekWalk struct {
	m       *blockMap
	data    bool
	perBits uint
	end     uint64 // file blocks
	path    treePath
	tables  uint32 // looked at
}

// seekPrefetch is how many tables are read at once when many have to be looked at.
const seekPrefetch = 32

// from is the first file block not before iblock that is looked for.
func (w *seekWalk) from(ctx context.Context, iblock uint64) (at uint64, found bool, err error) {
	for ; iblock < min(w.end, disk.NDirBlocks); iblock++ {
		if (w.m.raw.Block[iblock] != 0) == w.data {
			return iblock, true, nil
		}
	}
	base := uint64(disk.NDirBlocks)
	for depth := 1; depth <= maxDepth && base < w.end; depth++ {
		span := uint64(1) << (w.perBits * uint(depth))
		if iblock < base+span {
			ptr := w.m.raw.Block[disk.IndBlock+depth-1]
			at, found, err = w.tree(ctx, ptr, depth, base, max(iblock, base))
			if found || err != nil {
				return at, found, err
			}
		}
		base += span
	}
	return 0, false, nil
}

// tree looks below ptr, which maps 2^(perBits*depth) file blocks from base on, not
// before iblock.
func (w *seekWalk) tree(ctx context.Context, ptr uint32, depth int, base, iblock uint64) (at uint64, found bool, err error) {
	if ptr == 0 {
		return iblock, !w.data && iblock < w.end, nil
	}
	if err := ctx.Err(); err != nil {
		return 0, false, err
	}
	buf, err := w.m.table(&w.path, iblock, ptr)
	if err != nil {
		return 0, false, err
	}
	defer buf.Release()
	defer func() { w.path.n-- }()
	if w.tables++; w.tables > w.m.fs.sb.BlocksCount {
		return 0, false, w.m.badPointer("indirect block pointer", iblock, uint64(ptr), "a table of another place: there are more tables than blocks")
	}
	table, shift, per := buf.Data(), w.perBits*uint(depth-1), 1<<w.perBits
	i, ahead := int((iblock-base)>>shift), 0
	per = int(min(uint64(per), (w.end-base+1<<shift-1)>>shift))
	if depth == 1 {
		for ; i < per; i++ {
			if (disk.Ptr(table, i) != 0) == w.data {
				return base + uint64(i), true, nil
			}
		}
		return 0, false, nil
	}
	for ; i < per; i++ {
		child := base + uint64(i)<<shift
		if i >= ahead {
			ahead = w.prefetch(table, i)
		}
		at, found, err = w.tree(ctx, disk.Ptr(table, i), depth-1, child, max(iblock, child))
		if found || err != nil {
			return at, found, err
		}
	}
	return 0, false, nil
}

// prefetch reads the next tables that table points to from i on and returns the index
// behind the last.
func (w *seekWalk) prefetch(table []byte, i int) int {
	var blocks [seekPrefetch]uint64
	n, start := 0, i
	for ; i < 1<<w.perBits && n < seekPrefetch; i++ {
		ptr := uint64(disk.Ptr(table, i))
		if ptr == 0 {
			continue
		}
		if _, why := w.m.fs.dataBlocks(ptr, 1); why != "" {
			break
		}
		blocks[n] = ptr
		n++
	}
	if n > 1 {
		w.m.fs.cache.Prefetch(blocks[:n], blockio.Indirect)
	}
	return max(i, start+1)
}
