//go:build linux

package jbd2

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/cache"
)

// use is what a block of the model is, as of an epoch.
type use struct {
	data  bool
	since uint64 // epoch in which it was allocated
	last  uint64 // epoch of its last change
}

// logModel uses a log as a file system does: blocks are metadata, file content, or free,
// and change from one to another by the rules that a file system keeps.
type logModel struct {
	t     testing.TB
	rng   *rand.Rand
	dev   *blockiotest.Recorder
	place Place
	log   *Log
	life  uint64 // tells this use of the device from others
	tidy  bool   // blocks go to their places now and then, not only when the log is full

	epoch   uint64
	early   []uint64          // content that the next epoch has written already
	now     map[uint64]use    // used blocks
	freed   map[uint64]uint64 // by the epoch that freed them, until that is durable
	free    []uint64
	history []map[uint64]use // after each epoch
	durable []durableAt
}

// durableAt says that an epoch was reported durable when the device's log had events.
type durableAt struct {
	events int
	epoch  uint64
}

const (
	clockBlock   = 5    // tells the epoch
	logModelSize = 2048 // blocks of 1024 bytes
)

func logPlace(dev blockio.Device) Place {
	return Place{Dev: dev, BlockSize: 1024, Blocks: logModelSize, Extents: []Extent{{1000, 600}, {500, 300}, {1700, 130}}}
}

// newLogModel starts a log on mem.
func newLogModel(t testing.TB, mem *blockiotest.Mem, f Format, strange bool, life uint64, sequence uint32, seed uint64) *logModel {
	m := &logModel{t: t, life: life, rng: rand.New(rand.NewPCG(seed, 3)), now: map[uint64]use{clockBlock: {}}, freed: map[uint64]uint64{}}
	j, err := Create(logPlace(mem), f, [16]byte{1}, sequence)
	if err != nil {
		t.Fatal(err)
	}
	for b := uint64(20); b < 420; b++ {
		if b < 220 {
			m.now[b] = use{}
		} else {
			m.free = append(m.free, b)
		}
	}
	for b := range m.now {
		m.put(mem, b, 0)
	}
	m.dev = blockiotest.NewRecorder(mem)
	m.place = logPlace(m.dev)
	j.dev = m.dev
	if m.log, err = NewLog(j, LogOptions{Strange: strange, MaxPending: 300}); err != nil {
		t.Fatal(err)
	}
	if strange {
		err = m.log.Start()
	} else {
		err = j.writeTail(0, j.sb.Sequence) // the first transaction begins the log
	}
	if err != nil {
		t.Fatal(err)
	}
	m.sync()
	if strange {
		m.log.Synced()
	}
	m.history = []map[uint64]use{maps.Clone(m.now)}
	m.durable = []durableAt{{len(m.dev.Log()), 0}}
	return m
}

func (m *logModel) sync() {
	if err := m.dev.Sync(); err != nil {
		m.t.Fatal(err)
	}
}

// blockOf is what block b holds after its change in an epoch, the same in every sector
// but for the number that makes some look like a journal's.
func blockOf(b, epoch, life uint64) []byte {
	p := make([]byte, 1024)
	for at := 0; at < len(p); at += 512 {
		binary.LittleEndian.PutUint64(p[at+8:], b)
		binary.LittleEndian.PutUint64(p[at+16:], epoch)
		binary.LittleEndian.PutUint64(p[at+24:], life)
	}
	if epoch%4 == 1 {
		binary.BigEndian.PutUint32(p, Magic)
	}
	return p
}

func (m *logModel) put(dev blockio.Device, b, epoch uint64) {
	_, _ = dev.WritevAt([][]byte{blockOf(b, epoch, m.life)}, int64(b)*1024)
}

// pick is a random used block, data or not.
func (m *logModel) pick(data bool) (b uint64, ok bool) {
	for range 20 {
		b := 20 + m.rng.Uint64N(400)
		if u, used := m.now[b]; used && u.data == data {
			return b, true
		}
	}
	return 0, false
}

