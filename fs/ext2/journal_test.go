package ext2

import (
	"bytes"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

var lent = ext2test.Options{Size: 8 << 20, BlockSize: 1024, Inodes: 256, InodeSize: 256}

// TestBorrowedJournal: while mounted, the image is an ext3 one whose journal e2fsck
// replays; unmounted, it is what it was.
func TestBorrowedJournal(t *testing.T) {
	m := loadImage(t, lent)
	before := superOf(t, m)
	mounted := useOnce(t, m, Options{})
	sb := superOf(t, mounted)
	if !sb.HasCompat(disk.CompatHasJournal) || !sb.HasIncompat(disk.IncompatRecover) || sb.State&disk.StateValid == 0 {
		t.Errorf("mounted: compat %#x, incompat %#x, state %#x", sb.FeatureCompat, sb.FeatureIncompat, sb.State)
	}
	if code, out := fsck(t, mounted, "-p"); code > 1 {
		t.Errorf("e2fsck -p of the mounted image: %d\n%s", code, out)
	}
	after := superOf(t, m)
	if after.FeatureCompat != before.FeatureCompat || after.FeatureIncompat != before.FeatureIncompat || after.JournalInum != 0 || after.JnlBlocks != before.JnlBlocks {
		t.Errorf("unmounted: compat %#x, incompat %#x, s_journal_inum %d", after.FeatureCompat, after.FeatureIncompat, after.JournalInum)
	}
	if code, out := fsck(t, m, "-f", "-n"); code != 0 {
		t.Errorf("e2fsck: %d\n%s", code, out)
	}
}

// TestBorrowingAtEveryWrite: wherever a mount and unmount is cut off, e2fsck -p brings
// the image in order by itself.
func TestBorrowingAtEveryWrite(t *testing.T) {
	dev := blockiotest.NewRecorder(loadImage(t, lent))
	fs, err := New(dev, Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if err := fs.Close(); err != nil {
		t.Fatal(err)
	}
	var last []byte
	dev.Prefixes(func(n int, image *blockiotest.Mem) bool {
		now := image.Bytes(0, image.Size())
		if bytes.Equal(last, now) {
			return true
		}
		last = now
		m := image.Clone()
		code, out := fsckInPlace(t, m, "-p")
		if code > 1 {
			t.Errorf("after %d events: e2fsck -p: %d\n%s", n, code, out)
		}
		if code2, out2 := fsckInPlace(t, m, "-f", "-n"); code2 != 0 {
			t.Errorf("after %d events: e2fsck -f -n: %d\n%s\nwas: %d %s", n, code2, out2, code, out)
		}
		return true
	})
	t.Logf("%d events", len(dev.Log()))
}
