package ext2

import (
	"context"
	"fmt"
	"slices"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/cache"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/jbd2"
)

// While a journal is borrowed, or given back, VALID is clear and there is no has_journal,
// but s_journal_inum names inode 8 and s_journal_dev, which means nothing with an internal
// journal, the journal's first block. e2fsck -p takes that for leftovers; we find the
// note there, and with it all that may have been changed.

// markLoan makes the superblock say that a journal that begins at block is being
// borrowed or given back.
func markLoan(sb *disk.Superblock, block uint32) {
	sb.JournalInum, sb.JournalDev = disk.JournalIno, block
}

// loanCutOff tells whether a mount was cut off while it borrowed a journal or gave it back.
func (fs *FS) loanCutOff(sb *disk.Superblock) bool {
	return !fs.opts.ReadOnly && fs.opts.Superblock == 0 && sb.Magic == disk.Magic && sb.RevLevel == disk.DynamicRev &&
		!sb.HasCompat(disk.CompatHasJournal) && !sb.HasIncompat(disk.IncompatRecover) &&
		sb.State&(disk.StateValid|disk.StateErrors) == 0 && sb.JournalInum == disk.JournalIno && sb.JournalDev != 0
}

// undoLoan completes what was cut off: everything but the loan was durable and in its
// place, so that the file system is as good as a cleanly unmounted one. Done again after
// it was cut short, it comes to the same end.
func (fs *FS) undoLoan() error {
	look := newFS(fs.dev, Options{ReadOnly: true, NoLoad: true, Logger: fs.log})
	look.readOnly.Store(true)
	if err := look.attach(context.Background()); err != nil {
		return err
	}
	defer look.readAhead.stop()
	n, err := look.noteOnDevice()
	if err != nil {
		return err
	}
	if n == nil || n.mounts != look.sb.MntCount {
		// The mark arrived before the note did, or somebody mounted the file system since:
		// what was free then need not be now. VALID stays clear, e2fsck sees to the rest.
		return look.writeSuper(func(sb *disk.Superblock) { sb.JournalInum, sb.JournalDev = 0, 0 })
	}
	u := undo{fs: look, blocks: map[uint64]*cache.DirtyBlock{}}
	for _, r := range n.runs {
		if err := u.free(r); err != nil {
			return err
		}
	}
	block, off := look.inodeBlock(disk.JournalIno)
	table, err := u.block(block, blockio.InodeTable)
	if err != nil {
		return err
	}
	copy(table[off:off+look.sb.InodeSize()], n.inode[:])
	if err := u.write(); err != nil {
		return err
	}
	fs.log.Info("a journal that was being borrowed or given back when the last mount ended was given back")
	return look.writeSuper(func(sb *disk.Superblock) {
		n.restoreSuper(sb)
		sb.State |= disk.StateValid
		sb.FreeBlocksCount = uint32(look.counts.freeBlocks)
	})
}

// writeSuper changes the superblock on the device, durably, before anything else uses it.
func (fs *FS) writeSuper(change func(sb *disk.Superblock)) error {
	raw := make([]byte, disk.SuperblockSize)
	if _, err := fs.dev.ReadvAt([][]byte{raw}, disk.SuperblockOffset); err != nil {
		return err
	}
	sb := *fs.sb
	change(&sb)
	sb.Encode(raw)
	return durably(fs.dev, &blockio.Bio{Op: blockio.Write, For: blockio.Super, Off: disk.SuperblockOffset, Vecs: [][]byte{raw}})
}

// noteOnDevice reads the note of the journal that s_journal_dev points to; nil when there is
// none.
func (fs *FS) noteOnDevice() (*loanNote, error) {
	first := uint64(fs.sb.JournalDev)
	if good, _ := fs.dataBlocks(first, 1); good != 1 {
		return nil, nil
	}
	buf, err := fs.cache.Get(first, blockio.Journal)
	if err != nil {
		return nil, err
	}
	defer buf.Release()
	var n loanNote
	if !n.decode(jbd2.NoteOf(buf.Data())) || n.uuid != fs.sb.UUID {
		return nil, nil
	}
	return &n, nil
}

// undo collects the blocks that undoing a loan changes.
type undo struct {
	fs     *FS
	blocks map[uint64]*cache.DirtyBlock
}

// block is the content of a block to change.
func (u *undo) block(block uint64, what blockio.Purpose) ([]byte, error) {
	if b := u.blocks[block]; b != nil {
		return b.Data, nil
	}
	b := &cache.DirtyBlock{Block: block, Data: make([]byte, u.fs.blockSize), For: what}
	if _, err := u.fs.dev.ReadvAt([][]byte{b.Data}, int64(block)<<u.fs.blockBits); err != nil {
		return nil, fmt.Errorf("block %d: %w", block, err)
	}
	u.blocks[block] = b
	return b.Data, nil
}

// free marks a run free, whether or not it was marked used, and counts its group anew.
func (u *undo) free(r noteRun) error {
	fs := u.fs
	if good, why := fs.dataBlocks(uint64(r.first), uint64(r.n)); good != uint64(r.n) || r.n == 0 {
		return &disk.CorruptError{What: "borrowed journal", Block: uint64(r.first), Offset: -1, Detail: "it has blocks that are " + why + "; run e2fsck"}
	}
	g := fs.groupOf(uint64(r.first))
	bit, size := uint64(r.first)-fs.sb.GroupFirstBlock(g), fs.sb.GroupBlocks(g)
	if bit+uint64(r.n) > uint64(size) {
		return &disk.CorruptError{What: "borrowed journal", Block: uint64(r.first), Offset: -1, Detail: "a run of its blocks passes the end of a group; run e2fsck"}
	}
	bitmap, err := u.block(uint64(fs.groups[g].blockBitmap), blockio.BlockBitmap)
	if err != nil {
		return err
	}
	desc, err := u.block(fs.descBlock(g/fs.sb.DescPerBlock()), blockio.GroupDesc)
	if err != nil {
		return err
	}
	disk.Bitmap(bitmap).ClearRange(int(bit), int(r.n))
	at := desc[g%fs.sb.DescPerBlock()*disk.GroupDescSize:]
	d := disk.DecodeGroupDesc(at)
	fs.counts.freeBlocks -= uint64(d.FreeBlocks)
	d.FreeBlocks = uint16(size - uint32(disk.Bitmap(bitmap).CountSet(int(size))))
	fs.counts.freeBlocks += uint64(d.FreeBlocks)
	d.Encode(at)
	return nil
}

// write writes the blocks, durably.
func (u *undo) write() error {
	var all []cache.DirtyBlock
	for _, b := range u.blocks {
		all = append(all, *b)
	}
	slices.SortFunc(all, byBlock)
	if err := cache.WriteBlocks(u.fs.dev, u.fs.blockSize, all); err != nil {
		return err
	}
	return u.fs.dev.Sync()
}
