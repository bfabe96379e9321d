package ext2

import (
	"math/bits"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/cache"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/mpage"
)

// place is where the pointer to a file block stands: which pointer of which table, for
// each level from i_block (level 0) down to the last table that exists.
type place struct {
	slot    int              // i_block index of the tree's top, or of the direct block
	depth   int              // tables between i_block and the data, 0 to 3
	index   [maxDepth]int    // pointer in each of them, top first
	tables  [maxDepth]uint64 // those that exist, top first
	have    int              // how many exist
	pointer uint32           // what the last of them, or i_block, points to; 0 is missing
	leafEnd uint64           // file blocks the last table maps from this one on
}

// find walks to the pointer of file block iblock, as far as tables exist.
func (m *blockMap) find(iblock uint64) (place, error) {
	var p place
	if iblock < disk.NDirBlocks {
		p.slot, p.pointer, p.leafEnd = int(iblock), m.raw.Block[iblock], disk.NDirBlocks-iblock
		return p, nil
	}
	perBits := uint(bits.TrailingZeros32(m.fs.sb.AddrPerBlock()))
	rel := iblock - disk.NDirBlocks
	for p.depth = 1; rel >= 1<<(perBits*uint(p.depth)); p.depth++ {
		if p.depth == maxDepth {
			return p, ErrTooBig
		}
		rel -= 1 << (perBits * uint(p.depth))
	}
	p.slot = disk.IndBlock + p.depth - 1
	mask := uint64(1)<<perBits - 1
	for i := range p.depth {
		p.index[i] = int(rel >> (perBits * uint(p.depth-1-i)) & mask)
	}
	p.leafEnd = mask + 1 - rel&mask
	p.pointer = m.raw.Block[p.slot]
	var path treePath
	for p.have < p.depth && p.pointer != 0 {
		buf, err := m.table(&path, iblock, p.pointer)
		if err != nil {
			return p, err
		}
		p.tables[p.have] = uint64(p.pointer)
		p.pointer = disk.Ptr(buf.Data(), p.index[p.have])
		p.have++
		buf.Release()
	}
	return p, nil
}

// getOrCreate is GetBlock for writing: a hole is filled, as far as the operation that
// runs may still allocate.
func (m *blockMap) getOrCreate(iblock, max uint64) (mpage.Run, error) {
	r, err := m.GetBlock(iblock, max, false)
	if err == nil && r.Flags&mpage.Mapped == 0 {
		if m.alloc.pieces == 0 {
			return mpage.Run{}, errPause
		}
		m.alloc.pieces--
		r, err = m.create(iblock, r.Count)
	}
	if err == nil {
		m.alloc.placed = append(m.alloc.placed, cache.Extent{Block: r.Block, Count: r.Count})
	}
	return r, err
}

// create allocates up to max file blocks from iblock on, which is a hole, together with
// the tables that are missing above them. The branch is built aside and then hung into
// the map with one pointer; a failure before that gives everything back.
func (m *blockMap) create(iblock, max uint64) (mpage.Run, error) {
	p, err := m.find(iblock)
	if err != nil {
		return mpage.Run{}, err
	}
	want, err := m.holeAt(&p, max)
	if err != nil {
		return mpage.Run{}, err
	}
	missing := p.depth - p.have
	got, err := m.take(&p, iblock, uint32(missing), uint32(want))
	if err != nil {
		return mpage.Run{}, err
	}
	sectors := uint64(m.raw.Sectors) + (uint64(len(got.tables))+uint64(got.n))*uint64(m.sectorsPerBlock())
	if err = ErrTooBig; sectors <= maxSectors {
		err = m.splice(&p, got)
	}
	if err != nil {
		m.giveBack(got)
		return mpage.Run{}, err
	}
	m.raw.Sectors = uint32(sectors)
	m.alloc.next = nextBlock{iblock + uint64(got.n), got.first + uint64(got.n)}
	m.alloc.fresh = append(m.alloc.fresh, freshRun{iblock, uint64(got.n)})
	r := mpage.Run{Block: got.first, Count: uint64(got.n), Flags: mpage.Mapped | mpage.Allocated}
	if uint64(got.n) == p.leafEnd {
		r.Flags |= mpage.Boundary
	}
	return r, nil
}

// maxSectors is the most that i_blocks can say, in 512-byte units.
const maxSectors = 1<<32 - 1

func (m *blockMap) sectorsPerBlock() uint32 { return uint32(m.fs.blockSize / 512) }

// holeAt is how many file blocks, at most max, are missing from p on within its table.
func (m *blockMap) holeAt(p *place, max uint64) (uint64, error) {
	want := min(max, p.leafEnd)
	if p.have < p.depth {
		return want, nil // the whole table is missing
	}
	if p.depth == 0 {
		n := uint64(1)
		for n < want && m.raw.Block[p.slot+int(n)] == 0 {
			n++
		}
		return n, nil
	}
	buf, err := m.fs.cache.Get(p.tables[p.have-1], blockio.Indirect)
	if err != nil {
		return 0, m.fs.readError("indirect block", m.ino, p.tables[p.have-1], err)
	}
	defer buf.Release()
	return uint64(disk.PtrRun(buf.Data(), p.index[p.have-1], int(want))), nil
}

// giveBack returns a branch that was not hung in.
func (m *blockMap) giveBack(b branch) {
	for _, t := range b.tables {
		m.fs.cache.Forget(t)
		m.fs.freeBlocks(t, 1)
	}
	if b.n > 0 {
		m.fs.freeBlocks(b.first, b.n)
	}
}

// splice builds the missing tables and hangs the branch in at p.
func (m *blockMap) splice(p *place, b branch) error {
	child, run := uint32(b.first), b.n
	for i := len(b.tables) - 1; i >= 0; i-- {
		buf, err := m.fs.cache.Fresh(b.tables[i], blockio.Indirect)
		if err != nil {
			return err
		}
		buf.Lock()
		disk.SetPtrRun(buf.Modify(), p.index[p.have+i], child, int(run))
		buf.Unlock()
		buf.Release()
		child, run = uint32(b.tables[i]), 1
	}
	if p.have == 0 {
		for i := range run {
			m.raw.Block[p.slot+int(i)] = child + i
		}
		return nil
	}
	return m.changeTable(p.tables[p.have-1], func(t []byte) { disk.SetPtrRun(t, p.index[p.have-1], child, int(run)) })
}

// changeTable changes an indirect block.
func (m *blockMap) changeTable(block uint64, f func([]byte)) error {
	buf, err := m.fs.cache.Get(block, blockio.Indirect)
	if err != nil {
		return m.fs.readError("indirect block", m.ino, block, err)
	}
	modify(buf, f)
	buf.Release()
	return nil
}

// modify changes a buffer inside an operation.
func modify(buf *cache.Buffer, f func([]byte)) {
	buf.Lock()
	f(buf.Modify())
	buf.Unlock()
}
