//go:build linux

package jbd2

import (
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/cache"
)

// logDesk is a log with everything in the hands of the test: what is written when, and
// what a power cut leaves.
type logDesk struct {
	t     testing.TB
	dev   *blockiotest.Recorder
	fault *blockiotest.Fault
	log   *Log
	epoch uint64
}

var sealing = Format{Checksum: ChecksumV1, Async: true, Revoke: true}

// newLogDesk is one whose log has begun, durably.
func newLogDesk(t testing.TB, f Format, o LogOptions) *logDesk {
	d := newDesk(t, f, o)
	if err := d.log.Start(); err != nil {
		t.Fatal(err)
	}
	if err := d.dev.Sync(); err != nil {
		t.Fatal(err)
	}
	d.log.Synced()
	return d
}

// newDesk is one with a clean journal, durably.
func newDesk(t testing.TB, f Format, o LogOptions) *logDesk {
	d := &logDesk{t: t, dev: blockiotest.NewRecorder(blockiotest.NewMem(logModelSize * 1024))}
	d.fault = blockiotest.NewFault(d.dev)
	j, err := Create(logPlace(d.fault), f, [16]byte{1}, 7)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.writeTail(0, 7); err != nil {
		t.Fatal(err)
	}
	if d.log, err = NewLog(j, o); err != nil {
		t.Fatal(err)
	}
	return d
}

// put writes content, all of it as of a version.
func (d *logDesk) put(version uint64, blocks ...uint64) {
	for _, b := range blocks {
		if _, err := d.dev.WritevAt([][]byte{blockOf(b, version, 1)}, int64(b)*1024); err != nil {
			d.t.Fatal(err)
		}
	}
}

// commit has the log write an epoch: metadata as of a version, and what else f says. It
// counts the syncs of everything and the writes that were durable by themselves.
func (d *logDesk) commit(version uint64, meta []uint64, f func(s *cache.Snapshot)) (syncs, alone int) {
	d.t.Helper()
	d.epoch++
	s := &cache.Snapshot{Epoch: d.epoch, Durable: true}
	for _, b := range meta {
		s.Blocks = append(s.Blocks, cache.DirtyBlock{Block: b, Data: blockOf(b, version, 1)})
	}
	if f != nil {
		f(s)
	}
	before := len(d.dev.Log())
	if err := d.log.Write(s); err != nil {
		d.t.Fatal(err)
	}
	for _, e := range d.dev.Log()[before:] {
		switch {
		case e.FullSync():
			syncs++
		case e.Op == blockio.Sync:
			alone++
		}
	}
	return syncs, alone
}

// want commits, and says how many syncs of both kinds it takes.
func (d *logDesk) want(what string, version uint64, meta []uint64, f func(s *cache.Snapshot), syncs, alone int) {
	d.t.Helper()
	if s, a := d.commit(version, meta, f); s != syncs || a != alone {
		d.t.Errorf("%s: %d syncs and %d durable writes, want %d and %d", what, s, a, syncs, alone)
	}
}

// holds looks at a block after a power cut that lost all it may lose, and after one that
// lost nothing: both have it as of the version.
func (d *logDesk) holds(what string, b, version uint64) {
	d.t.Helper()
	for name, image := range map[string]*blockiotest.Mem{"all": d.left(false), "nothing": d.left(true)} {
		if got := image.Bytes(int64(b)*1024, 1024); string(got) != string(blockOf(b, version, 1)) {
			d.t.Errorf("%s: with %s lost, block %d is not as of %d", what, name, b, version)
		}
	}
}

// left is what recovery makes of what a power cut leaves.
func (d *logDesk) left(atRisk bool) *blockiotest.Mem {
	d.t.Helper()
	image := d.dev.Base().Clone()
	durable, rest := blockiotest.AtRisk(d.dev.Log())
	blockiotest.Apply(image, durable...)
	if atRisk {
		blockiotest.Apply(image, rest...)
	}
	j, err := Open(logPlace(image))
	if err != nil {
		d.t.Fatal(err)
	}
	if _, err := j.Replay(ctx); err != nil {
		d.t.Fatal(err)
	}
	return image
}

// content says that blocks were written to.
func content(fresh bool, blocks ...uint64) func(s *cache.Snapshot) {
	return func(s *cache.Snapshot) {
		for _, b := range blocks {
			s.Content = append(s.Content, cache.Extent{Block: b, Count: 1})
		}
		s.FreshContent = fresh
	}
}

