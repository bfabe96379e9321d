//go:build linux

package ext2

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// fsckInPlace lets e2fsck change an image in memory.
func fsckInPlace(t testing.TB, m *blockiotest.Mem, args ...string) (code int, out string) {
	t.Helper()
	img := filepath.Join(t.TempDir(), "img")
	if err := os.WriteFile(img, m.Bytes(0, m.Size()), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := exec.Command("e2fsck", append(args, img)...).CombinedOutput()
	if exit, ok := err.(*exec.ExitError); ok {
		code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	blockiotest.Apply(m, blockiotest.Event{Op: blockio.Write, Len: int64(len(data)), Data: data})
	return code, string(b)
}

// kernelUses has the kernel's ext3 driver mount an image, which replays the journal that
// needs it, and unmounts it again.
func kernelUses(t testing.TB, img string, use func(dir string)) {
	t.Helper()
	dir := ext2test.KernelMountAs(t, "ext3", img)
	use(dir)
	ext2test.Unmount(t, dir)
}

// powerCut is the image as the power may leave it at event n of the log: what was synced
// is there; of what was written since, each sector of 512 bytes is there or not. keep is
// how probable it is for one write to be there at all; some of those are torn.
func powerCut(dev *blockiotest.Recorder, log []blockiotest.Event, n int, rnd *rand.Rand, keep float64) *blockiotest.Mem {
	m := dev.Base().Clone()
	durable, atRisk := blockiotest.AtRisk(log[:n])
	blockiotest.Apply(m, durable...)
	for _, e := range atRisk {
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
