package ext2

import (
	"cmp"
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/cache"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/jbd2"
)

// An ext2 file system has no journal. A read-write mount borrows the blocks for one and
// gives them back at its end.
//
// The order in which that happens, each step durable before the next:
//
//  1. The journal and the tables of its inode, in free blocks; VALID is cleared.
//  2. The blocks are marked used, inode 8 names them.
//  3. has_journal and needs_recovery are set, VALID as it was, all in one sector: from
//     now on the file system is an ext3 one.
//
// Whoever finds the first or the second step done finds an ext2 file system that was not
// cleanly unmounted and has at worst blocks that belong to nobody and an inode 8 that is
// of no use; e2fsck -p frees both, and so does the next mount (loanCutOff). Giving back goes
// the same way backwards. No two of these syncs can be one: superblock, inode table and bitmaps
// reach the disk in any order between two syncs. The first could be missed in blocks that nobody
// owns on a file system that claims to be clean, the second in a journal without its inode, and
// the third in what is promised of a mount: that the kernel's driver recovers it, too.
const (
	journalShare = 40       // one free block in so many, at most
	journalBytes = 32 << 20 // at most
	leastFree    = 4 * jbd2.MinBlocks
	loanGroups   = 8  // groups that are searched for room
	loanExtents  = 32 // pieces it may be in
	loanCredits  = 2*loanExtents + 2
)

// loan is a journal that is borrowed.
type loan struct {
	blocks  uint64        // that it takes, its tables included
	runs    []candidate   // where, tables first; empty when an earlier mount made it
	journal *jbd2.Journal // to be made; nil when an earlier mount made it
	inode   disk.Inode
	tables  []cache.DirtyBlock

	before loanNote
}

// planLoan looks for room. Without any it returns nil and says so.
func (fs *FS) planLoan() (*loan, error) {
	if fs.sb.State&disk.StateValid == 0 || fs.sb.State&disk.StateErrors != 0 {
		// Blocks that the bitmaps have free may be in use.
		fs.log.Warn("writing without a journal, as the file system was not cleanly unmounted or has errors; run e2fsck")
		return nil, nil
	}
	free := uint64(fs.space.freeBlocks.Load())
	if free < leastFree {
		fs.log.Info(fmt.Sprintf("writing without a journal: %d blocks are free, one needs %d", free, leastFree))
		return nil, nil
	}
	note, err := fs.newLoanNote()
	if err != nil || note == nil {
		return nil, err
	}
	per := uint64(fs.sb.AddrPerBlock())
	size := min(max(free/journalShare, jbd2.MinBlocks), max(uint64(journalBytes)>>fs.blockBits, jbd2.MinBlocks))
	runs, got, err := fs.findRoom(size + tablesFor(size, per))
	if err != nil {
		return nil, err
	}
	for size+tablesFor(size, per) > got && size > 0 {
		size--
	}
	if size < jbd2.MinBlocks {
		fs.log.Info(fmt.Sprintf("writing without a journal: the free blocks are in too many pieces for one of %d", jbd2.MinBlocks))
		return nil, nil
	}
	l := &loan{runs: runs, before: *note, blocks: size + tablesFor(size, per)}
	return l, fs.layOut(l, size)
}

// tablesFor is how many indirect blocks a file of n blocks has, with per pointers each.
func tablesFor(n, per uint64) uint64 {
	switch n -= min(n, disk.NDirBlocks); {
	case n == 0:
		return 0
	case n <= per:
		return 1
	default:
		return 2 + (n-per+per-1)/per
	}
}

// findRoom finds up to want free blocks: one run if there is one in the emptiest groups,
// else the longest of them. Those at the end of a run are taken, where files come last.
func (fs *FS) findRoom(want uint64) (runs []candidate, got uint64, err error) {
	order := make([]uint32, len(fs.space.groups))
	for g := range order {
		order[g] = uint32(g)
	}
	slices.SortFunc(order, func(a, b uint32) int {
		return cmp.Or(cmp.Compare(fs.space.groups[b].freeBlocks, fs.space.groups[a].freeBlocks), cmp.Compare(b, a))
	})
	for _, g := range order[:min(loanGroups, len(order))] {
		n := len(runs)
		if runs, err = fs.freeRuns(g, runs); err != nil {
			return nil, 0, err
		}
		for _, r := range runs[n:] {
			if uint64(r.n) >= want {
				return []candidate{{r.group, r.bit + r.n - uint32(want), uint32(want)}}, want, nil
			}
		}
	}
	slices.SortFunc(runs, func(a, b candidate) int { return cmp.Compare(b.n, a.n) })
	for i := range runs {
		if got == want || i == loanExtents {
			return runs[:i], got, nil
		}
		r := &runs[i]
		n := min(r.n, uint32(want-got))
		r.bit, r.n = r.bit+r.n-n, n
		got += uint64(n)
	}
	return runs, got, nil
}

