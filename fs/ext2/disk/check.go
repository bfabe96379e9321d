package disk

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// What this driver does of the features that matter.
const (
	supportedIncompat = IncompatFiletype | IncompatMetaBG
	supportedROCompat = ROCompatSparseSuper | ROCompatLargeFile
	// ext4Incompat are the features that no ext2 or ext3 image has.
	ext4Incompat = ^uint32(supportedIncompat | IncompatCompression | IncompatRecover | IncompatJournalDev)
)

// Check tells whether the file system can be mounted, from a device of deviceBytes
// bytes, as readWrite says. The checks run in the kernel's order and the first that
// fails gives the error: *NotExt2Error, *UnsupportedError, *CorruptError or
// *TooSmallError. The warnings, one line each, are for the log; they come with an error,
// too. See ForceReadOnly for what Check cannot decide.
func (sb *Superblock) Check(deviceBytes int64, readWrite bool) (warnings []string, err error) {
	return sb.check(deviceBytes, readWrite, time.Now())
}

func (sb *Superblock) check(deviceBytes int64, readWrite bool, now time.Time) (warnings []string, err error) {
	if sb.Magic != Magic {
		return nil, &NotExt2Error{Magic: sb.Magic}
	}
	if names := FeatureNames(sb.FeatureCompat, sb.FeatureIncompat, sb.FeatureROCompat); sb.RevLevel == GoodOldRev && len(names) > 0 {
		warnings = append(warnings, fmt.Sprintf("s_rev_level is 0 but feature bits are set (%s): running e2fsck is recommended", strings.Join(names, ", ")))
	}
	for _, check := range []func() error{
		sb.checkIncompat,
		func() error { return sb.checkROCompat(readWrite) },
		sb.checkSizes,
		sb.checkGroups,
		func() error { return sb.checkDevice(deviceBytes) },
		sb.checkCounts,
	} {
		if err := check(); err != nil {
			return warnings, err
		}
	}
	return append(warnings, sb.stateWarnings(readWrite, now)...), nil
}

// ForceReadOnly tells whether the file system must be mounted read-only whatever was
// asked for: its revision is newer than what is known here.
func (sb *Superblock) ForceReadOnly() bool { return sb.RevLevel > DynamicRev }

// checkIncompat is check 3.
func (sb *Superblock) checkIncompat() error {
	unknown := sb.FeatureIncompat &^ uint32(supportedIncompat)
	if unknown == 0 {
		return nil
	}
	names := namesOf(incompatSet, unknown)
	e := &UnsupportedError{Features: names}
	what := describe(names)
	switch {
	case unknown&ext4Incompat != 0:
		e.Detail = fmt.Sprintf("this is an ext4 image: it uses %s, which ext2 does not have; mount it with an ext4 driver", describe(namesOf(incompatSet, unknown&ext4Incompat)))
	case unknown&IncompatJournalDev != 0:
		e.Detail = fmt.Sprintf("this is an external journal (%s), not a file system: mount the file system it belongs to", what)
	case unknown == IncompatRecover:
		e.Detail = fmt.Sprintf("s_feature_incompat has %s: the journal holds changes that are not in the file system yet; run e2fsck -p first", what)
	default:
		e.Detail = fmt.Sprintf("s_feature_incompat has %s, which is not supported", what)
	}
	return e
}

// checkROCompat is check 4.
func (sb *Superblock) checkROCompat(readWrite bool) error {
	unknown := sb.FeatureROCompat &^ uint32(supportedROCompat)
	if unknown == 0 || !readWrite {
		return nil
	}
	names := namesOf(roCompatSet, unknown)
	return &UnsupportedError{
		Features:   names,
		ReadOnlyOK: true,
		Detail:     fmt.Sprintf("s_feature_ro_compat has %s, which is not supported for writing", describe(names)),
	}
}

// describe lists feature names for a message.
func describe(names []string) string {
	if len(names) == 1 {
		return "the feature " + names[0]
	}
	return "the features " + strings.Join(names, ", ")
}

// bad makes the error of a superblock field with a wrong value.
func bad(format string, args ...any) error { return corrupt("superblock", -1, format, args...) }

// checkSizes is checks 5 to 8.
func (sb *Superblock) checkSizes() error {
	if sb.LogBlockSize > 6 {
		return bad("s_log_block_size is %d, expected at most 6 (64 KiB blocks)", sb.LogBlockSize)
	}
	bs := sb.BlockSize()
	if sb.RevLevel != GoodOldRev {
		n := int(sb.DynInodeSize)
		if n < GoodOldInodeSize || n&(n-1) != 0 || n > bs {
			return bad("s_inode_size is %d, expected a power of two from %d to the block size, %d", n, GoodOldInodeSize, bs)
		}
		if sb.DynFirstIno < GoodOldFirstIno {
			return bad("s_first_ino is %d, expected at least %d", sb.DynFirstIno, GoodOldFirstIno)
		}
	}
	if sb.InodesPerGroup == 0 {
		return bad("s_inodes_per_group is 0")
	}
	if sb.LogFragSize != sb.LogBlockSize {
		return bad("s_log_frag_size is %d, expected s_log_block_size, %d: fragments smaller than a block are not supported", sb.LogFragSize, sb.LogBlockSize)
	}
	return nil
}

