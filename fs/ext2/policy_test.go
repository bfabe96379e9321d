//go:build linux

package ext2

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// damagedDir is an image with a directory, bad, whose block is nonsense.
func damagedDir(t *testing.T, o ext2test.Options) *blockiotest.Mem {
	t.Helper()
	data, err := os.ReadFile(ext2test.Make(t, o))
	if err != nil {
		t.Fatal(err)
	}
	m := blockiotest.MemOf(data)
	fs, err := New(ctx, m.Clone(), Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	root, _ := fs.Root()
	bad, err := root.Create(ctx, "bad", CreateOptions{Mode: disk.ModeDir | 0o755})
	if err != nil {
		t.Fatal(err)
	}
	block := int64(bad.raw.Block[0]) << fs.blockBits
	bad.Put()
	root.Put()
	if err := fs.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	image := fs.dev.(*blockiotest.Mem).Clone()
	if err := fs.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := image.WritevAt([][]byte{{2, 0, 0, 0, 3, 0}}, block); err != nil { // rec_len 3
		t.Fatal(err)
	}
	return image
}

// TestErrorPolicies finds damage under each form of errors=, given as an option or by
// the superblock.
func TestErrorPolicies(t *testing.T) {
	image := damagedDir(t, ext2test.Options{Size: 4 << 20, BlockSize: 1024, Inodes: 128})
	for _, c := range []struct {
		name   string
		option ErrorPolicy
		super  uint16 // s_errors
		ro     bool
		stops  bool
	}{
		{"continue", ErrorsContinue, disk.ErrorsPanic, false, false},
		{"remount-ro", ErrorsRemountRO, disk.ErrorsContinue, true, false},
		{"panic", ErrorsPanic, disk.ErrorsContinue, true, true},
		{"super-continue", ErrorsDefault, disk.ErrorsContinue, false, false},
		{"super-remount-ro", ErrorsDefault, disk.ErrorsRemountRO, true, false},
		{"super-panic", ErrorsDefault, disk.ErrorsPanic, true, true},
		{"super-nonsense", ErrorsDefault, 77, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := image.Clone()
			setSuper(t, m, func(sb *disk.Superblock) { sb.Errors = c.super; sb.State = disk.StateValid })
			rec := blockiotest.NewRecorder(m)
			fs, err := New(ctx, rec, Options{Errors: c.option, Logger: quiet})
			if err != nil {
				t.Fatal(err)
			}
			root, _ := fs.Root()
			defer root.Put()
			before := time.Now().Unix()
			for range 2 { // damage is noted once
				if _, err := findIn(root, "bad", "x"); Errno(err) != 5 {
					t.Fatalf("a lookup in the damaged directory gives %v", err)
				}
			}
			if c.stops {
				<-fs.Failed()
			}
			_, err = root.Create(ctx, "new", CreateOptions{Mode: disk.ModeReg | 0o644})
			if c.ro != errors.Is(err, ErrReadOnly) || !c.ro && err != nil {
				t.Errorf("a change afterwards: %v", err)
			}
			if _, err := root.lookupIno("lost+found"); err != nil {
				t.Errorf("reading afterwards: %v", err)
			}
			if why := fs.Failure(); (why != nil) != c.ro {
				t.Errorf("the reason to write no more: %v", why)
			}
			select {
			case <-fs.Failed():
				if !c.stops {
					t.Error("it stopped")
				}
			default:
			}
			if err := fs.Close(); err != nil {
				t.Error(err)
			}
			checkNoted(t, m, before, c.ro)
		})
	}
}

func findIn(root *Inode, dir, name string) (uint32, error) {
	d, err := root.Lookup(dir)
	if err != nil {
		return 0, err
	}
	defer d.Put()
	return d.lookupIno(name)
}

