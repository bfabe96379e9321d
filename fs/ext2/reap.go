package ext2

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// reaper deletes inodes without names when their last user lets go of them.
type reaper struct {
	mu   sync.Mutex
	idle sync.Cond
	busy int
	done chan struct{} // closed when a deletion ends; there is one where somebody waits
}

func (r *reaper) init() { r.idle.L = &r.mu }

// lateForget is how long somebody who needs room waits for the next deletion of a file
// that has no name. The last user lets go of most such files at once, but a FUSE kernel
// tells of that later, and behind other requests.
const lateForget = 20 * time.Millisecond

// settle returns when what was deleted before the call is free, as far as its last users
// said in time that they are, and the release durable. Not to be called in an operation.
func (fs *FS) settle(ctx context.Context) error {
	fs.waiting()
	for end := time.Now().Add(4 * lateForget); fs.orphans.any() && fs.reaper.next(ctx, lateForget) && time.Now().Before(end); {
	}
	fs.reaper.wait(ctx)
	return fs.commit(ctx)
}

// next waits for the end of a deletion; false if there was none in time.
func (r *reaper) next(ctx context.Context, limit time.Duration) bool {
	r.mu.Lock()
	if r.done == nil {
		r.done = make(chan struct{})
	}
	done := r.done
	r.mu.Unlock()
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	case <-ctx.Done():
		return false
	}
}

func (r *reaper) add(n int) {
	r.mu.Lock()
	r.busy += n
	if n < 0 && r.done != nil {
		close(r.done)
		r.done = nil
	}
	if r.busy == 0 {
		r.idle.Broadcast()
	}
	r.mu.Unlock()
}

// wait returns when no deletion is under way: what they free is then on its way, too. It
// returns, too, when ctx has ended.
func (r *reaper) wait(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() {
		r.mu.Lock()
		r.idle.Broadcast()
		r.mu.Unlock()
	})
	defer stop()
	r.mu.Lock()
	for r.busy > 0 && ctx.Err() == nil {
		r.idle.Wait()
	}
	r.mu.Unlock()
}

// reap deletes an inode that has no name left. The caller holds its last reference.
func (fs *FS) reap(in *Inode) {
	fs.reaper.add(1)
	defer fs.reaper.add(-1)
	if err := in.delete(context.Background()); err != nil && !fs.readOnly.Load() {
		fs.log.Error(fmt.Sprintf("deleting inode %d: %v; the end of the mount or e2fsck will free it", in.ino, err), "inode", in.ino)
	}
}

// reapAll works off what is left on the orphan list when the file system is closed: files
// that were unlinked and are in use no more, deletions and truncates that a failure interrupted.
// Those need not be in memory.
func (fs *FS) reapAll() {
	fs.reaper.wait(context.Background())
	for _, ino := range fs.orphans.all() {
		in, why := fs.inodes.find(ino), ""
		if in == nil {
			in, why = fs.readOrphan(ino)
		}
		if in == nil {
			fs.log.Error(fmt.Sprintf("an inode left over, %d, %s; e2fsck will free it", ino, why), "inode", ino)
			continue
		}
		in.mu.RLock()
		gone := in.raw.Links == 0
		in.mu.RUnlock()
		if gone {
			fs.reap(in)
		} else if err := in.finishTruncate(context.Background()); err != nil && !fs.readOnly.Load() {
			fs.log.Error(fmt.Sprintf("truncating inode %d: %v; e2fsck will end it", ino, err), "inode", ino)
		}
	}
}
