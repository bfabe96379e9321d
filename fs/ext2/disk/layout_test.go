//go:build linux

package disk

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"testing"
)

type field struct {
	name      string
	off, size int
}

// superblockLayout is struct ext4_super_block as e2fsprogs and Linux have it.
var superblockLayout = []field{
	{"InodesCount", 0x000, 4}, {"BlocksCount", 0x004, 4}, {"RBlocksCount", 0x008, 4}, {"FreeBlocksCount", 0x00C, 4},
	{"FreeInodesCount", 0x010, 4}, {"FirstDataBlock", 0x014, 4}, {"LogBlockSize", 0x018, 4}, {"LogFragSize", 0x01C, 4},
	{"BlocksPerGroup", 0x020, 4}, {"FragsPerGroup", 0x024, 4}, {"InodesPerGroup", 0x028, 4}, {"Mtime", 0x02C, 4},
	{"Wtime", 0x030, 4}, {"MntCount", 0x034, 2}, {"MaxMntCount", 0x036, 2}, {"Magic", 0x038, 2}, {"State", 0x03A, 2},
	{"Errors", 0x03C, 2}, {"MinorRevLevel", 0x03E, 2}, {"LastCheck", 0x040, 4}, {"CheckInterval", 0x044, 4},
	{"CreatorOS", 0x048, 4}, {"RevLevel", 0x04C, 4}, {"DefResUID", 0x050, 2}, {"DefResGID", 0x052, 2},
	{"DynFirstIno", 0x054, 4}, {"DynInodeSize", 0x058, 2}, {"BlockGroupNr", 0x05A, 2}, {"FeatureCompat", 0x05C, 4},
	{"FeatureIncompat", 0x060, 4}, {"FeatureROCompat", 0x064, 4}, {"UUID", 0x068, 16}, {"VolumeName", 0x078, 16},
	{"LastMounted", 0x088, 64}, {"AlgorithmBitmap", 0x0C8, 4}, {"PreallocBlocks", 0x0CC, 1}, {"PreallocDir", 0x0CD, 1},
	{"ReservedGDT", 0x0CE, 2}, {"JournalUUID", 0x0D0, 16}, {"JournalInum", 0x0E0, 4}, {"JournalDev", 0x0E4, 4},
	{"LastOrphan", 0x0E8, 4}, {"HashSeed", 0x0EC, 16}, {"DefHashVersion", 0x0FC, 1}, {"JnlBackupType", 0x0FD, 1},
	{"DescSize", 0x0FE, 2}, {"DefaultMountOpts", 0x100, 4}, {"FirstMetaBG", 0x104, 4}, {"MkfsTime", 0x108, 4},
	{"JnlBlocks", 0x10C, 68}, {"BlocksCountHi", 0x150, 4}, {"RBlocksCountHi", 0x154, 4}, {"FreeBlocksCountHi", 0x158, 4},
	{"MinExtraIsize", 0x15C, 2}, {"WantExtraIsize", 0x15E, 2}, {"Flags", 0x160, 4}, {"RAIDStride", 0x164, 2},
	{"MMPInterval", 0x166, 2}, {"MMPBlock", 0x168, 8}, {"RAIDStripeWidth", 0x170, 4}, {"LogGroupsPerFlex", 0x174, 1},
	{"ChecksumType", 0x175, 1}, {"EncryptionLevel", 0x176, 1}, {"ReservedPad", 0x177, 1}, {"KBytesWritten", 0x178, 8},
	{"SnapshotInum", 0x180, 4}, {"SnapshotID", 0x184, 4}, {"SnapshotRBlocks", 0x188, 8}, {"SnapshotList", 0x190, 4},
	{"ErrorCount", 0x194, 4}, {"FirstErrorTime", 0x198, 4}, {"FirstErrorIno", 0x19C, 4}, {"FirstErrorBlock", 0x1A0, 8},
	{"FirstErrorFunc", 0x1A8, 32}, {"FirstErrorLine", 0x1C8, 4}, {"LastErrorTime", 0x1CC, 4}, {"LastErrorIno", 0x1D0, 4},
	{"LastErrorLine", 0x1D4, 4}, {"LastErrorBlock", 0x1D8, 8}, {"LastErrorFunc", 0x1E0, 32}, {"MountOpts", 0x200, 64},
	{"UsrQuotaInum", 0x240, 4}, {"GrpQuotaInum", 0x244, 4}, {"OverheadClusters", 0x248, 4}, {"BackupBGs", 0x24C, 8},
	{"EncryptAlgos", 0x254, 4}, {"EncryptPwSalt", 0x258, 16}, {"LpfIno", 0x268, 4}, {"PrjQuotaInum", 0x26C, 4},
	{"ChecksumSeed", 0x270, 4}, {"WtimeHi", 0x274, 1}, {"MtimeHi", 0x275, 1}, {"MkfsTimeHi", 0x276, 1}, {"LastCheckHi", 0x277, 1},
	{"FirstErrorTimeHi", 0x278, 1}, {"LastErrorTimeHi", 0x279, 1}, {"FirstErrorCode", 0x27A, 1}, {"LastErrorCode", 0x27B, 1},
	{"Reserved", 0x27C, 384}, {"Checksum", 0x3FC, 4},
}

