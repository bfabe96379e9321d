package jbd2

import (
	"encoding/binary"
	"fmt"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// Magic begins every block of a journal that is not a copy (h_magic).
const Magic = 0xC03B3998

// MinBlocks is the least size of a journal, in blocks.
const MinBlocks = 1024

// Kinds of blocks (h_blocktype).
const (
	typeDescriptor   = 1
	typeCommit       = 2
	typeSuperblockV1 = 3
	typeSuperblockV2 = 4
	typeRevoke       = 5
)

// Sizes and offsets, in bytes.
const (
	headerSize       = 12 // h_magic, h_blocktype, h_sequence
	revokeHeaderSize = 16 // header, r_count
	tailSize         = 4  // checksum at the end of descriptor and revoke blocks
	uuidSize         = 16 // behind a tag without flagSameUUID
	commitHeaderSize = 64

	commitChecksumType = 12
	commitChecksumSize = 13
	commitChecksum     = 16
	commitSec          = 48
	commitNsec         = 56
)

// Flags of a tag (t_flags).
const (
	flagEscape   = 1 // the copy's first four bytes stand for the magic number
	flagSameUUID = 2 // no UUID follows the tag
	flagLastTag  = 8 // the last tag of its descriptor
)

// Features of the journal superblock.
const (
	compatChecksum = 0x1

	incompatRevoke     = 0x1
	incompat64Bit      = 0x2
	incompatAsync      = 0x4
	incompatChecksumV2 = 0x8
	incompatChecksumV3 = 0x10

	knownIncompat = incompatRevoke | incompat64Bit | incompatAsync | incompatChecksumV2 | incompatChecksumV3
)

// Checksum types (s_checksum_type, h_chksum_type).
const (
	checksumCRC32  = 1
	checksumCRC32C = 4
)

// Checksum is how a journal's blocks are protected.
type Checksum uint8

// The forms of checksums.
const (
	ChecksumNone Checksum = iota
	ChecksumV1            // of a whole transaction, CRC-32, in the commit block (compat checksum)
	ChecksumV2            // of every block, CRC-32C, 16 bits of it for copies
	ChecksumV3            // of every block, CRC-32C
)

// String names the form as messages have it.
func (c Checksum) String() string {
	return [...]string{"none", "v1", "v2", "v3"}[c&3]
}

// Format is how the blocks of a journal are made up.
type Format struct {
	Checksum Checksum
	Wide     bool // 64-bit block numbers
	Async    bool // a commit block does not vouch for the blocks before it, its checksum does
	Revoke   bool // revoke blocks may occur
}

// perBlock tells whether each block has a checksum of its own.
func (f Format) perBlock() bool { return f.Checksum >= ChecksumV2 }

// tagSize is the size of a tag, without UUID, in bytes.
func (f Format) tagSize() int {
	switch {
	case f.Checksum == ChecksumV3:
		return 16
	case f.Checksum == ChecksumV2 && f.Wide:
		return 14
	case f.Checksum == ChecksumV2:
		return 10
	case f.Wide:
		return 12
	}
	return 8
}

// revokeSize is the size of a revoke record, in bytes.
func (f Format) revokeSize() int {
	if f.Wide {
		return 8
	}
	return 4
}

// tail is the number of bytes that descriptor and revoke blocks end with.
func (f Format) tail() int {
	if f.perBlock() {
		return tailSize
	}
	return 0
}

// header is what every block of a journal that is not a copy begins with.
type header struct {
	kind     uint32
	sequence uint32
}

// decodeHeader tells whether b begins like a journal block.
func decodeHeader(b []byte) (h header, ok bool) {
	be := binary.BigEndian
	if be.Uint32(b) != Magic {
		return header{}, false
	}
	return header{kind: be.Uint32(b[4:]), sequence: be.Uint32(b[8:])}, true
}

func (h header) encode(b []byte) {
	be := binary.BigEndian
	be.PutUint32(b, Magic)
	be.PutUint32(b[4:], h.kind)
	be.PutUint32(b[8:], h.sequence)
}

// tag says where a copy belongs.
type tag struct {
	home     uint64 // file system block
	flags    uint16
	checksum uint32 // of the copy: 16 bits with V2, 32 with V3
}

// tags walks the tags of descriptor block b, as many as it has room for at most, until
// fn returns false.
func (f Format) tags(b []byte, fn func(t tag) bool) {
	be, size, end := binary.BigEndian, f.tagSize(), len(b)-f.tail()
	for at := headerSize; at+size <= end; {
		p := b[at : at+size]
		t := tag{home: uint64(be.Uint32(p)), flags: be.Uint16(p[6:])}
		if f.Wide {
			t.home |= uint64(be.Uint32(p[8:])) << 32
		}
		switch f.Checksum {
		case ChecksumV2:
			t.checksum = uint32(be.Uint16(p[4:]))
		case ChecksumV3:
			t.checksum = be.Uint32(p[12:])
		}
		if !fn(t) || t.flags&flagLastTag != 0 {
			return
		}
		at += size
		if t.flags&flagSameUUID == 0 {
			at += uuidSize
		}
	}
}

// putTag encodes t; b is tagSize long.
func (f Format) putTag(b []byte, t tag) {
	be := binary.BigEndian
	clear(b)
	be.PutUint32(b, uint32(t.home))
	be.PutUint16(b[6:], t.flags)
	if f.Wide {
		be.PutUint32(b[8:], uint32(t.home>>32))
	}
	switch f.Checksum {
	case ChecksumV2:
		be.PutUint16(b[4:], uint16(t.checksum))
	case ChecksumV3:
		be.PutUint32(b[12:], t.checksum)
	}
}

// revokes walks the records of revoke block b.
func (f Format) revokes(b []byte, fn func(block uint64)) error {
	be, size := binary.BigEndian, f.revokeSize()
	used := be.Uint32(b[headerSize:])
	if limit := uint32(len(b) - f.tail()); used > limit {
		return corrupt("journal revoke block", headerSize, "r_count is %d, at most %d bytes have room", used, limit)
	}
	for at := revokeHeaderSize; at+size <= int(used); at += size {
		if f.Wide {
			fn(be.Uint64(b[at:]))
		} else {
			fn(uint64(be.Uint32(b[at:])))
		}
	}
	return nil
}

// corrupt makes the error of a fault; off is -1 when it has no offset.
func corrupt(what string, off int, format string, args ...any) *disk.CorruptError {
	return &disk.CorruptError{What: what, Offset: off, Detail: fmt.Sprintf(format, args...)}
}
