package jbd2

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/cache"
)

// LogOptions set a Log up.
type LogOptions struct {
	// MaxPending bounds the blocks that are kept in memory because they are not in their
	// places yet; 0 is no bound but the size of the log.
	MaxPending int
	// NoBarrier leaves out all syncs. Who has closed the log syncs the device.
	NoBarrier bool
	// Strange: the blocks of the log may hold anything, even transactions of another
	// journal. They are zeroed ahead of the log as it grows.
	Strange bool
}

// Log is a journal in use: a cache.Writer that carries each snapshot to the disk as one
// transaction, and its blocks to their places later.
//
// What is durable when:
//
//   - A commit block follows, with a sync in between, the blocks of its transaction and
//     all file content written before. The sync is left out, and the transaction sealed,
//     where it reaches no fresh content but what it has copies of, its checksum shows what
//     is missing (AsyncCommit), and the transaction before it is durable: only the last
//     one of a log may be torn.
//
//   - A snapshot that nobody waits for has no sync behind its commit block. The next
//     transaction's has the effect.
//
//   - Blocks go to their places when the transactions that they are in are durable; log
//     blocks are used again when those are durable in their places and the journal
//     superblock says so, durably, too.
//
//   - A little file content that somebody waits for goes into the transaction, too: then
//     that alone has to become durable. The content is in its place as well, where it is
//     durable before the log is used again.
//
// A revoke record is made for a freed block that the log has a copy of, and for a block of
// content that it has a copy of and that was written again, unless a newer copy follows; for
// others there is nothing to revoke. So no epoch has more of them than the log has blocks.
type Log struct {
	j *Journal
	o LogOptions

	head    uint32 // log block of the next transaction
	seq     uint32 // and its sequence
	used    uint32 // log blocks from the tail to the head
	durable bool   // of all that was written to the log
	loose   bool   // there is file content that is neither durable nor in the log, or Start was not synced
	last    time.Time
	failed  error

	// What the log has copies of that are not revoked, by block.
	homes map[uint64]pending  // metadata, which is not in its place yet
	data  map[uint64]struct{} // file content, which is, but need not be durable there
	ready readiness
}

// pending is the newest copy of a block: block i of a snapshot.
type pending struct {
	s *cache.Snapshot
	i int
}

var (
	_ cache.Writer = (*Log)(nil)
	_ cache.Tidier = (*Log)(nil)
)

// NewLog makes a log of a clean journal, which it stays until Start, or until the first
// transaction, which calls that.
func NewLog(j *Journal, o LogOptions) (*Log, error) {
	if j.Dirty() {
		return nil, fmt.Errorf("the journal has to be replayed before it can be used")
	}
	l := &Log{j: j, o: o, head: j.First(), seq: j.sb.Sequence, durable: true,
		homes: map[uint64]pending{}, data: map[uint64]struct{}{}}
	l.ready.init(j, o.Strange)
	return l, nil
}

// Sequence is the number of the next transaction.
func (l *Log) Sequence() uint32 { return l.seq }

// logShare is the part of the log that one transaction may take, one in so many: while
// it is written the one before it may still be needed.
const logShare = 2

// MaxBlocks implements cache.Writer.
func (l *Log) MaxBlocks() int {
	size := l.j.Size()
	return l.j.MaxBlocks(size/logShare - l.j.Need(0, int(size)))
}

// Start writes what has to be on the device before the journal counts: its superblock,
// which says that the log begins at its first block and is empty. Nothing is synced: without
// it the journal is clean, and the first transaction that has to be durable sees to both.
func (l *Log) Start() error {
	l.loose = true
	return l.submit(append(l.ready.zero(l.head, l.head), l.j.Tail(l.head, l.seq))...)
}

// Synced says that the device was synced after Start, and before the first transaction.
func (l *Log) Synced() {
	l.loose = false
	l.ready.synced()
}

// Write implements cache.Writer.
func (l *Log) Write(s *cache.Snapshot) error {
	if l.failed == nil {
		l.failed = l.write(s)
	}
	return l.failed
}

func (l *Log) write(s *cache.Snapshot) error {
	t := l.transaction(s)
	if len(t.Blocks) == 0 && len(t.Revokes) == 0 && !s.HasContent() {
		return l.nothing(s)
	}
	if !l.j.Dirty() {
		if err := l.Start(); err != nil {
			return err
		}
	}
	content := l.loggable(s)
	if l.j.Need(len(t.Blocks)+len(content), len(t.Revokes)+len(l.data)) >= l.j.Size()-l.used {
		if err := l.empty(); err != nil {
			return err
		}
		t.Revokes = nil // nothing is left of what they revoke
	}
	// The checksum does not cover revoke records: torn, one would revoke what it should not.
	f := l.j.format
	sealed := f.Checksum == ChecksumV1 && f.Async && len(t.Revokes) == 0 && l.durable &&
		l.ready.covers(l.head, l.j.Need(len(t.Blocks)+len(content), 0))
	if s.HasContent() && !(sealed && l.addContent(t, content)) {
		content = nil
		l.loose = true
		t.Revokes = l.stale(s, t.Revokes)
		sealed = sealed && len(t.Revokes) == 0 && !s.FreshContent
		if len(t.Blocks) == 0 && len(t.Revokes) == 0 {
			return l.nothing(s)
		}
	}
	e, err := l.j.Encode(t, l.head)
	if err != nil {
		return err
	}
	if err := l.commit(e, sealed, s.Durable); err != nil {
		return err
	}
	l.committed(t, e, s)
	for _, block := range content {
		l.data[block] = struct{}{}
	}
	return nil
}