// inodeLayout is struct ext4_inode in its Linux form, up to what Inode knows. Fields
// that share bytes with others are tested in TestInodeFields.
var inodeLayout = []field{
	{"Mode", 0x00, 2}, {"Dtime", 0x14, 4}, {"Links", 0x1A, 2}, {"Sectors", 0x1C, 4}, {"Flags", 0x20, 4}, {"Version", 0x24, 4},
	{"Block", 0x28, 60}, {"Generation", 0x64, 4}, {"FileACL", 0x68, 4}, {"DirACL", 0x6C, 4}, {"FragAddr", 0x70, 4},
	{"SectorsHi", 0x74, 2},
}

var groupDescLayout = []field{
	{"BlockBitmap", 0, 4}, {"InodeBitmap", 4, 4}, {"InodeTable", 8, 4}, {"FreeBlocks", 12, 2}, {"FreeInodes", 14, 2},
	{"UsedDirs", 16, 2}, {"Flags", 18, 2},
}

// fill sets v's bytes to 1, 2, 3, … as they stand in memory order of a little-endian
// number, so that on disk they must come out as 1, 2, 3, ….
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Array:
		size := int(v.Type().Elem().Size())
		for i := range v.Len() {
			setBytes(v.Index(i), 1+i*size, size)
		}
	default:
		setBytes(v, 1, int(v.Type().Size()))
	}
}

func setBytes(v reflect.Value, first, size int) {
	var n uint64
	for i := range size {
		n |= uint64(uint8(first+i)) << (8 * i)
	}
	v.SetUint(n)
}

// testLayout sets one field after the other, encodes, expects its bytes at the offset
// and zeros elsewhere, and expects the field back when these are decoded.
func testLayout[T any](t *testing.T, size int, layout []field, encode func(*T, []byte), decode func([]byte) *T) {
	t.Helper()
	for _, f := range layout {
		var v T
		fv := reflect.ValueOf(&v).Elem().FieldByName(f.name)
		if !fv.IsValid() {
			t.Errorf("%s: no such field", f.name)
			continue
		}
		fill(fv)
		got, want := make([]byte, size), make([]byte, size)
		encode(&v, got)
		for i := range f.size {
			want[f.off+i] = uint8(1 + i)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: encoded\n%x, expected %d bytes at 0x%x", f.name, got, f.size, f.off)
		}
		if back := decode(want); !reflect.DeepEqual(*back, v) {
			t.Errorf("%s: decoded %+v, expected %+v", f.name, *back, v)
		}
	}
}

func TestSuperblockLayout(t *testing.T) {
	testLayout(t, SuperblockSize, superblockLayout,
		func(sb *Superblock, b []byte) { sb.Encode(b) },
		func(b []byte) *Superblock {
			sb, err := DecodeSuperblock(b)
			if err != nil {
				t.Fatal(err)
			}
			return sb
		})
	// The table has each field once, in order, without gaps, to the end.
	end := 0
	for _, f := range superblockLayout {
		if f.off != end {
			t.Errorf("%s is at 0x%x, the field before ends at 0x%x", f.name, f.off, end)
		}
		end = f.off + f.size
	}
	if end != SuperblockSize {
		t.Errorf("the last field ends at %d", end)
	}
	if n := reflect.TypeFor[Superblock]().NumField(); n != len(superblockLayout) {
		t.Errorf("Superblock has %d fields, the table %d", n, len(superblockLayout))
	}
}

func TestGroupDescLayout(t *testing.T) {
	testLayout(t, GroupDescSize, groupDescLayout,
		func(d *GroupDesc, b []byte) { d.Encode(b) },
		func(b []byte) *GroupDesc { d := DecodeGroupDesc(b); return &d })
}

// oldSuper is the superblock of an image of revision 0; largeSuper has larger inodes.
func oldSuper() *Superblock { return &Superblock{} }

func largeSuper(inodeSize int) *Superblock {
	return &Superblock{RevLevel: DynamicRev, DynInodeSize: uint16(inodeSize), DynFirstIno: GoodOldFirstIno, LogBlockSize: 2,
		InodesCount: 1000, BlocksCount: 1000, BlocksPerGroup: 1000, InodesPerGroup: 1000}
}

