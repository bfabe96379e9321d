package blockio_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
)

// spy notes down which bios reach the device, in what order.
type spy struct {
	*blockiotest.Mem
	seen []string
}

func (s *spy) Submit(bios ...*blockio.Bio) {
	for _, b := range bios {
		s.seen = append(s.seen, fmt.Sprintf("%v %d+%d %v", b.Op, b.Off, b.Bytes(), b.For))
		s.Mem.Submit(b)
	}
}

func bio(op blockio.Op, what blockio.Purpose, off, n int64) *blockio.Bio {
	b := &blockio.Bio{Op: op, For: what, Off: off, Len: n}
	if op != blockio.Discard && op != blockio.Sync {
		b.Vecs = [][]byte{make([]byte, n)}
	}
	return b
}

func TestPlugSortsAndMerges(t *testing.T) {
	const data, ind = blockio.Data, blockio.Indirect
	for _, c := range []struct {
		name string
		bios []*blockio.Bio
		want []string
	}{
		{"Sorted", []*blockio.Bio{bio(blockio.Read, data, 9000, 10), bio(blockio.Read, data, 100, 10), bio(blockio.Read, data, 5000, 10)},
			[]string{"read 100+10 data", "read 5000+10 data", "read 9000+10 data"}},
		{"Merged", []*blockio.Bio{bio(blockio.Read, data, 20, 10), bio(blockio.Read, data, 0, 20), bio(blockio.Read, data, 30, 5)},
			[]string{"read 0+35 data"}},
		{"PurposesMixed", []*blockio.Bio{bio(blockio.Write, data, 0, 10), bio(blockio.Write, ind, 10, 10)},
			[]string{"write 0+20 mixed"}},
		{"OperationsApart", []*blockio.Bio{bio(blockio.Write, data, 0, 10), bio(blockio.Read, data, 10, 10), bio(blockio.Discard, data, 20, 10)},
			[]string{"write 0+10 data", "read 10+10 data", "discard 20+10 data"}},
		{"Discards", []*blockio.Bio{bio(blockio.Discard, data, 1<<19, 1<<19), bio(blockio.Discard, data, 0, 1<<19)},
			[]string{"discard 0+1048576 data"}},
		{"SyncIsABarrier", []*blockio.Bio{bio(blockio.Write, data, 10, 10), bio(blockio.Sync, data, 0, 0), bio(blockio.Write, data, 0, 10)},
			[]string{"write 10+10 data", "sync 0+0 data", "write 0+10 data"}},
		{"OverlapKeepsOrder", []*blockio.Bio{bio(blockio.Write, data, 10, 10), bio(blockio.Write, ind, 5, 10)},
			[]string{"write 10+10 data", "write 5+10 indirect"}},
		{"ReadAfterWrite", []*blockio.Bio{bio(blockio.Write, data, 10, 10), bio(blockio.Read, ind, 5, 10)},
			[]string{"write 10+10 data", "read 5+10 indirect"}},
		{"ReadsMayOverlap", []*blockio.Bio{bio(blockio.Read, data, 10, 10), bio(blockio.Read, ind, 5, 10)},
			[]string{"read 5+10 indirect", "read 10+10 data"}},
		{"TheEndApart", []*blockio.Bio{bio(blockio.Read, data, 1<<20-10, 10), bio(blockio.Read, data, 1<<20, 10)},
			[]string{"read 1048566+10 data", "read 1048576+10 data"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dev := &spy{Mem: blockiotest.NewMem(1 << 20)}
			p := blockio.NewPlug(dev)
			p.Add(c.bios...)
			if len(dev.seen) != 0 || p.Len() != len(c.bios) {
				t.Fatal("a bio went out before Flush")
			}
			p.Flush()
			p.Release()
			if !slices.Equal(dev.seen, c.want) {
				t.Errorf("the device received %q\nwant %q", dev.seen, c.want)
			}
		})
	}
}

func TestPlugBounds(t *testing.T) {
	dev := &spy{Mem: blockiotest.NewMem(1 << 30)}
	p := blockio.NewPlug(dev)
	defer p.Release()
	for i := range int64(3000) { // too many vectors for one
		p.Add(bio(blockio.Read, blockio.Data, i*512, 512))
	}
	p.Flush()
	want := []string{"read 0+524288 data", "read 524288+524288 data", "read 1048576+487424 data"}
	if !slices.Equal(dev.seen, want) {
		t.Errorf("the device received %q", dev.seen)
	}
	dev.seen = nil
	for i := range int64(9) { // too many bytes for one
		p.Add(bio(blockio.Write, blockio.Data, i<<20, 1<<20))
	}
	p.Flush()
	want = []string{"write 0+4194304 data", "write 4194304+4194304 data", "write 8388608+1048576 data"}
	if !slices.Equal(dev.seen, want) {
		t.Errorf("the device received %q", dev.seen)
	}
}

