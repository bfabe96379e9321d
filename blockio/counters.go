package blockio

import (
	"sync/atomic"

	"github.com/ext2fuse/ext2fuse/histogram"
)

// Counters count what a device was asked to do, by operation and purpose. They are
// always on: one bio costs a few uncontended atomic additions. The zero value is
// ready for use.
type Counters struct {
	cells [numOps][numPurposes]counterCell
	sizes [numOps]histogram.Histogram // bytes of a request
}

type counterCell struct {
	requests, bytes, cold, errors atomic.Int64
}

// Count adds one completed request. A device calls it for what it carried out
// itself, not for what it passed on to the device below.
func (c *Counters) Count(op Op, what Purpose, bytes int64, cold, failed bool) {
	if op >= numOps {
		return
	}
	if what >= numPurposes {
		what = Unknown
	}
	cell := &c.cells[op][what]
	cell.requests.Add(1)
	c.sizes[op].Record(uint64(max(bytes, 0)))
	if bytes != 0 {
		cell.bytes.Add(bytes)
	}
	if cold {
		cell.cold.Add(1)
	}
	if failed {
		cell.errors.Add(1)
	}
}

// Sizes tells how many bytes the requests of one operation had.
func (c *Counters) Sizes(op Op) histogram.Summary { return c.sizes[op].Summary() }

// Snapshot reads the counters. Counts that arrive meanwhile may be in it or not.
func (c *Counters) Snapshot() Stats {
	var s Stats
	for op := range c.cells {
		for p := range c.cells[op] {
			cell := &c.cells[op][p]
			s[op][p] = Count{
				Requests: cell.requests.Load(),
				Bytes:    cell.bytes.Load(),
				Cold:     cell.cold.Load(),
				Errors:   cell.errors.Load(),
			}
		}
	}
	return s
}

// Stats is a snapshot of a device's counters by operation and purpose.
type Stats [numOps][numPurposes]Count

// Count is what was counted of one kind of request.
type Count struct {
	Requests int64 // requests carried out, failed ones included
	Bytes    int64 // bytes transferred
	Cold     int64 // reads the host's cache could not serve at once
	Errors   int64 // requests that failed
}

// PerRequest is the mean size of a request in bytes; 0 without requests.
func (c Count) PerRequest() float64 {
	if c.Requests == 0 {
		return 0
	}
	return float64(c.Bytes) / float64(c.Requests)
}

func (c *Count) add(d Count, sign int64) {
	c.Requests += sign * d.Requests
	c.Bytes += sign * d.Bytes
	c.Cold += sign * d.Cold
	c.Errors += sign * d.Errors
}

// For is the count of one operation for one purpose.
func (s *Stats) For(op Op, what Purpose) Count { return s[op][what] }

// Total is the count of one operation over all purposes.
func (s *Stats) Total(op Op) Count {
	var sum Count
	for _, c := range s[op] {
		sum.add(c, 1)
	}
	return sum
}

// Sub is what was counted since the earlier snapshot.
func (s Stats) Sub(earlier Stats) Stats {
	for op := range s {
		for p := range s[op] {
			s[op][p].add(earlier[op][p], -1)
		}
	}
	return s
}

// Unwrapper is a Device that passes its bios on to another one.
type Unwrapper interface {
	Unwrap() Device
}

// Counter is a Device that counts.
type Counter interface {
	Stats() Stats
	// Sizes tells how many bytes the requests of one operation had.
	Sizes(op Op) histogram.Summary
}

// StatsOf gives the counters of dev, or of the nearest device below it that
// counts; false if there is none.
func StatsOf(dev Device) (Stats, bool) {
	c := CounterOf(dev)
	if c == nil {
		return Stats{}, false
	}
	return c.Stats(), true
}

// CounterOf is dev, or the nearest device below it that counts; nil if there is none.
func CounterOf(dev Device) Counter {
	for dev != nil {
		if c, ok := dev.(Counter); ok {
			return c
		}
		u, ok := dev.(Unwrapper)
		if !ok {
			break
		}
		dev = u.Unwrap()
	}
	return nil
}
