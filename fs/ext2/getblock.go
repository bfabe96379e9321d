package ext2

import (
	"fmt"
	"math/bits"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/cache"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/mpage"
)

// blockMap is an inode seen as the mpage.Mapper of its content: twelve direct
// pointers, then trees of one, two and three levels of indirect blocks.
//
// Callers hold the inode's lock, which guards the indirect blocks, too.
type blockMap Inode

// maxDepth is the number of levels of the deepest tree.
const maxDepth = 3

// treePath is what the way from i_block down to a leaf table passed.
type treePath struct {
	blocks [maxDepth]uint64 // indirect blocks, top first
	n      int
	next   uint32 // pointer behind the way, to the table that maps what follows; 0 is none
	below  int    // levels of tables below next
}

func (t *treePath) push(block uint64) { t.blocks[t.n] = block; t.n++ }

// inside tells whether one of the path's blocks is among the n from block on.
func (t *treePath) inside(block, n uint64) bool {
	for _, b := range t.blocks[:t.n] {
		if b >= block && b < block+n {
			return true
		}
	}
	return false
}

// Bets implements mpage.Bettor.
func (m *blockMap) Bets() *mpage.Bets { return &m.bets }

var (
	_ mpage.Mapper = (*blockMap)(nil)
	_ mpage.Bettor = (*blockMap)(nil)
)

// GetBlock maps as mpage.Mapper says. A run of data ends at the end of its table; a
// hole goes on as far as the tables already looked at tell.
func (m *blockMap) GetBlock(iblock, max uint64, create bool) (mpage.Run, error) {
	if create {
		return m.getOrCreate(iblock, max)
	}
	if iblock < disk.NDirBlocks {
		return m.direct(iblock, max)
	}
	perBits := uint(bits.TrailingZeros32(m.fs.sb.AddrPerBlock()))
	rel := iblock - disk.NDirBlocks
	for depth := 1; depth <= maxDepth; depth++ {
		span := uint64(1) << (perBits * uint(depth))
		if rel >= span {
			rel -= span
			continue
		}
		top := disk.IndBlock + depth - 1
		if m.raw.Block[top] == 0 {
			return m.topHole(top, rel, span, perBits, max), nil
		}
		return m.tree(depth, iblock, rel, max, perBits)
	}
	return mpage.Run{}, m.fs.corrupt(&disk.CorruptError{What: "file size", Inode: m.ino, Offset: -1,
		Detail: fmt.Sprintf("i_size %d reaches file block %d, past the triple indirect block", m.raw.Size, iblock)})
}

// direct maps out of i_block itself.
func (m *blockMap) direct(iblock, max uint64) (mpage.Run, error) {
	p, n := m.raw.Block[iblock], uint64(1)
	for limit := min(max, disk.NDirBlocks-iblock); n < limit; n++ {
		q := m.raw.Block[iblock+n]
		if p == 0 && q != 0 || p != 0 && uint64(q) != uint64(p)+n {
			break
		}
	}
	if p == 0 {
		return mpage.Run{Count: n}, nil
	}
	path := treePath{next: m.raw.Block[disk.IndBlock]} // nothing below
	return m.run(&path, iblock, p, n, iblock+n == disk.NDirBlocks)
}

// topHole is the hole where a whole tree is missing, and those behind it if they are
// missing, too.
func (m *blockMap) topHole(top int, rel, span uint64, perBits uint, max uint64) mpage.Run {
	n := span - rel
	for top++; top < disk.NBlocks && m.raw.Block[top] == 0; top++ {
		span <<= perBits
		n += span
	}
	return mpage.Run{Count: min(n, max)}
}

