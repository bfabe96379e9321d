package ext2

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/cache"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/mpage"
)

// FS is an open file system. All methods may be called from several goroutines at
// once, Close excepted.
type FS struct {
	dev        blockio.Device
	opts       Options
	log        *slog.Logger
	superMu    sync.Mutex       // a leaf but for the buffers'; guards changes of sb
	sb         *disk.Superblock // as found at mount; never changed on a read-only mount
	blockSize  int
	blockBits  uint
	superGroup uint32 // group of the superblock that was used: 0 unless Options.Superblock
	groups     []group
	counts     counts // sums over the groups, computed at mount
	warnings   []string

	cache     *cache.Cache
	engine    *mpage.Engine
	inodes    inodeTable
	lastTable atomic.Uint64 // inode table block that was read last
	names     nameState
	funnel    errorFunnel
	policy    errorPolicy

	readAhead readAheadPool
	// Of a read-write mount.
	ckpt        *cache.Checkpoint
	superPin    *cache.Buffer
	journal     journal
	readOnly    atomic.Bool // nothing may change: mounted so, or turned so by an error
	stateFound  uint16      // s_state at mount, restored by a clean end
	space       space
	orphans     orphanList
	xattrBlocks xattrBlocks
	reaper      reaper
	renameMu    sync.Mutex // held by renames across directories, outside of everything else

	tellWait atomic.Pointer[func()] // see OnWait

	closeOnce sync.Once
}

// New opens the file system on dev. It takes ownership of dev when it succeeds, and
// leaves it open when it fails. Its cost does not depend on the size of the device
// beyond reading the group descriptors; what a journal or files left over from an unclean
// end hold comes on top. A journal that needs it is replayed unless o.NoLoad, which needs
// a device that can be written.
//
// ctx counts until New returns. When it ends before that, the image is as complete as
// it was found: what is left to do is left to the next mount.
func New(ctx context.Context, dev blockio.Device, o Options) (*FS, error) {
	fs := newFS(dev, o)
	if err := fs.mount(ctx); err != nil {
		return nil, stopped(ctx, err, "opening the file system")
	}
	return fs, nil
}

func newFS(dev blockio.Device, o Options) *FS {
	fs := &FS{dev: dev, opts: o, log: o.Logger}
	if fs.log == nil {
		fs.log = slog.Default()
	}
	return fs
}

// Superblock is a copy of the superblock in memory. On a read-only mount it is what was found
// on the device; on another its counts of free blocks and inodes are out of date, see Statfs.
func (fs *FS) Superblock() *disk.Superblock {
	fs.superMu.Lock()
	defer fs.superMu.Unlock()
	sb := *fs.sb
	return &sb
}

// Warnings are the findings of the mount that did not keep it from succeeding, one
// line each. They were logged, too.
func (fs *FS) Warnings() []string { return fs.warnings }

// BlockSize is the size of a block in bytes.
func (fs *FS) BlockSize() int { return fs.blockSize }

// ReadOnly tells whether writes are refused.
func (fs *FS) ReadOnly() bool { return fs.readOnly.Load() }

// Device is the device the file system is on, for its counters and its size.
func (fs *FS) Device() blockio.Device { return fs.dev }

// CacheStats are the counters of the metadata cache.
func (fs *FS) CacheStats() cache.Stats { return fs.cache.Stats() }

// CheckpointStats are the counters of the checkpoint; all zero on a read-only mount.
func (fs *FS) CheckpointStats() cache.CheckpointStats {
	if fs.ckpt == nil {
		return cache.CheckpointStats{}
	}
	return fs.ckpt.Stats()
}

// Close makes everything durable, ends the use of the file system and closes the device. The
// caller has finished all calls on it and its inodes before. The second time it gives
// ErrClosed.
//
// It takes no context: an end half-way would leave an image whose journal has to be
// replayed. Who wants to be able to give up calls Sync before; Close then has no more to wait
// for than what the journal holds.
func (fs *FS) Close() error {
	err := error(ErrClosed) // the second time
	fs.closeOnce.Do(func() {
		fs.readAhead.stop()
		err = nil
		if fs.ckpt != nil {
			err = fs.stopWriting()
		}
		err = errors.Join(err, fs.dev.Close())
	})
	return err
}
