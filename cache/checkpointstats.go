package cache

import (
	"sync/atomic"
	"time"

	"github.com/ext2fuse/ext2fuse/histogram"
)

// CheckpointStats are what a Checkpoint did so far. Times are in nanoseconds.
type CheckpointStats struct {
	Snapshots uint64            // epochs written
	Durable   uint64            // those of them that were made durable
	Blocks    uint64            // metadata blocks in them
	Stopped   histogram.Summary // how long operations were kept waiting for a snapshot
	Written   histogram.Summary // how long writing a snapshot took
	Last      time.Time         // when the last one was written; zero: none was
}

type checkpointStats struct {
	durable, blocks  atomic.Uint64
	stopped, written histogram.Histogram
	last             atomic.Int64 // nanoseconds since 1970
}

// wasStopped records that operations waited for a snapshot from begin until now.
func (s *checkpointStats) wasStopped(begin time.Time) { s.stopped.Record(uint64(time.Since(begin))) }

// wasWritten records that a snapshot was written from begin until now.
func (s *checkpointStats) wasWritten(snapshot *Snapshot, begin time.Time) {
	s.written.Record(uint64(time.Since(begin)))
	s.blocks.Add(uint64(len(snapshot.Blocks)))
	if snapshot.Durable {
		s.durable.Add(1)
	}
	s.last.Store(time.Now().UnixNano())
}

// Stats returns the counters.
func (k *Checkpoint) Stats() CheckpointStats {
	s := CheckpointStats{
		Durable: k.stats.durable.Load(), Blocks: k.stats.blocks.Load(),
		Stopped: k.stats.stopped.Summary(), Written: k.stats.written.Summary(),
	}
	s.Snapshots = s.Written.Count
	if ns := k.stats.last.Load(); ns != 0 {
		s.Last = time.Unix(0, ns)
	}
	return s
}