// stream says that more was written than can be told.
func stream(fresh bool) func(s *cache.Snapshot) {
	return func(s *cache.Snapshot) { s.MoreContent, s.FreshContent = true, fresh }
}

func revoked(blocks ...uint64) func(s *cache.Snapshot) {
	return func(s *cache.Snapshot) { s.Revoked = blocks }
}

// Where content is in the tests. Blocks 40 and 41 are metadata.
const a, b, c = 100, 101, 130

var meta = []uint64{40, 41}

// How many syncs a commit takes that somebody waits for: none but of its own blocks where
// the checksum of the commit block shows whatever is missing and the transaction has all the
// content; one more before the commit block where there is more fresh content, or there are
// revoke records, which the checksum does not cover.
func TestLogSyncs(t *testing.T) {
	d := newLogDesk(t, sealing, LogOptions{})
	d.want("blocks", 1, meta, nil, 0, 1)
	d.put(2, a, c)
	d.want("blocks and fresh content", 2, meta, content(true, a, c), 0, 1)
	d.put(3, a)
	d.want("blocks and content", 3, meta, content(false, a), 0, 1)
	d.want("blocks and a stream over old content", 4, meta, stream(false), 1, 1) // a and c are revoked
	d.want("the same again", 5, meta, stream(false), 1, 0)
	d.want("blocks and a stream of fresh content", 6, meta, stream(true), 1, 1)
	d.want("blocks and a revoke record", 7, meta[:1], revoked(41), 1, 1)
	d.want("blocks and a block freed that the log has no copy of", 8, meta[:1], revoked(77), 0, 1)
	d.put(9, a)
	d.want("content alone", 9, nil, content(false, a), 0, 1)
	d.want("nothing", 10, nil, nil, 0, 0)
	d.want("a stream alone", 11, nil, stream(false), 1, 1) // a is revoked
	d.want("the same again", 12, nil, stream(false), 1, 0)
	d.put(13, b)
	d.want("content that nobody waits for", 13, meta, func(s *cache.Snapshot) { content(false, b)(s); s.Durable = false }, 0, 0)
	d.want("and then somebody does", 14, nil, nil, 1, 0)
	d.put(15, b)
	d.want("fresh content that nobody waits for", 15, meta, func(s *cache.Snapshot) { content(true, b)(s); s.Durable = false }, 1, 0)
	d.want("and then somebody does", 16, meta, nil, 1, 1)
	if err := d.log.Close(); err != nil {
		t.Fatal(err)
	}
}

// A log begins with its first transaction, and is durable when that is.
func TestLogBegins(t *testing.T) {
	for name, f := range logFormats {
		for _, strange := range []bool{false, true} {
			d := newDesk(t, f, LogOptions{Strange: strange})
			start := len(d.dev.Log())
			d.want(name+": nothing", 1, nil, nil, 0, 0)
			if err := d.log.Close(); err != nil {
				t.Fatal(err)
			}
			if n := len(d.dev.Log()); n > start {
				t.Errorf("%s: without a transaction %d events", name, n-start)
			}

			d = newDesk(t, f, LogOptions{Strange: strange})
			before := blockiotest.NewMem(logModelSize*1024).Bytes(40*1024, 1024)
			later := func(s *cache.Snapshot) { s.Durable = false }
			d.commit(1, meta, later)
			if got := d.left(false).Bytes(40*1024, 1024); string(got) != string(before) && string(got) != string(blockOf(40, 1, 1)) {
				t.Errorf("%s: when the power fails behind the first transaction, block 40 is neither as before nor as of 1", name)
			}
			d.commit(2, meta, nil)
			d.holds(name+", the second", 40, 2)

			d = newDesk(t, f, LogOptions{Strange: strange})
			alone := 1
			if f == sealing && !strange { // nothing is to be seen to before the commit block
				alone = 0
			}
			d.want(name+": blocks", 1, meta, nil, 1, alone)
			d.holds(name, 40, 1)
			if err := d.log.Close(); err != nil {
				t.Fatal(err)
			}
			d.holds(name+", closed", 40, 1)
		}
	}
}

