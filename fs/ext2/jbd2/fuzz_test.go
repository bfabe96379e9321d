//go:build linux

package jbd2

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
)

// superHead is the part of the superblock that means something.
const superHead = 0x100

func FuzzSuperblock(f *testing.F) {
	for _, format := range allFormats() {
		sb := &Superblock{Version: 2, BlockSize: 1024, MaxLen: 4096, First: 1, Start: 5, Sequence: 9}
		sb.setFormat(format)
		b := make([]byte, SuperblockSize)
		sb.Encode(b)
		f.Add(bytes.Clone(b[:superHead]))
		binary.BigEndian.PutUint32(b[4:], typeSuperblockV1)
		f.Add(b[:superHead])
	}
	f.Fuzz(func(t *testing.T, head []byte) {
		b := make([]byte, SuperblockSize)
		copy(b, head)
		sb, err := DecodeSuperblock(b)
		if err != nil {
			return
		}
		again := bytes.Clone(b[:SuperblockSize])
		if sb.Encode(again); !bytes.Equal(again, b[:SuperblockSize]) {
			t.Fatal("encoded again it differs")
		}
		if sb.Start != 0 && (sb.Start < sb.First || sb.Start >= sb.MaxLen) || sb.First == 0 || sb.MaxLen < MinBlocks {
			t.Fatalf("%+v was taken", sb)
		}
	})
}

const (
	fuzzBlock  = 1024 // bytes
	fuzzHead   = 80   // of these, so many come from the fuzzer; the rest is zero
	fuzzBlocks = 1200 // of the file system, which ends before the device
)

// fuzzPlace is a journal of three pieces.
func fuzzPlace(dev *blockiotest.Mem) Place {
	return Place{Dev: dev, BlockSize: fuzzBlock, Blocks: fuzzBlocks, Extents: []Extent{{120, 50}, {270, 900}, {20, 74}}}
}

// seal makes the checksums of what looks like a journal block right, so that a fuzzer
// gets past them. Copies are not touched.
func seal(j *Journal, b []byte) {
	h, ok := decodeHeader(b)
	switch {
	case !ok || !j.format.perBlock():
	case h.kind == typeCommit:
		binary.BigEndian.PutUint32(b[commitChecksum:], sumWithout(j.seed, b, commitChecksum))
	case h.kind == typeDescriptor || h.kind == typeRevoke:
		putTail(j.seed, b)
	}
}

// FuzzReplay: whatever stands in the log, a replay ends, writes nothing to the journal
// (its superblock excepted) nor past the file system, writes nothing at all when there
// is an error, and comes to what a plain replay in three passes comes to.
func FuzzReplay(f *testing.F) {
	for i := range allFormats() {
		log := fuzzSeed(f, i)
		f.Add(uint8(i), uint16(900+i*9), log)
		f.Add(uint8(i)|fuzzSeal, uint16(1000), log)
	}
	f.Fuzz(func(t *testing.T, how uint8, start uint16, log []byte) { fuzzReplay(t, how, start, log) })
}

// fuzzSeal is the bit of the fuzzer's first argument that asks for right checksums.
const fuzzSeal = 0x80

// fuzzSeed is the log of a few transactions: the heads of its blocks.
func fuzzSeed(t testing.TB, format int) []byte {
	m := newModel(t, allFormats()[format], uint64(format), fuzzBlock)
	m.free = []uint64{1, 2, 3, 5, 95, 96, 97, 99, 100, 180, 181, 200, 1180, 1190}
	m.seq = 1
	var log []byte
	for n := range 4 {
		tx := m.transaction(1+n, n%3)
		e, err := m.journal.Encode(&tx, 1)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range append(e.Body, e.Commit) {
			for _, v := range b.Vecs {
				log = append(log, v[:fuzzHead]...)
			}
		}
		m.seq++
	}
	return log
}

func fuzzReplay(t *testing.T, how uint8, start uint16, log []byte) Result {
	formats := allFormats()
	dev := blockiotest.NewMem((fuzzBlocks + 100) * fuzzBlock)
	p := fuzzPlace(dev)
	j, err := Create(p, formats[int(how&^fuzzSeal)%len(formats)], [16]byte{1}, 1)
	if err != nil {
		t.Fatal(err)
	}
	at := j.First() + uint32(start)%j.Size()
	dev.Submit(j.Tail(at, 1))
	b := make([]byte, fuzzBlock)
	for n := uint32(0); len(log) > 0 && n < j.Size(); n++ {
		clear(b)
		log = log[copy(b[:fuzzHead], log):]
		if how&fuzzSeal != 0 {
			seal(j, b)
		}
		home, _ := j.blocks.run(j.After(at, n))
		dev.WritevAt([][]byte{b}, int64(home)*fuzzBlock)
	}
	return checkReplay(t, dev, p)
}

