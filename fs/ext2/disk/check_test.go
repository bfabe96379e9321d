//go:build linux

package disk

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// checkDay is the day on which the checks of this file run.
var checkDay = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const checkBytes = 64 << 20

// sound is a superblock without fault: 64 MiB in blocks of 1 KiB, 8 groups.
func sound() *Superblock {
	return &Superblock{
		Magic: Magic, RevLevel: DynamicRev, State: StateValid, Errors: ErrorsContinue, MaxMntCount: 0xFFFF,
		InodesCount: 16384, BlocksCount: 65536, FirstDataBlock: 1, BlocksPerGroup: 8192, FragsPerGroup: 8192, InodesPerGroup: 2048,
		DynFirstIno: 11, DynInodeSize: 256, FeatureIncompat: IncompatFiletype, FeatureROCompat: ROCompatSparseSuper | ROCompatLargeFile,
		FeatureCompat: CompatDirIndex | CompatExtAttr,
	}
}

// kind names the type of an error of Check.
func kind(err error) string {
	var notExt2 *NotExt2Error
	var unsupported *UnsupportedError
	var bad *CorruptError
	var small *TooSmallError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &notExt2):
		return "not ext2"
	case errors.As(err, &unsupported) && unsupported.ReadOnlyOK:
		return "read-only works"
	case errors.As(err, &unsupported):
		return "unsupported"
	case errors.As(err, &bad):
		return "corrupt"
	case errors.As(err, &small):
		return "too small"
	}
	return "other"
}

// says tells whether err is a *CorruptError with text in it, or nil for no text.
func says(err error, text string) bool {
	if text == "" {
		return err == nil
	}
	return kind(err) == "corrupt" && strings.Contains(err.Error(), text)
}