// some is how often something is done that a third of the epochs do.
func (m *logModel) some(busy bool) int {
	if !busy {
		return 0
	}
	return m.rng.IntN(6)
}

// step runs one epoch.
func (m *logModel) step() {
	m.epoch++
	s := &cache.Snapshot{Epoch: m.epoch, Durable: m.rng.IntN(3) == 0}
	changed := map[uint64]bool{clockBlock: true}
	for range m.rng.IntN([]int{3, 12, 150}[m.rng.IntN(3)]) {
		if b, ok := m.pick(false); ok {
			changed[b] = true
		}
	}
	write := func(b uint64, fresh bool) {
		if fresh {
			m.now[b] = use{data: true, since: m.epoch}
		}
		m.now[b] = use{data: true, since: m.now[b].since, last: m.epoch}
		s.Content = append(s.Content, cache.Extent{Block: b, Count: 1})
		s.FreshContent = s.FreshContent || fresh
	}
	for _, b := range m.early {
		write(b, false)
	}
	m.early = nil
	busy := m.rng.IntN(3) == 0
	for range m.some(busy) { // free
		b, ok := m.pick(m.rng.IntN(2) == 0)
		if !ok {
			continue
		}
		if !m.now[b].data {
			s.Revoked = append(s.Revoked, b)
		}
		delete(changed, b)
		delete(m.now, b)
		m.freed[b] = m.epoch
	}
	for range m.some(busy) { // allocate
		if len(m.free) == 0 {
			continue
		}
		i := m.rng.IntN(len(m.free))
		b := m.free[i]
		m.free = append(m.free[:i], m.free[i+1:]...)
		data := m.rng.IntN(2) == 0
		if data {
			m.put(m.dev, b, m.epoch)
			write(b, true)
		} else {
			m.now[b] = use{since: m.epoch}
			changed[b] = true
		}
	}
	for range m.rng.IntN(4) { // overwrite
		if b, ok := m.pick(true); ok {
			m.put(m.dev, b, m.epoch)
			write(b, false)
		}
	}
	if m.rng.IntN(8) == 0 {
		s.Content, s.MoreContent = nil, true
	}
	for _, b := range slices.Sorted(maps.Keys(changed)) {
		m.now[b] = use{since: m.now[b].since, last: m.epoch}
		s.Blocks = append(s.Blocks, cache.DirtyBlock{Block: b, Data: blockOf(b, m.epoch, m.life)})
	}
	for range m.rng.IntN(3) { // the next epoch does not wait
		if b, ok := m.pick(true); ok {
			m.put(m.dev, b, m.epoch+1)
			m.early = append(m.early, b)
		}
	}
	if err := m.log.Write(s); err != nil {
		m.t.Fatal(err)
	}
	m.history = append(m.history, maps.Clone(m.now))
	if s.Durable {
		m.durable = append(m.durable, durableAt{len(m.dev.Log()), m.epoch})
		m.free = append(m.free, slices.Sorted(maps.Keys(m.freed))...)
		clear(m.freed)
	}
	if m.tidy {
		if err := m.log.Tidy(m.rng.IntN(15) == 0); err != nil {
			m.t.Fatal(err)
		}
	}
}

