package ext2

import (
	"context"
	"errors"
	"time"

	"github.com/ext2fuse/ext2fuse/cache"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// errRetry ends an operation that found no room while releases were pending: the
// operation undid what it did, and runs again after a checkpoint.
var errRetry = errors.New("no room before the next checkpoint")

// update runs a changing operation, f, which dirties at most credits blocks. It may run
// f several times: f has undone everything when it returns errRetry. The end of ctx is seen
// between operations and while it waits, never in the midst of f.
func (fs *FS) update(ctx context.Context, credits int, f func() error) error {
	for try := 0; ; try++ {
		if err := fs.begin(ctx, credits); err != nil {
			return err
		}
		err := f()
		fs.ckpt.End(credits)
		switch {
		case errors.Is(err, errRetry):
		case errors.Is(err, ErrNoSpace) && try == 0 && fs.orphans.any():
		default:
			return err
		}
		if try == 2 {
			return ErrNoSpace
		}
		if err := fs.settle(ctx); err != nil {
			return err
		}
	}
}

// begin opens an operation if the file system takes any.
func (fs *FS) begin(ctx context.Context, credits int) error {
	if fs.readOnly.Load() {
		return ErrReadOnly
	}
	switch err := fs.ckpt.Begin(ctx, credits); {
	case err == nil:
		return nil
	case isEnd(ctx, err):
		return err
	}
	return ErrReadOnly
}

// Sync returns when everything changed before the call is durable. When ctx ends before
// that it waits no longer; what it has started goes on. Once changes could not be written,
// asked for or not, it fails each time: nothing can be made durable any more.
func (fs *FS) Sync(ctx context.Context) error {
	if err := fs.commit(ctx); err != nil {
		return stopped(ctx, err, "syncing the file system")
	}
	return nil
}

// commit is Sync for callers that say themselves what was under way.
func (fs *FS) commit(ctx context.Context) error {
	if fs.ckpt == nil {
		return ctx.Err()
	}
	return fs.ckpt.Commit(ctx)
}

// now is the time to put into inodes: whole seconds where an inode has no room for more.
func (fs *FS) now() disk.Timespec {
	t := time.Now()
	ts := disk.Timespec{Sec: t.Unix(), Nsec: uint32(t.Nanosecond())}
	if fs.sb.InodeSize() == disk.GoodOldInodeSize {
		ts.Nsec = 0
	}
	return ts
}

// alter is update for an operation, f, on one inode. It runs with the inode's lock held and
// its place in the inode table pinned.
func (in *Inode) alter(ctx context.Context, credits int, f func() error) error {
	return in.fs.update(ctx, credits, func() error {
		in.mu.Lock()
		defer in.mu.Unlock()
		var p places
		defer p.release()
		if err := p.pin(in); err != nil {
			return err
		}
		return f()
	})
}

// places are inodes' places in the inode table, and blocks of directories, pinned. An operation
// pins what it will write before it changes anything: a read that fails when half of the
// changes are made would leave the half.
type places struct {
	bufs [8]*cache.Buffer // two directories that change places pin so many
	n    int
}

func (p *places) pin(inodes ...*Inode) error {
	for _, in := range inodes {
		if in == nil {
			continue
		}
		buf, _, err := in.fs.inodeBuffer(in.ino)
		if err != nil {
			return err
		}
		p.add(buf)
	}
	return nil
}

func (p *places) add(buf *cache.Buffer) {
	p.bufs[p.n] = buf
	p.n++
}

func (p *places) release() {
	for _, buf := range p.bufs[:p.n] {
		buf.Release()
	}
	p.n = 0
}

// flushLocked puts the inode into its inode table buffer. Every operation that changed
// an inode ends with it. The inode's lock is held, exclusively.
func (in *Inode) flushLocked() error {
	buf, off, err := in.fs.inodeBuffer(in.ino)
	if err != nil {
		return err
	}
	defer buf.Release()
	if in.orphan.Load() {
		in.fs.orphans.encodeLocked(in, buf, off)
		return nil
	}
	modify(buf, func(b []byte) { in.raw.Encode(b[off:], in.fs.sb) })
	return nil
}

// OnWait sets what is called, by the goroutine concerned, before an operation waits for
// a checkpoint. A server that handles requests in the goroutine that took them learns
// from it when somebody else must take the next. It must not wait itself.
func (fs *FS) OnWait(tell func()) { fs.tellWait.Store(&tell) }

func (fs *FS) waiting() {
	if tell := fs.tellWait.Load(); tell != nil {
		(*tell)()
	}
}

// TimeUnit is the unit of the times in inodes, in nanoseconds: a second where an inode has
// no room for more.
func (fs *FS) TimeUnit() time.Duration {
	if fs.sb.InodeSize() == disk.GoodOldInodeSize {
		return time.Second
	}
	return time.Nanosecond
}
