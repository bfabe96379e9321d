package disk

import "strconv"

// Offsets in struct ext2_inode (and its larger ext4 form) in bytes.
const (
	inoMode        = 0x00
	inoUID         = 0x02
	inoSize        = 0x04
	inoAtime       = 0x08
	inoCtime       = 0x0C
	inoMtime       = 0x10
	inoDtime       = 0x14
	inoGID         = 0x18
	inoLinks       = 0x1A
	inoBlocks      = 0x1C
	inoFlags       = 0x20
	inoVersion     = 0x24
	inoBlock       = 0x28
	inoGeneration  = 0x64
	inoFileACL     = 0x68
	inoSizeHigh    = 0x6C // i_dir_acl of all but regular files
	inoFragAddr    = 0x70
	inoFrag        = 0x74 // i_frag and i_fsize; l_i_blocks_high in ext4
	inoFileACLHigh = 0x76
	inoUIDHigh     = 0x78
	inoGIDHigh     = 0x7A
	// Only in inodes larger than 128 bytes, as far as i_extra_isize reaches.
	inoExtraSize  = 0x80
	inoCtimeExtra = 0x84
	inoMtimeExtra = 0x88
	inoAtimeExtra = 0x8C
	inoBtime      = 0x90
	inoBtimeExtra = 0x94
	inoExtraEnd   = 0xA0 // end of the fields known today
)

// Inode is an inode as it lies in its table. The OS-dependent fields are read the
// Linux way whatever s_creator_os says, as the kernel does.
type Inode struct {
	Mode       uint16 // file type and permissions
	Links      uint16
	UID, GID   uint32 // both halves; with nouid32 use the lower 16 bits
	Size       uint64 // bytes; the high word counts for regular files only
	Atime      Timespec
	Mtime      Timespec
	Ctime      Timespec
	Btime      Timespec // creation; zero unless HasBtime
	HasBtime   bool
	Dtime      uint32 // deletion, in seconds; 0 while in use
	Flags      uint32 // InodeSync, …
	Generation uint32
	Version    uint32 // osd1, l_i_version
	Sectors    uint32 // i_blocks: 512-byte units, indirect and xattr blocks included
	SectorsHi  uint16 // l_i_blocks_high, with the feature huge_file only; see Sectors512
	Block      [NBlocks]uint32
	FileACL    uint32 // block of extended attributes; 0 when there is none
	DirACL     uint32 // i_dir_acl, for all but regular files; of no use
	FragAddr   uint32 // of no use
	ExtraSize  uint16 // i_extra_isize: bytes used behind the first 128
}

// DecodeInode decodes an inode from b, which must hold at least sb.InodeSize() bytes.
func DecodeInode(b []byte, sb *Superblock) Inode {
	b = b[:sb.InodeSize()]
	_ = b[GoodOldInodeSize-1]
	in := Inode{
		Mode:       le.Uint16(b[inoMode:]),
		Links:      le.Uint16(b[inoLinks:]),
		UID:        uint32(le.Uint16(b[inoUID:])) | uint32(le.Uint16(b[inoUIDHigh:]))<<16,
		GID:        uint32(le.Uint16(b[inoGID:])) | uint32(le.Uint16(b[inoGIDHigh:]))<<16,
		Size:       uint64(le.Uint32(b[inoSize:])),
		Dtime:      le.Uint32(b[inoDtime:]),
		Flags:      le.Uint32(b[inoFlags:]),
		Generation: le.Uint32(b[inoGeneration:]),
		Version:    le.Uint32(b[inoVersion:]),
		Sectors:    le.Uint32(b[inoBlocks:]),
		SectorsHi:  le.Uint16(b[inoFrag:]),
		FileACL:    le.Uint32(b[inoFileACL:]),
		FragAddr:   le.Uint32(b[inoFragAddr:]),
	}
	for i := range in.Block {
		in.Block[i] = le.Uint32(b[inoBlock+4*i:])
	}
	if high := le.Uint32(b[inoSizeHigh:]); in.IsReg() {
		in.Size |= uint64(high) << 32
	} else {
		in.DirACL = high
	}
	if len(b) > GoodOldInodeSize {
		in.ExtraSize = le.Uint16(b[inoExtraSize:])
	}
	end := in.extraEnd(len(b))
	in.Atime = decodeTime(b, inoAtime, inoAtimeExtra, end)
	in.Mtime = decodeTime(b, inoMtime, inoMtimeExtra, end)
	in.Ctime = decodeTime(b, inoCtime, inoCtimeExtra, end)
	if inoBtime+4 <= end {
		in.HasBtime = true
		in.Btime = decodeTime(b, inoBtime, inoBtimeExtra, end)
	}
	return in
}