// TestMutatedLogs does for a while what FuzzReplay does, with changes where they matter.
func TestMutatedLogs(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 8))
	numbers := []uint32{0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 19, 20, 94, 100, 119, 120, 1180, fuzzBlocks - 1, fuzzBlocks, fuzzBlocks + 50,
		1 << 16, 1 << 31, ^uint32(0), Magic, fuzzBlock, fuzzBlock - 4, fuzzBlock + 1}
	seeds := make([][]byte, len(allFormats()))
	for i := range seeds {
		seeds[i] = fuzzSeed(t, i)
	}
	replayed := 0
	for n := range 2000 {
		log := bytes.Clone(seeds[n%len(seeds)])
		for range rng.IntN(4) {
			at := rng.IntN(len(log)/fuzzHead)*fuzzHead + rng.IntN(fuzzHead/2)*2
			switch rng.IntN(4) {
			case 0: // one block over another
				to := rng.IntN(len(log)/fuzzHead) * fuzzHead
				copy(log[to:to+fuzzHead], log[at/fuzzHead*fuzzHead:])
			case 1:
				log[at] ^= 1 << rng.IntN(8)
			default:
				at = min(at, len(log)-4)
				binary.BigEndian.PutUint32(log[at:], numbers[rng.IntN(len(numbers))])
			}
		}
		how := uint8(n%len(seeds)) | uint8(rng.IntN(2))*fuzzSeal
		replayed += fuzzReplay(t, how, uint16(rng.Uint32()), log).Transactions
	}
	if replayed == 0 {
		t.Error("nothing was ever replayed")
	}
}

// checkReplay replays what is on dev and checks all that FuzzReplay says.
func checkReplay(t *testing.T, dev *blockiotest.Mem, p Place) Result {
	before := dev.Bytes(0, dev.Size())
	j, err := Open(p)
	if err != nil {
		t.Fatal(err)
	}
	want, mayFail := plainReplay(j, before)
	j.maxHomes, j.readAhead = 5, 8<<10
	res, err := j.Replay(ctx)
	after := dev.Bytes(0, dev.Size())
	if err != nil {
		if !bytes.Equal(before, after) {
			t.Fatalf("after %v something was written", err)
		}
		if !mayFail && j.format.Checksum == ChecksumNone {
			t.Fatalf("a good journal: %v", err)
		}
		return res
	}
	exact := j.format.Checksum == ChecksumNone && !mayFail
	super, _ := j.blocks.run(0)
	for block := range uint64(len(before) / fuzzBlock) {
		was, is := before[block*fuzzBlock:][:fuzzBlock], after[block*fuzzBlock:][:fuzzBlock]
		if exact && want[block] != nil {
			was = want[block]
		}
		same := bytes.Equal(was, is)
		switch {
		case block == super:
		case block >= p.Blocks || j.blocks.owns(block):
			if !bytes.Equal(before[block*fuzzBlock:][:fuzzBlock], is) {
				t.Fatalf("block %d was written", block)
			}
		case !same && exact:
			t.Fatalf("block %d is not what a plain replay has (%s)", block, res)
		}
	}
	if again, err := j.Replay(ctx); err != nil || again.Transactions != 0 {
		t.Fatalf("again: %v, %v", again, err)
	}
	return res
}

// plainReplay is a replay in three passes as they are described, with a table of
// revokes, over an image in memory and without a look at checksums. mayFail: a complete
// transaction has a copy for a block where none may be, or a bad revoke block.
func plainReplay(j *Journal, image []byte) (homes map[uint64][]byte, mayFail bool) {
	block := func(i uint32) []byte {
		home, _ := j.blocks.run(i)
		return image[home*fuzzBlock:][:fuzzBlock]
	}
	homes = map[uint64][]byte{}
	if j.sb.Start == 0 {
		return homes, false
	}
	revoked := map[uint64]uint32{}
	var end uint32
	for pass := range 3 {
		at, seq, used, bad := j.sb.Start, j.sb.Sequence, uint32(0), false
		for pass == 0 || seq != end {
			if used >= j.Size() {
				break
			}
			b := block(at)
			h, ok := decodeHeader(b)
			if !ok || h.sequence != seq || h.kind != typeDescriptor && h.kind != typeRevoke && h.kind != typeCommit {
				break
			}
			at, used = j.After(at, 1), used+1
			switch h.kind {
			case typeDescriptor:
				j.format.tags(b, func(t tag) bool {
					if used++; used > j.Size() {
						return false
					}
					c := block(at)
					at = j.After(at, 1)
					if t.home >= j.limit || j.blocks.owns(t.home) {
						bad = true
						return true
					}
					if until, ok := revoked[t.home]; pass == 2 && (!ok || later(seq, until)) {
						c = bytes.Clone(c)
						if t.flags&flagEscape != 0 {
							binary.BigEndian.PutUint32(c, Magic)
						}
						homes[t.home] = c
					}
					return true
				})
			case typeRevoke:
				n := binary.BigEndian.Uint32(b[headerSize:])
				if n > uint32(len(b)-j.format.tail()) {
					bad = true
				} else if pass == 1 {
					j.format.revokes(b, func(home uint64) { revoked[home] = seq })
				}
			case typeCommit:
				if mayFail = mayFail || bad; bad {
					return homes, true
				}
				seq++
			}
			if used > j.Size() {
				break
			}
		}
		if pass == 0 {
			end = seq
		}
	}
	return homes, mayFail
}
