// Package testhook lets tests of other packages put something in the place of what package
// ext2 does by itself, without that being part of its interface.
package testhook

import (
	"time"

	"github.com/ext2fuse/ext2fuse/cache"
)

// Hooks are put in the place of the real thing where they are set.
type Hooks struct {
	After    func(time.Duration, func()) (stop func()) // instead of time.AfterFunc, for background checkpoints
	Wrap     func(cache.Writer) cache.Writer           // comes between the checkpoint and its writer
	MaxDirty int                                       // blocks that one epoch may dirty; 0 is the usual
}

// Package ext2 sets these, which cannot name its types.
var (
	// Set puts hooks into an *ext2.Options.
	Set func(options any, h Hooks)
	// Quiesce returns when no checkpoint that was asked for is under way in an *ext2.FS: with
	// timers in the hands of a test, nothing happens on the device until the next call.
	Quiesce func(fs any)
)
