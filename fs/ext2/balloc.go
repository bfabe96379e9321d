package ext2

import (
	"fmt"

	"github.com/ext2fuse/ext2fuse/cache"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// blockRequest asks for blocks.
type blockRequest struct {
	owner      uint32 // inode number
	goal       uint64 // block to begin at if it can be had
	want       uint32 // blocks; fewer may be given
	growing    bool   // a regular file that goes on being written: keeps a window
	privileged bool   // may use the reserved blocks
}

// searchGroups bounds how many groups are searched for a run of the length asked for
// before the longest found so far is taken.
const searchGroups = 4

// allocBlocks takes a run of 1 to q.want blocks and marks it used. ErrNoSpace says
// that there is none; errRetry, that releases are pending and a checkpoint will help.
func (fs *FS) allocBlocks(q blockRequest) (block uint64, n uint32, err error) {
	sp := &fs.space
	avail := sp.freeBlocks.Load() - sp.pending.Load()
	if !q.privileged {
		avail -= int64(fs.reserved())
	}
	if avail <= 0 {
		return 0, 0, fs.noSpace(q.privileged)
	}
	q.want = uint32(min(int64(q.want), avail))
	if block, n, err = fs.searchBlocks(&q, true); n > 0 || err != nil {
		return block, n, err
	}
	sp.windows.dropAll()
	if block, n, err = fs.searchBlocks(&q, false); n > 0 || err != nil {
		return block, n, err
	}
	return 0, 0, fs.noSpace(q.privileged)
}

// noSpace tells a full file system from one that only waits for a checkpoint.
func (fs *FS) noSpace(privileged bool) error {
	if fs.space.pending.Load() > 0 {
		return errRetry
	}
	return ErrNoSpace
}

// candidate is the best run found so far.
type candidate struct {
	group  uint32
	bit, n uint32
}

// searchBlocks looks through the groups, from the goal's on, and takes what it finds.
func (fs *FS) searchBlocks(q *blockRequest, useWindows bool) (uint64, uint32, error) {
	count := uint32(len(fs.space.groups))
	first := fs.groupOf(q.goal)
	var best candidate
	searched := 0
	for i := uint32(0); i <= count; i++ { // the goal's group once more, for what lies before the goal
		if i += fs.space.roomy.blocks.gap((first + i) % count); i > count {
			break
		}
		g := (first + i) % count
		from := uint32(0)
		if i == 0 {
			from = uint32(q.goal - fs.sb.GroupFirstBlock(g))
		}
		block, n, c, err := fs.searchGroup(g, from, q, useWindows)
		if n > 0 || err != nil {
			return block, n, err
		}
		if c.n > best.n {
			best = c
		}
		if c.n > 0 {
			searched++
		}
		if best.n > 0 && searched >= searchGroups {
			break
		}
	}
	if best.n == 0 {
		return 0, 0, nil
	}
	q.want, q.goal = min(q.want, best.n), fs.sb.GroupFirstBlock(best.group)+uint64(best.bit)
	block, n, _, err := fs.searchGroup(best.group, best.bit, q, useWindows)
	if n == 0 && err == nil {
		return fs.searchBlocks(q, useWindows) // somebody else was faster
	}
	return block, n, err
}

// searchGroup looks for q.want free blocks in group g from block from on. A run at the
// goal itself is taken however short it is, for it goes on where the file ends; so is
// one of the full length. Else the longest is returned for comparison.
func (fs *FS) searchGroup(g, from uint32, q *blockRequest, useWindows bool) (uint64, uint32, candidate, error) {
	st := &fs.space.groups[g]
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.freeBlocks == 0 || useWindows && from == 0 && st.longest == 0 {
		return 0, 0, candidate{}, nil
	}
	buf, err := fs.blockBitmap(g)
	if err != nil {
		return 0, 0, candidate{}, err
	}
	defer buf.Release()
	busy := st.blocks.view(buf)
	base, size := fs.sb.GroupFirstBlock(g), fs.sb.GroupBlocks(g)
	best := candidate{group: g}
	longest := uint32(0)
	for bit := from; bit < size; {
		bit = uint32(busy.NextClear(int(bit), int(size)))
		end := uint32(busy.NextSet(int(bit), int(size)))
		longest = max(longest, end-bit)
		for a := bit; a < end; {
			x, y := uint64(a)+base, uint64(end)+base
			if useWindows {
				x, y = fs.space.windows.next(x, y, q.owner)
			}
			n := uint32(y - x)
			if n > 0 && (n >= q.want || x == q.goal) {
				take := candidate{g, uint32(x - base), min(n, q.want)}
				if err := fs.takeBlocksLocked(st, buf, take); err != nil {
					return 0, 0, candidate{}, err
				}
				fs.moveWindow(q, x, take.n, base+uint64(end))
				return x, take.n, candidate{}, nil
			}
			if n > best.n {
				best.bit, best.n = uint32(x-base), n
			}
			if n == 0 {
				break
			}
			a = uint32(y - base)
		}
		bit = end
	}
	if from == 0 {
		st.longest = longest
	}
	return 0, 0, best, nil
}

// moveWindow puts the window of a growing file behind what it was just given, twice
// as long each time the file stayed in it, but not past free.
func (fs *FS) moveWindow(q *blockRequest, block uint64, n uint32, free uint64) {
	if !q.growing {
		return
	}
	size, stayed := fs.space.windows.size(q.owner, block)
	if stayed {
		size = (size + uint64(n)) * 2
	}
	size = min(max(size, 8*uint64(q.want), minReserve), maxReserve)
	start := block + uint64(n)
	fs.space.windows.set(q.owner, start, min(start+size, free))
}

// takeBlocksLocked marks a run of group c.group used. The group's lock is held.
func (fs *FS) takeBlocksLocked(st *groupState, bitmap *cache.Buffer, c candidate) error {
	block := fs.sb.GroupFirstBlock(c.group) + uint64(c.bit)
	if good, why := fs.dataBlocks(block, uint64(c.n)); good < uint64(c.n) {
		return fs.corrupt(&disk.CorruptError{What: "block bitmap", Block: bitmap.Block(), Offset: int(c.bit / 8),
			Detail: fmt.Sprintf("it marks block %d free, which is %s", block+good, why)})
	}
	desc, err := fs.descriptor(c.group)
	if err != nil {
		return err
	}
	defer desc.Release()
	bitmap.Lock()
	disk.Bitmap(bitmap.Modify()).SetRange(int(c.bit), int(c.n))
	bitmap.Unlock()
	st.blocks.take(int(c.bit), int(c.n))
	n := min(c.n, st.freeBlocks) // a count that was too low stays at 0
	st.freeBlocks -= n
	fs.space.freeBlocks.Add(-int64(n))
	fs.writeDescLocked(desc, c.group, st)
	return nil
}

// firstFree is the first block of group g that can be handed out; the group's first if
// there is none.
func (fs *FS) firstFree(g uint32) uint64 {
	base, st := fs.sb.GroupFirstBlock(g), &fs.space.groups[g]
	st.mu.Lock()
	defer st.mu.Unlock()
	buf, err := fs.blockBitmap(g)
	if err != nil {
		return base // reported
	}
	defer buf.Release()
	size := int(fs.sb.GroupBlocks(g))
	if bit := st.blocks.view(buf).NextClear(0, size); bit < size {
		return base + uint64(bit)
	}
	return base
}

// blockUsed tells whether the bitmap has a block in use. It can be a file's.
func (fs *FS) blockUsed(block uint64) (bool, error) {
	g := fs.groupOf(block)
	st := &fs.space.groups[g]
	st.mu.Lock()
	defer st.mu.Unlock()
	buf, err := fs.blockBitmap(g)
	if err != nil {
		return false, err
	}
	defer buf.Release()
	return disk.Bitmap(buf.Data()).Test(int(block - fs.sb.GroupFirstBlock(g))), nil
}

// freeBlocks gives n blocks from block on back. They are handed out again once a
// checkpoint made the release durable. A block that is no data block, or is free
// already, is damage: it is reported where it is found and stays as it is. So does one
// whose bitmap cannot be read, which is damage, too, as the block is lost: e2fsck, which
// the error flag of the superblock calls for, finds it.
func (fs *FS) freeBlocks(block uint64, n uint32) {
	for n > 0 {
		g := fs.groupOf(block)
		k := min(n, uint32(fs.sb.GroupFirstBlock(g)+uint64(fs.sb.BlocksPerGroup)-block))
		_ = fs.freeInGroup(g, block, k) // reported
		block, n = block+uint64(k), n-k
	}
}

func (fs *FS) freeInGroup(g uint32, block uint64, n uint32) error {
	if good, why := fs.dataBlocks(block, uint64(n)); good < uint64(n) {
		return fs.corrupt(&disk.CorruptError{What: "block to be freed", Block: block + good, Offset: -1, Detail: why})
	}
	st := &fs.space.groups[g]
	st.mu.Lock()
	defer st.mu.Unlock()
	buf, err := fs.blockBitmap(g)
	if err != nil {
		return fs.lostBlocks(block, n, err)
	}
	defer buf.Release()
	desc, err := fs.descriptor(g)
	if err != nil {
		return fs.lostBlocks(block, n, err)
	}
	defer desc.Release()
	bit := int(block - fs.sb.GroupFirstBlock(g))
	buf.Lock()
	defer buf.Unlock()
	if at := disk.Bitmap(buf.Data()).NextClear(bit, bit+int(n)); at < bit+int(n) {
		return fs.corrupt(&disk.CorruptError{What: "block bitmap", Block: buf.Block(), Offset: at / 8,
			Detail: fmt.Sprintf("block %d is to be freed and is free already", block+uint64(at-bit))})
	}
	data := disk.Bitmap(buf.Modify())
	st.blocks.hold(data, n)
	data.ClearRange(bit, int(n))
	more := min(n, fs.sb.GroupBlocks(g)-min(st.freeBlocks, fs.sb.GroupBlocks(g))) // one too high stays possible
	st.freeBlocks += more
	fs.space.freeBlocks.Add(int64(more))
	fs.space.hold(release{fs.ckpt.Epoch(), g, uint32(bit), n, false})
	fs.writeDescLocked(desc, g, st)
	return nil
}

// lostBlocks reports blocks that cannot be freed.
func (fs *FS) lostBlocks(block uint64, n uint32, why error) error {
	return fs.corrupt(&disk.CorruptError{What: "block to be freed", Block: block, Offset: -1,
		Detail: fmt.Sprintf("%d blocks from it on stay in use: %v", n, why)})
}
