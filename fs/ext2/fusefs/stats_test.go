//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs

import (
	"testing"
	"time"
)

// What is counted of a message, and what it costs to count it.
func TestMetrics(t *testing.T) {
	var m metrics
	read := make(request, headerSize+40)
	read[4] = opRead
	read[headerSize+17] = 0x10 // 4096 bytes
	for i := range 10 {
		m.record(read, i == 3, time.Now().Add(-time.Millisecond))
	}
	unknown := make(request, headerSize)
	unknown[4], unknown[5] = 0xFF, 0xFF
	m.record(unknown, false, time.Now())
	o := &m.ops[opRead]
	l := latency(o.latency.Summary())
	if n := o.latency.Summary().Count; n != 10 || o.errors.Load() != 1 || l.P50 < 800 || l.P50 > 1e6 {
		t.Errorf("%d reads, %d errors, %+v", n, o.errors.Load(), l)
	}
	if s := sizes(m.reads.Summary()); s.Count != 10 || s.Bytes != 40960 || s.P50 != 4096 || s.Max != 4096 {
		t.Errorf("%+v", s)
	}
}

func BenchmarkMetrics(b *testing.B) {
	var m metrics
	r := make(request, headerSize+40)
	r[4] = opGetAttr
	for b.Loop() {
		m.record(r, false, time.Now())
	}
}