// tree maps file block iblock, the rel-th of the tree of the given depth.
func (m *blockMap) tree(depth int, iblock, rel, max uint64, perBits uint) (mpage.Run, error) {
	var path treePath
	if depth < maxDepth {
		path.next, path.below = m.raw.Block[disk.IndBlock+depth], depth
	}
	ptr := m.raw.Block[disk.IndBlock+depth-1]
	per := 1 << perBits
	for level := depth - 1; ; level-- {
		buf, err := m.table(&path, iblock, ptr)
		if err != nil {
			return mpage.Run{}, err
		}
		table := buf.Data()
		shift := perBits * uint(level)
		i := int(rel>>shift) & (per - 1)
		ptr = disk.Ptr(table, i)
		switch {
		case level == 0:
			n := disk.PtrRun(table, i, int(min(max, uint64(per-i))))
			buf.Release()
			if ptr == 0 {
				return mpage.Run{Count: uint64(n)}, nil
			}
			return m.run(&path, iblock, ptr, uint64(n), i+n == per)
		case ptr == 0:
			n := disk.PtrRun(table, i, per-i)
			buf.Release()
			return mpage.Run{Count: min(uint64(n)<<shift-rel&(1<<shift-1), max)}, nil
		case i+1 < per:
			path.next, path.below = disk.Ptr(table, i+1), level-1
		}
		buf.Release()
	}
}

// table pins the indirect block that ptr points to, after checking that it can be one.
func (m *blockMap) table(path *treePath, iblock uint64, ptr uint32) (*cache.Buffer, error) {
	block := uint64(ptr)
	if _, why := m.fs.dataBlocks(block, 1); why != "" {
		return nil, m.badPointer("indirect block pointer", iblock, block, why)
	}
	if path.inside(block, 1) {
		return nil, m.badPointer("indirect block pointer", iblock, block, "an indirect block above it (a loop)")
	}
	path.push(block)
	buf, err := m.fs.cache.Get(block, blockio.Indirect)
	if err != nil {
		return nil, m.fs.readError("indirect block", m.ino, block, err)
	}
	return buf, nil
}

// run makes the answer for n blocks from device block ptr on, as many of them as can be
// file content. last says that the run ends where its table does.
func (m *blockMap) run(path *treePath, iblock uint64, ptr uint32, n uint64, last bool) (mpage.Run, error) {
	block := uint64(ptr)
	good, why := m.fs.dataBlocks(block, n)
	for _, b := range path.blocks[:path.n] {
		if b >= block && b < block+good {
			good, why = b-block, "an indirect block above it (a loop)"
		}
	}
	if good == 0 {
		return mpage.Run{}, m.badPointer("block pointer", iblock, block, why)
	}
	r := mpage.Run{Block: block, Count: good, Flags: mpage.Mapped}
	if last && good == n {
		m.boundary(path, &r)
	}
	return r, nil
}

// boundary adds to a run that ends with its table what is known of the next table. Going
// down from path.next costs no I/O: it ends at the first table that is not in memory.
func (m *blockMap) boundary(path *treePath, r *mpage.Run) {
	next, below := uint64(path.next), path.below
	for {
		if next == 0 {
			return // a hole begins behind the run
		}
		if _, why := m.fs.dataBlocks(next, 1); why != "" {
			r.Flags |= mpage.Boundary
			return // mapping on will find and report it
		}
		if below == 0 || !m.fs.cache.Cached(next) {
			break
		}
		buf, err := m.fs.cache.Get(next, blockio.Indirect)
		if err != nil {
			break
		}
		next, below = uint64(disk.Ptr(buf.Data(), 0)), below-1
		buf.Release()
	}
	r.Flags |= mpage.Boundary
	r.Next = next
	if below == 0 {
		r.Span = uint64(m.fs.sb.AddrPerBlock())
	}
}

func (m *blockMap) badPointer(what string, iblock, block uint64, why string) error {
	return m.fs.corrupt(&disk.CorruptError{What: what, Inode: m.ino, Block: block, Offset: -1,
		Detail: fmt.Sprintf("file block %d points to %s", iblock, why)})
}

// bmapLocked is the device block of file block iblock, 0 for a hole.
func (in *Inode) bmapLocked(iblock uint64) (uint64, error) {
	r, err := (*blockMap)(in).GetBlock(iblock, 1, false)
	if err != nil || r.Flags&mpage.Mapped == 0 {
		return 0, err
	}
	return r.Block, nil
}
