package ext2

import (
	"math/bits"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// nextBlock is where a file that grows goes on: the device block that file block
// iblock would like to be.
type nextBlock struct{ iblock, block uint64 }

// parallelSpan is how many bytes apart requests that belong to one stream may come: the
// kernel writes a file's pages back with several at once, which overtake each other.
const parallelSpan = 32 << 20

// goal is the device block at which file block iblock should be: behind the one
// written last when the file grows, at its distance from that one when requests of a
// stream come out of order, else behind the nearest pointer to the left, else before the
// one to the right, else behind the table, else at the start of the inode's group.
func (m *blockMap) goal(p *place, iblock uint64) uint64 {
	if m.alloc.next.block != 0 && m.alloc.next.iblock == iblock {
		return m.fs.clampGoal(m.alloc.next.block)
	}
	if block, ok := m.goalInTable(p); ok {
		return m.fs.clampGoal(block)
	}
	if block := m.predict(iblock); block != 0 {
		return m.fs.clampGoal(block)
	}
	switch {
	case p.have > 0:
		return m.fs.clampGoal(p.tables[p.have-1] + 1)
	case p.slot > 0 && p.slot >= disk.NDirBlocks:
		for i := p.slot - 1; i >= 0; i-- {
			if b := m.raw.Block[i]; b != 0 {
				return m.fs.clampGoal(uint64(b) + 1)
			}
		}
	}
	g, _ := m.fs.sb.InodeGroup(m.ino)
	return m.fs.clampGoal(m.fs.sb.GroupFirstBlock(g))
}

// goalInTable is the goal by the neighbours in the table that will point to the block.
func (m *blockMap) goalInTable(p *place) (uint64, bool) {
	if p.have < p.depth {
		return 0, false
	}
	if p.depth == 0 {
		return neighbour(func(i int) uint32 { return m.raw.Block[i] }, p.slot, disk.NDirBlocks)
	}
	buf, err := m.fs.cache.Get(p.tables[p.have-1], blockio.Indirect)
	if err != nil {
		return 0, false
	}
	defer buf.Release()
	return neighbour(func(i int) uint32 { return disk.Ptr(buf.Data(), i) }, p.index[p.have-1], int(m.fs.sb.AddrPerBlock()))
}

// neighbour is the block that pointer at of a table of n pointers should have, to stand
// at its distance from the nearest one to the left, or else to the right.
func neighbour(ptr func(i int) uint32, at, n int) (block uint64, ok bool) {
	for i := at - 1; i >= 0; i-- {
		if b := ptr(i); b != 0 {
			return uint64(b) + uint64(at-i), true
		}
	}
	for i := at + 1; i < n; i++ {
		if b := ptr(i); uint64(b) > uint64(i-at) {
			return uint64(b) - uint64(i-at), true
		}
	}
	return 0, false
}

// predict is where file block iblock would be if the file were written in order and
// without a gap from, or up to, where it was written last; 0 if that is not near.
func (m *blockMap) predict(iblock uint64) uint64 {
	last := m.alloc.next
	span := uint64(parallelSpan) >> m.fs.blockBits
	if last.block == 0 {
		// The first request of a file may have overtaken its beginning, which gets its room.
		if iblock == 0 || iblock > span || !m.raw.IsReg() || m.raw.Block != [disk.NBlocks]uint32{} {
			return 0
		}
		g, _ := m.fs.sb.InodeGroup(m.ino)
		return m.fs.firstFree(g) + iblock + m.tablesBefore(iblock)
	}
	if iblock > last.iblock {
		if d := iblock - last.iblock; d <= span {
			return last.block + d + m.tablesBefore(iblock) - m.tablesBefore(last.iblock-1)
		}
		return 0
	}
	d := last.iblock - iblock
	d += m.tablesBefore(last.iblock-1) - m.tablesBefore(iblock)
	if d <= span && last.block > d {
		return last.block - d
	}
	return 0
}

// tablesBefore is how many tables stand before file block iblock in a file written in
// order.
func (m *blockMap) tablesBefore(iblock uint64) uint64 {
	if iblock < disk.NDirBlocks || iblock == ^uint64(0) {
		return 0
	}
	perBits := uint(bits.TrailingZeros32(m.fs.sb.AddrPerBlock()))
	leaf := (iblock - disk.NDirBlocks) >> perBits
	n := leaf + 1
	if leaf > 0 { // behind the first leaf the double indirect tree begins
		n += 1 + (leaf-1)>>perBits
	}
	return n
}

func (fs *FS) clampGoal(block uint64) uint64 {
	return min(max(block, uint64(fs.sb.FirstDataBlock)), uint64(fs.sb.BlocksCount)-1)
}

// branch is what was taken for a piece of file: blocks for missing tables, top first,
// and a run of n blocks for content.
type branch struct {
	tables []uint64
	first  uint64
	n      uint32
}

// take allocates tables for a branch and right behind them up to want content blocks.
// When content overtook what comes before it in its table, it stands at a distance.
func (m *blockMap) take(p *place, iblock uint64, tables, want uint32) (branch, error) {
	var b branch
	q := blockRequest{owner: m.ino, privileged: m.alloc.privileged,
		growing: !m.fs.opts.NoReservation && m.raw.IsReg() && (want >= 16 || m.alloc.next.block != 0 && m.alloc.next.iblock == iblock)}
	goal, ahead := m.goal(p, iblock), uint64(0)
	if tables > 0 && m.alloc.next.iblock != iblock && m.predict(iblock) != 0 {
		ahead = uint64(p.index[p.depth-1])
		goal = m.fs.clampGoal(goal - min(goal, ahead+uint64(tables)))
	}
	for b.n == 0 {
		left := tables - uint32(len(b.tables))
		q.goal, q.want = goal, left+want
		if ahead > 0 && left > 0 {
			q.want = left
		}
		block, n, err := m.fs.allocBlocks(q)
		if err != nil {
			m.giveBack(b)
			return branch{}, err
		}
		for ; n > 0 && uint32(len(b.tables)) < tables; n-- {
			b.tables = append(b.tables, block)
			block++
		}
		b.first, b.n, goal = block, n, m.fs.clampGoal(block)
		if ahead > 0 && uint32(len(b.tables)) == tables {
			goal = m.fs.clampGoal(block + ahead)
		}
	}
	return b, nil
}
