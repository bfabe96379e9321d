package ext2

import (
	"cmp"
	"context"
	"errors"
	"math"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/cache"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/mpage"
)

// Modes of Fallocate, as fallocate(2) numbers them.
const (
	FallocKeepSize  = 0x01
	FallocPunchHole = 0x02
	FallocCollapse  = 0x08
	FallocZeroRange = 0x10
	FallocInsert    = 0x20
	FallocUnshare   = 0x40
)

// Fallocate allocates blocks of zeros for the holes in [off, off+n) bytes, punches a
// hole there, or makes the range zeros. ext2 has no blocks that are allocated and not
// written, so allocating writes zeros. Nor may it have blocks behind the end of a file:
// e2fsck would make the file longer. So FallocKeepSize is supported as far as the block
// that the file ends in. Collapsing and inserting are not supported.
//
// When ctx ends, what was allocated or punched until then stays, and without
// FallocKeepSize the file is as long as was allocated.
func (in *Inode) Fallocate(ctx context.Context, mode uint32, off, n int64, o WriteOptions) error {
	if err := in.readable(); err != nil {
		if err == ErrInvalid {
			err = ErrNoDevice
		}
		return err
	}
	switch mode &^ FallocKeepSize {
	case 0, FallocUnshare, FallocZeroRange:
	case FallocPunchHole:
		if mode&FallocKeepSize == 0 {
			return ErrNotSupported
		}
	default:
		return ErrNotSupported
	}
	if off < 0 || n <= 0 {
		return ErrInvalid
	}
	limit := in.fs.sb.MaxFileSize()
	if mode&FallocPunchHole != 0 {
		limit = math.MaxInt64
	}
	if n > limit-off {
		return ErrTooBig
	}
	if bits := in.fs.blockBits; mode&(FallocPunchHole|FallocKeepSize) == FallocKeepSize &&
		(off+n-1)>>bits > (in.Attr().Size-1)>>bits {
		return ErrNotSupported
	}
	if mode&(FallocPunchHole|FallocZeroRange) != 0 {
		if err := in.punch(ctx, mode, off, n, &o); err != nil || mode&FallocPunchHole != 0 {
			return in.settleAfter(ctx, err, "freeing blocks of")
		}
	}
	return in.settleAfter(ctx, in.fill(ctx, mode, off, n, &o), "allocating blocks of")
}