// check replays the journal of an image as it was when the log had n events, and tells
// what is wrong with what comes out.
func (m *logModel) check(image *blockiotest.Mem, n int) error {
	j, err := Open(logPlace(image))
	if err != nil {
		return err
	}
	if _, err := j.Replay(ctx); err != nil {
		return err
	}
	word := func(b uint64, at int64) uint64 {
		return binary.LittleEndian.Uint64(image.Bytes(int64(b)*1024+at, 8))
	}
	epoch, durable := word(clockBlock, 16), uint64(0)
	for _, d := range m.durable {
		if d.events <= n {
			durable = d.epoch
		}
	}
	if epoch < durable {
		return fmt.Errorf("epoch %d was durable, %d came out", durable, epoch)
	}
	if epoch >= uint64(len(m.history)) {
		return fmt.Errorf("epoch %d came out, there were %d", epoch, len(m.history))
	}
	for b, u := range m.history[epoch] {
		oldest := u.since // that content may be
		if d := m.history[durable][b]; u.data && d.data && d.since == u.since {
			oldest = d.last
		}
		for at := int64(0); at < 1024; at += 512 {
			owner, version := word(b, at+8), word(b, at+16)
			switch {
			case owner != b || word(b, at+24) != m.life:
				return fmt.Errorf("epoch %d: block %d holds %d's", epoch, b, owner)
			case u.data && version < oldest:
				return fmt.Errorf("epoch %d, %d durable: content block %d, allocated in %d, durable as of %d, holds what it was in %d", epoch, durable, b, u.since, oldest, version)
			case !u.data && version != u.last:
				return fmt.Errorf("epoch %d: block %d, changed in %d, is as of %d", epoch, b, u.last, version)
			}
		}
		if magic := binary.BigEndian.Uint32(image.Bytes(int64(b)*1024, 4)); !u.data && (magic == Magic) != (u.last%4 == 1) {
			return fmt.Errorf("epoch %d: block %d begins with %#x", epoch, b, magic)
		}
	}
	return nil
}

// cut is the image as a power cut after n events may leave it.
func (m *logModel) cut(log []blockiotest.Event, n int) *blockiotest.Mem {
	image := m.dev.Base().Clone()
	durable, atRisk := blockiotest.AtRisk(log[:n])
	blockiotest.Apply(image, durable...)
	keep := []float64{0.1, 0.5, 0.9, 1}[m.rng.IntN(4)]
	for _, e := range atRisk {
		pieces := []blockiotest.Event{e}
		if m.rng.IntN(4) == 0 {
			pieces = e.Split(512)
		}
		for _, piece := range pieces {
			if m.rng.Float64() < keep {
				blockiotest.Apply(image, piece)
			}
		}
	}
	return image
}

var logFormats = map[string]Format{
	"none":     {Revoke: true},
	"v1":       {Revoke: true, Checksum: ChecksumV1},
	"v1-async": {Revoke: true, Checksum: ChecksumV1, Async: true},
	"v2":       {Revoke: true, Checksum: ChecksumV2},
	"v3":       {Revoke: true, Checksum: ChecksumV3},
}

// TestLogPowerCuts runs a log for several times its length. Wherever the power fails, a
// replay comes to the state after a whole number of epochs, no fewer than were durable; no
// content shows what its block was before, and no copy of freed metadata lands on content.
// The strange log lies on what a log with the same sequence numbers left behind.
func TestLogPowerCuts(t *testing.T) {
	for name, f := range logFormats {
		for _, strange := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/strange=%t", name, strange), func(t *testing.T) {
				t.Parallel()
				const steps, cuts = 300, 80
				seed := seedOfLoad()
				sequence := uint32(0xFFFFFFFF - 100) // wraps around
				mem := blockiotest.NewMem(logModelSize * 1024)
				if strange {
					// Of the same seed: its transactions lie where those of the next will.
					old := newLogModel(t, mem, f, false, 1, sequence, seed)
					for range 25 { // not once round
						old.step()
					}
					mem = old.dev.ImageAt(len(old.dev.Log()))
				}
				m := newLogModel(t, mem, f, strange, 2, sequence, seed)
				m.tidy = !strange
				started := len(m.dev.Log())
				for range steps {
					m.step()
				}
				if err := m.log.Close(); err != nil {
					t.Fatal(err)
				}
				log := m.dev.Log()
				for range cuts {
					n := started + m.rng.IntN(len(log)-started+1)
					if strange && m.rng.IntN(2) == 0 {
						n = started + m.rng.IntN((len(log)-started)/15)
					}
					late := m.rng.IntN(4) > 0
					for late && n < len(log) && log[n].Op != blockio.Sync {
						n++ // just before a sync, most is at stake
					}
					if err := m.check(m.cut(log, n), n); err != nil {
						t.Errorf("seed %d, cut after %d of %d events: %v", seed, n, len(log), err)
					}
				}
				if err := m.check(m.dev.ImageAt(len(log)), len(log)); err != nil {
					t.Errorf("at the end: %v", err)
				}
			})
		}
	}
}