// nothing is the end of a snapshot that needs no transaction.
func (l *Log) nothing(s *cache.Snapshot) error {
	s.Settle()
	if s.Durable && (l.loose || !l.durable) {
		return l.sync()
	}
	return nil
}

// transaction makes a snapshot into a transaction.
func (l *Log) transaction(s *cache.Snapshot) *Transaction {
	l.last = newest(l.last, time.Now())
	t := &Transaction{Sequence: l.seq, Time: l.last, Blocks: make([]Block, len(s.Blocks))}
	for i := range s.Blocks {
		t.Blocks[i] = Block{Home: s.Blocks[i].Block, Data: s.Blocks[i].Data}
	}
	for _, home := range s.Revoked {
		if _, ok := l.homes[home]; ok {
			t.Revokes = append(t.Revokes, home)
		}
	}
	return t
}

func newest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// commit writes a transaction, and makes it durable if somebody waits for that. Where
// nothing else has to become durable with it, content or where the log begins, only it does:
// the host need not write what else it has.
func (l *Log) commit(e *Encoded, sealed, durable bool) error {
	bios := append(e.Body, l.ready.zero(l.head, e.Next)...)
	l.durable = false
	if !sealed {
		if err := l.submit(bios...); err != nil {
			return err
		}
		if err := l.sync(); err != nil {
			return err
		}
		bios, l.durable = nil, false
	}
	alone := durable && !l.loose && !l.o.NoBarrier
	bios = append(bios, e.Commit)
	for _, b := range bios {
		b.Durable = alone
	}
	err := l.submit(bios...)
	switch {
	case err != nil || !durable:
		return err
	case alone:
		l.durable = true
		l.ready.synced()
		return nil
	}
	return l.sync()
}

// committed notes a transaction that is written.
func (l *Log) committed(t *Transaction, e *Encoded, s *cache.Snapshot) {
	for _, home := range s.Revoked {
		if p, ok := l.homes[home]; ok {
			p.s.SettleBlock(p.i)
			delete(l.homes, home)
		}
	}
	for _, home := range t.Revokes {
		delete(l.data, home)
	}
	for i := range s.Blocks {
		home := s.Blocks[i].Block
		delete(l.data, home)
		if p, ok := l.homes[home]; ok {
			p.s.SettleBlock(p.i)
		}
		l.homes[home] = pending{s, i}
	}
	l.used += e.Blocks
	l.head = e.Next
	l.seq++
}

// Tidy implements cache.Tidier.
func (l *Log) Tidy(idle bool) error {
	full := l.used > l.j.Size()/logShare || l.o.MaxPending > 0 && len(l.homes) > l.o.MaxPending
	if l.failed == nil && (idle || full) {
		l.failed = l.empty()
	}
	return l.failed
}

// empty brings all blocks to their places and then frees the log.
func (l *Log) empty() error {
	if l.used == 0 {
		return nil
	}
	if err := l.bringHome(); err != nil {
		return err
	}
	tail := l.j.Tail(l.head, l.seq)
	tail.Durable = !l.o.NoBarrier
	if err := l.submit(tail); err != nil {
		return err
	}
	l.used = 0
	clear(l.data)
	return nil
}

// bringHome writes all blocks to their places, durably, once the log is. Content that the
// log has copies of is there, and becomes durable with them.
func (l *Log) bringHome() error {
	if !l.durable {
		if err := l.sync(); err != nil {
			return err
		}
	}
	if len(l.homes) == 0 && len(l.data) == 0 {
		return nil
	}
	blocks := make([]cache.DirtyBlock, 0, len(l.homes))
	for _, p := range l.homes {
		blocks = append(blocks, p.s.Blocks[p.i])
	}
	slices.SortFunc(blocks, func(a, b cache.DirtyBlock) int { return cmp.Compare(a.Block, b.Block) })
	if err := cache.WriteBlocks(l.j.dev, l.j.blockSize, blocks); err != nil {
		return err
	}
	if err := l.sync(); err != nil {
		return err
	}
	for _, p := range l.homes {
		p.s.SettleBlock(p.i)
	}
	clear(l.homes)
	return nil
}

// Close brings all blocks to their places and makes the journal clean, all of it
// durably. A log that failed is left as it is, for a replay.
func (l *Log) Close() error {
	if l.Flush() != nil || !l.j.Dirty() {
		return l.failed
	}
	tail := l.j.Tail(0, l.seq)
	tail.Durable = !l.o.NoBarrier
	l.failed = l.submit(tail)
	return l.failed
}

// Flush brings all blocks to their places, durably, and leaves the log as it is: a replay
// does the same again. It is the last call for a journal that is going to be removed.
func (l *Log) Flush() error {
	if l.failed == nil {
		l.failed = l.bringHome()
	}
	if l.failed == nil && l.loose {
		l.failed = l.sync()
	}
	return l.failed
}

// sync makes all that was written durable.
func (l *Log) sync() error {
	if !l.o.NoBarrier {
		if err := l.j.dev.Sync(); err != nil {
			return fmt.Errorf("a transaction of the journal cannot be made durable: %w", err)
		}
	}
	l.durable, l.loose = true, false
	l.ready.synced()
	return nil
}

func (l *Log) submit(bios ...*blockio.Bio) error {
	plug := blockio.NewPlug(l.j.dev)
	plug.Add(bios...)
	plug.Flush()
	plug.Release()
	for _, b := range bios {
		if b.Err != nil {
			return fmt.Errorf("the journal cannot be written: %w", b.Err)
		}
	}
	return nil
}