// punch makes [off, off+n) read as zeros: whole blocks are freed, parts of blocks zeroed.
func (in *Inode) punch(ctx context.Context, mode uint32, off, n int64, o *WriteOptions) error {
	bs := int64(in.fs.blockSize)
	for more := true; more; {
		err := in.change(ctx, freeCredits, func() (err error) {
			if in.raw.Flags&(disk.InodeImmutable|disk.InodeAppend) != 0 {
				return ErrPerm
			}
			end := min(off+n, int64(in.raw.Size)) // bytes
			if end < off {
				end = off
			}
			first, last := (off+bs-1)/bs, end/bs
			if end == int64(in.raw.Size) {
				last = (end + bs - 1) / bs
			}
			if first > last { // inside one block
				err = in.zeroBytesLocked(off, end)
			} else {
				err = errors.Join(in.zeroBytesLocked(off, min(first*bs, end)), in.zeroBytesLocked(max(last*bs, off), end))
			}
			more = false
			if err == nil && first < last {
				more, err = (*blockMap)(in).freeRange(uint64(first), uint64(last))
			}
			in.changedLocked(o)
			return errors.Join(err, in.flushLocked())
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// changedLocked notes a change of content.
func (in *Inode) changedLocked(o *WriteOptions) {
	in.raw.Mtime = in.fs.now()
	in.raw.Ctime = in.raw.Mtime
	in.alloc.next = nextBlock{}
	if o.KillPriv {
		in.killPrivLocked()
	}
}

// fill allocates the holes in [off, off+n) and writes zeros there, one operation for
// each stretch of writePieces runs. Without FallocKeepSize the file grows as far as it
// got.
func (in *Inode) fill(ctx context.Context, mode uint32, off, n int64, o *WriteOptions) error {
	bits := in.fs.blockBits
	at, end := uint64(off)>>bits, (uint64(off+n)+uint64(in.fs.blockSize)-1)>>bits
	for at < end {
		err := in.change(ctx, writeCredits, func() (err error) {
			if err := in.mayWriteLocked(int64(in.raw.Size)); err != nil {
				return err
			}
			switch size := int64(in.raw.Size); {
			case off+n <= size:
			case mode&FallocKeepSize == 0:
				if err := in.zeroTailLocked(off + n); err != nil {
					return err
				}
			case (off+n-1)>>bits > (size-1)>>bits:
				return ErrNotSupported
			}
			in.alloc.begin(writePieces, o.Cred.reserved(in.fs))
			start := at
			at, err = in.fillLocked(at, end)
			if err != nil && !errors.Is(err, errPause) {
				// Blocks behind the end of the file must not stay.
				if size := (in.raw.Size + uint64(in.fs.blockSize) - 1) >> bits; at > size {
					_, _ = (*blockMap)(in).freeRange(size, at)
				}
				at = start
				return errors.Join(err, in.flushLocked())
			}
			if to := min(at<<bits, uint64(off+n)); mode&FallocKeepSize == 0 && to > in.raw.Size {
				if err := in.setSizeLocked(to); err != nil {
					return err
				}
			}
			in.changedLocked(o)
			return in.flushLocked()
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// fillLocked allocates holes among the file blocks from at on and writes zeros there,
// until end or until the operation's pieces are used up; it returns how far it came.
func (in *Inode) fillLocked(at, end uint64) (uint64, error) {
	m := (*blockMap)(in)
	for at < end {
		r, err := m.GetBlock(at, min(end-at, writeChunk>>in.fs.blockBits|1), true)
		if err != nil {
			return at, err
		}
		if r.Flags&mpage.Allocated != 0 {
			err := in.fs.zeroBlocks(r.Block, r.Count)
			in.fs.ckpt.MarkContent(true, cache.Extent{Block: r.Block, Count: r.Count})
			if err != nil {
				_, _ = m.freeRange(at, at+r.Count) // the first error counts
				return at, in.fs.contentError(in.ino, int64(at)<<in.fs.blockBits, err)
			}
		}
		at += r.Count
	}
	return at, nil
}

// zeros is what zeroBlocks writes again and again.
var zeros [64 << 10]byte

// zeroBlocks writes zeros over n device blocks.
func (fs *FS) zeroBlocks(block, n uint64) error {
	bio := blockio.Bio{Op: blockio.Write, For: blockio.Data, Off: int64(block) << fs.blockBits}
	for left := n << fs.blockBits; left > 0; {
		k := min(left, uint64(len(zeros)))
		bio.Vecs = append(bio.Vecs, zeros[:k])
		left -= k
	}
	fs.dev.Submit(&bio)
	return bio.Err
}

// Trim tells the device about free space in [start, start+n) bytes of the file system,
// in runs of at least minLen bytes, and returns how many bytes that were (FITRIM). When ctx
// ends it stops with the block group at hand.
func (fs *FS) Trim(ctx context.Context, start, n, minLen uint64) (uint64, error) {
	trimmed, err := fs.trim(ctx, start, n, minLen)
	return trimmed, stopped(ctx, err, "trimming free space")
}

func (fs *FS) trim(ctx context.Context, start, n, minLen uint64) (uint64, error) {
	if err := fs.begin(ctx, 0); err != nil {
		return 0, err
	}
	fs.ckpt.End(0)
	if err := fs.settle(ctx); err != nil { // what was just deleted counts
		return 0, err
	}
	total := uint64(fs.sb.BlocksCount) << fs.blockBits
	if start >= total {
		return 0, ErrInvalid
	}
	if n < uint64(fs.blockSize) || minLen>>fs.blockBits > uint64(fs.sb.BlocksPerGroup) {
		return 0, ErrInvalid
	}
	end := total
	if n < total-start {
		end = start + n
	}
	first, last := max((start+uint64(fs.blockSize)-1)>>fs.blockBits, uint64(fs.sb.FirstDataBlock)), end>>fs.blockBits
	least := max((minLen+uint64(fs.blockSize)-1)>>fs.blockBits, 1)
	trimmed := uint64(0)
	for first < last {
		g := fs.groupOf(first)
		stop := min(last, fs.sb.GroupFirstBlock(g)+uint64(fs.sb.GroupBlocks(g)))
		got, err := fs.trimGroup(g, first, stop, least)
		trimmed += got
		if err = cmp.Or(err, ctx.Err()); err != nil {
			return trimmed << fs.blockBits, err
		}
		first = stop
	}
	return trimmed << fs.blockBits, nil
}

// trimGroup discards the free runs of at least least blocks among [first, stop), which
// lie in group g. The group's lock keeps them free meanwhile.
func (fs *FS) trimGroup(g uint32, first, stop, least uint64) (trimmed uint64, err error) {
	st := &fs.space.groups[g]
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.freeBlocks == 0 {
		return 0, nil
	}
	buf, err := fs.blockBitmap(g)
	if err != nil {
		return 0, err
	}
	defer buf.Release()
	base := fs.sb.GroupFirstBlock(g)
	busy := st.blocks.view(buf)
	for bit, end := int(first-base), int(stop-base); bit < end; {
		bit = busy.NextClear(bit, end)
		next := busy.NextSet(bit, end)
		if n := uint64(next - bit); n >= least {
			fs.discardBlocks(base+uint64(bit), n)
			trimmed += n
		}
		bit = next
	}
	return trimmed, nil
}