func seedOfLoad() uint64 {
	if v, err := strconv.ParseUint(os.Getenv("EXT2FUSE_SEED"), 10, 64); err == nil {
		return v
	}
	return 11
}

// TestLogTakesAnyEpoch: an epoch of as many blocks as were promised, that frees all that
// the log has copies of and a hundred thousand blocks besides, fits, however full the log.
func TestLogTakesAnyEpoch(t *testing.T) {
	for name, f := range logFormats {
		for filled := range 4 {
			mem := blockiotest.NewMem(logModelSize * 1024)
			j, err := Create(logPlace(mem), f, [16]byte{1}, 7)
			if err != nil {
				t.Fatal(err)
			}
			l, err := NewLog(j, LogOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Start(); err != nil {
				t.Fatal(err)
			}
			next := uint64(0)
			home := func() uint64 { // none of the journal's
				for next++; j.blocks.owns(next); next++ {
				}
				return next
			}
			full := &cache.Snapshot{Durable: true}
			for range filled {
				s := &cache.Snapshot{Durable: true}
				for range 200 {
					b := home()
					s.Blocks = append(s.Blocks, cache.DirtyBlock{Block: b, Data: blockOf(b, 1, 0)})
					full.Revoked = append(full.Revoked, b)
				}
				if err := l.Write(s); err != nil {
					t.Fatal(err)
				}
			}
			next = 0
			for i := range l.MaxBlocks() {
				b := home()
				full.Blocks = append(full.Blocks, cache.DirtyBlock{Block: b, Data: blockOf(b, uint64(2+i%4), 0)})
			}
			for b := range uint64(100_000) {
				full.Revoked = append(full.Revoked, 1_000_000+b)
			}
			if err := l.Write(full); err != nil {
				t.Errorf("%s, %d transactions in the log, %d blocks: %v", name, filled, l.MaxBlocks(), err)
			}
			if l.MaxBlocks() < 400 {
				t.Errorf("%s: an epoch may have %d blocks of %d", name, l.MaxBlocks(), j.Size())
			}
		}
	}
}

// TestLogFails: what the device refuses ends the log, and its Close does not touch the
// device any more: what is durable is for a replay.
func TestLogFails(t *testing.T) {
	for _, op := range []blockio.Op{blockio.Write, blockio.Sync} {
		mem := blockiotest.NewMem(logModelSize * 1024)
		m := newLogModel(t, mem, logFormats["v1-async"], false, 1, 1, 5)
		for range 20 {
			m.step()
		}
		fault := blockiotest.NewFault(m.dev)
		m.log.j.dev = fault
		fault.Fail(blockiotest.Rule{Op: op})
		s := &cache.Snapshot{Durable: true, Blocks: []cache.DirtyBlock{{Block: clockBlock, Data: blockOf(clockBlock, 21, 1)}}}
		if err := m.log.Write(s); err == nil {
			t.Fatal("no error")
		}
		fault.Heal()
		n := len(m.dev.Log())
		for what, f := range map[string]func() error{"Write": func() error { return m.log.Write(s) }, "Tidy": func() error { return m.log.Tidy(true) }, "Close": m.log.Close} {
			if f() == nil {
				t.Errorf("%s after an error gives none", what)
			}
		}
		if more := len(m.dev.Log()); more != n {
			t.Errorf("%d requests after the error", more-n)
		}
		m.history = append(m.history, m.history[20]) // may be there as a whole
		m.history[21] = maps.Clone(m.history[20])
		m.history[21][clockBlock] = use{last: 21}
		if err := m.check(m.dev.ImageAt(n), n); err != nil {
			t.Error(err)
		}
	}
}