// Encode writes the inode into b, which must hold at least sb.InodeSize() bytes. Bytes
// that no field stands for are left as they are. Times outside TimeRange lose their
// high bits.
func (in *Inode) Encode(b []byte, sb *Superblock) {
	b = b[:sb.InodeSize()]
	_ = b[GoodOldInodeSize-1]
	le.PutUint16(b[inoMode:], in.Mode)
	le.PutUint16(b[inoLinks:], in.Links)
	le.PutUint16(b[inoUID:], uint16(in.UID))
	le.PutUint16(b[inoUIDHigh:], uint16(in.UID>>16))
	le.PutUint16(b[inoGID:], uint16(in.GID))
	le.PutUint16(b[inoGIDHigh:], uint16(in.GID>>16))
	le.PutUint32(b[inoSize:], uint32(in.Size))
	le.PutUint32(b[inoDtime:], in.Dtime)
	le.PutUint32(b[inoFlags:], in.Flags)
	le.PutUint32(b[inoGeneration:], in.Generation)
	le.PutUint32(b[inoVersion:], in.Version)
	le.PutUint32(b[inoBlocks:], in.Sectors)
	le.PutUint16(b[inoFrag:], in.SectorsHi)
	le.PutUint32(b[inoFileACL:], in.FileACL)
	le.PutUint32(b[inoFragAddr:], in.FragAddr)
	for i, p := range in.Block {
		le.PutUint32(b[inoBlock+4*i:], p)
	}
	if in.IsReg() {
		le.PutUint32(b[inoSizeHigh:], uint32(in.Size>>32))
	} else {
		le.PutUint32(b[inoSizeHigh:], in.DirACL)
	}
	if len(b) > GoodOldInodeSize {
		le.PutUint16(b[inoExtraSize:], in.ExtraSize)
	}
	end := in.extraEnd(len(b))
	in.Atime.encode(b, inoAtime, inoAtimeExtra, end)
	in.Mtime.encode(b, inoMtime, inoMtimeExtra, end)
	in.Ctime.encode(b, inoCtime, inoCtimeExtra, end)
	if inoBtime+4 <= end {
		in.Btime.encode(b, inoBtime, inoBtimeExtra, end)
	}
}

// extraEnd is the offset behind the last byte of the fixed fields in an inode of size
// bytes. An i_extra_isize of 0 means that nobody has used the space yet, and all the
// fields known today count as there, as the kernel has it. A value that makes no sense
// (CheckInode refuses it) counts as none.
func (in *Inode) extraEnd(size int) int {
	end := GoodOldInodeSize + int(in.ExtraSize)
	switch {
	case size <= GoodOldInodeSize || end > size || in.ExtraSize&3 != 0:
		return GoodOldInodeSize
	case in.ExtraSize == 0:
		return min(inoExtraEnd, size)
	}
	return end
}

// InodeXattrArea gives the part of an inode's bytes b (sb.InodeSize() of them) that may
// hold extended attributes, for DecodeInodeXattrs. It is nil when there is no room, or
// i_extra_isize says that the space is not in use. The result aliases b.
func InodeXattrArea(b []byte, in *Inode) []byte {
	start := GoodOldInodeSize + int(in.ExtraSize)
	if in.ExtraSize == 0 || in.ExtraSize&3 != 0 || start+4 > len(b) {
		return nil
	}
	return b[start:]
}

func utoa(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
