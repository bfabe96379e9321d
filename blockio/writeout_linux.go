package blockio

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A host writes what its cache has dirty after many seconds, or when asked to sync. Then
// who wrote hundreds of megabytes waits for all of them, while neither the disk nor the
// other processor had anything to do before. So once a stream of large writes has left
// writeOutAfter bytes behind, the host is asked to begin.
const (
	writeOutAfter = 16 << 20  // bytes
	largeWrite    = 256 << 10 // bytes; smaller ones are files that may not live long
)

// writeOut has the host begin to write what it caches.
type writeOut struct {
	dirty atomic.Int64 // bytes of large writes since the host last began, or synced
	busy  atomic.Bool
	wg    sync.WaitGroup
}

// wrote takes note of a write of n bytes.
func (w *writeOut) wrote(f *File, n int64) {
	if n < largeWrite || w.dirty.Add(n) < writeOutAfter || !w.busy.CompareAndSwap(false, true) {
		return
	}
	w.dirty.Store(0)
	w.wg.Add(1)
	go func() {
		defer w.wg.Done()
		// A host that cannot do it will write at the next sync.
		_ = unix.SyncFileRange(f.number(), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
		w.busy.Store(false)
	}()
}

// synced is told that everything written before is about to be written anyway.
func (w *writeOut) synced() { w.dirty.Store(0) }

// wait returns when no request of the host is under way. Nobody writes any more.
func (w *writeOut) wait() { w.wg.Wait() }
