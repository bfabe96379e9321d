package blockiotest

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ext2fuse/ext2fuse/blockio"
)

func submitAll(dev blockio.Device, bios []*blockio.Bio) { dev.Submit(bios...) }

func plugAll(dev blockio.Device, bios []*blockio.Bio) {
	p := blockio.NewPlug(dev)
	p.Add(bios...)
	p.Flush()
	p.Release()
}

// step is one bio of a random batch and what a model says of it.
type step struct {
	bio  *blockio.Bio
	data []byte // the bio's memory, in one piece
	want []byte // reads: what must be in it
	n    int64
	fail bool
	done int
}

// testModel holds dev against a byte slice that the same random bios are applied to
// one after the other.
func testModel(t *testing.T, dev blockio.Device, send func(blockio.Device, []*blockio.Bio)) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	model := make([]byte, dev.Size())
	if _, err := dev.WritevAt([][]byte{model}, 0); err != nil {
		t.Fatal(err)
	}
	for range 150 {
		steps := make([]*step, 1+r.IntN(20))
		bios := make([]*blockio.Bio, len(steps))
		area := r.Int64N(dev.Size()) // a batch keeps together, so that bios meet
		for i := range steps {
			steps[i] = randomStep(r, model, area)
			bios[i] = steps[i].bio
		}
		send(dev, bios)
		for i, s := range steps {
			s.check(t, i)
		}
		if t.Failed() {
			for i, s := range steps {
				t.Logf("bio %d: %v at %d, %d bytes in %d vectors, clip %v", i, s.bio.Op, s.bio.Off, s.bio.Bytes(), len(s.bio.Vecs), s.bio.Clip)
			}
			t.FailNow()
		}
	}
	got := make([]byte, len(model))
	if _, err := dev.ReadvAt([][]byte{got}, 0); err != nil || !bytes.Equal(got, model) {
		t.Fatalf("in the end the content differs (%v)", err)
	}
}

// randomStep makes a bio and applies it to the model.
func randomStep(r *rand.Rand, model []byte, area int64) *step {
	size := int64(len(model))
	unit := []int64{1, 512, 4096}[r.IntN(3)]
	off := (area + r.Int64N(64<<10)) / unit * unit
	if r.IntN(20) == 0 {
		off = size - r.Int64N(8192) + 1000
	}
	n := r.Int64N(5) * unit
	if unit == 1 {
		n = r.Int64N(10000)
	}
	s := &step{data: make([]byte, n)}
	s.bio = &blockio.Bio{Off: off, Clip: r.IntN(4) == 0, Done: func(*blockio.Bio) { s.done++ }}
	s.bio.Vecs = randomVecs(r, s.data)
	inside := min(n, max(0, size-off))
	s.fail = !s.bio.Clip && (inside < n || off > size)
	s.n = inside
	if s.fail {
		s.n, inside = 0, 0
	}
	switch r.IntN(5) {
	case 0, 1:
		s.want = make([]byte, n)
		if inside > 0 {
			copy(s.want, model[off:])
		}
		if s.fail {
			s.want = nil
		}
	case 2, 3:
		s.bio.Op, s.bio.Durable = blockio.Write, r.IntN(3) == 0
		fill := byte(r.IntN(256))
		for i := range s.data {
			s.data[i] = byte(i) + fill
		}
		if inside > 0 {
			copy(model[off:], s.data[:inside])
		}
	case 4:
		*s.bio = blockio.Bio{Op: blockio.Sync, Done: s.bio.Done}
		s.n, s.fail = 0, false
	}
	return s
}

func randomVecs(r *rand.Rand, p []byte) [][]byte {
	var out [][]byte
	for len(p) > 0 && r.IntN(6) != 0 {
		n := r.IntN(len(p) + 1)
		out = append(out, p[:n])
		p = p[n:]
	}
	return append(out, p)
}

func (s *step) check(t *testing.T, i int) {
	t.Helper()
	b := s.bio
	if s.done != 1 {
		t.Errorf("bio %d was completed %d times", i, s.done)
	}
	if s.fail != (b.Err != nil) || b.N != s.n {
		t.Errorf("bio %d: N = %d, Err = %v; want N = %d, failure %v", i, b.N, b.Err, s.n, s.fail)
	}
	if s.want != nil && !bytes.Equal(s.data, s.want) {
		t.Errorf("bio %d read other bytes than the model", i)
	}
}
