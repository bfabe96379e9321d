package disk

import (
	"math"
	"time"
)

// Timespec is a point in time as an inode holds it: whole seconds since 1970 and
// nanoseconds. On disk the seconds are 32 bits with a sign; inodes with an extra word
// per time add two bits of epoch (each 2^32 seconds, up to the year 2446) and 30 bits
// of nanoseconds. Nsec is what the image says, on a corrupt one up to 2^30-1.
type Timespec struct {
	Sec  int64
	Nsec uint32
}

// Time gives the time in UTC.
func (t Timespec) Time() time.Time { return time.Unix(t.Sec, int64(t.Nsec)).UTC() }

// decodeTime reads the time at offset off of an inode; its extra word at offset extra
// counts only if it lies before end.
func decodeTime(b []byte, off, extra, end int) Timespec {
	t := Timespec{Sec: int64(int32(le.Uint32(b[off:])))}
	if extra+4 <= end {
		x := le.Uint32(b[extra:])
		t.Sec += int64(x&3) << 32
		t.Nsec = x >> 2
	}
	return t
}

// encode is decodeTime's counterpart.
func (t Timespec) encode(b []byte, off, extra, end int) {
	low := int32(t.Sec)
	le.PutUint32(b[off:], uint32(low))
	if extra+4 <= end {
		epoch := uint32((t.Sec-int64(low))>>32) & 3
		le.PutUint32(b[extra:], epoch|t.Nsec<<2)
	}
}

// TimeRange gives the first and the last second that the file system's inodes can
// hold.
func (sb *Superblock) TimeRange() (first, last int64) {
	if sb.InodeSize() > GoodOldInodeSize {
		return math.MinInt32, math.MaxInt32 + 3<<32
	}
	return math.MinInt32, math.MaxInt32
}

// After tells whether t is later than u.
func (t Timespec) After(u Timespec) bool { return t.Sec > u.Sec || t.Sec == u.Sec && t.Nsec > u.Nsec }
