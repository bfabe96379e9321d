//go:build linux

package ext2

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

var loanImage = ext2test.Options{Size: 5 << 20, BlockSize: 1024, Inodes: 256, InodeSize: 256}

// TestBorrowedJournal: while mounted, the image is an ext3 one whose journal e2fsck
// replays; unmounted, it is what it was.
func TestBorrowedJournal(t *testing.T) {
	m := loadImage(t, loanImage)
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

// TestBorrowingAtEveryWrite: wherever a mount and unmount is cut off, whatever subset of
// the writes since the last sync arrived, e2fsck -p brings the image in order by itself,
// and so does our next mount.
func TestBorrowingAtEveryWrite(t *testing.T) {
	dev := blockiotest.NewRecorder(loadImage(t, loanImage))
	fs, err := New(ctx, dev, Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if err := fs.Close(); err != nil {
		t.Fatal(err)
	}
	log, rnd := dev.Log(), rand.New(rand.NewPCG(3, 3))
	for i := range 2 * (len(log) + 1) {
		n := i / 2
		image := powerCut(dev, log, n, rnd, 0.6)
		if i%2 == 0 {
			image = dev.ImageAt(n)
		}
		m := image.Clone()
		ours := must(New(ctx, image.Clone(), Options{Logger: quiet}))(t)
		m2 := ours.dev.(*blockiotest.Mem)
		if err := ours.Close(); err != nil {
			t.Errorf("after %d events: unmounting: %v", n, err)
		}
		if code, out := fsck(t, m2, "-f", "-n"); code != 0 {
			t.Errorf("after %d events, ours: e2fsck -f -n: %d\n%s", n, code, out)
		}
		code, out := fsckInPlace(t, m, "-p")
		if code > 1 {
			t.Errorf("after %d events: e2fsck -p: %d\n%s", n, code, out)
		}
		if code2, out2 := fsckInPlace(t, m, "-f", "-n"); code2 != 0 {
			t.Errorf("after %d events: e2fsck -f -n: %d\n%s\nwas: %d %s", n, code2, out2, code, out)
		}
	}
	t.Logf("%d events", len(log))
}

// TestBarriers: an fsync costs one sync if the checksums of the journal show what is missing
// of a transaction, and two where they do not, or much content went into fresh blocks.
func TestBarriers(t *testing.T) {
	for _, c := range []struct {
		name         string
		o            ext2test.Options
		much, little int
	}{
		{"borrowed", loanImage, 2, 1},
		{"ext3", ext2test.Options{Size: 8 << 20, BlockSize: 1024, Inodes: 256, Type: "ext3"}, 2, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs, dev, _ := recorded(t, c.o, Options{})
			root, _ := fs.Root()
			in := mustCreate(t, root, "f", disk.ModeReg)
			mode := int64(5000)
			for _, op := range []struct {
				name string
				do   func() error
				want int
			}{
				{"fresh content, the first of all", func() error { _, err := in.Write(ctx, make([]byte, 5000), 0, WriteOptions{}); return err }, c.little},
				{"overwritten", func() error { _, err := in.Write(ctx, make([]byte, 5000), 0, WriteOptions{}); return err }, c.little},
				{"attributes", func() error { return in.SetAttr(ctx, SetAttr{Size: &mode}) }, c.little},
				{"more fresh content", func() error { _, err := in.Write(ctx, make([]byte, 5000), 5000, WriteOptions{}); return err }, c.little},
				{"much fresh content", func() error { _, err := in.Write(ctx, make([]byte, 300_000), 10_000, WriteOptions{}); return err }, c.much},
				{"a name", func() error { return root.Unlink(ctx, "f") }, c.little},
				{"nothing", func() error { return nil }, 0},
			} {
				if err := op.do(); err != nil {
					t.Fatalf("%s: %v", op.name, err)
				}
				start := len(dev.Log())
				if err := fs.Sync(ctx); err != nil {
					t.Fatal(err)
				}
				if n := syncs(opsOf(dev, start)); n != op.want {
					t.Errorf("%s: %d syncs, want %d", op.name, n, op.want)
				}
			}
			in.Put()
			root.Put()
			if err := fs.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// metadata is what an image has besides the content of files: superblock, descriptors,
// bitmaps, inode tables. Times and the number of mounts are left out.
func metadata(t *testing.T, m *blockiotest.Mem) map[string][]byte {
	t.Helper()
	fs, err := New(ctx, m.Clone(), Options{ReadOnly: true, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer fs.Close()
	sb := fs.Superblock()
	sb.Mtime, sb.Wtime, sb.MntCount = 0, 0, 0
	raw := m.Bytes(disk.SuperblockOffset, disk.SuperblockSize)
	sb.Encode(raw)
	all := map[string][]byte{"superblock": raw}
	at := func(what string, block, n uint64) {
		all[what] = m.Bytes(int64(block)<<fs.blockBits, int64(n)<<fs.blockBits)
	}
	for i := range fs.sb.DescBlocks() {
		at(fmt.Sprintf("descriptor block %d", i), fs.descBlock(i), 1)
	}
	for g := range fs.groups {
		gr := &fs.groups[g]
		at(fmt.Sprintf("block bitmap %d", g), uint64(gr.blockBitmap), 1)
		at(fmt.Sprintf("inode bitmap %d", g), uint64(gr.inodeBitmap), 1)
		at(fmt.Sprintf("inode table %d", g), uint64(gr.inodeTable), uint64(fs.sb.InodeTableBlocks()))
	}
	return all
}

func sameMetadata(t *testing.T, what string, got, want map[string][]byte) {
	t.Helper()
	for name := range want {
		if !bytes.Equal(got[name], want[name]) {
			at := 0
			for at < len(want[name])-1 && got[name][at] == want[name][at] {
				at++
			}
			t.Errorf("%s: the %s differs at byte %d: %x, want %x", what, name, at, got[name][at:min(at+8, len(got[name]))], want[name][at:min(at+8, len(want[name]))])
		}
	}
}

// TestLoanLeavesNoTrace: after an unmount nothing tells an image whose journal was given
// back from one that was mounted without: not after a mount in which nothing happened, and
// not when the journal was left over from a crash, whoever recovered from that, e2fsck,
// the kernel or we.
func TestLoanLeavesNoTrace(t *testing.T) {
	for _, o := range []ext2test.Options{loanImage,
		{Size: 48 << 20, BlockSize: 1024, InodeSize: 128, Features: []string{"^resize_inode"}, Args: []string{"-m", "0"}},
		{Size: 64 << 20, BlockSize: 4096, Args: []string{"-g", "1024"}}} {
		t.Run(fmt.Sprintf("%d-%d", o.Size>>20, o.BlockSize), func(t *testing.T) {
			m := loadImage(t, o)
			open := func(m *blockiotest.Mem, o Options) *FS {
				o.Logger = quiet
				return must(New(ctx, m.Clone(), o))(t)
			}
			end := func(fs *FS) map[string][]byte {
				m := fs.dev.(*blockiotest.Mem)
				if err := fs.Close(); err != nil {
					t.Fatal(err)
				}
				if code, out := fsck(t, m, "-f", "-n"); code != 0 {
					t.Errorf("e2fsck: %d\n%s", code, out)
				}
				return metadata(t, m)
			}
			want := end(open(m, Options{NoJournal: true}))
			fs := open(m, Options{})
			if fs.journal.borrowed() == 0 {
				t.Fatal("nothing was borrowed")
			}
			crashed := fs.dev.(*blockiotest.Mem).Clone()
			sameMetadata(t, "mounted and unmounted", end(fs), want)

			sameMetadata(t, "our own recovery", end(open(crashed, Options{})), want)
			sameMetadata(t, "our own recovery, then without a journal", end(open(crashed, Options{NoJournal: true})), want)
			checked := crashed.Clone()
			if code, out := fsckInPlace(t, checked, "-p"); code > 1 {
				t.Errorf("e2fsck -p: %d\n%s", code, out)
			}
			if fs := open(checked, Options{ReadOnly: true}); !fs.sb.HasCompat(disk.CompatHasJournal) {
				t.Error("e2fsck took the journal away")
			}
			if fs = open(checked, Options{}); fs.journal.borrowed() == 0 {
				t.Error("what e2fsck recovered is not known to be borrowed")
			}
			got := end(fs)
			sameMetadata(t, "e2fsck -p", got, want)
		})
	}
}

// TestLeftoverThroughKernel: the kernel's driver takes over after a crash, uses the
// borrowed journal for a while, and what comes back to us is still known to be borrowed.
func TestLeftoverThroughKernel(t *testing.T) {
	ext2test.NeedKernelMount(t)
	m := loadImage(t, ext2test.Options{Size: 32 << 20, BlockSize: 1024, Inodes: 512})
	crashed := useOnce(t, m, Options{})
	img := filepath.Join(t.TempDir(), "img")
	if err := os.WriteFile(img, crashed.Bytes(0, crashed.Size()), 0o600); err != nil {
		t.Fatal(err)
	}
	kernelUses(t, img, func(dir string) {
		if st, err := os.Stat(dir + "/used"); err != nil || st.Size() != 100_000 {
			t.Errorf("the file that was made before the crash: %v, %v", st, err)
		}
		for i := range 200 {
			if err := os.WriteFile(fmt.Sprintf("%s/%d", dir, i), make([]byte, 3000), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	})
	fs := must(Open(ctx, img, Options{Logger: quiet}))(t)
	if fs.journal.borrowed() == 0 {
		t.Error("what the kernel used is not known to be borrowed")
	}
	if err := fs.Close(); err != nil {
		t.Fatal(err)
	}
	ext2test.Fsck(t, img)
	fs = must(Open(ctx, img, Options{ReadOnly: true, Logger: quiet}))(t)
	defer fs.Close()
	if fs.sb.HasCompat(disk.CompatHasJournal) || fs.sb.JournalInum != 0 {
		t.Error("the journal was not given back")
	}
}

// TestOwnJournal: an ext3 image keeps its journal, and goes back and forth between the
// kernel's driver and us, cleanly and uncleanly, with the numbers of its transactions
// going on.
func TestOwnJournal(t *testing.T) {
	ext2test.NeedKernelMount(t)
	for _, bs := range []int{1024, 4096} {
		t.Run(fmt.Sprint(bs), func(t *testing.T) {
			img := ext2test.Make(t, ext2test.Options{Size: 64 << 20, BlockSize: bs, Inodes: 2048, Type: "ext3"})
			last := uint32(0)
			for round := range 4 {
				kernelUses(t, img, func(dir string) {
					for i := range 50 {
						if err := os.WriteFile(fmt.Sprintf("%s/k%d-%d", dir, round, i), make([]byte, 5000), 0o644); err != nil {
							t.Fatal(err)
						}
					}
					for r := range round {
						if b, err := os.ReadFile(fmt.Sprintf("%s/o%d", dir, r)); err != nil || len(b) != 70_000 {
							t.Errorf("what we wrote in round %d: %d bytes, %v", r, len(b), err)
						}
					}
				})
				fs := must(Open(ctx, img, Options{Logger: quiet}))(t)
				if fs.journal.loan != nil || !fs.journaled() {
					t.Fatal("its own journal is not used, or taken for a borrowed one")
				}
				if seq := fs.journal.log.Sequence(); seq <= last {
					t.Errorf("round %d begins with transaction %d, the last was %d", round, seq, last)
				}
				root := must(fs.Root())(t)
				in := mustCreate(t, root, fmt.Sprintf("o%d", round), disk.ModeReg)
				mustWrite(t, in, 70_000)
				in.Put()
				if round > 0 {
					if err := root.Unlink(ctx, fmt.Sprintf("k%d-7", round-1)); err != nil {
						t.Fatal(err)
					}
				}
				root.Put()
				if err := fs.Sync(ctx); err != nil {
					t.Fatal(err)
				}
				last = fs.journal.log.Sequence()
				if round%2 == 1 { // the kernel replays what it finds
					crashed := must(os.ReadFile(img))(t)
					if err := fs.Close(); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(img, crashed, 0o600); err != nil {
						t.Fatal(err)
					}
					continue
				}
				if err := fs.Close(); err != nil {
					t.Fatal(err)
				}
				ext2test.Fsck(t, img)
			}
			kernelUses(t, img, func(string) {})
			ext2test.Fsck(t, img)
		})
	}
}

// TestDataOverPendingTable: a block that becomes file data while a change of it, as metadata,
// is in the journal and not yet in its place keeps the data: in its place, and after a replay.
// Only a damaged image, whose bitmap has a table's block free, comes to that.
func TestDataOverPendingTable(t *testing.T) {
	rec := blockiotest.NewRecorder(loadImage(t, loanImage))
	fs := must(New(context.Background(), rec, Options{Logger: quiet}))(t)
	var block uint64
	err := fs.update(context.Background(), 4, func() (err error) {
		if block, _, err = fs.allocBlocks(blockRequest{owner: 12, goal: fs.sb.GroupFirstBlock(0), want: 1, privileged: true}); err != nil {
			return err
		}
		b, err := fs.cache.Fresh(block, blockio.Indirect)
		if err != nil {
			return err
		}
		modify(b, func(p []byte) { copy(p, "table") })
		b.Release()
		return nil
	})
	if err == nil {
		err = fs.Sync(context.Background()) // in the journal
	}
	data := bytes.Repeat([]byte("data"), fs.blockSize/4)
	if err == nil {
		err = fs.update(context.Background(), 4, func() error { // as a write does it
			fs.cache.Drop(block, 1)
			_, err := fs.dev.WritevAt([][]byte{data}, int64(block)<<fs.blockBits)
			return errors.Join(err, fs.changeSuper(func(*disk.Superblock) {}))
		})
	}
	if err == nil {
		err = fs.Sync(context.Background())
	}
	if err != nil {
		t.Fatal(err)
	}
	crashed := rec.ImageAt(len(rec.Log()))
	if err := fs.journal.Tidy(true); err != nil {
		t.Fatal(err)
	}
	at := int64(block) << fs.blockBits
	if got := rec.ImageAt(len(rec.Log())).Bytes(at, int64(len(data))); !bytes.Equal(got, data) {
		t.Errorf("in its place is %.8q", got)
	}
	replayed := must(New(context.Background(), crashed, Options{Logger: quiet}))(t)
	if got := crashed.Bytes(at, int64(len(data))); !bytes.Equal(got, data) {
		t.Errorf("after a replay it is %.8q", got)
	}
	if err := errors.Join(fs.Close(), replayed.Close()); err != nil {
		t.Error(err)
	}
}

// TestJournalTables: the bitmap has the indirect blocks of the journal free. No file gets them, as
// none gets the journal's other blocks: after a crash they say what is to be replayed.
func TestJournalTables(t *testing.T) {
	img := ext2test.Make(t, ext2test.Options{Size: 8 << 20, BlockSize: 1024, Inodes: 256, Type: "ext3"})
	fs := must(Open(ctx, img, Options{ReadOnly: true, Logger: quiet}))(t)
	list := must(must(fs.journalInode())(t).Extents(ctx))(t)
	fs.Close()
	var free []string
	for _, e := range list {
		if e.Level > 0 {
			free = append(free, fmt.Sprintf("freeb %d", e.Block))
		}
	}
	if len(free) < 4 {
		t.Fatalf("the journal has %d tables", len(free))
	}
	ext2test.DebugfsWrite(t, img, free...)
	w := &writable{TB: t, img: img}
	w.open(Options{})
	file := w.create("file", disk.ModeReg|0o644)
	for off := int64(0); off < 8<<20; off += 1 << 10 { // until there is no room, or damage is met
		if _, err := file.Write(ctx, make([]byte, 1<<10), off, WriteOptions{Cred: Root}); err != nil {
			break
		}
	}
	for _, e := range must(file.Extents(ctx))(t) {
		for _, j := range list {
			if e.Block < j.Block+j.Count && j.Block < e.Block+e.Count {
				t.Errorf("the file has blocks %d to %d, the journal %d to %d, level %d", e.Block, e.Block+e.Count-1, j.Block, j.Block+j.Count-1, j.Level)
			}
		}
	}
	file.Put()
	w.root.Put()
	if err := w.fs.Close(); err != nil {
		t.Error(err)
	}
	if err := exec.Command("e2fsck", "-f", "-y", img).Run(); err == nil {
		t.Error("e2fsck finds nothing to repair")
	}
	ext2test.Fsck(t, img)
}