// setSuper changes the superblock of an image.
func setSuper(t *testing.T, m *blockiotest.Mem, f func(*disk.Superblock)) {
	t.Helper()
	b := m.Bytes(disk.SuperblockOffset, disk.SuperblockSize)
	sb, err := disk.DecodeSuperblock(b)
	if err != nil {
		t.Fatal(err)
	}
	f(sb)
	sb.Encode(b)
	if _, err := m.WritevAt([][]byte{b}, disk.SuperblockOffset); err != nil {
		t.Fatal(err)
	}
}

func superOf(t *testing.T, m *blockiotest.Mem) *disk.Superblock {
	t.Helper()
	sb, err := disk.DecodeSuperblock(m.Bytes(disk.SuperblockOffset, disk.SuperblockSize))
	if err != nil {
		t.Fatal(err)
	}
	return sb
}

// checkNoted checks what one piece of damage left in the superblock, and that dumpe2fs
// understands it.
func checkNoted(t *testing.T, m *blockiotest.Mem, before int64, ro bool) {
	t.Helper()
	sb := superOf(t, m)
	want := disk.StateErrors | disk.StateValid
	if ro {
		want = disk.StateErrors
	}
	if int(sb.State) != want {
		t.Errorf("s_state is %#x, want %#x", sb.State, want)
	}
	now := time.Now().Unix()
	if sb.ErrorCount != 1 || int64(sb.FirstErrorTime) < before || int64(sb.FirstErrorTime) > now || sb.LastErrorTime != sb.FirstErrorTime {
		t.Errorf("count %d, first %d, last %d, want 1 at %d to %d", sb.ErrorCount, sb.FirstErrorTime, sb.LastErrorTime, before, now)
	}
	if sb.FirstErrorIno == 0 || sb.FirstErrorBlock == 0 || sb.FirstErrorLine == 0 || sb.FirstErrorFunc[0] == 0 ||
		sb.LastErrorIno != sb.FirstErrorIno || sb.LastErrorFunc != sb.FirstErrorFunc {
		t.Errorf("inode %d, block %d, line %d, function %q", sb.FirstErrorIno, sb.FirstErrorBlock, sb.FirstErrorLine, sb.FirstErrorFunc)
	}
	img := filepath.Join(t.TempDir(), "img")
	if err := os.WriteFile(img, m.Bytes(0, m.Size()), 0o600); err != nil {
		t.Fatal(err)
	}
	out := run(t, "dumpe2fs", "-h", img)
	for _, line := range []string{"FS Error count:           1", "First error err:          EFSCORRUPTED"} {
		if !strings.Contains(out, line) {
			t.Errorf("dumpe2fs does not say %q:\n%s", line, out)
		}
	}
}

