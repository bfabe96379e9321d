//go:build linux

package ext2

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// TestManyOrphans: an image may have all of its inodes on the list of orphans. A mount works it
// off a part at a time, to the end, or to where it leads astray, also between two parts.
func TestManyOrphans(t *testing.T) {
	const n = 2*orphanBatch + 100
	m := loadImage(t, ext2test.Options{Size: 8 << 20, BlockSize: 1024, Inodes: n + 200})
	fs := must(New(ctx, m, Options{Logger: quiet, NoJournal: true}))(t)
	root := must(fs.Root())(t)
	inodes := fs.Statfs().FreeInodes
	list := make([]uint32, n) // as it stands on disk
	for i := range n {
		in := must(root.Tmpfile(ctx, CreateOptions{Mode: disk.ModeReg | 0o600}))(t) // stays open
		list[n-1-i] = in.Ino()
	}
	if err := fs.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	left := m.Clone()

	for _, c := range []struct {
		at, to int // the at-th leads to that inode, or, negative, to the one so far before it; 0: to the next
		want   int // are worked off
	}{{0, 0, n}, {orphanBatch - 1, 1 << 30, orphanBatch - 1}, {orphanBatch, 1 << 30, orphanBatch}, {orphanBatch + 1, 1 << 30, orphanBatch + 1},
		{orphanBatch, -1, orphanBatch}, {orphanBatch, -5, orphanBatch}, {orphanBatch + 5, -10, orphanBatch + 5}} {
		t.Run(fmt.Sprint(c.at, c.to), func(t *testing.T) {
			dev := left.Clone()
			if c.at > 0 {
				to := uint32(c.to)
				if c.to < 0 {
					to = list[c.at+c.to]
				}
				k := &crafted{t: t, dev: dev, blockSize: 1024, layout: fs}
				k.inode(list[c.at-1], func(in *disk.Inode) { in.Dtime = to })
			}
			var log strings.Builder
			next := must(New(ctx, dev, Options{Logger: testLogger(&log), NoJournal: true}))(t)
			if got := next.Statfs().FreeInodes; got != inodes-n+uint64(c.want) {
				t.Errorf("%d inodes are free, want %d", got, inodes-n+uint64(c.want))
			}
			if next.orphans.head != 0 || next.sb.LastOrphan != 0 || len(next.orphans.at) != 0 {
				t.Errorf("%d are left, from inode %d, on disk %d", len(next.orphans.at), next.orphans.head, next.sb.LastOrphan)
			}
			if want := fmt.Sprintf("%d files left over from an unclean end: %[1]d deleted", c.want); !strings.Contains(log.String(), want) {
				t.Errorf("the log has no %q:\n%s", want, log.String())
			}
			if err := next.Close(); err != nil {
				t.Error(err)
			}
			if c.at == 0 {
				wantWhole(t, "worked off", dev)
			}
		})
	}
}

// TestOrphansThatStay: what cannot be deleted stays on the list, in memory as on disk, and the
// rest of a long list is worked off.
func TestOrphansThatStay(t *testing.T) {
	const n = 2*orphanBatch + 100
	m := loadImage(t, ext2test.Options{Size: 8 << 20, BlockSize: 1024, Inodes: n + 200})
	fs := must(New(ctx, m, Options{Logger: quiet, NoJournal: true}))(t)
	root := must(fs.Root())(t)
	list, tables := make([]uint32, n), map[int64]bool{}
	for i := range n {
		in := must(root.Tmpfile(ctx, CreateOptions{Mode: disk.ModeReg | 0o600}))(t) // stays open
		list[n-1-i] = in.Ino()
		switch n - 1 - i {
		case 3, orphanBatch - 1, orphanBatch + 7:
			if _, err := in.Write(ctx, []byte("content"), 20<<10, WriteOptions{}); err != nil {
				t.Fatal(err)
			}
			tables[int64(in.raw.Block[disk.IndBlock])<<10] = true
		}
	}
	if err := fs.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	dev := blockiotest.NewFault(m.Clone())
	dev.Fail(blockiotest.Rule{Op: blockio.Read, Match: func(b *blockio.Bio) bool { return tables[b.Off] }})
	next := must(New(ctx, dev, Options{Logger: quiet, NoJournal: true}))(t)
	want := []uint32{list[3], list[orphanBatch-1], list[orphanBatch+7]}
	if got := next.orphans.all(); !slices.Equal(got, want) {
		t.Errorf("the list has %v, want %v", got, want)
	}
	if err := next.Close(); err != nil {
		t.Error(err)
	}
	healed := dev.Unwrap().(*blockiotest.Mem).Clone()
	var log strings.Builder
	next = must(New(ctx, healed, Options{Logger: testLogger(&log), NoJournal: true}))(t)
	if want := "3 files left over from an unclean end: 3 deleted"; !strings.Contains(log.String(), want) {
		t.Errorf("the log has no %q:\n%s", want, log.String())
	}
	if err := next.Close(); err != nil {
		t.Error(err)
	}
	wantWhole(t, "worked off later", healed)
}

