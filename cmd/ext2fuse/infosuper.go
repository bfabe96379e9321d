//go:build linux

package main

import (
	"fmt"
	"os/user"
	"strings"
	"time"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// superInfo is a superblock for programs and people. Counts are in blocks, sizes in
// bytes.
type superInfo struct {
	Kind           string     `json:"kind"`
	Label          string     `json:"label"`
	LabelRaw       []byte     `json:"label_bytes,omitempty"` // as rawBytes
	LastMounted    string     `json:"last_mounted_on"`
	LastMountedRaw []byte     `json:"last_mounted_on_bytes,omitempty"`
	UUID           string     `json:"uuid"`
	Revision       uint32     `json:"revision"`
	Features       []string   `json:"features"`
	Flags          []string   `json:"flags"`
	DefaultOptions []string   `json:"default_mount_options"`
	State          string     `json:"state"`
	Errors         string     `json:"errors_behavior"`
	CreatorOS      string     `json:"creator_os"`
	Inodes         uint32     `json:"inodes"`
	Blocks         uint64     `json:"blocks"`
	Reserved       uint64     `json:"reserved_blocks"`
	Overhead       uint32     `json:"overhead_blocks,omitempty"`
	FreeBlocks     uint64     `json:"free_blocks"`
	FreeInodes     uint32     `json:"free_inodes"`
	FirstBlock     uint32     `json:"first_block"`
	BlockSize      int64      `json:"block_size"`
	ReservedGDT    uint16     `json:"reserved_gdt_blocks,omitempty"`
	PerGroup       uint32     `json:"blocks_per_group"`
	FragsPerGroup  uint32     `json:"fragments_per_group"`
	InodesPerGroup uint32     `json:"inodes_per_group"`
	TableBlocks    uint32     `json:"inode_blocks_per_group"`
	Created        *time.Time `json:"created,omitempty"`
	Mounted        *time.Time `json:"last_mount_time,omitempty"`
	Written        *time.Time `json:"last_write_time,omitempty"`
	Mounts         uint16     `json:"mount_count"`
	MaxMounts      int16      `json:"max_mount_count"`
	Checked        *time.Time `json:"last_checked,omitempty"`
	CheckInterval  uint32     `json:"check_interval_seconds"`
	ResUID         uint16     `json:"reserved_uid"`
	ResGID         uint16     `json:"reserved_gid"`
	FirstInode     uint32     `json:"first_inode"`
	InodeSize      int        `json:"inode_size"`
	MinExtra       uint16     `json:"required_extra_isize,omitempty"`
	WantExtra      uint16     `json:"desired_extra_isize,omitempty"`
	JournalInode   uint32     `json:"journal_inode,omitempty"`
	JournalSize    uint32     `json:"journal_size,omitempty"`
	FirstOrphan    uint32     `json:"first_orphan_inode,omitempty"`
	DirHash        string     `json:"default_directory_hash,omitempty"`
	HashSeed       string     `json:"directory_hash_seed,omitempty"`
	ErrorCount     uint32     `json:"error_count,omitempty"`
	FirstError     string     `json:"first_error,omitempty"`
	LastError      string     `json:"last_error,omitempty"`

	journalBackup bool
}

func newSuperInfo(sb *disk.Superblock) *superInfo {
	i := &superInfo{
		Kind: kindOf(sb), Label: sb.Label(), LabelRaw: rawBytes(sb.Label()), LastMounted: cText(sb.LastMounted[:]), LastMountedRaw: rawBytes(cText(sb.LastMounted[:])), UUID: uuidText(sb.UUID[:]),
		Revision: sb.RevLevel, Features: disk.FeatureNames(sb.FeatureCompat, sb.FeatureIncompat, sb.FeatureROCompat),
		Flags: bitNames(sb.Flags, "signed_directory_hash", "unsigned_directory_hash", "test_filesystem"),
		DefaultOptions: bitNames(sb.DefaultMountOpts, "debug", "bsdgroups", "user_xattr", "acl", "uid16",
			"journal_data", "journal_data_ordered", "", "nobarrier", "block_validity", "discard", "nodelalloc"),
		State: stateText(sb.State), Errors: nameOf(sb.Errors, "Unknown", "", "Continue", "Remount read-only", "Panic"),
		CreatorOS: nameOf(sb.CreatorOS, "unknown", "Linux", "Hurd", "Masix", "FreeBSD", "Lites"),
		Inodes:    sb.InodesCount, FreeInodes: sb.FreeInodesCount,
		Blocks: uint64(sb.BlocksCount), Reserved: uint64(sb.RBlocksCount), FreeBlocks: uint64(sb.FreeBlocksCount),
		Overhead: sb.OverheadClusters, FirstBlock: sb.FirstDataBlock, BlockSize: int64(1024) << (sb.LogBlockSize & 15),
		ReservedGDT: sb.ReservedGDT, PerGroup: sb.BlocksPerGroup, FragsPerGroup: sb.FragsPerGroup, InodesPerGroup: sb.InodesPerGroup,
		Created: timeOf(sb.MkfsTime), Mounted: timeOf(sb.Mtime), Written: timeOf(sb.Wtime), Checked: timeOf(sb.LastCheck),
		Mounts: sb.MntCount, MaxMounts: int16(sb.MaxMntCount), CheckInterval: sb.CheckInterval,
		ResUID: sb.DefResUID, ResGID: sb.DefResGID, FirstInode: sb.FirstIno(), InodeSize: sb.InodeSize(),
		MinExtra: sb.MinExtraIsize, WantExtra: sb.WantExtraIsize, FirstOrphan: sb.LastOrphan, ErrorCount: sb.ErrorCount,
	}
	if sb.HasIncompat(disk.Incompat64Bit) {
		i.Blocks |= uint64(sb.BlocksCountHi) << 32
		i.Reserved |= uint64(sb.RBlocksCountHi) << 32
		i.FreeBlocks |= uint64(sb.FreeBlocksCountHi) << 32
	}
	if i.InodeSize > 0 && i.BlockSize >= int64(i.InodeSize) {
		perBlock := uint32(i.BlockSize / int64(i.InodeSize))
		i.TableBlocks = (sb.InodesPerGroup + perBlock - 1) / perBlock
	}
	if sb.HasCompat(disk.CompatHasJournal) {
		i.JournalInode, i.journalBackup = sb.JournalInum, sb.JnlBackupType == 1
		if i.journalBackup {
			i.JournalSize = sb.JnlBlocks[16]
		}
	}
	if sb.HasCompat(disk.CompatDirIndex) || sb.DefHashVersion != 0 {
		i.DirHash = nameOf(uint32(sb.DefHashVersion), "unknown", "legacy", "half_md4", "tea", "", "", "", "siphash")
	}
	if sb.HashSeed != [4]uint32{} {
		var seed [16]byte
		for j, w := range sb.HashSeed {
			for k := range 4 {
				seed[4*j+k] = byte(w >> (8 * k))
			}
		}
		i.HashSeed = uuidText(seed[:])
	}
	i.FirstError = errorText(sb.FirstErrorTime, sb.FirstErrorFunc[:], sb.FirstErrorIno, sb.FirstErrorBlock)
	i.LastError = errorText(sb.LastErrorTime, sb.LastErrorFunc[:], sb.LastErrorIno, sb.LastErrorBlock)
	return i
}

// field is a line of info; the labels are those of dumpe2fs.
type field struct{ label, value string }

func (i *superInfo) fields() []field {
	revision := map[uint32]string{0: " (original)", 1: " (dynamic)"}[i.Revision]
	list := []field{
		{"Filesystem kind", i.Kind},
		{"Filesystem volume name", orText(i.Label, "<none>")},
		{"Last mounted on", orText(i.LastMounted, "<not available>")},
		{"Filesystem UUID", orText(strings.Trim(i.UUID, "0-"), "<none>")},
		{"Filesystem magic number", fmt.Sprintf("0x%04X", disk.Magic)},
		{"Filesystem revision #", fmt.Sprint(i.Revision) + revision},
		{"Filesystem features", orText(strings.Join(i.Features, " "), "(none)")},
		{"Filesystem flags", strings.Join(i.Flags, " ")},
		{"Default mount options", orText(strings.Join(i.DefaultOptions, " "), "(none)")},
		{"Filesystem state", i.State},
		{"Errors behavior", i.Errors},
		{"Filesystem OS type", i.CreatorOS},
	}
	if list[3].value != "<none>" {
		list[3].value = i.UUID
	}
	add := func(label string, v any) { list = append(list, field{label, fmt.Sprint(v)}) }
	some := func(label string, v uint32) {
		if v != 0 {
			add(label, v)
		}
	}
	add("Inode count", i.Inodes)
	add("Block count", i.Blocks)
	add("Reserved block count", i.Reserved)
	some("Overhead clusters", i.Overhead)
	add("Free blocks", i.FreeBlocks)
	add("Free inodes", i.FreeInodes)
	add("First block", i.FirstBlock)
	add("Block size", i.BlockSize)
	add("Fragment size", i.BlockSize)
	some("Reserved GDT blocks", uint32(i.ReservedGDT))
	add("Blocks per group", i.PerGroup)
	add("Fragments per group", i.FragsPerGroup)
	add("Inodes per group", i.InodesPerGroup)
	add("Inode blocks per group", i.TableBlocks)
	if i.Created != nil {
		add("Filesystem created", timeText(i.Created))
	}
	add("Last mount time", timeText(i.Mounted))
	add("Last write time", timeText(i.Written))
	add("Mount count", i.Mounts)
	add("Maximum mount count", i.MaxMounts)
	add("Last checked", timeText(i.Checked))
	interval := "<none>"
	if i.CheckInterval != 0 {
		interval = fmt.Sprintf("%d days", i.CheckInterval/86400)
	}
	add("Check interval", fmt.Sprintf("%d (%s)", i.CheckInterval, interval))
	uid, gid := "unknown", "unknown"
	if u, err := user.LookupId(fmt.Sprint(i.ResUID)); err == nil {
		uid = u.Username
	}
	if g, err := user.LookupGroupId(fmt.Sprint(i.ResGID)); err == nil {
		gid = g.Name
	}
	add("Reserved blocks uid", fmt.Sprintf("%d (user %s)", i.ResUID, uid))
	add("Reserved blocks gid", fmt.Sprintf("%d (group %s)", i.ResGID, gid))
	if i.Revision > 0 {
		add("First inode", i.FirstInode)
		add("Inode size", i.InodeSize)
	}
	some("Required extra isize", uint32(i.MinExtra))
	some("Desired extra isize", uint32(i.WantExtra))
	some("Journal inode", i.JournalInode)
	some("First orphan inode", i.FirstOrphan)
	if i.DirHash != "" {
		add("Default directory hash", i.DirHash)
	}
	if i.HashSeed != "" {
		add("Directory Hash Seed", i.HashSeed)
	}
	if i.journalBackup {
		add("Journal backup", "inode blocks")
		add("Total journal size", fmt.Sprintf("%dk", i.JournalSize>>10))
	}
	some("FS Error count", i.ErrorCount)
	if i.FirstError != "" {
		add("First error", i.FirstError)
	}
	if i.LastError != "" {
		add("Last error", i.LastError)
	}
	return list
}

func stateText(state uint16) string {
	s := "clean"
	if state&disk.StateValid == 0 {
		s = "not clean"
	}
	if state&disk.StateErrors != 0 {
		s += " with errors"
	}
	return s
}

func errorText(when uint32, function []byte, ino uint32, block uint64) string {
	if when == 0 {
		return ""
	}
	s := timeText(timeOf(when)) + " in " + orText(cText(function), "an unknown function")
	if ino != 0 {
		s += fmt.Sprintf(", inode %d", ino)
	}
	if block != 0 {
		s += fmt.Sprintf(", block %d", block)
	}
	return s
}

// nameOf is the n-th name, or other where there is none.
func nameOf[T uint16 | uint32](n T, other string, names ...string) string {
	if int(n) < len(names) && names[n] != "" {
		return names[n]
	}
	return other
}

// bitNames are the names of the bits that are set.
func bitNames(set uint32, names ...string) []string {
	list := []string{}
	for i, n := range names {
		if set&(1<<i) != 0 && n != "" {
			list = append(list, n)
		}
	}
	return list
}

func orText(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// cText is a string that zeros end.
func cText(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}

func uuidText(b []byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

func timeOf(sec uint32) *time.Time {
	if sec == 0 {
		return nil
	}
	t := time.Unix(int64(sec), 0)
	return &t
}

func timeText(t *time.Time) string {
	if t == nil {
		return "n/a"
	}
	return t.Format(time.ANSIC)
}
