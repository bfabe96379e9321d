package disk

import (
	"bytes"
	"errors"
	"math"
)

// ErrStaleInode: the inode is not in use. It was deleted, or never used.
var ErrStaleInode = errors.New("inode is not in use")

// CheckInode tells whether the inode number is one that names may point to and whether
// the inode holds together, as far as that can be told without I/O. The error is
// ErrStaleInode or a *CorruptError. Callers that look at the reserved inodes (journal,
// resize inode) do not call it.
func (in *Inode) CheckInode(ino uint32, sb *Superblock) error {
	if !sb.ValidInode(ino) {
		return badInode(ino, "number is not %d and not from %d to %d", RootIno, sb.FirstIno(), sb.InodesCount)
	}
	if in.Stale() {
		return ErrStaleInode
	}
	if FileType(in.Mode) == TypeUnknown {
		return badInode(ino, "i_mode is %#o, a file type that does not exist", in.Mode)
	}
	if n := int(in.ExtraSize); GoodOldInodeSize+n > sb.InodeSize() || n&3 != 0 {
		return badInode(ino, "i_extra_isize is %d, expected a multiple of 4 and at most %d", n, sb.InodeSize()-GoodOldInodeSize)
	}
	if in.FileACL != 0 && !sb.ValidBlock(uint64(in.FileACL)) {
		return badInode(ino, "i_file_acl is block %d, expected %d to %d", in.FileACL, sb.FirstDataBlock+1, sb.BlocksCount-1)
	}
	if in.Size > math.MaxInt64 {
		return badInode(ino, "i_size is negative (0x%x)", in.Size)
	}
	if in.Flags&(InodeExtents|InodeInlineData) != 0 {
		return badInode(ino, "i_flags is 0x%x: extents or inline data, which the file system does not have", in.Flags)
	}
	if in.IsSymlink() {
		return in.checkSymlink(ino, sb)
	}
	return nil
}

// checkSymlink tells whether the target has a length that fits where it is kept.
func (in *Inode) checkSymlink(ino uint32, sb *Superblock) error {
	limit, where := uint64(sb.BlockSize()-1), "a block"
	if in.FastSymlink(sb) {
		limit, where = FastSymlinkBytes-1, "the inode"
	}
	if in.Size == 0 || in.Size > limit {
		return badInode(ino, "symlink's i_size is %d, expected 1 to %d in %s", in.Size, limit, where)
	}
	if in.FastSymlink(sb) && bytes.IndexByte(in.SymlinkTarget(), 0) >= 0 {
		return badInode(ino, "symlink's target holds a zero byte before its end, %d", in.Size)
	}
	return nil
}

func badInode(ino uint32, format string, args ...any) error {
	e := corrupt("inode", -1, format, args...)
	e.Inode = ino
	return e
}

// Stale tells whether the inode is not in use, by the test e2fsck uses.
func (in *Inode) Stale() bool { return in.Links == 0 && (in.Mode == 0 || in.Dtime != 0) }

// IsDir tells whether the inode is a directory.
func (in *Inode) IsDir() bool { return in.Mode&ModeFmt == ModeDir }

// IsReg tells whether the inode is a regular file.
func (in *Inode) IsReg() bool { return in.Mode&ModeFmt == ModeReg }

// IsSymlink tells whether the inode is a symbolic link.
func (in *Inode) IsSymlink() bool { return in.Mode&ModeFmt == ModeSymlink }

// IsDevice tells whether the inode is a character or block device.
func (in *Inode) IsDevice() bool {
	return in.Mode&ModeFmt == ModeChar || in.Mode&ModeFmt == ModeBlock
}

// IsFIFO tells whether the inode is a FIFO.
func (in *Inode) IsFIFO() bool { return in.Mode&ModeFmt == ModeFIFO }

// IsSocket tells whether the inode is a socket.
func (in *Inode) IsSocket() bool { return in.Mode&ModeFmt == ModeSocket }

// Sectors512 is the room the file takes in 512-byte units. It differs from Sectors
// only with the feature huge_file, which an image mounted read-only may have.
func (in *Inode) Sectors512(sb *Superblock) uint64 {
	n := uint64(in.Sectors)
	if sb.HasROCompat(ROCompatHugeFile) {
		n |= uint64(in.SectorsHi) << 32
		if in.Flags&InodeHugeFile != 0 {
			n <<= sb.BlockBits() - 9
		}
	}
	return n
}

// FastSymlink tells whether the target of a symbolic link lies in the inode: no block
// is the file's but that of its extended attributes.
func (in *Inode) FastSymlink(sb *Superblock) bool {
	xattr := uint64(0)
	if in.FileACL != 0 {
		xattr = uint64(sb.BlockSize() / 512)
	}
	return in.IsSymlink() && in.Sectors512(sb) == xattr
}

// SymlinkTarget is the target of a fast symbolic link: Size bytes of i_block. It is nil
// when that many do not fit.
func (in *Inode) SymlinkTarget() []byte {
	if in.Size >= FastSymlinkBytes {
		return nil
	}
	b := make([]byte, FastSymlinkBytes)
	for i, p := range in.Block {
		le.PutUint32(b[4*i:], p)
	}
	return b[:in.Size]
}

// SetSymlinkTarget puts the target of a fast symbolic link into i_block and sets Size.
// It must be shorter than FastSymlinkBytes.
func (in *Inode) SetSymlinkTarget(target []byte) {
	var b [FastSymlinkBytes]byte
	copy(b[:FastSymlinkBytes-1], target)
	for i := range in.Block {
		in.Block[i] = le.Uint32(b[4*i:])
	}
	in.Size = uint64(len(target))
}

// Rdev is the number of a device: from the old form, 8 bits each, in the first pointer,
// or, where that is 0, the new one, 12 and 20 bits, in the second.
func (in *Inode) Rdev() (major, minor uint32) {
	if old := in.Block[0]; old != 0 {
		return (old >> 8) & 0xFF, old & 0xFF
	}
	n := in.Block[1]
	return (n & 0xFFF00) >> 8, n&0xFF | (n>>12)&0xFFF00
}

// SetRdev stores a device number in the old form where it fits, else in the new one.
// Major has at most 12 bits, minor 20.
func (in *Inode) SetRdev(major, minor uint32) {
	if major < 256 && minor < 256 {
		in.Block[0], in.Block[1] = major<<8|minor, 0
		return
	}
	in.Block[0], in.Block[2] = 0, 0
	in.Block[1] = minor&0xFF | (major&0xFFF)<<8 | (minor&0xFFF00)<<12
}
