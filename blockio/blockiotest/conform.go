package blockiotest

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
)

// TestDevice runs the suite that every Device passes. open returns a fresh writable
// device, at least 256 KiB long, whose content the suite may change; the suite
// closes it.
func TestDevice(t *testing.T, open func(t *testing.T) blockio.Device) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, blockio.Device)
	}{
		{"RoundTrip", testRoundTrip},
		{"ManyVectors", testManyVectors},
		{"Empty", testEmpty},
		{"PastEnd", testPastEnd},
		{"Clip", testClip},
		{"Completion", testCompletion},
		{"Order", testOrder},
		{"Discard", testDiscard},
		{"Nested", testNested},
		{"Parallel", testParallel},
		{"Model", func(t *testing.T, dev blockio.Device) { testModel(t, dev, submitAll) }},
		{"ModelPlugged", func(t *testing.T, dev blockio.Device) { testModel(t, dev, plugAll) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			dev := open(t)
			c.run(t, dev)
			if err := dev.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
	t.Run("Closed", func(t *testing.T) { testClosed(t, open(t)) })
}

// pattern is n bytes that tell where they came from.
func pattern(n int, seed byte) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i) ^ byte(i>>8) ^ seed
	}
	return p
}

// split cuts p into vectors of the given lengths; the last takes the rest.
func split(p []byte, lengths ...int) [][]byte {
	var out [][]byte
	for _, n := range lengths {
		out = append(out, p[:n])
		p = p[n:]
	}
	return append(out, p)
}

func testRoundTrip(t *testing.T, dev blockio.Device) {
	want := pattern(10000, 1)
	if n, err := dev.WritevAt(split(want, 1, 0, 4096, 511), 1001); n != len(want) || err != nil {
		t.Fatalf("WritevAt = %d, %v", n, err)
	}
	if err := dev.Sync(); err != nil {
		t.Fatalf("Sync: %v", err)
	}
	got := make([]byte, len(want))
	if n, err := dev.ReadvAt(split(got, 777, 3, 0, 4096), 1001); n != len(want) || err != nil {
		t.Fatalf("ReadvAt = %d, %v", n, err)
	}
	if !bytes.Equal(got, want) {
		t.Error("what was read is not what was written")
	}
	dev.Advise(0, dev.Size(), blockio.WillNeed)
	dev.Advise(0, dev.Size(), blockio.DontNeed)
	dev.Advise(dev.Size()-1, 1<<40, blockio.WillNeed)
	dev.Advise(-1, 10, blockio.WillNeed)
	if _, err := dev.ReadvAt([][]byte{got}, 1001); err != nil || !bytes.Equal(got, want) {
		t.Errorf("advice changed the content (%v)", err)
	}
}

func testManyVectors(t *testing.T, dev blockio.Device) {
	// More vectors than one system call takes, apart in memory so that none join.
	const vecs, each = 2500, 41
	memory := pattern(vecs*(each+1), 7)
	var iov [][]byte
	for i := range vecs {
		iov = append(iov, memory[i*(each+1):][:each])
	}
	b := &blockio.Bio{Op: blockio.Write, Off: 513, Vecs: iov}
	dev.Submit(b)
	if b.Err != nil || b.N != vecs*each {
		t.Fatalf("write: N = %d, Err = %v", b.N, b.Err)
	}
	want := bytes.Join(iov, nil)
	got := make([]byte, len(want)+vecs)
	iov = iov[:0]
	for i := range vecs {
		iov = append(iov, got[i*(each+1):][:each])
	}
	r := &blockio.Bio{Op: blockio.Read, Off: 513, Vecs: iov}
	dev.Submit(r)
	if r.Err != nil || r.N != vecs*each || !bytes.Equal(bytes.Join(iov, nil), want) {
		t.Fatalf("read: N = %d, Err = %v, or other bytes", r.N, r.Err)
	}
}

func testEmpty(t *testing.T, dev blockio.Device) {
	for _, op := range []blockio.Op{blockio.Read, blockio.Write, blockio.Discard} {
		for _, off := range []int64{0, 100, dev.Size()} {
			done := 0
			b := &blockio.Bio{Op: op, Off: off, Done: func(*blockio.Bio) { done++ }}
			dev.Submit(b)
			if b.Err != nil || b.N != 0 || done != 1 {
				t.Errorf("empty %v at %d: N = %d, Err = %v, completed %d times", op, off, b.N, b.Err, done)
			}
		}
	}
	dev.Submit()
	if n, err := dev.ReadvAt(nil, 0); n != 0 || err != nil {
		t.Errorf("ReadvAt(nil) = %d, %v", n, err)
	}
}

