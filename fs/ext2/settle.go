package ext2

import (
	"context"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// settle makes an operation that changed the inode durable if it is to be so before its
// caller goes on: by the options, or by the inode's own flags (chattr +S, and +D for
// directories). It is called behind the operation, with no lock held.
func (in *Inode) settle(ctx context.Context) error {
	if !in.settles() {
		return nil
	}
	return in.fs.commit(ctx)
}

func (in *Inode) settles() bool {
	o := &in.fs.opts
	if o.Sync || o.DirSync && in.IsDir() {
		return true
	}
	mask := uint32(disk.InodeSync)
	if in.IsDir() {
		mask |= disk.InodeDirSync
	}
	in.mu.RLock()
	defer in.mu.RUnlock()
	return in.raw.Flags&mask != 0
}

// settleAfter is settle behind an operation that may have failed. what was done to the
// inode is part of the error if ctx ended.
func (in *Inode) settleAfter(ctx context.Context, err error, what string) error {
	if err == nil {
		err = in.settle(ctx)
	}
	return in.stopped(ctx, err, what)
}

// addROCompat sets a feature bit that a read-only mount need not know. The original
// format has none, so it becomes the one that has, as the kernel's driver makes it.
func addROCompat(sb *disk.Superblock, bit uint32) {
	if sb.RevLevel == disk.GoodOldRev {
		sb.RevLevel, sb.DynFirstIno, sb.DynInodeSize = disk.DynamicRev, disk.GoodOldFirstIno, disk.GoodOldInodeSize
	}
	sb.FeatureROCompat |= bit
}
