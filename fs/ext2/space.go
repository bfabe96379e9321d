package ext2

import (
	"sync"
	"sync/atomic"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/cache"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// space is the accounting of free blocks and inodes of a file system that is written to.
//
// The bitmaps in the buffer cache are what the disk shall hold. A freed block is
// clear there at once, but must not be handed out again before the release is
// durable: until then it stays set in an overlay, which the allocator looks at.
type space struct {
	groups []groupState
	roomy  struct{ blocks, inodes groupSet } // groups with free blocks, with free inodes

	freeBlocks atomic.Int64 // as the disk shall say
	freeInodes atomic.Int64
	dirs       atomic.Int64
	pending    atomic.Int64 // blocks among freeBlocks that are not to be handed out yet
	pendingIno atomic.Int64

	windows windows

	mu       sync.Mutex // a leaf
	releases []release  // by epoch, oldest first
}

// groupState is what changes of a block group while it is written to.
type groupState struct {
	mu         sync.Mutex // the group lock
	freeBlocks uint32
	freeInodes uint32
	dirs       uint32
	longest    uint32 // no free run of blocks is longer; after a free, the group's size
	blocks     overlay
	inodes     overlay
}

// overlay is what the allocator looks at instead of a bitmap while the two differ.
type overlay struct {
	busy    disk.Bitmap // copy of the bitmap with more bits set; nil when there is no need
	pending uint32      // bits set in busy and clear in the bitmap until a release is durable
	guard   bool        // busy also has bits that the bitmap wrongly has clear: it stays
	checked bool        // the bitmap was looked through for such bits
}

// noteRoom follows a change of group g's counts. Its lock is held.
func (sp *space) noteRoom(g uint32, st *groupState) {
	sp.roomy.blocks.put(g, st.freeBlocks > 0)
	sp.roomy.inodes.put(g, st.freeInodes > 0)
}

// release is a range of blocks, or inodes, of one group whose release is not durable yet.
type release struct {
	epoch  uint64
	group  uint32
	bit, n uint32
	inodes bool
}

// view is the bitmap to look for free bits in. The group's lock is held.
func (o *overlay) view(buf *cache.Buffer) disk.Bitmap {
	if o.busy != nil {
		return o.busy
	}
	return disk.Bitmap(buf.Data())
}

// hold readies the overlay for n bits that are about to be cleared in the bitmap.
func (o *overlay) hold(bitmap disk.Bitmap, n uint32) {
	o.copy(bitmap)
	o.pending += n
}

func (o *overlay) copy(bitmap disk.Bitmap) {
	if o.busy == nil {
		o.busy = append(disk.Bitmap(nil), bitmap...)
	}
}

// take follows bits that were set in the bitmap.
func (o *overlay) take(bit, n int) {
	if o.busy != nil {
		o.busy.SetRange(bit, n)
	}
}

// release makes n held bits free.
func (o *overlay) release(bit int, n uint32) {
	o.busy.ClearRange(bit, int(n))
	o.pending -= n
	if o.pending == 0 && !o.guard {
		o.busy = nil
	}
}

// hold notes a release that is not durable yet.
func (sp *space) hold(r release) {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	if r.inodes {
		sp.pendingIno.Add(int64(r.n))
	} else {
		sp.pending.Add(int64(r.n))
	}
	if k := len(sp.releases) - 1; k >= 0 {
		last := &sp.releases[k]
		if last.epoch == r.epoch && last.group == r.group && last.inodes == r.inodes && last.bit+last.n == r.bit {
			last.n += r.n
			return
		}
	}
	sp.releases = append(sp.releases, r)
}

// released lets what was freed in epochs up to this one, which are durable, be handed
// out again, and discards it first if asked to.
func (fs *FS) released(epoch uint64) {
	sp := &fs.space
	sp.mu.Lock()
	k := 0
	for k < len(sp.releases) && sp.releases[k].epoch <= epoch {
		k++
	}
	done := sp.releases[:k:k]
	sp.releases = sp.releases[k:]
	if len(sp.releases) == 0 {
		sp.releases = nil
	}
	sp.mu.Unlock()
	for _, r := range done {
		fs.releaseOne(r)
	}
}

func (fs *FS) releaseOne(r release) {
	st := &fs.space.groups[r.group]
	if r.inodes {
		st.mu.Lock()
		st.inodes.release(int(r.bit), r.n)
		st.mu.Unlock()
		fs.space.pendingIno.Add(-int64(r.n))
		return
	}
	if fs.opts.Discard {
		fs.discardBlocks(fs.sb.GroupFirstBlock(r.group)+uint64(r.bit), uint64(r.n))
	}
	st.mu.Lock()
	st.blocks.release(int(r.bit), r.n)
	st.longest = fs.sb.BlocksPerGroup
	st.mu.Unlock()
	fs.space.pending.Add(-int64(r.n))
}

// discardBlocks tells the device that blocks hold nothing. It is a hint.
func (fs *FS) discardBlocks(block, n uint64) {
	_ = fs.dev.Discard(int64(block)<<fs.blockBits, int64(n)<<fs.blockBits)
}

// blockBitmap pins the block bitmap of group g. The group's lock is held. At its first
// use the bitmap is looked through for blocks of the group's own structures that it has
// free: they are guarded in memory, and reported.
func (fs *FS) blockBitmap(g uint32) (*cache.Buffer, error) {
	block := uint64(fs.groups[g].blockBitmap)
	buf, err := fs.cache.Get(block, blockio.BlockBitmap)
	if err != nil {
		return nil, fs.structureError("block bitmap", 0, block, err)
	}
	st := &fs.space.groups[g]
	if st.blocks.checked {
		return buf, nil
	}
	st.blocks.checked = true
	base := fs.sb.GroupFirstBlock(g)
	m := disk.Bitmap(buf.Data())
	for _, r := range fs.ownBlocks(g) {
		from, to := int(r.first-base), int(r.first-base+r.n)
		if m.NextClear(from, to) == to {
			continue
		}
		_ = fs.corrupt(&disk.CorruptError{What: "block bitmap", Block: block, Offset: from / 8, Detail: "it has blocks of the group's own " + r.what + " free"})
		st.blocks.copy(m)
		st.blocks.guard = true
		st.blocks.busy.SetRange(from, to-from)
	}
	return buf, nil
}

// ownRange is a range of blocks that the file system has for itself.
type ownRange struct {
	first, n uint64
	what     string
}

// ownBlocks are the ranges of group g's own structures.
func (fs *FS) ownBlocks(g uint32) []ownRange {
	gr := &fs.groups[g]
	return []ownRange{
		{fs.sb.GroupFirstBlock(g), uint64(gr.base), "superblock and descriptors"},
		{uint64(gr.blockBitmap), 1, "block bitmap"},
		{uint64(gr.inodeBitmap), 1, "inode bitmap"},
		{uint64(gr.inodeTable), uint64(fs.sb.InodeTableBlocks()), "inode table"},
	}
}

// inodeBitmap pins the inode bitmap of group g.
func (fs *FS) inodeBitmap(g uint32) (*cache.Buffer, error) {
	block := uint64(fs.groups[g].inodeBitmap)
	buf, err := fs.cache.Get(block, blockio.InodeBitmap)
	if err != nil {
		return nil, fs.structureError("inode bitmap", 0, block, err)
	}
	return buf, nil
}

// descriptor pins the descriptor block of group g. Whoever changes a bitmap has it before,
// so that the change cannot stop half-way.
func (fs *FS) descriptor(g uint32) (*cache.Buffer, error) {
	block := fs.descBlock(g / fs.sb.DescPerBlock())
	buf, err := fs.cache.Get(block, blockio.GroupDesc)
	if err != nil {
		return nil, fs.structureError("group descriptors", 0, block, err)
	}
	return buf, nil
}

// writeDescLocked puts the group's counts, which changed, into its descriptor, which stands
// in buf. The group's lock is held.
func (fs *FS) writeDescLocked(buf *cache.Buffer, g uint32, st *groupState) {
	fs.space.noteRoom(g, st)
	per := fs.sb.DescPerBlock()
	modify(buf, func(b []byte) {
		at := b[g%per*disk.GroupDescSize:]
		d := disk.DecodeGroupDesc(at)
		d.FreeBlocks, d.FreeInodes, d.UsedDirs = uint16(st.freeBlocks), uint16(st.freeInodes), uint16(st.dirs)
		d.Encode(at)
	})
}
