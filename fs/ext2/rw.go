package ext2

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/cache"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// How soon changes reach the device with nobody asking: written, so that the death of
// this process loses nothing, and durable, so that the death of the host loses little.
const (
	writeDelay = 200 * time.Millisecond
	flushDelay = 5 * time.Second
	idleDelay  = time.Second // after the last write, until blocks leave the journal for their places
)

// dirtyShare is the part of the block cache that one epoch may dirty.
const dirtyShare = 4

// startWriting readies the file system for changes: space accounting, the checkpoint,
// the superblock's mount fields. Nothing was written before it.
func (fs *FS) startWriting(ctx context.Context) error {
	fs.initSpace()
	fs.orphans.init()
	fs.reaper.init()
	if err := fs.openJournal(ctx); err != nil {
		return err
	}
	// The superblock stays in memory: most operations change it, some when they can no longer fail.
	var err error
	if fs.superPin, err = fs.cache.Get(uint64(fs.superOffset())>>fs.blockBits, blockio.Super); err != nil {
		return err
	}
	fs.ckpt = cache.NewCheckpoint(fs.cache, fs.writer(), cache.CheckpointOptions{
		MaxDirty:       fs.maxDirty(),
		Reserve:        1, // the superblock
		Background:     writeDelay,
		Flush:          cmp.Or(fs.opts.Commit, flushDelay),
		Idle:           idleDelay,
		BeforeSnapshot: fs.encodeSuper,
		AfterDurable:   fs.released,
		Failed:         fs.writingFailed,
		Waiting:        fs.waiting,
		After:          fs.opts.testing.After,
	})
	err = fs.markMounted()
	if err == nil {
		err = fs.startJournal()
	}
	if err == nil {
		fs.startPolicy()
		if err = fs.recoverOrphans(ctx); isEnd(ctx, err) {
			return errors.Join(err, fs.stopWriting()) // as complete as it was found
		}
		if fs.Failure() != nil {
			err = nil // a mount that errors= has turned read-only is one all the same
		}
		if err != nil {
			fs.stopPolicy()
		}
	}
	if err != nil {
		_ = fs.ckpt.Close()
		fs.superPin.Release()
	}
	return err
}

// writer is what carries checkpoints to the device.
func (fs *FS) writer() cache.Writer {
	if wrap := fs.opts.testing.Wrap; wrap != nil {
		return wrap(&fs.journal)
	}
	return &fs.journal
}

// maxDirty is how many blocks one epoch may dirty: a share of the cache, and no fewer
// than several of the largest operations need.
func (fs *FS) maxDirty() int {
	if n := fs.opts.testing.MaxDirty; n != 0 {
		return n
	}
	return max(int(fs.cacheBytes())/dirtyShare/fs.blockSize, 4*freeCredits)
}

// initSpace sets the accounting up from the descriptors that mount read.
func (fs *FS) initSpace() {
	sp := &fs.space
	sp.groups = make([]groupState, len(fs.groups))
	sp.roomy.blocks, sp.roomy.inodes = newGroupSet(len(fs.groups)), newGroupSet(len(fs.groups))
	for g := range sp.groups {
		st, d := &sp.groups[g], fs.groups[g].counts
		st.freeBlocks, st.freeInodes, st.dirs = uint32(d.freeBlocks), uint32(d.freeInodes), uint32(d.dirs)
		st.longest = fs.sb.BlocksPerGroup
		sp.noteRoom(uint32(g), st)
		sp.freeBlocks.Add(int64(d.freeBlocks))
		sp.freeInodes.Add(int64(d.freeInodes))
		sp.dirs.Add(int64(d.dirs))
	}
}

// changeSuper changes the superblock in memory, inside an operation, and makes its
// buffer part of the running epoch. The buffer follows once, before the snapshot: every
// unlink of a file in use changes s_last_orphan, and encoding is dear.
func (fs *FS) changeSuper(f func(sb *disk.Superblock)) error {
	return fs.withSuper(func(sb *disk.Superblock, _ []byte) { f(sb) })
}