func testPastEnd(t *testing.T, dev blockio.Device) {
	size := dev.Size()
	last := make([]byte, 100)
	if _, err := dev.ReadvAt([][]byte{last}, size-100); err != nil {
		t.Fatal(err)
	}
	for _, off := range []int64{size - 1, size, size + 1, 1<<63 - 1, -1, -1 << 63} {
		for _, op := range []blockio.Op{blockio.Read, blockio.Write, blockio.Discard} {
			b := &blockio.Bio{Op: op, Off: off, Len: 2, Vecs: [][]byte{{1}, {2}}}
			dev.Submit(b)
			if b.N != 0 || !errors.Is(b.Err, blockio.ErrPastEnd) {
				t.Errorf("%v at %d of %d: N = %d, Err = %v", op, off, size, b.N, b.Err)
			}
		}
		if n, err := dev.ReadvAt([][]byte{{1}, {2}}, off); n != 0 || !errors.Is(err, blockio.ErrPastEnd) {
			t.Errorf("ReadvAt(%d) = %d, %v", off, n, err)
		}
		if n, err := dev.WritevAt([][]byte{{1}, {2}}, off); n != 0 || !errors.Is(err, blockio.ErrPastEnd) {
			t.Errorf("WritevAt(%d) = %d, %v", off, n, err)
		}
		if err := dev.Discard(off, 2); !errors.Is(err, blockio.ErrPastEnd) {
			t.Errorf("Discard(%d) = %v", off, err)
		}
	}
	again := make([]byte, 100)
	if _, err := dev.ReadvAt([][]byte{again}, size-100); err != nil || !bytes.Equal(last, again) {
		t.Errorf("a write past the end changed what lies before it (%v)", err)
	}
	if dev.Size() != size {
		t.Errorf("the size changed from %d to %d", size, dev.Size())
	}
}

func testClip(t *testing.T, dev blockio.Device) {
	size := dev.Size()
	want := pattern(1000, 3)
	w := &blockio.Bio{Op: blockio.Write, Off: size - 600, Vecs: split(bytes.Clone(want), 500), Clip: true}
	dev.Submit(w)
	if w.Err != nil || w.N != 600 {
		t.Fatalf("clipped write: N = %d, Err = %v", w.N, w.Err)
	}
	got := bytes.Repeat([]byte{0xee}, 1000)
	r := &blockio.Bio{Op: blockio.Read, Off: size - 600, Vecs: split(got, 1, 598, 2), Clip: true}
	dev.Submit(r)
	if r.Err != nil || r.N != 600 {
		t.Fatalf("clipped read: N = %d, Err = %v", r.N, r.Err)
	}
	if !bytes.Equal(got[:600], want[:600]) || !bytes.Equal(got[600:], make([]byte, 400)) {
		t.Error("a clipped read must give the device's bytes and then zeros")
	}
	beyond := bytes.Repeat([]byte{0xee}, 10)
	r = &blockio.Bio{Op: blockio.Read, Off: size + 5, Vecs: [][]byte{beyond}, Clip: true}
	dev.Submit(r)
	if r.Err != nil || r.N != 0 || !bytes.Equal(beyond, make([]byte, 10)) {
		t.Errorf("a read clipped away: N = %d, Err = %v, %v", r.N, r.Err, beyond)
	}
	d := &blockio.Bio{Op: blockio.Discard, Off: size - 10, Len: 100, Clip: true}
	dev.Submit(d)
	if d.Err != nil || d.N != 10 {
		t.Errorf("clipped discard: N = %d, Err = %v", d.N, d.Err)
	}
	if dev.Size() != size {
		t.Errorf("the size changed from %d to %d", size, dev.Size())
	}
}

func testCompletion(t *testing.T, dev blockio.Device) {
	var order []int
	done := func(i int) func(*blockio.Bio) {
		return func(b *blockio.Bio) {
			order = append(order, i)
			if i == 2 == (b.Err == nil) {
				t.Errorf("bio %d: Err = %v", i, b.Err)
			}
		}
	}
	buf := func() [][]byte { return [][]byte{make([]byte, 512)} }
	bios := []*blockio.Bio{
		{Op: blockio.Write, Off: 0, Vecs: buf()},
		{Op: blockio.Read, Off: 0, Vecs: buf()},
		{Op: blockio.Read, Off: dev.Size(), Vecs: buf()},
		{Op: blockio.Sync},
		{Op: blockio.Read, Off: 4096, Vecs: buf(), For: blockio.Directory},
	}
	for i, b := range bios {
		b.Done = done(i)
		b.N, b.Err, b.Cold = 99, errors.New("stale"), true
	}
	dev.Submit(bios...)
	if len(order) != len(bios) {
		t.Fatalf("%d bios, completed: %v", len(bios), order)
	}
	for i, at := range order {
		if i != at {
			t.Fatalf("bios were completed in the order %v", order)
		}
	}
	if bios[0].N != 512 || bios[1].N != 512 || bios[2].N != 0 || bios[3].N != 0 || bios[4].N != 512 {
		t.Error("wrong N")
	}
}

