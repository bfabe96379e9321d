package blockio

import (
	"cmp"
	"slices"
	"sync"
)

// Bounds of what a Plug merges into one bio.
const (
	MergeBytes = 4 << 20 // bytes
	MergeVecs  = 1024    // vectors: what the kernel takes in one call (IOV_MAX)
)

// Plug gathers bios and sends them out sorted and merged: bios of one kind that are
// adjacent on the device become one. Every bio still completes by itself: of a
// merged bio that fails, what was not transferred is tried again one by one, so that
// merging makes no bio fail that would not have failed alone. Durable writes are the
// exception: all of a merged one fail, and none is tried again, as a host tells once, and
// only once, that it could not write something, and then takes it for written.
//
// The order of Add holds where it matters: a bio that touches the range of an
// earlier one, one of the two being a write or discard, is carried out after it; a
// Sync is carried out after all bios added before it and before all added after it.
// Other bios are carried out in device order.
//
// A Plug belongs to one goroutine. Done functions must not use the plug they are
// called from.
type Plug struct {
	dev    Device
	queue  []*Bio
	sorted []span
	out    []*Bio // what goes to the device
	merged []*merged
	used   int    // of merged
	again  []*Bio // parts of failed merged bios
}

// span is a queued bio with where it ends.
type span struct {
	bio *Bio
	end int64
}

// merged is one bio made of several.
type merged struct {
	Bio
	plug  *Plug
	parts []span
	vecs  [][]byte
}

var plugs = sync.Pool{New: func() any { return new(Plug) }}

// NewPlug returns an empty plug for dev. Release gives its memory to a later one.
func NewPlug(dev Device) *Plug {
	p := plugs.Get().(*Plug)
	p.dev = dev
	return p
}

// Add queues bios. They are not touched before Flush.
func (p *Plug) Add(bios ...*Bio) { p.queue = append(p.queue, bios...) }

// Len is the number of bios queued.
func (p *Plug) Len() int { return len(p.queue) }

// Flush carries out what is queued and returns when all of it is complete.
func (p *Plug) Flush() {
	rest := p.queue
	for len(rest) > 0 {
		n := slices.IndexFunc(rest, func(b *Bio) bool { return b.Op == Sync })
		if n < 0 {
			p.run(rest)
			break
		}
		p.run(rest[:n])
		p.dev.Submit(rest[n : n+1]...)
		rest = rest[n+1:]
	}
	clear(p.queue)
	p.queue = p.queue[:0]
}

// Release ends the use of the plug. Nothing may be queued.
func (p *Plug) Release() {
	if len(p.queue) > 0 {
		panic("blockio: a plug was released with bios queued")
	}
	if cap(p.queue) > maxKept || len(p.merged) > maxKept {
		return
	}
	p.dev = nil
	plugs.Put(p)
}

// run carries out bios that no Sync stands between. Where some are in each other's
// way, the halves of the queue are carried out one after the other.
func (p *Plug) run(queue []*Bio) {
	if len(queue) < 2 {
		p.dev.Submit(queue...)
		return
	}
	p.sorted = p.sorted[:0]
	for _, b := range queue {
		p.sorted = append(p.sorted, span{b, b.Off + b.Bytes()})
	}
	slices.SortStableFunc(p.sorted, func(a, b span) int { return cmp.Compare(a.bio.Off, b.bio.Off) })
	if conflict(p.sorted) {
		half := len(queue) / 2
		p.run(queue[:half])
		p.run(queue[half:])
		return
	}
	p.merge()
	p.dev.Submit(p.out...)
	clear(p.out)
	p.out = p.out[:0]
	p.recycle()
	if len(p.again) > 0 {
		p.dev.Submit(p.again...)
		clear(p.again)
		p.again = p.again[:0]
	}
}

// conflict tells whether bios sorted by offset overlap, one of them changing
// the device.
func conflict(sorted []span) bool {
	var touched, changed int64 // how far the bios before reach
	for _, s := range sorted {
		if s.bio.Op == Read {
			if s.bio.Off < changed {
				return true
			}
		} else {
			if s.bio.Off < touched {
				return true
			}
			changed = max(changed, s.end)
		}
		touched = max(touched, s.end)
	}
	return false
}

// merge fills out from sorted.
func (p *Plug) merge() {
	size := p.dev.Size()
	for i := 0; i < len(p.sorted); {
		n, vecs, bytes := 1, len(p.sorted[i].bio.Vecs), p.sorted[i].end-p.sorted[i].bio.Off
		for ; i+n < len(p.sorted); n++ {
			last, next := p.sorted[i+n-1], p.sorted[i+n]
			vecs += len(next.bio.Vecs)
			bytes += next.end - next.bio.Off
			if next.bio.Op != last.bio.Op || next.bio.Durable != last.bio.Durable || next.bio.Off != last.end || next.end > size || last.bio.Off < 0 ||
				vecs > MergeVecs || bytes > MergeBytes && next.bio.Op != Discard {
				break
			}
		}
		if n == 1 {
			p.out = append(p.out, p.sorted[i].bio)
		} else {
			p.out = append(p.out, &p.join(p.sorted[i:i+n]).Bio)
		}
		i += n
	}
}

// join makes one bio of adjacent ones.
func (p *Plug) join(parts []span) *merged {
	if p.used == len(p.merged) {
		m := &merged{plug: p}
		m.Done = func(*Bio) { m.complete() }
		p.merged = append(p.merged, m)
	}
	m := p.merged[p.used]
	p.used++
	m.parts = append(m.parts[:0], parts...)
	m.vecs = m.vecs[:0]
	first := parts[0].bio
	m.Op, m.For, m.Off, m.Durable = first.Op, first.For, first.Off, first.Durable
	m.Len = parts[len(parts)-1].end - first.Off
	for _, s := range parts {
		m.vecs = append(m.vecs, s.bio.Vecs...)
		if s.bio.For != m.For {
			m.For = Mixed
		}
	}
	m.Vecs = m.vecs
	return m
}

// complete hands the result on to the parts.
func (m *merged) complete() {
	for _, s := range m.parts {
		if m.Err != nil && m.Durable {
			s.bio.Complete(0, m.Err)
			continue
		}
		if m.Err != nil && s.end > m.Off+m.N {
			m.plug.again = append(m.plug.again, s.bio)
			continue
		}
		s.bio.Cold = m.Cold
		s.bio.Complete(s.end-s.bio.Off, nil)
	}
}

// recycle drops the merged bios' references.
func (p *Plug) recycle() {
	for _, m := range p.merged[:p.used] {
		clear(m.parts)
		clear(m.vecs)
		m.Vecs, m.Err = nil, nil
	}
	p.used = 0
	clear(p.sorted)
}