// freeRuns appends the runs of free blocks of group g.
func (fs *FS) freeRuns(g uint32, runs []candidate) ([]candidate, error) {
	st := &fs.space.groups[g]
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.freeBlocks == 0 {
		return runs, nil
	}
	buf, err := fs.blockBitmap(g)
	if err != nil {
		return nil, err
	}
	defer buf.Release()
	busy, size := st.blocks.view(buf), int(fs.sb.GroupBlocks(g))
	for bit := busy.NextClear(0, size); bit < size; bit = busy.NextClear(bit, size) {
		end := busy.NextSet(bit, size)
		runs = append(runs, candidate{g, uint32(bit), uint32(end - bit)})
		bit = end
	}
	return runs, nil
}

// layOut gives the blocks of a loan their parts: first the tables, then the journal of
// size blocks.
func (fs *FS) layOut(l *loan, size uint64) error {
	all := make([]uint32, 0, l.blocks)
	for i := range l.runs {
		r := &l.runs[i]
		if r.n = min(r.n, uint32(l.blocks)-uint32(len(all))); r.n == 0 {
			l.runs = l.runs[:i]
			break
		}
		first := uint32(fs.sb.GroupFirstBlock(r.group)) + r.bit
		l.before.runs = append(l.before.runs, noteRun{first, r.n})
		for b := range r.n {
			all = append(all, first+b)
		}
	}
	nTables := uint64(len(all)) - size
	tables, data := all[:nTables], all[nTables:]
	var extents []jbd2.Extent
	for _, b := range data {
		if n := len(extents); n > 0 && extents[n-1].Start+uint64(extents[n-1].Blocks) == uint64(b) {
			extents[n-1].Blocks++
		} else {
			extents = append(extents, jbd2.Extent{Start: uint64(b), Blocks: 1})
		}
	}
	now := fs.now()
	l.inode = disk.Inode{Mode: disk.ModeReg | 0o600, Links: 1, Size: size << fs.blockBits,
		Sectors: uint32(l.blocks << (fs.blockBits - 9)), Atime: now, Mtime: now, Ctime: now, ExtraSize: fs.extraSize()}
	l.mapBlocks(tables, data, fs.blockSize)
	var random [20]byte
	_, _ = crand.Read(random[:])                               // it never fails
	sequence := binary.LittleEndian.Uint32(random[16:])>>1 + 1 // far from its wrap
	j, err := jbd2.Create(fs.journalPlace(extents), jbd2.Format{Checksum: jbd2.ChecksumV1, Async: true, Revoke: true}, [16]byte(random[:16]), sequence)
	if err != nil {
		return err
	}
	l.before.blocks = uint32(size)
	l.before.encode(j.Note())
	l.journal = j
	return nil
}

// mapBlocks fills in i_block and the tables.
func (l *loan) mapBlocks(tables, data []uint32, blockSize int) {
	per := blockSize / 4
	table := func(ptrs []uint32) (block uint32) {
		b := make([]byte, blockSize)
		for i, p := range ptrs {
			binary.LittleEndian.PutUint32(b[4*i:], p)
		}
		block, tables = tables[0], tables[1:]
		l.tables = append(l.tables, cache.DirtyBlock{Block: uint64(block), Data: b, For: blockio.Indirect})
		return block
	}
	data = data[copy(l.inode.Block[:disk.NDirBlocks], data):]
	if len(data) == 0 {
		return
	}
	n := min(per, len(data))
	l.inode.Block[disk.IndBlock] = table(data[:n])
	if data = data[n:]; len(data) == 0 {
		return
	}
	var middle []uint32
	for part := range slices.Chunk(data, per) {
		middle = append(middle, table(part))
	}
	l.inode.Block[disk.DIndBlock] = table(middle)
}