// TestDamageOnReadOnlyMount: nothing is noted where nothing may be written.
func TestDamageOnReadOnlyMount(t *testing.T) {
	m := damagedDir(t, ext2test.Options{Size: 4 << 20, BlockSize: 1024, Inodes: 128})
	rec := blockiotest.NewRecorder(m)
	fs, err := New(ctx, rec, Options{ReadOnly: true, Errors: ErrorsPanic, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	root, _ := fs.Root()
	if _, err := findIn(root, "bad", "x"); Errno(err) != 5 {
		t.Fatalf("a lookup in the damaged directory gives %v", err)
	}
	root.Put()
	if err := fs.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(rec.Log()); n != 0 {
		t.Errorf("%d writes", n)
	}
}

// TestDamageAtMount: what the mount itself finds, on its way to a journal, is noted and dealt
// with as what is found later, and no journal is put where a bitmap cannot be trusted.
func TestDamageAtMount(t *testing.T) {
	img := ext2test.Make(t, ext2test.Options{Size: 16 << 20, BlockSize: 1024})
	info := run(t, "dumpe2fs", img)
	table := regexp.MustCompile(`(?s)Group 1:.*?Inode table at (\d+)`).FindStringSubmatch(info)
	if table == nil {
		t.Fatalf("no inode table in\n%s", info)
	}
	ext2test.DebugfsWrite(t, img, "freeb "+table[1]+" 4")
	data, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		policy ErrorPolicy
		ro     bool
	}{{"continue", ErrorsContinue, false}, {"remount-ro", ErrorsRemountRO, true}, {"panic", ErrorsPanic, true}} {
		t.Run(c.name, func(t *testing.T) {
			m := blockiotest.MemOf(bytes.Clone(data))
			fs, err := New(context.Background(), m, Options{Errors: c.policy, Logger: quiet})
			if err != nil {
				t.Fatal(err)
			}
			if c.policy == ErrorsPanic {
				<-fs.Failed()
			}
			if fs.ReadOnly() != c.ro || (fs.Failure() != nil) != c.ro {
				t.Errorf("read-only %v, failure %v", fs.ReadOnly(), fs.Failure())
			}
			if sb := fs.Superblock(); sb.HasCompat(disk.CompatHasJournal) {
				t.Error("a journal was borrowed")
			}
			if err := fs.Close(); err != nil {
				t.Error(err)
			}
			want := disk.StateErrors | disk.StateValid
			if c.ro {
				want = disk.StateErrors
			}
			if sb := superOf(t, m); int(sb.State) != want || sb.ErrorCount != 1 {
				t.Errorf("s_state is %#x, want %#x; %d errors", sb.State, want, sb.ErrorCount)
			}
			// Nothing but the superblock's block changed.
			if at := int64(2 * disk.SuperblockOffset); !bytes.Equal(m.Bytes(at, m.Size()-at), data[at:]) {
				t.Error("more than the superblock was written")
			}
		})
	}
}

// TestErrorsAtMount: a bitmap cannot be read while a mount deletes what an unclean end left. The
// mount is there as errors= has it, and what was left stays for e2fsck.
func TestErrorsAtMount(t *testing.T) {
	m := loadImage(t, ext2test.Options{Size: 4 << 20, BlockSize: 1024, Inodes: 128})
	fs := must(New(ctx, m, Options{Logger: quiet, NoJournal: true}))(t)
	root := must(fs.Root())(t)
	in := must(root.Tmpfile(ctx, CreateOptions{Mode: disk.ModeReg | 0o600}))(t) // stays open
	mustWrite(t, in, 20<<10)
	if err := fs.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	left := m.Clone()
	for _, what := range []blockio.Purpose{blockio.InodeBitmap, blockio.BlockBitmap} {
		for _, action := range []ErrorPolicy{ErrorsContinue, ErrorsRemountRO, ErrorsPanic} {
			t.Run(fmt.Sprint(what, action), func(t *testing.T) {
				m := left.Clone()
				dev := blockiotest.NewFault(m)
				dev.Fail(blockiotest.Rule{Op: blockio.Read, Match: func(b *blockio.Bio) bool { return b.For == what }})
				fs, err := New(ctx, dev, Options{Logger: quiet, NoJournal: true, Errors: action})
				if err != nil {
					t.Fatal(err)
				}
				if action == ErrorsPanic {
					<-fs.Failed()
				}
				dev.Heal()
				root := must(fs.Root())(t)
				in, err := root.Create(ctx, "new", CreateOptions{Mode: disk.ModeReg})
				if want := action != ErrorsContinue; errors.Is(err, ErrReadOnly) != want || !want && err != nil {
					t.Errorf("creating a file: %v", err)
				}
				if in != nil {
					in.Put()
				}
				root.Put()
				if err := fs.Close(); err != nil {
					t.Error(err)
				}
				if sb := superOf(t, m); sb.State&disk.StateErrors == 0 {
					t.Errorf("the state is %#x", sb.State)
				}
				if code, out := fsckInPlace(t, m, "-p"); code > 1 {
					t.Errorf("e2fsck -p: %d\n%s", code, out)
				}
				wantWhole(t, "repaired", m)
			})
		}
	}
}
