//go:build linux

package ext2

import (
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// powerCut is the image as the power may leave it at event n of the log: what was synced
// is there; of what was written since, each sector of 512 bytes is there or not. keep is
// how probable it is for one write to be there at all; some of those are torn.
func powerCut(dev *blockiotest.Recorder, log []blockiotest.Event, n int, rnd *rand.Rand, keep float64) *blockiotest.Mem {
	synced := 0
	for i := range n {
		if log[i].Op == blockio.Sync {
			synced = i + 1
		}
	}
	m := dev.Base().Clone()
	blockiotest.Apply(m, log[:synced]...)
	for _, e := range log[synced:n] {
		switch {
		case rnd.Float64() > keep:
		case rnd.IntN(4) > 0:
			blockiotest.Apply(m, e)
		default:
			for _, piece := range e.Split(512) {
				if rnd.Float64() < keep {
					blockiotest.Apply(m, piece)
				}
			}
		}
	}
	return m
}

// TestPowerCuts carries out random operations on images with a journal, own and borrowed.
// Wherever the power fails, whatever subset of the writes since the last sync arrived,
// e2fsck -p recovers by itself, and so do we; nothing is found amiss afterwards, and no file
// shows a byte that was not written to it.
func TestPowerCuts(t *testing.T) {
	for _, c := range []struct {
		name    string
		o       ext2test.Options
		workers int
		steps   int
	}{
		{"1k-lent", ext2test.Options{Size: 8 << 20, BlockSize: 1024, Inodes: 256, InodeSize: 256}, 1, 600},
		{"1k-lent-parallel", ext2test.Options{Size: 8 << 20, BlockSize: 1024, Inodes: 256, InodeSize: 128}, 3, 600},
		{"4k-lent", ext2test.Options{Size: 24 << 20, BlockSize: 4096, Inodes: 256, InodeSize: 256}, 1, 400},
		{"1k-ext3", ext2test.Options{Size: 8 << 20, BlockSize: 1024, Inodes: 256, InodeSize: 256, Type: "ext3"}, 1, 600},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dev := blockiotest.NewRecorder(filledImage(t, c.o))
			var timers handTimers
			fs, err := New(dev, Options{Logger: quiet, testing: testHooks{after: timers.after}})
			if err != nil {
				t.Fatal(err)
			}
			if !fs.journaled() {
				t.Fatal("there is no journal")
			}
			seed := seedOf(t, uint64(len(c.name)))
			var wg sync.WaitGroup
			for worker := range c.workers {
				wg.Go(func() { mixWithSyncs(newMixer(t, fs, seed+uint64(worker)), &timers, c.steps/c.workers) })
			}
			wg.Wait()
			if err := fs.Close(); err != nil {
				t.Fatal(err)
			}
			judgePowerCuts(t, dev, rand.New(rand.NewPCG(seed, 1)), powerCutStates)
		})
	}
}

// powerCutStates is how many states of each load are judged.
const powerCutStates = 30

func judgePowerCuts(t *testing.T, dev *blockiotest.Recorder, rnd *rand.Rand, states int) {
	t.Helper()
	log := dev.Log()
	dir := t.TempDir()
	bad := 0
	for i := range states {
		n, keep := rnd.IntN(len(log)+1), []float64{0.05, 0.5, 0.9, 1}[rnd.IntN(4)]
		m := powerCut(dev, log, n, rnd, keep)
		ours := m.Clone()
		sb := superOf(t, m)
		lending := sb.State&disk.StateValid == 0 && !sb.HasCompat(disk.CompatHasJournal)
		if code, out := fsckInPlace(t, m, "-p"); code > 1 {
			t.Errorf("state %d: %d of %d events, %v kept: e2fsck -p exits with %d\n%s", i, n, len(log), keep, code, out)
		} else if complaints := judge(t, dir, m); complaints != "" {
			t.Errorf("state %d: %d of %d events, %v kept: after e2fsck -p:\n%s\n%s", i, n, len(log), keep, out, complaints)
		}
		if lending {
			continue // an ext2 file system that was not cleanly unmounted: for e2fsck
		}
		fs, err := New(ours, Options{Logger: quiet})
		if err == nil {
			err = fs.Close()
		}
		if err != nil {
			t.Errorf("state %d: our own recovery: %v", i, err)
		}
		if complaints := judge(t, dir, ours); complaints != "" {
			t.Errorf("state %d: %d of %d events, %v kept: after our own recovery:\n%s", i, n, len(log), keep, complaints)
		}
		if t.Failed() {
			if bad++; bad > 3 {
				return
			}
		}
	}
}
