package ext2

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/jbd2"
)

// loanNote stands in the superblock of a borrowed journal and says so: with it, whoever
// mounts the file system next, after a crash and whatever recovered from it, knows that the
// journal is to be given back, and what was in the places it took. Neither the kernel nor
// e2fsck touch that part of the journal superblock; who makes a new journal clears it.
type loanNote struct {
	blocks uint32 // of the journal
	uuid   [16]byte
	mounts uint16 // s_mnt_count while the journal is on loan: another one tells that somebody mounted since

	// What is to be restored.
	journalUUID [16]byte
	inum, dev   uint32
	backupType  uint8
	backup      [17]uint32
	inode       [noteInode]byte

	runs []noteRun // the blocks that it takes, tables included
}

// noteRun are blocks of a loan, all of one group.
type noteRun struct{ first, n uint32 }

// noteInode is how much of inode 8 is kept, in bytes: all that Encode writes.
const noteInode = 256

// loanMagic begins a note.
const loanMagic = "ext2fuse borrow1"

// newLoanNote notes what a loan will change. It is nil where inode 8 is in use, so that
// no journal can be borrowed.
func (fs *FS) newLoanNote() (*loanNote, error) {
	n := &loanNote{uuid: fs.sb.UUID, mounts: fs.sb.MntCount + 1, journalUUID: fs.sb.JournalUUID, inum: fs.sb.JournalInum, dev: fs.sb.JournalDev,
		backupType: fs.sb.JnlBackupType, backup: fs.sb.JnlBlocks}
	block, off := fs.inodeBlock(disk.JournalIno)
	buf, err := fs.cache.Get(block, blockio.InodeTable)
	if err != nil {
		return nil, fs.readError("inode table block", disk.JournalIno, block, err)
	}
	defer buf.Release()
	raw := buf.Data()[off : off+fs.sb.InodeSize()]
	copy(n.inode[:], raw)
	if in := disk.DecodeInode(raw, fs.sb); in.Links != 0 || in.Sectors != 0 || in.Block[0] != 0 {
		fs.log.Info("writing without a journal: inode 8, which it would need, is in use")
		return nil, nil
	}
	return n, nil
}

// restoreSuper undoes what borrowing did to the superblock.
func (n *loanNote) restoreSuper(sb *disk.Superblock) {
	sb.FeatureCompat &^= disk.CompatHasJournal
	sb.FeatureIncompat &^= disk.IncompatRecover
	sb.JournalUUID, sb.JournalInum, sb.JournalDev = n.journalUUID, n.inum, n.dev
	sb.JnlBackupType, sb.JnlBlocks = n.backupType, n.backup
}

// encode puts the note into b, jbd2.NoteSize bytes long.
func (n *loanNote) encode(b []byte) {
	clear(b)
	le := binary.LittleEndian
	at := append(b[:0], loanMagic...)
	at = le.AppendUint32(at, n.blocks)
	at = append(at, n.uuid[:]...)
	at = le.AppendUint16(at, n.mounts)
	at = append(at, n.journalUUID[:]...)
	at = le.AppendUint32(at, n.inum)
	at = le.AppendUint32(at, n.dev)
	at = append(at, n.backupType)
	for _, v := range n.backup {
		at = le.AppendUint32(at, v)
	}
	at = append(at, n.inode[:]...)
	at = append(at, byte(len(n.runs)))
	for _, r := range n.runs {
		at = le.AppendUint32(le.AppendUint32(at, r.first), r.n)
	}
	le.PutUint32(b[len(at):], crc32.ChecksumIEEE(at))
}

// decode tells whether b holds a note.
func (n *loanNote) decode(b []byte) bool {
	le, whole := binary.LittleEndian, b
	take := func(k int) (p []byte) { p, b = b[:k], b[k:]; return p }
	if string(take(len(loanMagic))) != loanMagic {
		return false
	}
	n.blocks = le.Uint32(take(4))
	copy(n.uuid[:], take(16))
	n.mounts = le.Uint16(take(2))
	copy(n.journalUUID[:], take(16))
	n.inum, n.dev = le.Uint32(take(4)), le.Uint32(take(4))
	n.backupType = take(1)[0]
	for i := range n.backup {
		n.backup[i] = le.Uint32(take(4))
	}
	copy(n.inode[:], take(noteInode))
	n.runs = make([]noteRun, take(1)[0])
	if len(n.runs) > loanExtents {
		return false
	}
	for i := range n.runs {
		n.runs[i] = noteRun{le.Uint32(take(4)), le.Uint32(take(4))}
	}
	return le.Uint32(b) == crc32.ChecksumIEEE(whole[:len(whole)-len(b)])
}

// readLoan tells whether the file system's journal j is a borrowed one, and not one that
// just stands where one was: inode, size and file system are those of the note.
func (fs *FS) readLoan(j *jbd2.Journal) *loan {
	var n loanNote
	if !n.decode(j.Note()) || n.uuid != fs.sb.UUID || n.blocks != j.Superblock().MaxLen || fs.sb.JournalInum != disk.JournalIno {
		return nil
	}
	in, err := fs.journalInode()
	if err != nil || in.raw.Size>>fs.blockBits != uint64(n.blocks) {
		return nil
	}
	return &loan{before: n, blocks: uint64(in.raw.Sectors >> (fs.blockBits - 9))}
}
