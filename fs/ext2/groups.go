package ext2

import (
	"fmt"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// group is what is kept in memory of a block group, for each group of the file system.
type group struct {
	blockBitmap uint32
	inodeBitmap uint32
	inodeTable  uint32
	counts      groupCounts
	base        uint32 // blocks at its start: superblock, descriptors, those reserved for more
}

// groupCounts are the counters of a group's descriptor as found at mount.
type groupCounts struct{ freeBlocks, freeInodes, dirs uint16 }

// counts are sums over the group descriptors.
type counts struct {
	freeBlocks uint64
	freeInodes uint64
	base       uint64 // blocks of superblocks and descriptors, those reserved included
}

// descChunk bounds the memory, in bytes, and descBatch the bios, of one step of
// reading the descriptor table.
const (
	descChunk = 1 << 20
	descBatch = 64
)

// readGroups reads and checks the descriptor table. What it keeps grows only with
// descriptors that passed their checks, so a lying group count costs nothing.
func (fs *FS) readGroups() error {
	perBlock := fs.sb.DescPerBlock()
	total := fs.sb.DescBlocks()
	step := uint32(max(descChunk/fs.blockSize, 1))
	buf := make([]byte, int(min(step, total))*fs.blockSize)
	fs.groups = make([]group, 0, min(fs.sb.GroupCount(), descChunk/disk.GroupDescSize))
	for done := uint32(0); done < total; {
		n, err := fs.readDescBlocks(done, min(step, total-done), buf)
		if err != nil {
			return err
		}
		first := done * perBlock
		last := min(uint64(first)+uint64(n)*uint64(perBlock), uint64(fs.sb.GroupCount()))
		for g := first; uint64(g) < last; g++ {
			d := disk.DecodeGroupDesc(buf[int(g-first)*disk.GroupDescSize:])
			if err := fs.sb.CheckGroupDesc(g, d); err != nil {
				return err
			}
			fs.addGroup(g, d)
		}
		done += n
	}
	return nil
}

// addGroup appends group g.
func (fs *FS) addGroup(g uint32, d disk.GroupDesc) {
	base := fs.sb.GroupOverhead(g)
	fs.groups = append(fs.groups, group{d.BlockBitmap, d.InodeBitmap, d.InodeTable, groupCounts{d.FreeBlocks, d.FreeInodes, d.UsedDirs}, base})
	fs.counts.freeBlocks += uint64(d.FreeBlocks)
	fs.counts.freeInodes += uint64(d.FreeInodes)
	fs.counts.base += uint64(base)
}

// descBlock is where descriptor block i is read from: with a backup superblock (sb=),
// the copy that belongs to it, for the primary table may be what is damaged.
func (fs *FS) descBlock(i uint32) uint64 {
	return fs.sb.DescBlockFrom(fs.sb.GroupFirstBlock(fs.superGroup), i)
}

// readDescBlocks reads up to max descriptor blocks, from the i-th on, into buf, one
// bio per contiguous run, and returns how many it read.
func (fs *FS) readDescBlocks(i, max uint32, buf []byte) (uint32, error) {
	var bios []*blockio.Bio
	next, n := uint64(0), uint32(0)
	for ; n < max; n++ {
		at := fs.descBlock(i + n)
		if at == next && len(bios) > 0 {
			bio := bios[len(bios)-1]
			bio.Vecs[0] = bio.Vecs[0][:len(bio.Vecs[0])+fs.blockSize]
		} else {
			if len(bios) == descBatch {
				break
			}
			mem := buf[int(n)*fs.blockSize:]
			bios = append(bios, &blockio.Bio{Op: blockio.Read, For: blockio.GroupDesc,
				Off: int64(at) << fs.blockBits, Vecs: [][]byte{mem[:fs.blockSize]}})
		}
		next = at + 1
	}
	fs.dev.Submit(bios...)
	for _, bio := range bios {
		if bio.Err != nil {
			return 0, fmt.Errorf("group descriptors at block %d cannot be read: %w", bio.Off>>fs.blockBits, bio.Err)
		}
	}
	return n, nil
}

// groupOf is the group a block of the data area lies in.
func (fs *FS) groupOf(block uint64) uint32 {
	return uint32((block - uint64(fs.sb.FirstDataBlock)) / uint64(fs.sb.BlocksPerGroup))
}

// dataBlocks tells how many of the n blocks from block on may belong to a file: they
// are inside the file system and outside of its own structures, the journal in use among
// them. When it is less than
// n, why says what is wrong with the block behind them.
func (fs *FS) dataBlocks(block, n uint64) (good uint64, why string) {
	good, why = fs.outsideGroups(block, n)
	for _, e := range fs.journal.zone {
		if block < e.Start+uint64(e.Blocks) && e.Start < block+good {
			good, why = max(e.Start, block)-block, "the journal"
		}
	}
	return good, why
}

// outsideGroups is dataBlocks for the structures that the groups have.
func (fs *FS) outsideGroups(block, n uint64) (good uint64, why string) {
	end := block + n
	for b := block; b < end; {
		if !fs.sb.ValidBlock(b) {
			return b - block, "outside of the file system"
		}
		g := fs.groupOf(b)
		stop := min(end, fs.sb.GroupFirstBlock(g)+uint64(fs.sb.GroupBlocks(g)))
		if bad, what := fs.groups[g].firstMeta(fs, g, b, stop); what != "" {
			return bad - block, fmt.Sprintf("the %s of group %d", what, g)
		}
		b = stop
	}
	return n, ""
}

// firstMeta is the first block of [b, end), which lies in group g, that is one of the
// group's structures; what is empty when there is none.
func (gr *group) firstMeta(fs *FS, g uint32, b, end uint64) (bad uint64, what string) {
	bad = end
	try := func(first, n uint64, name string) {
		if first < end && b < first+n && max(first, b) < bad {
			bad, what = max(first, b), name
		}
	}
	try(fs.sb.GroupFirstBlock(g), uint64(gr.base), "superblock or descriptors")
	try(uint64(gr.blockBitmap), 1, "block bitmap")
	try(uint64(gr.inodeBitmap), 1, "inode bitmap")
	try(uint64(gr.inodeTable), uint64(fs.sb.InodeTableBlocks()), "inode table")
	return bad, what
}