// TestPlugFailure: of a merged bio only the part that is bad fails.
func TestPlugFailure(t *testing.T) {
	for _, op := range []blockio.Op{blockio.Read, blockio.Write} {
		const bad = 3 * 4096
		f := blockiotest.NewFault(blockiotest.NewMem(1 << 20))
		f.Fail(blockiotest.Rule{Op: op, Short: bad + 100, Match: func(b *blockio.Bio) bool {
			return b.Off <= bad+100 && b.Off+b.Bytes() > bad+100 && b.Off < bad // the merged one, short
		}})
		f.Fail(blockiotest.Rule{Op: op, Match: func(b *blockio.Bio) bool { return b.Off == bad }})
		p := blockio.NewPlug(f)
		done := make([]int, 8)
		bios := make([]*blockio.Bio, 8)
		for i := range bios {
			bios[i] = bio(op, blockio.Data, int64(i)*4096, 4096)
			bios[i].Vecs[0][0] = byte(i)
			bios[i].Done = func(*blockio.Bio) { done[i]++ }
		}
		p.Add(bios...)
		p.Flush()
		p.Release()
		for i, b := range bios {
			if done[i] != 1 || (b.Err != nil) != (i == 3) || b.Err == nil && b.N != 4096 {
				t.Errorf("%v %d: completed %d times, N = %d, Err = %v", op, i, done[i], b.N, b.Err)
			}
		}
		var e *blockio.Error
		if !errors.As(bios[3].Err, &e) || e.Off != bad || e.Len != 4096 {
			t.Errorf("the failure names another place: %v", bios[3].Err)
		}
	}
}

// TestPlugDurable: durable writes are merged, but not with others; where the merged one was
// carried out and then not made durable, all have failed, and none is tried again.
func TestPlugDurable(t *testing.T) {
	rec := blockiotest.NewRecorder(blockiotest.NewMem(1 << 20))
	f := blockiotest.NewFault(rec)
	f.Fail(blockiotest.Rule{Op: blockio.Sync, Times: 1})
	bios := make([]*blockio.Bio, 5)
	p := blockio.NewPlug(f)
	for i := range bios {
		bios[i] = bio(blockio.Write, blockio.Data, int64(i)*4096, 4096)
		bios[i].Durable = i < 3
		p.Add(bios[i])
	}
	p.Flush()
	p.Release()
	for i, b := range bios {
		if (b.Err != nil) != (i < 3) {
			t.Errorf("%d: %v", i, b.Err)
		}
	}
	var got []string
	for _, e := range rec.Log() {
		got = append(got, fmt.Sprintf("%v %d+%d", e.Op, e.Off/4096, e.Len/4096))
	}
	want := "write 0+3, write 3+2"
	if strings.Join(got, ", ") != want {
		t.Errorf("the device received %s, want %s", strings.Join(got, ", "), want)
	}
}

// TestPlugKeepsOrder holds plugs full of bios that meet against doing one after the
// other.
func TestPlugKeepsOrder(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 2))
	for round := range 300 {
		plain, plugged := blockiotest.NewMem(4096), blockiotest.NewMem(4096)
		p := blockio.NewPlug(plugged)
		var a, b []*blockio.Bio
		for i := range 1 + r.IntN(40) {
			op := blockio.Op(r.IntN(4))
			off := r.Int64N(64) * 32
			n := r.Int64N(5) * 16
			for _, list := range []*[]*blockio.Bio{&a, &b} {
				x := bio(op, blockio.Data, off, n)
				if op == blockio.Write {
					x.Vecs[0] = bytes.Repeat([]byte{byte(i + 1)}, int(n))
				}
				*list = append(*list, x)
			}
		}
		plain.Submit(a...)
		p.Add(b...)
		p.Flush()
		p.Release()
		for i := range a {
			if a[i].Op == blockio.Read && !bytes.Equal(a[i].Vecs[0], b[i].Vecs[0]) {
				t.Fatalf("round %d: read %d differs", round, i)
			}
			if a[i].N != b[i].N {
				t.Fatalf("round %d: bio %d: N = %d, want %d", round, i, b[i].N, a[i].N)
			}
		}
		if !bytes.Equal(plain.Bytes(0, 4096), plugged.Bytes(0, 4096)) {
			t.Fatalf("round %d: the content differs", round)
		}
	}
}

func BenchmarkPlug64(b *testing.B) {
	dev := blockiotest.NewMem(1 << 20)
	bios := make([]*blockio.Bio, 64)
	for i := range bios {
		bios[i] = bio(blockio.Read, blockio.Data, int64(i*37%64)*512, 512)
	}
	b.ReportAllocs()
	for b.Loop() {
		p := blockio.NewPlug(dev)
		p.Add(bios...)
		p.Flush()
		p.Release()
	}
}
