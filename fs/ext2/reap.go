package ext2

import (
	"fmt"
	"sync"
)

// reaper deletes inodes without names when their last user lets go of them.
type reaper struct {
	mu   sync.Mutex
	idle sync.Cond
	busy int
}

func (r *reaper) init() { r.idle.L = &r.mu }

func (r *reaper) add(n int) {
	r.mu.Lock()
	r.busy += n
	if r.busy == 0 {
		r.idle.Broadcast()
	}
	r.mu.Unlock()
}

// wait returns when no deletion is under way: what they free is then on its way, too.
func (r *reaper) wait() {
	r.mu.Lock()
	for r.busy > 0 {
		r.idle.Wait()
	}
	r.mu.Unlock()
}

// reap deletes an inode that has no name left. The caller holds its last reference.
func (fs *FS) reap(in *Inode) {
	fs.reaper.add(1)
	defer fs.reaper.add(-1)
	if err := in.delete(); err != nil && !fs.readOnly.Load() {
		fs.log.Error(fmt.Sprintf("deleting inode %d: %v; e2fsck will free it", in.ino, err), "inode", in.ino)
	}
}

// reapAll deletes what is left on the orphan list when the file system is closed: files
// that were unlinked and are in use no more.
func (fs *FS) reapAll() {
	fs.reaper.wait()
	for _, ino := range fs.orphans.all() {
		in := fs.inodes.find(ino)
		if in == nil {
			continue
		}
		in.mu.RLock()
		gone := in.raw.Links == 0
		in.mu.RUnlock()
		if gone {
			fs.reap(in)
		}
	}
}
