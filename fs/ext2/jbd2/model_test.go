//go:build linux

package jbd2

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
)

const modelBlocks = 4096 // of the file system in the model

// model is a journal in a file system without files, and what a replay must come to.
type model struct {
	dev     *blockiotest.Mem
	place   Place
	journal *Journal
	rng     *rand.Rand
	free    []uint64 // blocks that are not the journal's
	head    uint32
	seq     uint32
	at      time.Time
	log     []Transaction
	starts  []uint32 // log block of each of log
	encoded []*Encoded
}

func newModel(t testing.TB, f Format, seed uint64, blockSize int) *model {
	m := &model{rng: rand.New(rand.NewPCG(seed, 7)), at: time.Unix(1700000000, 999)}
	m.dev = blockiotest.NewMem(modelBlocks * int64(blockSize))
	// The journal in pieces, the later ones before the earlier ones.
	m.place = Place{Dev: m.dev, BlockSize: blockSize, Blocks: modelBlocks, Extents: []Extent{
		{2000, 300}, {1000, 17}, {1018, 1}, {3000, 900},
	}}
	var uuid [16]byte
	binary.LittleEndian.PutUint64(uuid[:], m.rng.Uint64())
	m.seq = m.rng.Uint32()
	if seed%3 == 0 {
		m.seq = ^uint32(0) - 2 // wraps around
	}
	var err error
	if m.journal, err = Create(m.place, f, uuid, m.seq); err != nil {
		t.Fatal(err)
	}
	for home := range uint64(modelBlocks) {
		if !m.journal.blocks.owns(home) {
			m.free = append(m.free, home)
		}
		m.put(home, binary.LittleEndian.AppendUint64(nil, ^home))
	}
	m.head = m.journal.First() + m.rng.Uint32N(m.journal.Size())
	m.submit(t, m.journal.Tail(m.head, m.seq))
	return m
}

func (m *model) put(home uint64, data []byte) {
	m.dev.WritevAt([][]byte{data}, int64(home)*int64(m.place.BlockSize))
}

func (m *model) get(home uint64) []byte {
	return m.dev.Bytes(int64(home)*int64(m.place.BlockSize), int64(m.place.BlockSize))
}

// content is a block that says nothing, now and then one that looks like a journal's.
func (m *model) content() []byte {
	b := make([]byte, m.place.BlockSize)
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], m.rng.Uint64())
	}
	if m.rng.IntN(4) == 0 {
		header{kind: 1 + m.rng.Uint32N(5), sequence: m.seq + m.rng.Uint32N(3)}.encode(b)
	}
	return b
}

func (m *model) submit(t testing.TB, bios ...*blockio.Bio) {
	t.Helper()
	m.dev.Submit(bios...)
	for _, b := range bios {
		if b.Err != nil {
			t.Fatal(b.Err)
		}
	}
}

// transaction makes a random one with few different blocks, so that they come again.
func (m *model) transaction(blocks, revokes int) Transaction {
	m.at = m.at.Add(time.Duration(m.rng.IntN(3)) * time.Second)
	t := Transaction{Sequence: m.seq, Time: m.at}
	some := m.rng.Perm(min(len(m.free), 2*blocks+20))
	for _, i := range some[:blocks] {
		t.Blocks = append(t.Blocks, Block{Home: m.free[i*7%len(m.free)], Data: m.content()})
	}
	slices.SortFunc(t.Blocks, func(a, b Block) int { return int(a.Home) - int(b.Home) })
	t.Blocks = slices.CompactFunc(t.Blocks, func(a, b Block) bool { return a.Home == b.Home })
	for range revokes {
		t.Revokes = append(t.Revokes, m.free[m.rng.IntN(2*blocks+20)*7%len(m.free)])
	}
	return t
}

// append encodes a transaction and writes it whole.
func (m *model) append(t testing.TB, tx Transaction) {
	t.Helper()
	e, err := m.journal.Encode(&tx, m.head)
	if err != nil {
		t.Fatal(err)
	}
	if limit := m.journal.Need(len(tx.Blocks), len(tx.Revokes)); e.Blocks > limit {
		t.Fatalf("%d log blocks, Need says %d", e.Blocks, limit)
	}
	m.submit(t, append(slices.Clone(e.Body), e.Commit)...)
	m.log, m.starts, m.encoded = append(m.log, tx), append(m.starts, m.head), append(m.encoded, e)
	m.head = e.Next
	m.seq++
}

