package disk

import (
	"bytes"
	"encoding/binary"
	"math"
)

// The methods of this file tell where things are. They hold for a superblock that
// Check has passed; on another one they may divide by zero.

// Label is the volume name without its padding.
func (sb *Superblock) Label() string { return cString(sb.VolumeName[:]) }

// cString is b up to its first zero byte.
func cString(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// BlockSize is the size of a block in bytes, 1024 to 65536.
func (sb *Superblock) BlockSize() int { return MinBlockSize << sb.LogBlockSize }

// BlockBits is the binary logarithm of BlockSize.
func (sb *Superblock) BlockBits() uint { return uint(10 + sb.LogBlockSize) }

// GroupCount is the number of block groups; the last one may be shorter.
func (sb *Superblock) GroupCount() uint32 {
	return (sb.BlocksCount-sb.FirstDataBlock-1)/sb.BlocksPerGroup + 1
}

// InodeSize is the size of an inode in its table, in bytes.
func (sb *Superblock) InodeSize() int {
	if sb.RevLevel == GoodOldRev {
		return GoodOldInodeSize
	}
	return int(sb.DynInodeSize)
}

// FirstIno is the first inode number that is not reserved.
func (sb *Superblock) FirstIno() uint32 {
	if sb.RevLevel == GoodOldRev {
		return GoodOldFirstIno
	}
	return sb.DynFirstIno
}

// InodesPerBlock is how many inodes an inode table block holds.
func (sb *Superblock) InodesPerBlock() uint32 { return uint32(sb.BlockSize() / sb.InodeSize()) }

// InodeTableBlocks is the length of a group's inode table in blocks.
func (sb *Superblock) InodeTableBlocks() uint32 {
	per := sb.InodesPerBlock()
	return (sb.InodesPerGroup-1)/per + 1
}

// InodeGroup is the group of an inode and its index in that group's table.
func (sb *Superblock) InodeGroup(ino uint32) (group, index uint32) {
	return (ino - 1) / sb.InodesPerGroup, (ino - 1) % sb.InodesPerGroup
}

// ValidInode tells whether ino is one that names may point to: the root directory or
// one that is not reserved.
func (sb *Superblock) ValidInode(ino uint32) bool {
	return (ino == RootIno || ino >= sb.FirstIno()) && ino <= sb.InodesCount
}

// ValidBlock tells whether a block may belong to a file: behind the superblock's and
// inside the file system. (Blocks of the groups' metadata are inside, too.)
func (sb *Superblock) ValidBlock(block uint64) bool {
	return block > uint64(sb.FirstDataBlock) && block < uint64(sb.BlocksCount)
}

// AddrPerBlock is how many pointers an indirect block holds.
func (sb *Superblock) AddrPerBlock() uint32 { return uint32(sb.BlockSize() / 4) }

// DescPerBlock is how many group descriptors a block holds.
func (sb *Superblock) DescPerBlock() uint32 { return uint32(sb.BlockSize() / GroupDescSize) }

// DescBlocks is the number of blocks the descriptors of all groups fill.
func (sb *Superblock) DescBlocks() uint32 { return (sb.GroupCount()-1)/sb.DescPerBlock() + 1 }

// HasSuper tells whether a group begins with a copy of the superblock.
func (sb *Superblock) HasSuper(group uint32) bool {
	if group == 0 {
		return true
	}
	if sb.HasCompat(CompatSparseSuper2) {
		return group == sb.BackupBGs[0] || group == sb.BackupBGs[1]
	}
	if group == 1 || !sb.HasROCompat(ROCompatSparseSuper) {
		return true
	}
	return isPower(group, 3) || isPower(group, 5) || isPower(group, 7)
}

// isPower tells whether n >= 1 is a power of base.
func isPower(n, base uint32) bool {
	for n%base == 0 {
		n /= base
	}
	return n == 1
}

// DescBlock is the device block of the i-th descriptor block, for a file system mounted
// by its primary superblock.
func (sb *Superblock) DescBlock(i uint32) uint64 {
	return sb.DescBlockFrom(uint64(sb.FirstDataBlock), i)
}

// DescBlockFrom is DescBlock for a superblock, primary or copy, that lies in block
// superBlock: the descriptors follow their superblock. With meta_bg, from FirstMetaBG
// on, each descriptor block lies in the first group it describes, behind that group's
// superblock copy if it has one; a copy's reader takes the second group's.
func (sb *Superblock) DescBlockFrom(superBlock uint64, i uint32) uint64 {
	if !sb.HasIncompat(IncompatMetaBG) || i < sb.FirstMetaBG {
		return superBlock + 1 + uint64(i)
	}
	group := i * sb.DescPerBlock()
	if superBlock != uint64(sb.FirstDataBlock) && group+1 < sb.GroupCount() {
		group++
	}
	block := sb.GroupFirstBlock(group)
	if sb.HasSuper(group) {
		block++
	}
	return block
}

// GroupDescBlocks is the number of descriptor blocks at the start of a group, copies
// included, without those kept for resizing.
func (sb *Superblock) GroupDescBlocks(group uint32) uint32 {
	meta := sb.HasIncompat(IncompatMetaBG)
	per := sb.DescPerBlock()
	if meta && group/per >= sb.FirstMetaBG {
		if k := group % per; k == 0 || k == 1 || k == per-1 {
			return 1
		}
		return 0
	}
	if !sb.HasSuper(group) {
		return 0
	}
	if meta {
		return sb.FirstMetaBG
	}
	return sb.DescBlocks()
}

// GroupOverhead is the number of blocks at the start of a group that hold a superblock
// copy, descriptors and the blocks reserved for more descriptors.
func (sb *Superblock) GroupOverhead(group uint32) uint32 {
	n := sb.GroupDescBlocks(group)
	if sb.HasSuper(group) {
		n++
		if sb.HasCompat(CompatResizeInode) && !sb.HasIncompat(IncompatMetaBG) {
			n += uint32(sb.ReservedGDT)
		}
	}
	return n
}

// GroupFirstBlock is the first block of a group.
func (sb *Superblock) GroupFirstBlock(group uint32) uint64 {
	return uint64(sb.FirstDataBlock) + uint64(group)*uint64(sb.BlocksPerGroup)
}

// GroupBlocks is the number of blocks of a group: BlocksPerGroup, or what is left for
// the last one.
func (sb *Superblock) GroupBlocks(group uint32) uint32 {
	if group+1 < sb.GroupCount() {
		return sb.BlocksPerGroup
	}
	return uint32(uint64(sb.BlocksCount) - sb.GroupFirstBlock(group))
}

// MaxFileSize is the largest size of a regular file in bytes. Two things limit it: how
// far the block tree reaches, and i_blocks, which counts sectors of 512 bytes in 32
// bits, indirect blocks included.
func (sb *Superblock) MaxFileSize() int64 {
	bits := sb.BlockBits()
	per := int64(1) << (bits - 2)
	data := NDirBlocks + per + per*per + per*per*per
	tables := 1 + (1 + per) + (1 + per + per*per)
	limit := int64(math.MaxUint32) >> (bits - 9)
	if data+tables > limit {
		data = limit - tableBlocks(limit, per)
	}
	return data << bits
}

// tableBlocks is the number of indirect blocks that a file of n blocks is charged with
// when the maximum size is worked out; per is the number of pointers of one.
func tableBlocks(n, per int64) int64 {
	up := func(a, b int64) int64 { return (a + b - 1) / b }
	n -= NDirBlocks + per
	if n < per*per {
		return 1 + 1 + up(n, per)
	}
	n -= per * per
	return 1 + (1 + per) + 1 + up(n, per) + up(n, per*per)
}

// HashVersion turns the hash version of a directory's index into the one to give
// DirHash: the on-disk number says which function, s_flags says whether name bytes are
// signed. Where s_flags says neither, they are taken as signed, as they were on the
// machines that wrote such images; HashSignKnown tells.
func (sb *Superblock) HashVersion(onDisk uint8) uint8 {
	if onDisk <= HashTEA && sb.Flags&FlagUnsignedHash != 0 {
		return onDisk + HashLegacyUnsigned
	}
	return onDisk
}

// HashSignKnown tells whether the image says how name bytes are hashed. If not, a name
// with bytes above 127 that a hashed look-up does not find must be sought linearly.
func (sb *Superblock) HashSignKnown() bool {
	return sb.Flags&(FlagSignedHash|FlagUnsignedHash) != 0
}

var le = binary.LittleEndian
