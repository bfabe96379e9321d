//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs

import (
	"encoding/json"
	"os"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/fs/ext2"
	"github.com/ext2fuse/ext2fuse/histogram"
)

// metrics count the messages of a connection.
type metrics struct {
	begun  time.Time
	ops    [len(opNames)]opMetrics
	reads  histogram.Histogram // bytes asked for
	writes histogram.Histogram
}

type opMetrics struct {
	latency histogram.Histogram // nanoseconds
	errors  atomic.Uint64
}

// opNames are the messages, by number.
var opNames = [...]string{1: "LOOKUP", 2: "FORGET", 3: "GETATTR", 4: "SETATTR", 5: "READLINK", 6: "SYMLINK", 8: "MKNOD",
	9: "MKDIR", 10: "UNLINK", 11: "RMDIR", 12: "RENAME", 13: "LINK", 14: "OPEN", 15: "READ", 16: "WRITE", 17: "STATFS",
	18: "RELEASE", 20: "FSYNC", 21: "SETXATTR", 22: "GETXATTR", 23: "LISTXATTR", 24: "REMOVEXATTR", 25: "FLUSH", 26: "INIT",
	27: "OPENDIR", 28: "READDIR", 29: "RELEASEDIR", 30: "FSYNCDIR", 31: "GETLK", 32: "SETLK", 33: "SETLKW", 34: "ACCESS",
	35: "CREATE", 36: "INTERRUPT", 37: "BMAP", 38: "DESTROY", 39: "IOCTL", 40: "POLL", 41: "NOTIFY_REPLY", 42: "BATCH_FORGET",
	43: "FALLOCATE", 44: "READDIRPLUS", 45: "RENAME2", 46: "LSEEK", 47: "COPY_FILE_RANGE", 48: "SETUPMAPPING",
	49: "REMOVEMAPPING", 50: "SYNCFS", 51: "TMPFILE", 52: "STATX"}

// record counts a message that took from begin until now; failed says that
// its answer is an error.
func (m *metrics) record(r request, failed bool, begin time.Time) {
	op := r.opcode()
	if op >= uint32(len(m.ops)) {
		return
	}
	o := &m.ops[op]
	o.latency.Record(uint64(time.Since(begin)))
	switch op {
	case opRead:
		m.reads.Record(uint64(r.data()))
	case opWrite: // fuse_write_in.size
		m.writes.Record(uint64(r.u32(16)))
	}
	if failed {
		o.errors.Add(1)
	}
}

func latency(s histogram.Summary) LatencyStat {
	us := func(ns uint64) float64 { return float64(ns/10) / 100 }
	return LatencyStat{us(s.Mean()), us(s.P50), us(s.P90), us(s.P99), us(s.Max)}
}

func sizes(s histogram.Summary) SizeStat {
	return SizeStat{s.Count, s.Sum, s.Mean(), s.P50, s.P99, s.Max}
}

// stats reads all counters.
func (m *metrics) stats(fs *ext2.FS, dir string) *Stats {
	s := &Stats{
		Image: blockio.NameOf(fs.Device()), MountPoint: dir, PID: os.Getpid(), ReadOnly: fs.ReadOnly(),
		Uptime:    float64(time.Since(m.begun).Milliseconds()) / 1000,
		ReadBytes: sizes(m.reads.Summary()), WriteBytes: sizes(m.writes.Summary()),
	}
	if !utf8.ValidString(s.Image) {
		s.ImageBytes = []byte(s.Image)
	}
	if !utf8.ValidString(s.MountPoint) {
		s.MountPointBytes = []byte(s.MountPoint)
	}
	for i := range m.ops {
		if l := m.ops[i].latency.Summary(); l.Count > 0 {
			s.Operations = append(s.Operations, OperationStat{opNames[i], l.Count, m.ops[i].errors.Load(), latency(l)})
		}
	}
	if c := blockio.CounterOf(fs.Device()); c != nil {
		counts := c.Stats()
		for op := blockio.Read; op <= blockio.Discard; op++ {
			total := counts.Total(op)
			if total.Requests == 0 {
				continue
			}
			d := DeviceStat{Name: op.String(), SizeStat: sizes(c.Sizes(op)), Cold: uint64(total.Cold), Errors: uint64(total.Errors), For: map[string]uint64{}}
			for p := blockio.Unknown; p <= blockio.Mixed; p++ {
				if n := counts.For(op, p).Requests; n > 0 {
					d.For[p.String()] = uint64(n)
				}
			}
			s.Device = append(s.Device, d)
		}
	}
	c := fs.CacheStats()
	s.Cache = CacheStat{c.Hits, c.Misses, c.Bytes, c.Limit, c.Dirty}
	k := fs.CheckpointStats()
	s.Checkpoint = CheckpointStat{k.Snapshots, k.Durable, k.Blocks, latency(k.Stopped), latency(k.Written), nil}
	if !k.Last.IsZero() {
		s.Checkpoint.Last = &k.Last
	}
	s.Process = processStat()
	return s
}

// Stats are what the server did so far.
func (s *Server) Stats() *Stats { return s.conn.metrics.stats(s.fs, s.dir) }

// statsXattr is the value of StatsXattr for who asks.
func (a *Adapter) statsXattr(header *fuse.InHeader) ([]byte, fuse.Status) {
	if header.Uid != 0 && header.Uid != uint32(os.Geteuid()) {
		return nil, fuse.EPERM
	}
	b, err := json.Marshal(a.stats())
	if err != nil {
		return nil, fuse.EIO
	}
	return b, fuse.OK
}
