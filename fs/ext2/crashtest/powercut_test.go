//go:build linux

package crashtest

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
)

// sector is what a device writes or does not write as a whole, in bytes.
const sector = 512

// moment is when the power fails: n events of the log were submitted, cut says which of
// those that no sync has covered since are on the device. Cut 0 is all of them, which is
// also what is there when only the daemon dies; others stand for a random choice each.
type moment struct{ n, cut int }

func (m moment) String() string { return fmt.Sprintf("%d/%d", m.n, m.cut) }

// film is the log of a workload, and the image as of any moment of it.
type film struct {
	base *blockiotest.Mem
	log  []blockiotest.Event
	seed uint64

	// The reel: images as of the last moment asked for, as moments mostly come in order.
	at     int
	whole  *blockiotest.Mem // events before at
	synced *blockiotest.Mem // those of them that a sync made durable
	atRisk []risk           // the others
}

// risk is a change that a power cut may undo: event n of the log, or a part of it.
type risk struct {
	blockiotest.Event
	n int
}

func newFilm(r *blockiotest.Recorder, seed uint64) *film {
	f := &film{base: r.Base(), log: r.Log(), seed: seed}
	f.rewind()
	return f
}

func (f *film) rewind() {
	f.at, f.atRisk, f.whole, f.synced = 0, nil, f.base.Clone(), f.base.Clone()
}

// windTo brings the reel to n events.
func (f *film) windTo(n int) {
	if n < f.at {
		f.rewind()
	}
	for ; f.at < n; f.at++ {
		e := f.log[f.at]
		blockiotest.Apply(f.whole, e)
		if e.Op != blockio.Sync {
			f.atRisk = append(f.atRisk, risk{e, f.at})
			continue
		}
		var left []risk
		for _, r := range f.atRisk {
			durable, rest := r.Divide(e)
			blockiotest.Apply(f.synced, durable...)
			for _, part := range rest {
				left = append(left, risk{part, r.n})
			}
		}
		f.atRisk = left
	}
}

// open is how many events of the first n may be lost.
func (f *film) open(n int) int {
	f.windTo(n)
	return len(f.atRisk)
}

// image is the device at a moment. What of it was lost is told in lost, for messages.
func (f *film) image(m moment) (image *blockiotest.Mem, lost []string) {
	f.windTo(m.n)
	if m.cut == 0 {
		return f.whole.Clone(), nil
	}
	return f.develop(f.choice(m))
}

// choice says, for each event at risk, which of its sectors are there.
func (f *film) choice(m moment) [][]bool {
	f.windTo(m.n)
	rnd := rand.New(rand.NewPCG(f.seed, uint64(m.n)<<20|uint64(m.cut)))
	events := make([]blockiotest.Event, len(f.atRisk))
	for i, r := range f.atRisk {
		events[i] = r.Event
	}
	kept := make([][]bool, len(events))
	for i, e := range events {
		kept[i] = make([]bool, len(e.Split(sector)))
	}
	choose(rnd, events, kept)
	return kept
}

// choose makes one of the choices that a device may make.
func choose(rnd *rand.Rand, events []blockiotest.Event, kept [][]bool) {
	set := func(i int, v bool) {
		for j := range kept[i] {
			kept[i][j] = v
		}
	}
	all := func(f func(i int) bool) {
		for i := range kept {
			set(i, f(i))
		}
	}
	one := rnd.IntN(len(events))
	switch rnd.IntN(10) {
	case 0: // one is missing
		all(func(i int) bool { return i != one })
	case 1: // one alone
		all(func(i int) bool { return i == one })
	case 2: // the later ones overtook the earlier
		all(func(i int) bool { return i >= one })
	case 3: // one kind is missing, or alone: journal, content, …
		kind, missing := events[one].For, rnd.IntN(2) == 0
		all(func(i int) bool { return (events[i].For == kind) != missing })
	case 4: // one is torn, the others are there
		all(func(int) bool { return true })
		tear(rnd, kept[one])
	case 5: // all before one are there, it is torn, none behind it
		all(func(i int) bool { return i < one })
		tear(rnd, kept[one])
	case 6, 7: // whole writes at random
		p := []float64{0.1, 0.5, 0.9}[rnd.IntN(3)]
		all(func(int) bool { return rnd.Float64() < p })
	default: // sectors at random
		p := []float64{0.1, 0.5, 0.9, 0.99}[rnd.IntN(4)]
		for i := range kept {
			for j := range kept[i] {
				kept[i][j] = rnd.Float64() < p
			}
		}
	}
}

// tear keeps the first sectors, or the last, or any.
func tear(rnd *rand.Rand, kept []bool) {
	k, how := rnd.IntN(len(kept)+1), rnd.IntN(3)
	for j := range kept {
		switch how {
		case 0:
			kept[j] = j < k
		case 1:
			kept[j] = j >= k
		default:
			kept[j] = rnd.IntN(2) == 0
		}
	}
}

// develop makes the image that a choice leaves.
func (f *film) develop(kept [][]bool) (image *blockiotest.Mem, lost []string) {
	image = f.synced.Clone()
	for i, sectors := range kept {
		e := f.atRisk[i]
		n := count(sectors)
		switch {
		case n == len(sectors):
			blockiotest.Apply(image, e.Event)
			continue
		case n > 0:
			for j, piece := range e.Split(sector) {
				if sectors[j] {
					blockiotest.Apply(image, piece)
				}
			}
		}
		lost = append(lost, fmt.Sprintf("%d %s %s at %d+%d: %s", e.n, e.Op, e.For, e.Off, e.Len, lostPart(sectors, n)))
	}
	return image, lost
}

func count(sectors []bool) (n int) {
	for _, k := range sectors {
		if k {
			n++
		}
	}
	return n
}

// lostPart tells which sectors of a write are missing.
func lostPart(sectors []bool, n int) string {
	if n == 0 {
		return "all"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d sectors:", len(sectors)-n, len(sectors))
	for j, k := range sectors {
		if !k && b.Len() < 60 {
			fmt.Fprintf(&b, " %d", j)
		}
	}
	return b.String()
}

// least finds, by putting back what was lost one write at a time, a choice that loses as
// little as possible and still fails.
func (f *film) least(m moment, fails func(image *blockiotest.Mem) bool) (lost []string) {
	kept := f.choice(m)
	for i := range kept {
		if count(kept[i]) == len(kept[i]) {
			continue
		}
		was := kept[i]
		kept[i] = make([]bool, len(was))
		for j := range kept[i] {
			kept[i][j] = true
		}
		if image, _ := f.develop(kept); !fails(image) {
			kept[i] = was
		}
	}
	_, lost = f.develop(kept)
	return lost
}