func TestCheckRefuses(t *testing.T) {
	for _, c := range []struct {
		change func(*Superblock)
		kind   string
		text   string
	}{
		{func(sb *Superblock) { sb.Magic = 0x1234 }, "not ext2", "s_magic is 0x1234, expected 0xEF53"},
		{func(sb *Superblock) { sb.FeatureIncompat |= IncompatExtents | IncompatFlexBG | IncompatRecover }, "unsupported",
			"ext4 image: it uses the features extent, flex_bg, which ext2 does not have"},
		{func(sb *Superblock) { sb.FeatureIncompat |= Incompat64Bit }, "unsupported", "ext4 image: it uses the feature 64bit"},
		{func(sb *Superblock) { sb.FeatureIncompat |= 1 << 27 }, "unsupported", "FEATURE_I27"},
		{func(sb *Superblock) { sb.FeatureIncompat |= IncompatRecover }, "unsupported", "needs_recovery: the journal holds changes that are not in the file system yet; run e2fsck -p first"},
		{func(sb *Superblock) { sb.FeatureIncompat |= IncompatJournalDev }, "unsupported", "external journal"},
		{func(sb *Superblock) { sb.FeatureIncompat |= IncompatCompression }, "unsupported", "the feature compression, which is not supported"},
		{func(sb *Superblock) { sb.FeatureROCompat |= ROCompatMetadataCsum }, "read-only works", "metadata_csum, which is not supported for writing"},
		{func(sb *Superblock) { sb.FeatureROCompat |= 1 << 31 }, "read-only works", "FEATURE_R31"},
		{func(sb *Superblock) { sb.LogBlockSize = 7 }, "corrupt", "s_log_block_size is 7, expected at most 6"},
		{func(sb *Superblock) { sb.LogBlockSize = 0xFFFFFFF6 }, "corrupt", "s_log_block_size is 4294967286"},
		{func(sb *Superblock) { sb.DynInodeSize = 64 }, "corrupt", "s_inode_size is 64, expected a power of two from 128 to the block size, 1024"},
		{func(sb *Superblock) { sb.DynInodeSize = 0 }, "corrupt", "s_inode_size is 0"},
		{func(sb *Superblock) { sb.DynInodeSize = 192 }, "corrupt", "s_inode_size is 192"},
		{func(sb *Superblock) { sb.DynInodeSize = 2048 }, "corrupt", "s_inode_size is 2048"},
		{func(sb *Superblock) { sb.DynFirstIno = 10 }, "corrupt", "s_first_ino is 10, expected at least 11"},
		{func(sb *Superblock) { sb.InodesPerGroup = 0 }, "corrupt", "s_inodes_per_group is 0"},
		{func(sb *Superblock) { sb.LogFragSize = 1 }, "corrupt", "s_log_frag_size is 1, expected s_log_block_size, 0"},
		{func(sb *Superblock) { sb.BlocksPerGroup = 8193 }, "corrupt", "s_blocks_per_group is 8193, expected at most 8192"},
		{func(sb *Superblock) { sb.BlocksPerGroup = 515 }, "corrupt", "s_blocks_per_group is 515, expected more than the inode table's 512 blocks and 3"},
		{func(sb *Superblock) { sb.BlocksPerGroup = 0 }, "corrupt", "s_blocks_per_group is 0"},
		{func(sb *Superblock) { sb.InodesPerGroup = 3 }, "corrupt", "s_inodes_per_group is 3, expected 4 to 8192"},
		{func(sb *Superblock) { sb.InodesPerGroup = 8200 }, "corrupt", "s_inodes_per_group is 8200, expected 4 to 8192"},
		{func(sb *Superblock) { sb.FragsPerGroup = 8184 }, "corrupt", "s_frags_per_group is 8184, expected s_blocks_per_group, 8192"},
		{func(sb *Superblock) { sb.ReservedGDT = 257 }, "corrupt", "s_reserved_gdt_blocks is 257, expected at most 256"},
		{func(sb *Superblock) { sb.DynFirstIno = 16385 }, "corrupt", "s_first_ino is 16385, expected at most s_inodes_count, 16384"},
		{func(sb *Superblock) { sb.BlocksCount++ }, "too small", "s_blocks_count is 65537 blocks of 1024 bytes, 67109888 bytes in all, but it has only 67108864"},
		{func(sb *Superblock) { sb.BlocksCount = 1<<32 - 1 }, "too small", "s_blocks_count is 4294967295"},
		{func(sb *Superblock) { sb.FirstDataBlock = 0 }, "corrupt", "s_first_data_block is 0, expected 1"},
		{func(sb *Superblock) { sb.FirstDataBlock = 1 << 31 }, "corrupt", "s_first_data_block is 2147483648"},
		{func(sb *Superblock) { sb.BlocksCount = 1 }, "corrupt", "s_blocks_count is 1, expected more than s_first_data_block, 1"},
		{func(sb *Superblock) { sb.BlocksCount = 0 }, "corrupt", "s_blocks_count is 0"},
		{func(sb *Superblock) { sb.InodesCount-- }, "corrupt", "s_inodes_count is 16383, expected 16384: 8 groups of 2048 inodes"},
		{func(sb *Superblock) { sb.FeatureIncompat |= IncompatMetaBG; sb.FirstMetaBG = 2 }, "corrupt", "s_first_meta_bg is 2, expected at most 1"},
		{func(sb *Superblock) {
			sb.BlocksPerGroup, sb.FragsPerGroup, sb.InodesPerGroup, sb.DynInodeSize = 5, 5, 8, 128
			sb.InodesCount = 8 * (65535 / 5)
		}, "corrupt", "too few for the superblock and the 410 blocks of descriptors of 13107 groups"},
		{func(sb *Superblock) { sb.RevLevel = 0; sb.DynInodeSize = 7; sb.InodesCount-- }, "corrupt", "s_inodes_count"},
	} {
		sb := sound()
		c.change(sb)
		_, err := sb.check(checkBytes, true, checkDay)
		if kind(err) != c.kind || !strings.Contains(err.Error(), c.text) || strings.Contains(err.Error(), "\n") {
			t.Errorf("expected %s (%s), got %s: %v", c.kind, c.text, kind(err), err)
		}
		// What stands in the way of writing only does not stop a read-only mount.
		if _, err := sb.check(checkBytes, false, checkDay); (err == nil) != (c.kind == "read-only works") {
			t.Errorf("%s: read-only: %v", c.text, err)
		}
	}
}