// after is the file system as a replay of the transactions must leave it.
func (m *model) after(log []Transaction) map[uint64][]byte {
	newest := map[uint64][]byte{}
	for _, tx := range log {
		for _, home := range tx.Revokes {
			delete(newest, home)
		}
		for _, b := range tx.Blocks {
			newest[b.Home] = b.Data
		}
	}
	for _, home := range m.free {
		if newest[home] == nil {
			newest[home] = m.get(home)
		}
	}
	return newest
}

// check replays what is on the device and compares it with what log leads to.
func (m *model) check(t testing.TB, log []Transaction) Result {
	t.Helper()
	want := m.after(log)
	j, err := Open(m.place)
	if err != nil {
		t.Fatal(err)
	}
	res, err := j.Replay(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if res.Transactions != len(log) {
		t.Fatalf("%d transactions replayed, expected %d (%s)", res.Transactions, len(log), res.Stop)
	}
	for home, data := range want {
		if !bytes.Equal(m.get(home), data) {
			t.Fatalf("block %d is not what it must be", home)
		}
	}
	if j, err = Open(m.place); err != nil || j.Dirty() || j.Superblock().Sequence != res.Next {
		t.Fatalf("afterwards: %v, %+v", err, j.Superblock())
	}
	return res
}

// TestReplay: random transactions in every format, through the end of the ring, are
// replayed to what a naive model has.
func TestReplay(t *testing.T) {
	for i, f := range allFormats() {
		for seed := range uint64(4) {
			t.Run(fmt.Sprintf("%s wide=%t async=%t seed=%d", f.Checksum, f.Wide, f.Async, seed), func(t *testing.T) {
				m := newModel(t, f, uint64(i)*100+seed, []int{1024, 4096}[seed%2])
				for left := m.journal.Size(); ; {
					blocks, revokes := m.rng.IntN(200), m.rng.IntN(2)*m.rng.IntN(600)
					if need := m.journal.Need(blocks, revokes); need > left {
						break
					} else {
						left -= need
					}
					m.append(t, m.transaction(blocks, revokes))
				}
				m.check(t, m.log)
			})
		}
	}
}

// TestFullLog: a transaction that takes the whole log.
func TestFullLog(t *testing.T) {
	for _, f := range allFormats() {
		m := newModel(t, f, 5, 1024)
		n := m.journal.MaxBlocks(m.journal.Size())
		if m.journal.Need(n, 0) > m.journal.Size() || m.journal.Need(n+1, 0) <= m.journal.Size() {
			t.Fatalf("%+v: MaxBlocks %d, Need %d of %d", f, n, m.journal.Need(n, 0), m.journal.Size())
		}
		tx := Transaction{Sequence: m.seq, Time: m.at}
		for _, home := range m.free[:n] {
			tx.Blocks = append(tx.Blocks, Block{home, m.content()})
		}
		m.append(t, tx)
		if m.head != m.starts[0] && m.journal.Need(n, 0) == m.journal.Size() {
			t.Fatalf("the log is full and its head is %d, not %d", m.head, m.starts[0])
		}
		m.check(t, m.log)
		tx.Blocks = append(tx.Blocks, Block{m.free[n], m.content()})
		if _, err := m.journal.Encode(&tx, m.head); err == nil {
			t.Fatalf("%+v: more than the log holds was taken", f)
		}
	}
}

// TestRounds: a replay that may hold only few blocks in memory comes to the same.
func TestRounds(t *testing.T) {
	for _, limit := range []int{1, 2, 7, 100} {
		m := newModel(t, Format{Checksum: ChecksumV3, Revoke: true}, uint64(limit), 1024)
		for range 6 {
			m.append(t, m.transaction(100, 60))
		}
		want := m.after(m.log)
		j, err := Open(m.place)
		if err != nil {
			t.Fatal(err)
		}
		j.maxHomes = limit
		res, err := j.Replay(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for home, data := range want {
			if !bytes.Equal(m.get(home), data) {
				t.Fatalf("limit %d: block %d is not what it must be (%s)", limit, home, res)
			}
		}
	}
}

// TestTorn: of the last transaction only some sectors arrived. Where its commit block is
// missing the log ends before it; where it is there, only ChecksumV1 with Async makes a
// torn transaction out of it, and what the checksums notice is an error elsewhere.
func TestTorn(t *testing.T) {
	const sector = 512
	for i, f := range allFormats() {
		for round := range uint64(12) {
			seed := uint64(i)*1000 + round
			m := newModel(t, f, seed, 1024)
			for range 3 {
				m.append(t, m.transaction(30, 5))
			}
			tx := m.transaction(30, 5)
			e, err := m.journal.Encode(&tx, m.head)
			if err != nil {
				t.Fatal(err)
			}
			withCommit := round%2 == 1
			bios := e.Body
			if withCommit {
				m.submit(t, e.Commit)
			}
			lost := 0
			for _, b := range bios {
				for k, v := range b.Vecs {
					for at := 0; at < len(v); at += sector {
						if m.rng.IntN(4) == 0 {
							lost++
							continue
						}
						m.dev.WritevAt([][]byte{v[at : at+sector]}, b.Off+int64(k)*1024+int64(at))
					}
				}
			}
			if lost == 0 {
				t.Fatalf("seed %d: nothing was lost", seed)
			}
			if !withCommit || f.Async && f.Checksum != ChecksumNone {
				m.check(t, m.log)
				continue
			}
			if f.Checksum == ChecksumNone {
				continue // nobody can tell
			}
			before := m.dev.Clone()
			j, err := Open(m.place)
			if err != nil {
				t.Fatal(err)
			}
			if res, err := j.Replay(ctx); err == nil && res.Transactions > len(m.log) {
				t.Fatalf("seed %d, %+v: a torn transaction was replayed", seed, f)
			} else if err != nil && !bytes.Equal(before.Bytes(0, before.Size()), m.dev.Bytes(0, m.dev.Size())) {
				t.Fatalf("seed %d, %+v: after %v something was written", seed, f, err)
			}
		}
	}
}

// TestStale: what an earlier turn of the ring left behind does not count, also where its
// sequence numbers fit.
func TestStale(t *testing.T) {
	for _, f := range allFormats() {
		m := newModel(t, f, 11, 1024)
		start, seq := m.head, m.seq
		for range 4 {
			m.append(t, m.transaction(20, 3))
		}
		// The same blocks again, by transactions of numbers that are older.
		m.submit(t, m.journal.Tail(0, seq+100))
		m.head, m.seq, m.log = start, seq+100, nil
		m.submit(t, m.journal.Tail(m.head, m.seq))
		for range 2 {
			m.append(t, m.transaction(20, 3))
		}
		m.check(t, m.log)
	}
}

// TestStaleByTime: behind the last transaction there is one with the number that would
// follow, of another journal (its checksums do not match) and older.
func TestStaleByTime(t *testing.T) {
	for _, f := range allFormats() {
		if f.Checksum < ChecksumV2 {
			continue
		}
		m := newModel(t, f, 12, 1024)
		m.append(t, m.transaction(20, 3))
		other := newModel(t, f, 13, 1024)
		tx := m.transaction(5, 0)
		tx.Time = m.log[0].Time.Add(-time.Hour)
		e, err := other.journal.Encode(&tx, m.head)
		if err != nil {
			t.Fatal(err)
		}
		m.submit(t, append(e.Body, e.Commit)...)
		m.check(t, m.log)
	}
}

// TestRevokeOfOwn: a block that a transaction revokes and writes is written.
func TestRevokeOfOwn(t *testing.T) {
	m := newModel(t, Format{Revoke: true}, 1, 1024)
	m.append(t, Transaction{Sequence: m.seq, Blocks: []Block{{5, m.content()}, {6, m.content()}}})
	m.append(t, Transaction{Sequence: m.seq, Blocks: []Block{{5, m.content()}}, Revokes: []uint64{5, 6}})
	res := m.check(t, m.log)
	if res.Blocks != 1 || res.Revoked != 1 {
		t.Errorf("%s", res)
	}
}

// TestEncodeRefused: what must not get into a log.
func TestEncodeRefused(t *testing.T) {
	m := newModel(t, Format{Revoke: true}, 1, 1024)
	good := m.content()
	for name, tx := range map[string]*Transaction{
		"a block of the journal":   {Blocks: []Block{{2000, good}}},
		"past the end":             {Blocks: []Block{{modelBlocks, good}}},
		"half a block":             {Blocks: []Block{{5, good[:512]}}},
		"revoke of the journal":    {Revokes: []uint64{1005}},
		"revoke past the end":      {Revokes: []uint64{1 << 40}},
		"a number of over 32 bits": {Blocks: []Block{{1 << 32, good}}},
	} {
		if _, err := m.journal.Encode(tx, 1); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	for _, at := range []uint32{0, m.journal.sb.MaxLen} {
		if _, err := m.journal.Encode(&Transaction{}, at); err == nil {
			t.Errorf("log block %d was taken", at)
		}
	}
	if err := m.journal.SetFormat(Format{}); err == nil {
		t.Error("the format of a dirty journal was changed")
	}
	m.journal.Tail(0, 1)
	if err := m.journal.SetFormat(Format{}); err != nil {
		t.Error(err)
	}
	if _, err := m.journal.Encode(&Transaction{Revokes: []uint64{5}}, 1); err == nil {
		t.Error("a revoke was taken where the format has none")
	}
}
