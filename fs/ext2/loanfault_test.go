//go:build linux

package ext2

import (
	"context"
	"strings"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/fs/ext2/check"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// fragmentedLoan is an image whose borrowed journal lies in pieces, in several groups, with
// indirect blocks of two levels.
func fragmentedLoan(t *testing.T) *blockiotest.Mem {
	t.Helper()
	m := loadImage(t, ext2test.Options{Size: 12 << 20, BlockSize: 1024, Inodes: 256, Args: []string{"-g", "1024"}})
	fs := must(New(context.Background(), m.Clone(), Options{Logger: quiet}))(t)
	if n := len(fs.journal.loan.runs); n < 2 {
		t.Fatalf("the loan is in %d pieces", n)
	}
	used := fs.dev.(*blockiotest.Mem)
	root := must(fs.Root())(t)
	mustCreate(t, root, "file", disk.ModeReg).Put()
	root.Put()
	if err := fs.Close(); err != nil {
		t.Fatal(err)
	}
	return used.Clone()
}

// returned tells that an image is an ext2 one, whole.
func returned(t *testing.T, what string, m *blockiotest.Mem) {
	t.Helper()
	if sb := superOf(t, m); sb.HasCompat(disk.CompatHasJournal) || sb.HasIncompat(disk.IncompatRecover) || sb.JournalInum != 0 || sb.State&disk.StateValid == 0 {
		t.Errorf("%s: compat %#x, incompat %#x, s_journal_inum %d, state %#x", what, sb.FeatureCompat, sb.FeatureIncompat, sb.JournalInum, sb.State)
	}
	if code, out := fsck(t, m, "-f", "-n"); code != 0 {
		t.Errorf("%s: e2fsck -f -n: %d\n%s", what, code, out)
	}
}

// TestGiveBackWithoutReads: whichever read fails while a journal is given back, nothing is
// lost: the image is a clean ext3 one, and the next mount gives the journal back.
func TestGiveBackWithoutReads(t *testing.T) {
	image := fragmentedLoan(t)
	reads := int64(0)
	for k := int64(0); k <= reads; k++ { // 0 is none
		m := image.Clone()
		dev := blockiotest.NewFault(m)
		var log strings.Builder
		fs, err := New(context.Background(), dev, Options{Logger: testLogger(&log)})
		if err != nil {
			t.Fatal(err)
		}
		root := must(fs.Root())(t)
		mustCreate(t, root, "more", disk.ModeReg).Put()
		root.Put()
		if err := fs.Sync(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := fs.journal.Tidy(true); err != nil {
			t.Fatal(err)
		}
		fs.cache.Drop(2, uint64(fs.sb.BlocksCount)-2) // all but the superblock, or nothing would have to be read
		before := dev.Seen(blockio.Read)
		if k > 0 {
			dev.Fail(blockiotest.Rule{Op: blockio.Read, From: k, Times: 1})
		}
		if err := fs.Close(); err != nil {
			t.Errorf("read %d fails: %v", k, err)
		}
		if k == 0 {
			if reads = dev.Seen(blockio.Read) - before; reads < 6 {
				t.Fatalf("%d reads only", reads)
			}
			returned(t, "no fault", m)
			continue
		}
		if sb := superOf(t, m); !sb.HasCompat(disk.CompatHasJournal) || sb.HasIncompat(disk.IncompatRecover) || sb.State&disk.StateValid == 0 {
			t.Errorf("read %d fails: compat %#x, incompat %#x, state %#x", k, sb.FeatureCompat, sb.FeatureIncompat, sb.State)
		}
		if code, out := fsck(t, m, "-f", "-n"); code != 0 {
			t.Errorf("read %d fails: e2fsck -f -n: %d\n%s", k, code, out)
		}
		if !strings.Contains(log.String(), "the borrowed journal stays for the time being") {
			t.Errorf("read %d fails: the log has %q", k, log.String())
		}
		m = m.Clone()
		next := must(New(context.Background(), m, Options{Logger: quiet}))(t)
		if err := next.Close(); err != nil {
			t.Error(err)
		}
		returned(t, "the next mount", m)
	}
	t.Logf("%d reads", reads)
}

// TestUndoLoanFaults: a mount that finds a journal half given back, and cannot complete that
// because a read or a write fails, may go on, and e2fsck -p completes it.
func TestUndoLoanFaults(t *testing.T) {
	rec := blockiotest.NewRecorder(fragmentedLoan(t))
	fs := must(New(context.Background(), rec, Options{Logger: quiet}))(t)
	if err := fs.Close(); err != nil {
		t.Fatal(err)
	}
	var half []*blockiotest.Mem
	for n := range len(rec.Log()) + 1 {
		image := rec.ImageAt(n)
		if newFS(image.Clone(), Options{}).loanCutOff(superOf(t, image)) {
			half = append(half, image)
		}
	}
	t.Logf("%d states half-way", len(half))
	if len(half) < 5 {
		t.Fatal("too few")
	}
	undoWithFaults(t, half[0], blockio.Read)
	undoWithFaults(t, half[len(half)-2], blockio.Write)
}

// undoWithFaults mounts an image while each request of a kind fails in turn.
func undoWithFaults(t *testing.T, image *blockiotest.Mem, op blockio.Op) {
	t.Helper()
	for k := int64(1); ; k++ {
		m := image.Clone()
		dev := blockiotest.NewFault(m)
		dev.Fail(blockiotest.Rule{Op: op, From: k, Times: 1})
		fs, err := New(context.Background(), dev, Options{Logger: quiet})
		failed := dev.Failed()
		dev.Heal()
		if err == nil {
			root := must(fs.Root())(t)
			in := mustCreate(t, root, "after", disk.ModeReg)
			mustWrite(t, in, 300_000)
			in.Put()
			root.Put()
			if err := fs.Close(); err != nil {
				t.Errorf("%v %d fails: unmounting: %v", op, k, err)
			}
		}
		if code, out := fsckInPlace(t, m, "-p"); code > 1 {
			t.Errorf("%v %d fails: e2fsck -p: %d\n%s", op, k, code, out)
		}
		if p := check.Image(m, check.Options{}).Problems; len(p) != 0 {
			t.Errorf("%v %d fails: after e2fsck -p: %v", op, k, p)
		}
		if failed == 0 {
			t.Logf("%d faults", k-1)
			return
		}
	}
}

// TestGiveBackDamage: what the journal's inode points to behind the journal's end was never
// looked at. Where it leads out of the file system the journal stays, and so does the daemon.
func TestGiveBackDamage(t *testing.T) {
	m := loadImage(t, ext2test.Options{Size: 32 << 20, BlockSize: 4096})
	fs := must(New(context.Background(), m.Clone(), Options{Logger: quiet}))(t)
	left := fs.dev.(*blockiotest.Mem).Clone() // as after a crash
	if err := fs.Close(); err != nil {
		t.Fatal(err)
	}
	c := &crafted{t: t, dev: left, blockSize: 4096, layout: fs}
	c.inode(disk.JournalIno, func(in *disk.Inode) { c.setPtr(in.Block[disk.IndBlock], 1023, 0xFFFFFFF0) })
	var log strings.Builder
	fs = must(New(context.Background(), left, Options{Logger: testLogger(&log)}))(t)
	if fs.journal.borrowed() == 0 {
		t.Fatal("nothing is on loan")
	}
	if err := fs.Close(); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"the borrowed journal stays", "block 4294967280: file block 1035 points to outside of the file system"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log has no %q:\n%s", want, log.String())
		}
	}
	fsckInPlace(t, left, "-f", "-y")
	if code, out := fsck(t, left, "-f", "-n"); code != 0 {
		t.Errorf("e2fsck -f -n, repaired: %d\n%s", code, out)
	}
}
