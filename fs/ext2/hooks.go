package ext2

import (
	"time"

	"github.com/ext2fuse/ext2fuse/cache"
)

// Hooks are what tests put in the place of the real thing. Who mounts to use a file system
// has no need of them.
type Hooks struct {
	After    func(time.Duration, func())     // instead of time.AfterFunc, for background checkpoints
	Wrap     func(cache.Writer) cache.Writer // comes between the checkpoint and its writer
	MaxDirty int                             // blocks that one epoch may dirty; 0 is the usual
}

// WithHooks is o with hooks, for tests of other packages.
func (o Options) WithHooks(h Hooks) Options {
	o.testing = h
	return o
}

// Quiesce returns when no checkpoint that was asked for is under way: with timers in the
// hands of a test, nothing happens on the device until the next call.
func (fs *FS) Quiesce() {
	if fs.ckpt != nil {
		fs.ckpt.Quiesce()
	}
}