func testOrder(t *testing.T, dev blockio.Device) {
	one, two, seen := pattern(4096, 1), pattern(4096, 2), make([]byte, 4096)
	dev.Submit(
		&blockio.Bio{Op: blockio.Write, Off: 8192, Vecs: [][]byte{one}},
		&blockio.Bio{Op: blockio.Read, Off: 8192, Vecs: [][]byte{seen}},
		&blockio.Bio{Op: blockio.Write, Off: 8192, Vecs: [][]byte{two}},
	)
	if !bytes.Equal(seen, one) {
		t.Error("the read did not see the write before it alone")
	}
	if _, err := dev.ReadvAt([][]byte{seen}, 8192); err != nil || !bytes.Equal(seen, two) {
		t.Errorf("the last write does not show (%v)", err)
	}
}

func testDiscard(t *testing.T, dev blockio.Device) {
	want := pattern(64<<10, 9)
	if _, err := dev.WritevAt([][]byte{want}, 0); err != nil {
		t.Fatal(err)
	}
	if err := dev.Discard(1000, 30000); err != nil {
		t.Fatalf("Discard: %v", err)
	}
	got := make([]byte, len(want))
	if _, err := dev.ReadvAt([][]byte{got}, 0); err != nil {
		t.Fatal(err)
	}
	checkDiscarded(t, got, want, 1000, 31000)
}

// checkDiscarded compares: outside of [from, to) nothing has changed, inside a byte
// is the old one or zero.
func checkDiscarded(t *testing.T, got, want []byte, from, to int) {
	t.Helper()
	for i := range got {
		if got[i] != want[i] && (i < from || i >= to || got[i] != 0) {
			t.Fatalf("after a discard of [%d, %d) byte %d is %#x, was %#x", from, to, i, got[i], want[i])
		}
	}
}

func testNested(t *testing.T, dev blockio.Device) {
	// A completion may submit further bios.
	want := pattern(2048, 4)
	got := make([]byte, 2048)
	steps := 0
	second := &blockio.Bio{Op: blockio.Read, Off: 2048, Vecs: [][]byte{got}, Done: func(*blockio.Bio) { steps++ }}
	dev.Submit(&blockio.Bio{Op: blockio.Write, Off: 2048, Vecs: [][]byte{want}, Done: func(*blockio.Bio) {
		dev.Submit(second)
		steps++
	}})
	if steps != 2 || second.Err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d completions, Err = %v", steps, second.Err)
	}
}

func testParallel(t *testing.T, dev blockio.Device) {
	const workers = 8
	area := dev.Size() / workers
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 5))
			for i := range 100 {
				n := 1 + r.IntN(5000)
				off := int64(w)*area + r.Int64N(area-int64(n))
				want := pattern(n, byte(i))
				got := make([]byte, n)
				bios := []*blockio.Bio{
					{Op: blockio.Write, Off: off, Vecs: split(want, n/3)},
					{Op: blockio.Read, Off: off, Vecs: split(got, n/2)},
				}
				dev.Submit(bios...)
				if bios[0].Err != nil || bios[1].Err != nil || !bytes.Equal(got, want) {
					t.Errorf("worker %d: %v, %v, or other bytes", w, bios[0].Err, bios[1].Err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func testClosed(t *testing.T, dev blockio.Device) {
	if err := dev.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	if _, err := dev.ReadvAt([][]byte{make([]byte, 512)}, 0); !errors.Is(err, blockio.ErrClosed) {
		t.Errorf("ReadvAt after Close: %v", err)
	}
	if _, err := dev.WritevAt([][]byte{make([]byte, 512)}, 0); !errors.Is(err, blockio.ErrClosed) {
		t.Errorf("WritevAt after Close: %v", err)
	}
	if err := dev.Close(); !errors.Is(err, blockio.ErrClosed) {
		t.Errorf("second Close: %v", err)
	}
}