func TestCheckWarns(t *testing.T) {
	day := uint32(checkDay.Unix())
	for _, c := range []struct {
		change   func(*Superblock)
		ro       bool
		warnings []string
	}{
		{func(sb *Superblock) {}, false, nil},
		{func(sb *Superblock) { sb.RevLevel = 0 }, false, []string{"s_rev_level is 0 but feature bits are set (ext_attr, dir_index, filetype, sparse_super, large_file)"}},
		{func(sb *Superblock) { sb.RevLevel = 2 }, false, []string{"s_rev_level is 2, newer than the 1 known here: mounting read-only"}},
		{func(sb *Superblock) { sb.State = 0 }, true, []string{"not cleanly unmounted"}},
		{func(sb *Superblock) { sb.State = StateErrors }, false, []string{"not cleanly unmounted"}},
		{func(sb *Superblock) { sb.State |= StateErrors }, false, []string{"the file system has errors: running"}},
		{func(sb *Superblock) {
			sb.State |= StateErrors
			sb.ErrorCount, sb.LastErrorTime, sb.LastErrorIno, sb.LastErrorBlock = 3, 86400, 12, 99
			copy(sb.LastErrorFunc[:], "ext4_lookup\x00garbage")
		}, false, []string{`has errors (3, the last on 1970-01-02 00:00:00 in "ext4_lookup", inode 12, block 99)`}},
		{func(sb *Superblock) { sb.MaxMntCount, sb.MntCount = 20, 20 }, false, []string{"mounted 20 times since the last check, s_max_mnt_count is 20"}},
		{func(sb *Superblock) { sb.MaxMntCount, sb.MntCount = 20, 20 }, true, nil},
		{func(sb *Superblock) { sb.MaxMntCount, sb.MntCount = 20, 19 }, false, nil},
		{func(sb *Superblock) { sb.MaxMntCount, sb.MntCount = 0, 500 }, false, nil},
		{func(sb *Superblock) { sb.MntCount = 40000 }, false, nil},
		{func(sb *Superblock) { sb.LastCheck, sb.CheckInterval = day-10*86400, 9*86400 }, false, []string{"a check was due on 2026-02-28"}},
		{func(sb *Superblock) { sb.LastCheck, sb.CheckInterval = day-10*86400, 11*86400 }, false, nil},
		{func(sb *Superblock) { sb.LastCheck, sb.CheckInterval = day-10*86400, 9*86400 }, true, nil},
	} {
		sb := sound()
		c.change(sb)
		got, err := sb.check(checkBytes, !c.ro, checkDay)
		ok := err == nil && len(got) == len(c.warnings)
		for i := 0; ok && i < len(got); i++ {
			ok = strings.Contains(got[i], c.warnings[i]) && !strings.Contains(got[i], "\n")
		}
		if !ok {
			t.Errorf("expected the warnings %q, got %q, %v", c.warnings, got, err)
		}
		if sb.ForceReadOnly() != (sb.RevLevel > 1) {
			t.Errorf("revision %d: ForceReadOnly is %t", sb.RevLevel, sb.ForceReadOnly())
		}
	}
}

