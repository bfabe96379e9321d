package ext2

import (
	"context"
	"time"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// AtimePolicy says when reading something changes its time of last access.
type AtimePolicy uint8

// The policies, named after the mount options.
const (
	Relatime    AtimePolicy = iota // when it is not behind the last change, or a day old
	NoAtime                        // never
	StrictAtime                    // always
)

// accessed notes that the inode was read. It is called without the inode's lock.
func (in *Inode) accessed() {
	fs := in.fs
	if fs.readOnly.Load() || fs.opts.Atime == NoAtime || fs.opts.NoDirAtime && in.IsDir() {
		return
	}
	in.mu.RLock()
	due := in.atimeDueLocked(time.Now())
	in.mu.RUnlock()
	if !due {
		return
	}
	// A failure is no reason to fail the read.
	_ = in.alter(context.Background(), 1, func() error {
		if in.raw.Links == 0 && in.IsDir() {
			return nil
		}
		in.raw.Atime = fs.now()
		return in.flushLocked()
	})
}

func (in *Inode) atimeDueLocked(now time.Time) bool {
	raw := &in.raw
	switch {
	case raw.Flags&disk.InodeNoAtime != 0:
		return false
	case in.fs.opts.Atime == StrictAtime:
		return true
	}
	const day = 24 * 60 * 60
	return !raw.Atime.After(raw.Mtime) || !raw.Atime.After(raw.Ctime) || now.Unix()-raw.Atime.Sec >= day
}
