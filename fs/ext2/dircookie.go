package ext2

import "github.com/ext2fuse/ext2fuse/fs/ext2/disk"

// A directory is listed from a cookie on: an opaque number that came with an entry, or
// 0 for the start. Cookies must stay good for ever (telldir, NFS, a listing that is
// taken up after the directory changed), and whatever is added and removed meanwhile,
// an entry that stays must come exactly once. So a cookie is a position in an order of
// the entries that nothing but their own removal changes:
//
//   - Directories without an htree: the byte offset of the entry in the directory file.
//     No operation moves an entry of such a directory.
//   - Directories with an htree: the hash of the name. Splitting a block moves entries
//     to other blocks, but never changes a hash.
//   - Directories of one block, where the file system has dir_index: the hash, too,
//     since they get an htree when they outgrow the block. Larger ones without an htree
//     never get one.
//
// The order is part of the cookie, so a listing goes on in the order it began in.
//
// The layout, of 63 bits (seekdir takes a signed number):
//
//	bit  62      damaged: entries before this position were left out, the image being
//	             damaged there; the end of the listing is then an error
//	bit  61      hash order
//	bits 0-60    byte order: the offset of the entry
//	             hash order: 0 before ".", 1 before "..", then 2 + the key below
//
// What goes on behind an entry is its position + 1: the next entry there is.
//
// The key of a name is, from the top, 31 bits of the major hash (its lowest bit is
// always 0), 24 bits of the minor hash, and 6 bits that number the entries which have
// all that in common. The kernel's ext4 lists in the same order.
const (
	cookieDamaged = 1 << 62
	cookieHash    = 1 << 61

	keyOrdinalBits = 6
	keyMinorBits   = 24
	keyMajorShift  = keyMinorBits + keyOrdinalBits
	maxOrdinal     = 1<<keyOrdinalBits - 1

	posDot    = cookieHash
	posDotDot = cookieHash + 1
	posKeys   = cookieHash + 2
	posEnd    = cookieDamaged - 1 // behind all positions of either order
)

// dirHasher hashes names for the order of a listing and for the htree.
type dirHasher struct {
	version uint8
	seed    [4]uint32
}

// hasher is the hasher of directories that have no htree yet.
func (fs *FS) hasher() dirHasher {
	version := fs.sb.DefHashVersion
	if version > disk.HashTEA {
		version = disk.HashHalfMD4
	}
	return dirHasher{fs.sb.HashVersion(version), fs.sb.HashSeed}
}

// pos is the position of a name, with ordinal 0.
func (h *dirHasher) pos(name []byte) (pos uint64, major uint32) {
	major, minor := disk.DirHash(h.version, h.seed, name)
	if h.version == disk.HashLegacy || h.version == disk.HashLegacyUnsigned {
		minor = fnv32(name) // the legacy hash has no minor half
	}
	return majorPos(major) + uint64(minor>>(32-keyMinorBits))<<keyOrdinalBits, major
}

// majorPos is the first position of a major hash.
func majorPos(major uint32) uint64 { return posKeys + uint64(major>>1)<<keyMajorShift }

// posMajor is the major hash of a position in hash order, or 0 for "." and "..".
func posMajor(pos uint64) uint32 {
	if pos < posKeys {
		return 0
	}
	return uint32((pos-posKeys)>>keyMajorShift) << 1
}

// posGroup is the position without its ordinal.
func posGroup(pos uint64) uint64 {
	if pos < posKeys {
		return pos
	}
	return pos - (pos-posKeys)&maxOrdinal
}

// fnv32 is the 32-bit FNV-1a hash.
func fnv32(b []byte) uint32 {
	h := uint32(2166136261)
	for _, c := range b {
		h = (h ^ uint32(c)) * 16777619
	}
	return h
}