// checkGroups is checks 9 and 10.
func (sb *Superblock) checkGroups() error {
	bitmap := uint32(sb.BlockSize()) * 8
	table := sb.InodeTableBlocks()
	if sb.BlocksPerGroup > bitmap {
		return bad("s_blocks_per_group is %d, expected at most %d, the bits of one block", sb.BlocksPerGroup, bitmap)
	}
	if uint64(sb.BlocksPerGroup) <= uint64(table)+3 {
		return bad("s_blocks_per_group is %d, expected more than the inode table's %d blocks and 3", sb.BlocksPerGroup, table)
	}
	if n := sb.InodesPerBlock(); sb.InodesPerGroup < n || sb.InodesPerGroup > bitmap {
		return bad("s_inodes_per_group is %d, expected %d to %d", sb.InodesPerGroup, n, bitmap)
	}
	// ext4 and e2fsprogs ask for the next two, ext2 does not.
	if sb.FragsPerGroup != sb.BlocksPerGroup {
		return bad("s_frags_per_group is %d, expected s_blocks_per_group, %d", sb.FragsPerGroup, sb.BlocksPerGroup)
	}
	if n := sb.AddrPerBlock(); uint32(sb.ReservedGDT) > n {
		return bad("s_reserved_gdt_blocks is %d, expected at most %d", sb.ReservedGDT, n)
	}
	return nil
}

// checkDevice is check 11, and what the kernel leaves to chance: the place of the first
// block, without which no group is where it seems to be.
func (sb *Superblock) checkDevice(deviceBytes int64) error {
	want := int64(sb.BlocksCount) * int64(sb.BlockSize())
	if deviceBytes < want {
		return &TooSmallError{Have: deviceBytes, Want: want,
			Detail: fmt.Sprintf("the image ends too early: s_blocks_count is %d blocks of %d bytes, %d bytes in all, but it has only %d; is the copy complete?",
				sb.BlocksCount, sb.BlockSize(), want, deviceBytes)}
	}
	first := uint32(0)
	if sb.BlockSize() == MinBlockSize {
		first = 1
	}
	if sb.FirstDataBlock != first {
		return bad("s_first_data_block is %d, expected %d with blocks of %d bytes", sb.FirstDataBlock, first, sb.BlockSize())
	}
	if sb.BlocksCount <= sb.FirstDataBlock {
		return bad("s_blocks_count is %d, expected more than s_first_data_block, %d", sb.BlocksCount, sb.FirstDataBlock)
	}
	return nil
}

// checkCounts is check 12, and the part of check 13 that needs no I/O: the descriptors
// have a place. It also bounds the number of groups by what the first can describe.
func (sb *Superblock) checkCounts() error {
	groups := sb.GroupCount()
	if n := uint64(groups) * uint64(sb.InodesPerGroup); n != uint64(sb.InodesCount) {
		return bad("s_inodes_count is %d, expected %d: %d groups of %d inodes", sb.InodesCount, n, groups, sb.InodesPerGroup)
	}
	if sb.FirstIno() > sb.InodesCount {
		return bad("s_first_ino is %d, expected at most s_inodes_count, %d", sb.FirstIno(), sb.InodesCount)
	}
	if sb.HasIncompat(IncompatMetaBG) {
		if n := sb.DescBlocks(); sb.FirstMetaBG > n {
			return bad("s_first_meta_bg is %d, expected at most %d, the number of descriptor blocks", sb.FirstMetaBG, n)
		}
	}
	need := 1 + uint64(sb.GroupDescBlocks(0))
	if have := uint64(sb.GroupBlocks(0)); need >= have {
		return bad("the first group has %d blocks, too few for the superblock and the %d blocks of descriptors of %d groups", have, need-1, groups)
	}
	return nil
}

// stateWarnings is checks 16 and 17, and the state the last user left the image in.
func (sb *Superblock) stateWarnings(readWrite bool, now time.Time) (warnings []string) {
	warn := func(format string, args ...any) { warnings = append(warnings, fmt.Sprintf(format, args...)) }
	if sb.ForceReadOnly() {
		warn("s_rev_level is %d, newer than the %d known here: mounting read-only", sb.RevLevel, DynamicRev)
		readWrite = false
	}
	switch {
	case sb.State&StateValid == 0:
		warn("the file system was not cleanly unmounted: running e2fsck is recommended")
	case sb.State&StateErrors != 0:
		warn("the file system has errors%s: running e2fsck is recommended", sb.lastError())
	}
	if !readWrite {
		return warnings
	}
	if limit := int16(sb.MaxMntCount); limit > 0 && sb.MntCount >= uint16(limit) {
		warn("mounted %d times since the last check, s_max_mnt_count is %d: running e2fsck is recommended", sb.MntCount, limit)
	}
	if sb.CheckInterval != 0 {
		due := int64(sb.LastCheck) + int64(sb.LastCheckHi)<<32 + int64(sb.CheckInterval)
		if due <= now.Unix() {
			warn("a check was due on %s (s_lastcheck and s_checkinterval): running e2fsck is recommended", time.Unix(due, 0).UTC().Format(time.DateOnly))
		}
	}
	return warnings
}

// lastError says what the error fields know, for a message.
func (sb *Superblock) lastError() string {
	if sb.ErrorCount == 0 {
		return ""
	}
	at := int64(sb.LastErrorTime) + int64(sb.LastErrorTimeHi)<<32
	s := fmt.Sprintf(" (%d, the last on %s", sb.ErrorCount, time.Unix(at, 0).UTC().Format(time.DateTime))
	if fn := cString(sb.LastErrorFunc[:]); fn != "" {
		s += fmt.Sprintf(" in %.32q", fn)
	}
	if sb.LastErrorIno != 0 {
		s += fmt.Sprintf(", inode %d", sb.LastErrorIno)
	}
	if sb.LastErrorBlock != 0 && sb.LastErrorBlock <= math.MaxUint32 {
		s += fmt.Sprintf(", block %d", sb.LastErrorBlock)
	}
	return s + ")"
}
