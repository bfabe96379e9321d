package ext2

import (
	"context"
	"errors"
	"fmt"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/jbd2"
)

// ErrReplayReadOnly is the error of a journal to replay on a device that cannot be written.
// Options.NoLoad lets the file system be read without.
var ErrReplayReadOnly = errors.New("s_feature_incompat has the feature needs_recovery: the journal holds changes that are not in the file system yet, and they cannot be written")

// needsReplay tells whether the journal has to be replayed before anything else is read.
// A superblock that is not the usual one knows nothing of the journal's state.
func (fs *FS) needsReplay(sb *disk.Superblock) bool {
	return !fs.opts.NoLoad && fs.opts.Superblock == 0 &&
		sb.Magic == disk.Magic && sb.HasCompat(disk.CompatHasJournal) && sb.HasIncompat(disk.IncompatRecover)
}

// recoverJournal replays the journal of the file system of sb, which needs it.
func (fs *FS) recoverJournal(ctx context.Context, sb *disk.Superblock) error {
	sb.FeatureIncompat &^= disk.IncompatRecover
	if _, err := sb.Check(fs.dev.Size(), !fs.opts.ReadOnly); err != nil {
		return err
	}
	if sb.JournalInum == 0 {
		return externalJournal(sb)
	}
	if fs.dev.ReadOnly() {
		return ErrReplayReadOnly
	}
	extents, _, err := journalExtents(fs.dev, fs.opts, sb.JournalInum)
	if err != nil {
		return err
	}
	return fs.replay(ctx, jbd2.Place{Dev: fs.dev, BlockSize: sb.BlockSize(), Blocks: uint64(sb.BlocksCount), Extents: extents})
}

// replay replays the journal and then, all of it being durable, clears needs_recovery in
// the superblock, which the journal may have changed.
func (fs *FS) replay(ctx context.Context, p jbd2.Place) error {
	j, err := jbd2.Open(p)
	if err != nil {
		return err
	}
	res, err := j.Replay(ctx)
	if err != nil {
		return err
	}
	b := make([]byte, disk.SuperblockSize)
	if _, err := fs.dev.ReadvAt([][]byte{b}, disk.SuperblockOffset); err != nil {
		return fmt.Errorf("the superblock cannot be read after the replay of the journal: %w", err)
	}
	sb, err := disk.DecodeSuperblock(b)
	if err != nil {
		return err
	}
	if sb.Magic != disk.Magic {
		return &disk.CorruptError{What: "superblock", Offset: -1, Detail: "the journal replaced it by something else; run e2fsck with -b"}
	}
	sb.FeatureIncompat &^= disk.IncompatRecover
	if res.Errno != 0 {
		sb.State |= disk.StateErrors
		fs.log.Warn(fmt.Sprintf("the last user of the journal gave up with error %d: running e2fsck is recommended", res.Errno))
	}
	sb.Encode(b)
	super := blockio.Bio{Op: blockio.Write, For: blockio.Super, Off: disk.SuperblockOffset, Vecs: [][]byte{b}}
	if err := durably(fs.dev, &super); err != nil {
		return fmt.Errorf("the superblock cannot be written after the replay of the journal: %w", err)
	}
	fs.log.Info(res.String())
	if res.Errno == 0 {
		return nil
	}
	j.ClearErrno() // the state of the file system tells it now
	return durably(fs.dev, j.Tail(0, res.Next))
}

// durably carries out one write and makes it durable.
func durably(dev blockio.Device, bio *blockio.Bio) error {
	if dev.Submit(bio); bio.Err != nil {
		return bio.Err
	}
	return dev.Sync()
}

// journalExtents is where the blocks of the journal, inode ino, are, and the tables that say so.
// Nothing else of the file system is looked at but the descriptors: the rest may be what the
// journal repairs.
func journalExtents(dev blockio.Device, o Options, ino uint32) (all, tables []jbd2.Extent, err error) {
	fs := newFS(dev, Options{ReadOnly: true, NoLoad: true, Logger: o.Logger})
	fs.readOnly.Store(true)
	if err := fs.attach(context.Background()); err != nil {
		return nil, nil, err
	}
	defer fs.readAhead.stop()
	bad := func(format string, args ...any) error {
		return &disk.CorruptError{What: "journal", Inode: ino, Offset: -1, Detail: fmt.Sprintf(format, args...) + "; run e2fsck"}
	}
	if ino > fs.sb.InodesCount {
		return nil, nil, bad("s_journal_inum is %d, there are %d inodes", ino, fs.sb.InodesCount)
	}
	block, off := fs.inodeBlock(ino)
	buf, err := fs.cache.Get(block, blockio.InodeTable)
	if err != nil {
		return nil, nil, fs.structureError("inode table block", ino, block, err)
	}
	in := &Inode{fs: fs, ino: ino, raw: disk.DecodeInode(buf.Data()[off:off+fs.sb.InodeSize()], fs.sb)}
	buf.Release()
	if in.typ = in.raw.Mode & disk.ModeFmt; in.typ != disk.ModeReg || in.raw.Links == 0 {
		return nil, nil, bad("its inode has i_mode 0%o and i_links_count %d", in.raw.Mode, in.raw.Links)
	}
	total := in.raw.Size >> fs.blockBits
	if total > uint64(fs.sb.BlocksCount) {
		return nil, nil, bad("i_size is %d, more than the file system has", in.raw.Size)
	}
	// What the tables say first: they are bounded, where what i_size says need not be.
	list, err := in.extents(context.Background())
	at := uint64(0)
	for _, e := range list {
		switch {
		case e.Level > 0:
			tables = append(tables, jbd2.Extent{Start: e.Block, Blocks: 1})
			continue
		case at == total:
			continue
		}
		if e.File != at {
			return nil, nil, bad("its block %d is a hole", at)
		}
		n := min(e.Count, total-at)
		if good, why := fs.dataBlocks(e.Block, n); good < n {
			return nil, nil, (*blockMap)(in).badPointer("block pointer", at+good, e.Block+good, why)
		}
		all = append(all, jbd2.Extent{Start: e.Block, Blocks: uint32(n)})
		at += n
	}
	switch {
	case at == total:
		return all, tables, nil
	case err != nil:
		return nil, nil, err
	}
	return nil, nil, bad("its block %d is a hole", at)
}
