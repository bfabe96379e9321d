package ext2

import (
	"context"
	"math/bits"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// Extent is a run of blocks of an inode that lie side by side on the device.
type Extent struct {
	File  uint64 // first file block: of the run, or of what the table maps
	Block uint64 // first block on the device
	Count uint64 // blocks
	// Level is 0 for content. An indirect block is an extent of its own, of one block: 1
	// for one that points to content, 2 and 3 for those above.
	Level int
}

// Extents are the blocks of an inode in file order, each indirect block before what it
// maps; what no extent of level 0 covers is a hole. The attribute block is not among them.
// With an error, also when ctx ends, they are those that were found before it.
func (in *Inode) Extents(ctx context.Context) ([]Extent, error) {
	list, err := in.extents(ctx)
	return list, in.stopped(ctx, err, "mapping")
}

func (in *Inode) extents(ctx context.Context) ([]Extent, error) {
	in.mu.RLock()
	defer in.mu.RUnlock()
	if !in.IsReg() && !in.IsDir() && (!in.IsSymlink() || in.raw.FastSymlink(in.fs.sb)) {
		return nil, nil
	}
	w := extentWalk{m: (*blockMap)(in), perBits: uint(bits.TrailingZeros32(in.fs.sb.AddrPerBlock())), tables: map[uint32]struct{}{}}
	for i := range uint64(disk.NDirBlocks) {
		if err := w.add(i, in.raw.Block[i]); err != nil {
			return w.list, err
		}
	}
	base := uint64(disk.NDirBlocks)
	for depth := 1; depth <= maxDepth; depth++ {
		if ptr := in.raw.Block[disk.IndBlock+depth-1]; ptr != 0 {
			w.depth = depth
			if err := w.tree(ctx, base, ptr, depth); err != nil {
				return w.list, err
			}
		}
		base += 1 << (w.perBits * uint(depth))
	}
	return w.list, nil
}

// extentWalk collects extents.
type extentWalk struct {
	m       *blockMap
	perBits uint
	depth   int // of the tree that is walked
	path    treePath
	blocks  uint64              // so many were met
	tables  map[uint32]struct{} // met
	list    []Extent
}

// add takes one pointer to content.
func (w *extentWalk) add(file uint64, ptr uint32) error {
	if ptr == 0 {
		return nil
	}
	if err := w.count(file, ptr); err != nil {
		return err
	}
	if n := len(w.list); n > 0 {
		e := &w.list[n-1]
		if e.Level == 0 && e.File+e.Count == file && e.Block+e.Count == uint64(ptr) {
			e.Count++
			return nil
		}
	}
	w.list = append(w.list, Extent{File: file, Block: uint64(ptr), Count: 1})
	return nil
}

// count makes sure that a damaged tree comes to an end, and soon: a few tables that lead to
// each other would make as many extents as a sparse image claims to have blocks.
func (w *extentWalk) count(file uint64, ptr uint32) error {
	if _, again := w.tables[ptr]; again {
		return w.m.badPointer("block pointer", file, uint64(ptr), "an indirect block of the same file")
	}
	if w.blocks++; w.blocks > uint64(w.m.fs.sb.BlocksCount) {
		return w.m.badPointer("block pointer", file, uint64(ptr), "in a file of more blocks than there are")
	}
	return nil
}

// tree takes the table of a level that ptr points to, which maps the file from a block
// on, and all below it.
func (w *extentWalk) tree(ctx context.Context, file uint64, ptr uint32, level int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w.path.n = w.depth - level
	buf, err := w.m.table(&w.path, file, ptr)
	if err != nil {
		return err
	}
	defer buf.Release()
	if err := w.count(file, ptr); err != nil {
		return err
	}
	w.tables[ptr] = struct{}{}
	w.list = append(w.list, Extent{File: file, Block: uint64(ptr), Count: 1, Level: level})
	shift := w.perBits * uint(level-1)
	for i := range 1 << w.perBits {
		p := disk.Ptr(buf.Data(), i)
		at := file + uint64(i)<<shift
		switch {
		case level == 1:
			err = w.add(at, p)
		case p != 0:
			err = w.tree(ctx, at, p, level-1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// FreeRuns calls fn with the runs of free blocks, from the first block on, until fn
// returns false. Those that a writer freed and may not hand out yet count as free. Both are
// numbers of blocks. No lock is held while fn runs. When ctx ends it stops before the next
// block group.
func (fs *FS) FreeRuns(ctx context.Context, fn func(block, n uint64) bool) error {
	var first, n uint64
	for g := range uint32(len(fs.groups)) {
		if err := ctx.Err(); err != nil {
			return stopped(ctx, err, "looking for free blocks")
		}
		block := uint64(fs.groups[g].blockBitmap)
		buf, err := fs.cache.Get(block, blockio.BlockBitmap)
		if err != nil {
			return fs.readError("block bitmap", 0, block, err)
		}
		// A copy: fn runs without locks.
		buf.RLock()
		busy := append(disk.Bitmap(nil), buf.Data()...)
		buf.RUnlock()
		buf.Release()
		base, size := fs.sb.GroupFirstBlock(g), int(fs.sb.GroupBlocks(g))
		for bit := busy.NextClear(0, size); bit < size; {
			end := busy.NextSet(bit, size)
			if at := base + uint64(bit); n > 0 && first+n == at {
				n += uint64(end - bit)
			} else {
				if n > 0 && !fn(first, n) {
					return nil
				}
				first, n = at, uint64(end-bit)
			}
			bit = busy.NextClear(end, size)
		}
	}
	if n > 0 {
		fn(first, n)
	}
	return nil
}