// encodeSuper puts the superblock, with the sums over the groups, into its buffer before
// a snapshot. The checkpoint lock is held, exclusively.
func (fs *FS) encodeSuper() {
	_ = fs.withSuper(func(sb *disk.Superblock, b []byte) { // an error was reported; the counts are repaired
		sb.FreeBlocksCount = uint32(fs.space.freeBlocks.Load())
		sb.FreeInodesCount = uint32(fs.space.freeInodes.Load())
		sb.Wtime = uint32(time.Now().Unix())
		sb.Encode(b)
	})
}

// withSuper gives f the superblock and its bytes to change.
func (fs *FS) withSuper(f func(sb *disk.Superblock, b []byte)) error {
	fs.superMu.Lock()
	defer fs.superMu.Unlock()
	block, off := uint64(fs.superOffset())>>fs.blockBits, int(fs.superOffset())&(fs.blockSize-1)
	buf, err := fs.cache.Get(block, blockio.Super)
	if err != nil {
		return fs.readError("superblock", 0, block, err)
	}
	defer buf.Release()
	modify(buf, func(b []byte) { f(fs.sb, b[off:off+disk.SuperblockSize]) })
	return nil
}

// markMounted counts the mount and clears VALID, or, where the file system has a journal,
// sets needs_recovery, and makes it durable, so that whoever looks at the image of a daemon
// that died knows.
func (fs *FS) markMounted() error {
	fs.stateFound = fs.sb.State
	if err := fs.prepareLoan(); err != nil {
		return err
	}
	own := fs.journaled() && fs.sb.HasCompat(disk.CompatHasJournal)
	err := fs.update(context.Background(), 1, func() error {
		return fs.changeSuper(func(sb *disk.Superblock) {
			if own {
				sb.FeatureIncompat |= disk.IncompatRecover
			} else {
				sb.State &^= disk.StateValid
			}
			switch l := fs.journal.loan; {
			case l != nil && l.journal != nil:
				markLoan(sb, l.inode.Block[0])
			case l == nil && !own && sb.JournalInum == disk.JournalIno && sb.JournalDev != 0:
				markLoan(sb, 0) // what it speaks of will not be true any more
			}
			sb.MntCount++
			sb.Mtime = uint32(time.Now().Unix())
			if fs.opts.MountPoint != "" && sb.RevLevel != disk.GoodOldRev {
				sb.LastMounted = [64]byte{}
				copy(sb.LastMounted[:63], fs.opts.MountPoint)
			}
		})
	})
	if err != nil {
		return err
	}
	return fs.commit(context.Background())
}

// stopWriting ends a read-write mount: what was unlinked while open is deleted, the last
// epoch goes out, and after it, alone, the superblock that says that all is well: it must not
// arrive before what it says is true, and is durable when a clean unmount returns.
func (fs *FS) stopWriting() error {
	defer fs.superPin.Release()
	fs.reapAll()
	fs.stopPolicy()
	err := fs.commit(context.Background())
	if err != nil || fs.readOnly.Load() { // a failure made it so: VALID stays clear
		return lost(errors.Join(err, fs.ckpt.Close()))
	}
	if err = fs.endJournal(); err != nil {
		return lost(errors.Join(err, fs.ckpt.Close()))
	}
	err = fs.update(context.Background(), 1, func() error {
		return fs.changeSuper(func(sb *disk.Superblock) {
			sb.State = sb.State&^disk.StateValid | fs.stateFound&disk.StateValid
		})
	})
	return lost(errors.Join(err, fs.ckpt.Close()))
}

// lost says what the failure of the last checkpoint means.
func lost(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("the last changes could not be written and are lost; run e2fsck: %w", err)
}

// writingFailed turns the file system read-only: a checkpoint could not be written.
func (fs *FS) writingFailed(err error) {
	fs.readOnly.Store(true)
	fs.log.Error(fmt.Sprintf("writing a checkpoint failed: %v; the file system is read-only from now on", err))
}