// TestUnendedTruncate: a truncate could not be ended, by a mount or before the inode left memory,
// since a table cannot be read. Whoever uses the file then, or nobody but the end of the mount, ends
// it where the table can be read again, and no old content comes up; else it stays on the list, once.
func TestUnendedTruncate(t *testing.T) {
	const size, kept, whole = 14 << 10, 13<<10 + 5, 100 << 10
	setSize := func(n int64) func(root, in *Inode) error {
		return func(_, in *Inode) error { return in.SetAttr(ctx, SetAttr{Size: &n}) }
	}
	for _, c := range []struct {
		what   string
		heals  bool
		use    func(root, in *Inode) error
		blocks uint32 // are in use in the end
	}{
		{"nothing", true, nil, 15},
		{"made shorter", true, setSize(kept), 15},
		{"emptied", true, setSize(0), 0},
		{"made longer", true, setSize(whole), 15},
		{"removed", true, func(root, _ *Inode) error { return root.Unlink(ctx, "file") }, 0},
		{"made shorter in vain", false, setSize(kept &^ 1023), 15},
	} {
		for _, mount := range []bool{false, true} {
			t.Run(fmt.Sprint(c.what, mount), func(t *testing.T) {
				m := loadImage(t, ext2test.Options{Size: 8 << 20, BlockSize: 1024, Inodes: 200})
				o := Options{Logger: quiet, NoJournal: true}
				var dev *blockiotest.Fault
				var fs *FS
				var root *Inode
				open := func(rules ...blockiotest.Rule) {
					m = m.Clone()
					dev = blockiotest.NewFault(m)
					for _, r := range rules {
						dev.Fail(r)
					}
					fs = must(New(ctx, dev, o))(t)
					root = must(fs.Root())(t)
				}
				open()
				in := mustCreate(t, root, "file", disk.ModeReg)
				if _, err := in.Write(ctx, bytes.Repeat([]byte("old!"), whole/4), 0, WriteOptions{}); err != nil {
					t.Fatal(err)
				}
				table := in.raw.Block[disk.IndBlock]
				if err := fs.Sync(ctx); err != nil {
					t.Fatal(err)
				}
				fs.cache.Drop(uint64(table), 1)
				unreadable := blockiotest.Rule{Op: blockio.Read, Match: func(b *blockio.Bio) bool { return b.Off == int64(table)<<10 }}
				dev.Fail(unreadable)
				if err := setSize(size)(root, in); err == nil || !fs.orphans.has(in.ino) {
					t.Fatalf("making it shorter: %v", err)
				}
				in.Put()
				fs.inodes.forget(in)
				if mount {
					if err := fs.Sync(ctx); err != nil {
						t.Fatal(err)
					}
					open(unreadable) // the daemon died
				}
				if c.heals {
					dev.Heal()
				}
				if c.use != nil {
					in = must(root.Lookup("file"))(t)
					if err := c.use(root, in); (err == nil) != c.heals {
						t.Error(err)
					}
					in.Put()
				}
				root.Put()
				want := map[uint32]orphanLinks{}
				if !c.heals || c.use == nil {
					want[in.ino] = orphanLinks{}
				}
				if !maps.Equal(fs.orphans.at, want) { // with one that leads to itself the unmount would not end
					t.Fatalf("the list is %v, want %v", fs.orphans.at, want)
				}
				if err := fs.Close(); err != nil {
					t.Error(err)
				}
				if !c.heals {
					open()
					root.Put()
					if err := fs.Close(); err != nil {
						t.Error(err)
					}
				}
				wantWhole(t, c.what, m)
				if sb := superOf(t, m); sb.LastOrphan != 0 {
					t.Errorf("inode %d is on the list", sb.LastOrphan)
				}
				open()
				defer fs.Close()
				defer root.Put()
				in, err := root.Lookup("file")
				if err != nil {
					return
				}
				defer in.Put()
				if got := in.raw.Sectors / 2; got != c.blocks {
					t.Errorf("it has %d blocks, want %d", got, c.blocks)
				}
				b := make([]byte, whole)
				n, _ := in.Read(ctx, b, 0)
				if n > size && len(bytes.Trim(b[size:n], "\x00")) > 0 {
					t.Error("old content behind the end")
				}
			})
		}
	}
}
