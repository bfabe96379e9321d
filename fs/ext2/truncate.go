package ext2

import (
	"context"
	"errors"
)

// change is update for an operation on the inode's content, f, which runs with the inode's
// lock held. What a truncate of several operations has not freed yet is freed first, lest
// it become content again.
func (in *Inode) change(ctx context.Context, credits int, f func() error) error {
	for {
		behind := false
		err := in.alter(ctx, credits, func() error {
			if behind = in.alloc.shrinking; behind {
				return nil
			}
			return f()
		})
		if err != nil || !behind {
			return err
		}
		if err := in.finishTruncate(ctx); err != nil {
			return err
		}
	}
}

// truncateLocked starts a change of size: the tail of the new last block is zeroed, the
// size set, and the first step of freeing done. more says that blocks are left to free:
// the inode is on the orphan list, and finishTruncate goes on. The caller writes the
// inode, after an error, too.
func (in *Inode) truncateLocked(size int64) (more bool, err error) {
	switch {
	case size > in.fs.sb.MaxFileSize():
		return false, ErrTooBig
	case size > int64(in.raw.Size):
		if err := in.zeroTailLocked(size); err != nil {
			return false, err
		}
		return false, in.setSizeLocked(uint64(size))
	}
	if tail := int64(in.fs.blockSize - 1); size&tail != 0 && size < int64(in.raw.Size) {
		if err := in.zeroBytesLocked(size, min((size|tail)+1, int64(in.raw.Size))); err != nil {
			return false, err
		}
	}
	in.raw.Size = uint64(size)
	in.alloc.next = nextBlock{}
	in.fs.space.windows.drop(in.ino)
	return in.freeStepLocked()
}

// endBlock is behind every block a file can have.
const endBlock = ^uint64(0)

// freeStepLocked frees blocks behind the end of the file, as many as one operation may,
// and keeps the inode on the orphan list as long as some are left.
func (in *Inode) freeStepLocked() (more bool, err error) {
	m := (*blockMap)(in)
	first := (in.raw.Size + uint64(in.fs.blockSize) - 1) >> in.fs.blockBits
	more, err = m.freeRange(first, endBlock)
	in.alloc.shrinking = more || err != nil
	if in.alloc.shrinking {
		return more, errors.Join(err, in.addOrphanLocked())
	}
	return false, in.dropOrphanUnlessDeletedLocked()
}

// dropOrphanUnlessDeletedLocked: a file without names stays on the list until it is gone.
func (in *Inode) dropOrphanUnlessDeletedLocked() error {
	if in.raw.Links == 0 {
		return nil
	}
	return in.dropOrphanLocked()
}

// finishTruncate frees what a truncate left, one operation at a time. When ctx ends, what
// is left stays on the orphan list, for the next change of the inode, Close, or the next mount.
func (in *Inode) finishTruncate(ctx context.Context) error {
	for more := true; more; {
		err := in.alter(ctx, freeCredits, func() (err error) {
			more, err = in.freeStepLocked()
			return errors.Join(err, in.flushLocked())
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// delete frees an inode that has no names and no users: its content, its attribute
// block, and last its bit in the bitmap. A file of few pieces takes one operation. When ctx
// ends, what is left stays on the orphan list.
func (in *Inode) delete(ctx context.Context) error {
	in.fs.space.windows.drop(in.ino)
	credits, blocks := deleteCredits, in.hasBlocks()
	if blocks {
		credits += freeCredits
	}
	for more := true; more; {
		err := in.alter(ctx, credits, func() (err error) {
			in.raw.Size = 0
			more = false
			if blocks {
				more, err = (*blockMap)(in).freeRange(0, endBlock)
			}
			if err == nil && !more {
				if err = in.freeLocked(); err == nil {
					return nil
				}
			}
			return errors.Join(err, in.flushLocked()) // which no longer has the blocks that were freed
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// freeLocked frees an inode that has no blocks any more.
func (in *Inode) freeLocked() error {
	// What can fail comes first, while the orphan list still has the inode.
	g, _ := in.fs.sb.InodeGroup(in.ino)
	bitmap, err := in.fs.inodeBitmap(g)
	if err != nil {
		return err
	}
	defer bitmap.Release()
	desc, err := in.fs.descriptor(g)
	if err != nil {
		return err
	}
	defer desc.Release()
	if err := in.freeXattrBlockLocked(); err != nil && !isCorrupt(err) {
		return err
	}
	in.raw.FileACL = 0 // a damaged block is left to e2fsck
	if err := in.dropOrphanLocked(); err != nil {
		return err
	}
	in.raw.Dtime = max(uint32(in.fs.now().Sec), in.fs.sb.InodesCount+1)
	if err := in.flushLocked(); err != nil {
		return err
	}
	return in.fs.freeInode(in.ino, in.IsDir())
}

// deleteCredits: attribute block with bitmap and descriptor, two inode table blocks
// (the orphan before it), superblock, inode bitmap and descriptor.
const deleteCredits = 8

// hasBlocks tells inodes whose i_block points to blocks.
func (in *Inode) hasBlocks() bool {
	return in.IsReg() || in.IsDir() || in.IsSymlink() && !in.raw.FastSymlink(in.fs.sb)
}