func TestInodeLayout(t *testing.T) {
	testLayout(t, GoodOldInodeSize, inodeLayout,
		func(in *Inode, b []byte) { in.Encode(b, oldSuper()) },
		func(b []byte) *Inode { in := DecodeInode(b, oldSuper()); return &in })
}

// TestInodeFields pins what is spread over several places, or is there only at times.
func TestInodeFields(t *testing.T) {
	words := func(size int, pairs ...uint32) []byte {
		b := make([]byte, size)
		for i := 0; i < len(pairs); i += 2 {
			binary.LittleEndian.PutUint32(b[pairs[i]:], pairs[i+1])
		}
		return b
	}
	sb := largeSuper(256)
	const reg, dir = ModeReg | 0o644, ModeDir | 0o755
	for _, c := range []struct {
		name string
		b    []byte
		want Inode
	}{
		{"owner", words(256, 0x00, 0x1234<<16, 0x18, 0x5678, 0x78, 0xAAAA|0xBBBB<<16, 0x80, 4), Inode{UID: 0xAAAA1234, GID: 0xBBBB5678, ExtraSize: 4}},
		{"size of a file", words(128, 0, reg, 4, 0xFFFFFFF0, 0x6C, 3), Inode{Mode: reg, Size: 0x3FFFFFFF0}},
		{"size of a directory", words(128, 0, dir, 4, 4096, 0x6C, 3), Inode{Mode: dir, Size: 4096, DirACL: 3}},
		{"times, small inode", words(128, 8, 1, 0xC, 0xFFFFFFFF, 0x10, 0x80000000), Inode{Atime: Timespec{Sec: 1}, Ctime: Timespec{Sec: -1}, Mtime: Timespec{Sec: -1 << 31}}},
		{"times, extra", words(256, 0x80, 32, 8, 1, 0x8C, 7<<2, 0xC, 0xFFFFFFFF, 0x84, 999999999<<2, 0x10, 0x7FFFFFFF, 0x88, 3|5<<2, 0x90, 2, 0x94, 1|6<<2),
			Inode{ExtraSize: 32, Atime: Timespec{1, 7}, Ctime: Timespec{-1, 999999999}, Mtime: Timespec{15032385535, 5}, Btime: Timespec{2 + 1<<32, 6}, HasBtime: true}},
		{"times, extra space not in use yet", words(256, 0x84, 4), Inode{Ctime: Timespec{0, 1}, HasBtime: true}},
		{"times, extra reaches ctime only", words(256, 0x80, 8, 0x84, 4, 0x88, 4, 0x90, 9), Inode{ExtraSize: 8, Ctime: Timespec{0, 1}}},
		{"times, creation without nanoseconds", words(256, 0x80, 20, 0x90, 9, 0x94, 4), Inode{ExtraSize: 20, HasBtime: true, Btime: Timespec{9, 0}}},
		{"times, extra out of bounds", words(256, 0x80, 132, 0x84, 4), Inode{ExtraSize: 132}},
	} {
		super := sb
		if len(c.b) == GoodOldInodeSize {
			super = oldSuper()
		}
		in := DecodeInode(c.b, super)
		if in != c.want {
			t.Errorf("%s: decoded\n%+v, expected\n%+v", c.name, in, c.want)
		}
		b := bytes.Clone(c.b)
		in.Encode(b, super)
		if !bytes.Equal(b, c.b) {
			t.Errorf("%s: encoded again\n%x, expected\n%x", c.name, b, c.b)
		}
	}
}

func TestMaxFileSize(t *testing.T) {
	for _, c := range []struct {
		log  uint32
		want int64
	}{
		// What ftruncate accepts on the kernel's mounts of 1, 2 and 4 KiB blocks; it
		// cannot mount the others here, they follow from i_blocks.
		{0, 17247252480}, {1, 275415851008}, {2, 2196873666560},
		{3, 2197948973056}, {4, 2198486220800}, {5, 2198754754560}, {6, 2198888906752},
	} {
		sb := Superblock{LogBlockSize: c.log}
		if got := sb.MaxFileSize(); got != c.want {
			t.Errorf("blocks of %d bytes: the largest file has %d bytes, expected %d", sb.BlockSize(), got, c.want)
		}
		// Such a file's sectors fit in i_blocks (smaller blocks: the tree ends before).
		blocks := sb.MaxFileSize() >> sb.BlockBits()
		if sectors := (blocks + tableBlocks(blocks, int64(sb.AddrPerBlock()))) << (sb.BlockBits() - 9); c.log > 1 && sectors > 1<<32 {
			t.Errorf("blocks of %d bytes: the largest file has %d sectors", sb.BlockSize(), sectors)
		}
	}
}
