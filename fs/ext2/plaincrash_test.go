//go:build linux

package ext2

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// TestPlainPrefixes lets the daemon die at moments spread over the log of writes of a
// mixed load in plain mode, where a checkpoint is many writes in place. What e2fsck -p
// makes of it is best effort: it is counted, and must not get worse. What must hold is
// that our own next mount takes the image and that files without names are no obstacle.
func TestPlainPrefixes(t *testing.T) {
	const moments = 40
	dev := blockiotest.NewRecorder(filledImage(t, ext2test.Options{Size: 4 << 20, BlockSize: 1024, Inodes: 256, InodeSize: 256}))
	var timers handTimers
	fs, err := New(dev, Options{Logger: quiet, testing: testHooks{after: timers.after}})
	if err != nil {
		t.Fatal(err)
	}
	m := newMixer(t, fs, seedOf(t, 5))
	mixWithSyncs(m, &timers, 600)
	if err := fs.Close(); err != nil {
		t.Fatal(err)
	}
	events := len(dev.Log())
	img := filepath.Join(t.TempDir(), "img")
	byExit := map[int]int{}
	mounted := 0
	for i := range moments {
		image := dev.ImageAt(events * (i + 1) / moments)
		if err := os.WriteFile(img, image.Bytes(0, image.Size()), 0o600); err != nil {
			t.Fatal(err)
		}
		code := 0
		if exit, ok := exec.Command("e2fsck", "-f", "-p", img).Run().(*exec.ExitError); ok {
			code = exit.ExitCode()
		}
		byExit[code]++
		again, err := New(image, Options{Logger: quiet})
		if err != nil {
			t.Errorf("moment %d: our own mount: %v", i, err)
			continue
		}
		mounted++
		if err := again.Close(); err != nil {
			t.Errorf("moment %d: unmounting: %v", i, err)
		}
	}
	manual := moments - byExit[0] - byExit[1]
	t.Logf("%d writes, %d moments: e2fsck -p exit codes %v, mounted again %d", events, moments, byExit, mounted)
	if manual > moments/2 {
		t.Errorf("%d of %d states need a person", manual, moments)
	}
}
