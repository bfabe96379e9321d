package fusefs

import "time"

// StatsXattr is the extended attribute of a mount's root directory by which a running
// server tells its Stats, as JSON. No listing shows it, and it is given to the one who
// serves the mount and to root only.
const StatsXattr = "ext2fuse.stats"

// Stats are what a server did since it was mounted, for people and, as JSON, for programs.
type Stats struct {
	Image      string `json:"image"`
	MountPoint string `json:"mount_point"`
	// What JSON cannot have of the two, all of it, where they are not UTF-8.
	ImageBytes      []byte          `json:"image_bytes,omitempty"`
	MountPointBytes []byte          `json:"mount_point_bytes,omitempty"`
	PID             int             `json:"pid"`
	ReadOnly        bool            `json:"read_only"`
	Uptime          float64         `json:"uptime_seconds"`
	Operations      []OperationStat `json:"operations"`    // those that occurred, by number
	ReadBytes       SizeStat        `json:"request_reads"` // READ messages of the kernel
	WriteBytes      SizeStat        `json:"request_writes"`
	Device          []DeviceStat    `json:"device"` // requests to the image
	Cache           CacheStat       `json:"cache"`
	Checkpoint      CheckpointStat  `json:"checkpoint"`
	Process         ProcessStat     `json:"process"`
}

// LatencyStat is how long something took, in microseconds.
type LatencyStat struct {
	Mean float64 `json:"mean_us"`
	P50  float64 `json:"p50_us"`
	P90  float64 `json:"p90_us"`
	P99  float64 `json:"p99_us"`
	Max  float64 `json:"max_us"`
}

// SizeStat is how many bytes something had.
type SizeStat struct {
	Count uint64 `json:"count"`
	Bytes uint64 `json:"bytes"`
	Mean  uint64 `json:"mean_bytes"`
	P50   uint64 `json:"p50_bytes"`
	P99   uint64 `json:"p99_bytes"`
	Max   uint64 `json:"max_bytes"`
}

// OperationStat is one kind of message of the kernel, from its arrival to the answer.
type OperationStat struct {
	Name   string `json:"name"` // as in linux/fuse.h
	Count  uint64 `json:"count"`
	Errors uint64 `json:"errors"` // answered with an error
	LatencyStat
}

// DeviceStat is one kind of request to the image.
type DeviceStat struct {
	Name string `json:"name"` // read, write, sync, discard
	SizeStat
	Cold   uint64            `json:"cold"`   // reads that the host's cache could not serve at once
	Errors uint64            `json:"errors"` // that failed
	For    map[string]uint64 `json:"for"`    // requests by purpose
}

// CacheStat is the cache of metadata blocks.
type CacheStat struct {
	Hits   uint64 `json:"hits"`
	Misses uint64 `json:"misses"`
	Bytes  int64  `json:"bytes"`
	Limit  int64  `json:"limit_bytes"`
	Dirty  int64  `json:"dirty_bytes"` // changed since the last checkpoint
}

// CheckpointStat is how changes of metadata went to the image.
type CheckpointStat struct {
	Count   uint64      `json:"count"`
	Durable uint64      `json:"durable"`
	Blocks  uint64      `json:"blocks"`
	Stopped LatencyStat `json:"stopped"` // operations, for a snapshot
	Written LatencyStat `json:"written"`
	Last    *time.Time  `json:"last,omitempty"`
}

// ProcessStat is what the server's process has of the host now. What the host does not
// tell is 0.
type ProcessStat struct {
	Goroutines   int   `json:"goroutines"`
	Threads      int   `json:"threads"`
	Descriptors  int   `json:"descriptors"`
	Resident     int64 `json:"resident_bytes"`
	ResidentMost int64 `json:"resident_most_bytes"` // since its start
	Live         int64 `json:"live_bytes"`          // of the heap, as the last garbage collection found it
}
