package ext2

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/ext2fuse/ext2fuse/cache"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/jbd2"
)

// journal carries the checkpoints of a read-write mount to the device: as transactions
// once the superblock says that there is a journal to be replayed (needs_recovery), and
// in place before that and after it.
type journal struct {
	plain cache.PlainWriter
	log   *jbd2.Log // nil: always in place
	loan  *loan     // what is to be given back at the end; nil: nothing

	mu sync.Mutex // held over a write and the change from one way to the other
	on bool

	extents []jbd2.Extent // where the journal is
	tables  []jbd2.Extent // and the indirect blocks that say so, of one that was there before
	zone    []jbd2.Extent // both while it is in use: no file's block may lie there
}

var _ cache.Tidier = (*journal)(nil)

// MaxBlocks implements cache.Writer.
func (w *journal) MaxBlocks() int {
	if w.log == nil {
		return 0
	}
	return w.log.MaxBlocks()
}

// Write implements cache.Writer.
func (w *journal) Write(s *cache.Snapshot) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.on {
		return w.log.Write(s)
	}
	return w.plain.Write(s)
}

// Tidy implements cache.Tidier.
func (w *journal) Tidy(idle bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.on {
		return w.log.Tidy(idle)
	}
	return nil
}

// Close implements cache.Writer.
func (w *journal) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var err error
	if w.on {
		err = w.log.Close()
	}
	return errors.Join(err, w.plain.Close()) // without barriers it has not synced what the mount began with
}

// start makes transactions of what follows. Nothing is under way.
func (w *journal) start() {
	w.mu.Lock()
	w.on, w.zone = true, merged(slices.Concat(w.extents, w.tables))
	w.mu.Unlock()
}

// merged are extents in order, adjacent ones as one.
func merged(all []jbd2.Extent) []jbd2.Extent {
	slices.SortFunc(all, func(a, b jbd2.Extent) int { return cmp.Compare(a.Start, b.Start) })
	var list []jbd2.Extent
	for _, e := range all {
		if n := len(list); n > 0 && list[n-1].Start+uint64(list[n-1].Blocks) == e.Start {
			list[n-1].Blocks += e.Blocks
		} else {
			list = append(list, e)
		}
	}
	return list
}

// stop brings everything to its place and has what follows written in place. The journal
// is clean afterwards; one that is going to be given back need not be.
func (w *journal) stop() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.on {
		return nil
	}
	end := w.log.Close
	if w.loan != nil {
		end = w.log.Flush
	}
	if err := end(); err != nil {
		return err
	}
	w.on, w.zone = false, nil
	return nil
}

// borrowed is how many blocks the journal has on loan.
func (w *journal) borrowed() uint64 {
	if w.loan == nil {
		return 0
	}
	return w.loan.blocks
}

// reserved is how many free blocks are kept for those who may use the reserve. Up to half
// of the reserve is lent to the journal, so that it costs nobody else anything.
func (fs *FS) reserved() uint64 {
	r := uint64(fs.sb.RBlocksCount)
	return r - min(fs.journal.borrowed(), r/2)
}

// openJournal finds out how checkpoints are to be carried out: with the file system's
// journal, with one that is borrowed from its free space, or without. Nothing is written, but
// where the file system's journal has to be discarded.
func (fs *FS) openJournal(ctx context.Context) error {
	w := &fs.journal
	w.plain = cache.PlainWriter{Dev: fs.dev, BlockSize: fs.blockSize, NoBarrier: fs.opts.NoBarrier}
	switch has := fs.sb.HasCompat(disk.CompatHasJournal); {
	case fs.opts.Superblock != 0 || fs.sb.RevLevel == disk.GoodOldRev:
		return nil // the journal belongs to the usual superblock; revision 0 has none
	case has:
		return fs.openOwnJournal(ctx)
	case fs.opts.NoJournal:
		return nil
	}
	l, err := fs.planLoan()
	if l != nil && fs.policy.early != nil {
		l = nil
		fs.log.Warn("writing without a journal, as damage was found; run e2fsck")
	}
	if l != nil && err == nil {
		w.log, err = jbd2.NewLog(l.journal, fs.logOptions(true))
		w.loan = l
	}
	return err
}

// pendingShare is the part of what one epoch may dirty that may wait in memory, besides it,
// for its way from the journal to its place, one in so many.
const pendingShare = 4

func (fs *FS) logOptions(strange bool) jbd2.LogOptions {
	return jbd2.LogOptions{MaxPending: fs.maxDirty() / pendingShare, NoBarrier: fs.opts.NoBarrier, Strange: strange}
}