// Content goes into a transaction only where that saves a sync and can be undone.
func TestContentNotLogged(t *testing.T) {
	for name, f := range logFormats {
		d := newLogDesk(t, f, LogOptions{})
		d.put(1, a)
		d.commit(1, meta, content(true, a))
		if n := len(d.log.data); (n > 0) != (f == sealing) {
			t.Errorf("%s: %d copies", name, n)
		}
		d.holds(name, a, 1)
	}
	d := newLogDesk(t, sealing, LogOptions{NoBarrier: true})
	d.put(1, a)
	d.want("without barriers", 1, meta, content(true, a), 0, 0)

	d = newLogDesk(t, sealing, LogOptions{})
	d.put(1, a)
	d.fault.Fail(blockiotest.Rule{Op: blockio.Read})
	d.want("what cannot be read", 1, meta, content(true, a), 1, 1)
	d.fault.Heal()
	d.holds("what cannot be read", a, 1)
	big := func(s *cache.Snapshot) { s.Content, s.FreshContent = []cache.Extent{{Block: 200, Count: 100}}, true }
	d.want("a tenth of the log", 2, meta, big, 1, 1)
	d.want("what is also metadata", 3, meta, content(true, a, 41), 1, 1)
	d.want("what the log has as metadata", 4, meta[:1], content(true, a, 41), 1, 1)
	d.want("the journal itself", 5, meta, content(true, a, 1005), 1, 1)
	d.want("past the end", 6, meta, content(true, a, logModelSize), 1, 1)
	if len(d.log.data) > 0 {
		t.Errorf("copies of %v", d.log.data)
	}
}

// An overwrite that is durable is never undone by an older copy.
func TestContentOverwritten(t *testing.T) {
	start := func() *logDesk {
		d := newLogDesk(t, sealing, LogOptions{})
		d.put(1, a, b, c)
		d.commit(1, meta, content(true, a, b, c))
		for _, x := range []uint64{a, b, c} {
			d.holds("fresh content", x, 1) // 1 looks like a journal block: it is escaped
		}
		return d
	}
	d := start()
	d.put(2, b)
	d.commit(2, meta, content(false, b))
	d.holds("logged again", b, 2)
	d.holds("left alone", a, 1)

	d = start()
	d.put(2, b)
	d.commit(2, meta, stream(false))
	d.holds("revoked", b, 2)
	d.holds("revoked with it", a, 1)
	d.put(3, b)
	d.commit(3, meta, content(false, b))
	d.holds("logged after it was revoked", b, 3)

	d = start()
	d.put(2, b)
	d.commit(2, nil, content(false, b))
	d.holds("content alone", b, 2)
	d.put(3, b)
	d.commit(3, nil, stream(false))
	d.holds("a stream alone", b, 3)

	d = start()
	d.put(2, b)
	later := func(s *cache.Snapshot) { content(false, b)(s); s.Durable = false }
	d.commit(2, meta, later)
	d.put(3, c)
	d.commit(3, nil, later) // c by no means
	d.put(3, b)
	d.commit(3, meta, content(false, b, c))
	d.holds("with nobody waiting, then somebody", b, 3)
	d.holds("with nobody waiting, then somebody", c, 3)
	if err := d.log.Tidy(true); err != nil {
		t.Fatal(err)
	}
	d.holds("when the log is empty", b, 3)
	if len(d.log.data) > 0 {
		t.Errorf("an empty log has copies of %v", d.log.data)
	}
	d.put(4, b)
	d.want("nothing to revoke any more", 4, meta, stream(false), 1, 0)
	d.holds("nothing to revoke any more", b, 4)
}

// Freed content needs no revoke record: whatever its block becomes sees to it.
func TestContentReused(t *testing.T) {
	d := newLogDesk(t, sealing, LogOptions{})
	d.put(1, a, b, c)
	d.commit(1, meta, content(true, a, b, c))
	d.want("freed", 2, meta, nil, 0, 1)
	d.put(3, a)
	d.commit(3, meta, content(true, a))
	d.holds("of another file", a, 3)
	d.put(4, b)
	d.commit(4, meta, stream(true))
	d.holds("of a stream", b, 4)
	d.put(5, c)
	d.commit(5, meta, content(true, c))
	d.want("as metadata", 6, []uint64{40, c}, nil, 0, 1)
	d.holds("as metadata", c, 6)
	d.want("metadata freed", 7, meta, revoked(c), 1, 1)
	d.put(8, c)
	d.commit(8, meta, stream(true))
	d.holds("metadata and then content", c, 8)
	d.put(9, c)
	d.commit(9, meta, content(false, c))
	d.holds("and again", c, 9)
	// A symbolic link: its target is content, and counts as metadata when it is freed.
	d.put(10, a)
	d.want("freed in its own epoch", 10, meta, func(s *cache.Snapshot) { content(true, a)(s); s.Revoked = []uint64{a} }, 0, 1)
}