// TestCheckImages checks what e2fsprogs makes and an ext2 driver must not mount.
func TestCheckImages(t *testing.T) {
	for _, c := range []struct {
		o    ext2test.Options
		kind string
		text string
	}{
		{ext2test.Options{Type: "ext3"}, "", ""},
		{ext2test.Options{Type: "ext4"}, "unsupported", "ext4 image: it uses the features extent, 64bit, flex_bg"},
		{ext2test.Options{Type: "ext4", BlockSize: 4096, Features: []string{"^64bit", "^flex_bg"}}, "unsupported", "ext4 image: it uses the feature extent"},
		{ext2test.Options{Features: []string{"quota"}}, "read-only works", "the feature quota"},
		{ext2test.Options{Features: []string{"uninit_bg", "huge_file"}}, "read-only works", "the features huge_file, uninit_bg"},
		{ext2test.Options{BlockSize: 4096, Args: []string{"-O", "journal_dev"}}, "unsupported", "external journal (the feature journal_dev)"},
	} {
		img := ext2test.Make(t, c.o)
		b, err := os.ReadFile(img)
		if err != nil {
			t.Fatal(err)
		}
		sb, err := DecodeSuperblock(b[SuperblockOffset:])
		if err != nil {
			t.Fatal(err)
		}
		_, err = sb.Check(int64(len(b)), true)
		if kind(err) != c.kind || err != nil && !strings.Contains(err.Error(), c.text) {
			t.Errorf("%+v: expected %s (%s), got %s: %v", c.o, c.kind, c.text, kind(err), err)
		}
	}
}

// TestFeatureNames compares our name of every bit with dumpe2fs's.
func TestFeatureNames(t *testing.T) {
	img := ext2test.Make(t, ext2test.Options{})
	b, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	// Bits that go-ext4 names and e2fsprogs does not.
	unnamed := map[string]string{"exclude_inode": "FEATURE_C7", "btree_dir": "FEATURE_R2", "snapshot": "FEATURE_R7"}
	// Bits that e2fsprogs of today names and older ones may not.
	young := []string{"orphan_file", "orphan_present", "casefold", "shared_blocks", "verity", "fast_commit", "stable_inodes"}
	for bit := range 32 {
		sb, err := DecodeSuperblock(b[SuperblockOffset:])
		if err != nil {
			t.Fatal(err)
		}
		sb.FeatureCompat, sb.FeatureIncompat, sb.FeatureROCompat = 1<<bit, 1<<bit, 1<<bit
		if 1<<bit == Incompat64Bit || 1<<bit == IncompatJournalDev {
			sb.FeatureIncompat = 0 // changes what dumpe2fs expects elsewhere
		}
		if 1<<bit == ROCompatMetadataCsum {
			sb.FeatureROCompat = 0 // dumpe2fs minds the checksum
		}
		got := FeatureNames(sb.FeatureCompat, sb.FeatureIncompat, sb.FeatureROCompat)
		for i, name := range got {
			if other, ok := unnamed[name]; ok {
				got[i] = other
			}
		}
		if slices.ContainsFunc(got, func(name string) bool { return slices.Contains(young, name) }) {
			continue
		}
		sb.Encode(b[SuperblockOffset:])
		if err := os.WriteFile(img, b, 0o644); err != nil {
			t.Fatal(err)
		}
		header := command(t, "dumpe2fs", "-h", "-f", img)
		if want := strings.Join(got, " "); !slices.ContainsFunc(strings.Split(header, "\n"), func(line string) bool {
			rest, ok := strings.CutPrefix(line, "Filesystem features:")
			return ok && strings.TrimSpace(rest) == want
		}) {
			t.Errorf("bit %d: we say %q, dumpe2fs\n%s", bit, want, header)
		}
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{&CorruptError{What: "directory block", Inode: 12, Block: 345, Offset: 0, Detail: "rec_len is 0"}, "corrupt directory block, inode 12, block 345, offset 0: rec_len is 0"},
		{&CorruptError{What: "superblock", Offset: -1, Detail: "x"}, "corrupt superblock: x"},
		{&NotExt2Error{Magic: 0, Looks: Guess{Name: "a tar archive"}}, "not an ext2 file system: s_magic is 0x0000, expected 0xEF53; this looks like a tar archive"},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("got %q, expected %q", got, c.want)
		}
	}
	if _, err := DecodeSuperblock(make([]byte, 1023)); err == nil {
		t.Error("a superblock of 1023 bytes was decoded")
	}
}