// openOwnJournal opens the journal that the file system has. One that an earlier mount
// borrowed and could not give back is used, and given back by this one.
func (fs *FS) openOwnJournal(ctx context.Context) error {
	w := &fs.journal
	if fs.sb.JournalInum == 0 {
		if fs.opts.NoJournal {
			return nil
		}
		return externalJournal(fs.sb)
	}
	extents, tables, err := journalExtents(fs.dev, fs.opts, fs.sb.JournalInum)
	if err == nil {
		w.tables = tables
		var j *jbd2.Journal
		if j, err = jbd2.Open(fs.journalPlace(extents)); err == nil {
			if w.loan = fs.readLoan(j); w.loan != nil {
				w.loan.before.mounts = fs.sb.MntCount + 1
				w.loan.before.encode(j.Note()) // the next write of the journal's superblock has it
			}
			if err = fs.discardJournal(ctx, j); err == nil {
				w.log, err = jbd2.NewLog(j, fs.logOptions(w.loan != nil))
			}
		}
		if err == nil && !j.Format().Revoke {
			f := j.Format()
			f.Revoke = true
			err = j.SetFormat(f)
		}
	}
	switch {
	case isEnd(ctx, err):
		return err
	case fs.opts.NoJournal:
		w.log = nil
		return nil
	case err != nil:
		return fmt.Errorf("the journal cannot be used: %w (-o nojournal does without it)", err)
	}
	return nil
}

// discardJournal makes a journal clean that holds transactions although needs_recovery is not
// set. The kernel's driver does the same: somebody without an eye for the journal may have
// changed the file system since, and to replay it, now or after the next crash, would undo that.
func (fs *FS) discardJournal(ctx context.Context, j *jbd2.Journal) error {
	n, err := j.Discard(ctx)
	if n > 0 {
		fs.log.Warn(fmt.Sprintf("the journal is discarded: it holds %d transactions, but s_feature_incompat does not have needs_recovery; running e2fsck is recommended", n))
	}
	return err
}

// journalPlace is where the journal of this mount is.
func (fs *FS) journalPlace(extents []jbd2.Extent) jbd2.Place {
	fs.journal.extents = extents
	return jbd2.Place{Dev: fs.dev, BlockSize: fs.blockSize, Blocks: uint64(fs.sb.BlocksCount), Extents: extents}
}

// startJournal turns from writing in place to transactions, durably.
//
// A journal of the file system's own stays clean until the first transaction. By then
// needs_recovery is on the device, durably: a journal that says that it holds something, without
// that flag, makes e2fsck -p give up.
func (fs *FS) startJournal() error {
	w := &fs.journal
	switch {
	case w.log == nil:
		return nil
	case w.loan != nil && w.loan.journal != nil:
		if err := fs.borrow(); err != nil {
			return err
		}
		w.log.Synced() // by its commits
	case w.loan != nil: // the note is a new one
		if err := w.log.Start(); err != nil {
			return err
		}
	}
	w.start()
	return nil
}

// endJournal is the end of the mount for the journal: nothing is in it any more, and what
// was borrowed is given back. The superblock that says so is part of what the caller
// writes next, but for a loan; before it the journal says, durably, that it is clean (see
// startJournal). A loan that cannot be given back, because the device does not
// give what has to be changed for it, stays: the image is a clean ext3 one, and the next mount
// tries again.
func (fs *FS) endJournal() error {
	w := &fs.journal
	on := w.on
	if err := w.stop(); err != nil {
		return err
	}
	if w.loan != nil {
		p := loanPins{fs, map[uint64]*cache.Buffer{}}
		defer p.release()
		in, err := p.all()
		if err == nil {
			return fs.giveBack(in)
		}
		fs.log.Warn(fmt.Sprintf("the borrowed journal stays for the time being, and with it the image is an ext3 one; the next mount gives it back: %v", err))
		w.loan = nil
		if err := w.log.Close(); err != nil {
			return err
		}
	}
	if !on {
		return nil
	}
	return fs.update(context.Background(), 1, func() error {
		return fs.changeSuper(func(sb *disk.Superblock) { sb.FeatureIncompat &^= disk.IncompatRecover })
	})
}

// journaled tells whether there will be, or is, a journal that makes the file system whole
// after an unclean end: the superblock may then go on saying that it is valid.
func (fs *FS) journaled() bool { return fs.journal.log != nil }

// externalJournal is the error of a journal on another device.
func externalJournal(sb *disk.Superblock) error {
	return &disk.UnsupportedError{Features: []string{"journal_dev"}, Detail: fmt.Sprintf(
		"the journal is on an external device (s_journal_dev 0x%X), which is not supported; run e2fsck -p first, and use -o ro or -o nojournal", sb.JournalDev)}
}