// borrow carries out steps 2 and 3; the first is behind it.
func (fs *FS) borrow() error {
	l := fs.journal.loan
	if err := fs.update(context.Background(), loanCredits, func() error { return fs.takeLoan(l) }); err != nil {
		return err
	}
	if err := fs.commit(context.Background()); err != nil {
		return err
	}
	err := fs.update(context.Background(), 1, func() error {
		return fs.changeSuper(func(sb *disk.Superblock) {
			sb.FeatureCompat |= disk.CompatHasJournal
			sb.FeatureIncompat |= disk.IncompatRecover
			sb.JournalInum, sb.JournalDev = disk.JournalIno, 0
			sb.State |= fs.stateFound & disk.StateValid
		})
	})
	return errors.Join(err, fs.commit(context.Background()))
}

// prepareLoan is what step 1 writes into free blocks. Whoever syncs next completes it.
func (fs *FS) prepareLoan() error {
	l := fs.journal.loan
	if l == nil || l.journal == nil {
		return nil
	}
	slices.SortFunc(l.tables, byBlock)
	if err := cache.WriteBlocks(fs.dev, fs.blockSize, l.tables); err != nil {
		return err
	}
	return fs.journal.log.Start()
}

func byBlock(a, b cache.DirtyBlock) int { return cmp.Compare(a.Block, b.Block) }

// takeLoan marks the blocks used and writes inode 8, inside an operation.
func (fs *FS) takeLoan(l *loan) error {
	block, off := fs.inodeBlock(disk.JournalIno)
	table, err := fs.cache.Get(block, blockio.InodeTable)
	if err != nil {
		return fs.readError("inode table block", disk.JournalIno, block, err)
	}
	defer table.Release()
	for i, r := range l.runs {
		if err := fs.takeRun(r); err != nil {
			for _, r := range l.runs[:i] {
				fs.freeBlocks(fs.sb.GroupFirstBlock(r.group)+uint64(r.bit), r.n)
			}
			return err
		}
	}
	modify(table, func(b []byte) { l.inode.Encode(b[off:], fs.sb) })
	return nil
}

func (fs *FS) takeRun(r candidate) error {
	st := &fs.space.groups[r.group]
	st.mu.Lock()
	defer st.mu.Unlock()
	buf, err := fs.blockBitmap(r.group)
	if err != nil {
		return err
	}
	defer buf.Release()
	return fs.takeBlocksLocked(st, buf, r)
}

// giveBack returns what was borrowed; in is the journal's inode, and all that is needed is
// pinned. Everything is in its place. The superblock of a cleanly unmounted file system,
// without the mark, is for the caller to write.
func (fs *FS) giveBack(in *Inode) error {
	l := fs.journal.loan
	err := fs.update(context.Background(), 1, func() error {
		return fs.changeSuper(func(sb *disk.Superblock) {
			l.before.restoreSuper(sb)
			if fs.stateFound&disk.StateValid != 0 {
				markLoan(sb, in.raw.Block[0])
			}
			sb.State &^= disk.StateValid
		})
	})
	if err = errors.Join(err, fs.commit(context.Background())); err != nil {
		return err
	}
	for more := true; more; {
		err := fs.update(context.Background(), freeCredits, func() (err error) {
			more, err = (*blockMap)(in).freeRange(0, endBlock)
			return err
		})
		if err != nil {
			return err
		}
	}
	err = fs.update(context.Background(), 1, func() error {
		block, off := fs.inodeBlock(disk.JournalIno)
		table, err := fs.cache.Get(block, blockio.InodeTable)
		if err != nil {
			return fs.readError("inode table block", disk.JournalIno, block, err)
		}
		defer table.Release()
		modify(table, func(b []byte) { copy(b[off:off+fs.sb.InodeSize()], l.before.inode[:]) })
		return nil
	})
	fs.journal.loan = nil
	if err = errors.Join(err, fs.commit(context.Background())); err != nil {
		return err
	}
	return fs.update(context.Background(), 1, func() error { return fs.changeSuper(l.before.restoreSuper) })
}

// journalInode is inode 8, which nobody else knows.
func (fs *FS) journalInode() (*Inode, error) {
	block, off := fs.inodeBlock(disk.JournalIno)
	buf, err := fs.cache.Get(block, blockio.InodeTable)
	if err != nil {
		return nil, fs.readError("inode table block", disk.JournalIno, block, err)
	}
	defer buf.Release()
	buf.RLock()
	defer buf.RUnlock()
	raw := disk.DecodeInode(buf.Data()[off:off+fs.sb.InodeSize()], fs.sb)
	return &Inode{fs: fs, ino: disk.JournalIno, raw: raw, typ: disk.ModeReg}, nil
}
