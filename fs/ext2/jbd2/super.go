package jbd2

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// SuperblockSize is the size of the journal superblock, in bytes. The rest of its block
// is not used.
const SuperblockSize = 1024

// checksumOffset is where s_checksum is.
const checksumOffset = 0xFC

// Superblock is the journal's own superblock. Version 1 ends with Errno.
type Superblock struct {
	Version   int    // 1 or 2 (h_blocktype 3 or 4)
	BlockSize uint32 // bytes
	MaxLen    uint32 // blocks, this one included
	First     uint32 // first block of the log
	Sequence  uint32 // of the transaction at Start; of the next one when there is none
	Start     uint32 // journal block of the oldest transaction that counts; 0: none, the journal is clean
	Errno     int32  // the error that made the last user give up; 0 is none

	FeatureCompat, FeatureIncompat, FeatureROCompat uint32
	UUID                                            [16]byte
	Users                                           uint32 // file systems that share it
	DynSuper                                        uint32
	MaxTransaction, MaxTransData                    uint32
	ChecksumType                                    uint8
	Checksum                                        uint32 // as found; Encode computes it
}

// DecodeSuperblock decodes and checks what can be checked without knowing the file
// system; b is SuperblockSize bytes long.
func DecodeSuperblock(b []byte) (*Superblock, error) {
	b = b[:SuperblockSize]
	be := binary.BigEndian
	h, ok := decodeHeader(b)
	if !ok {
		return nil, badSuper(0, "h_magic is 0x%08X, expected 0x%08X", be.Uint32(b), uint32(Magic))
	}
	sb := &Superblock{
		BlockSize: be.Uint32(b[0x0C:]), MaxLen: be.Uint32(b[0x10:]), First: be.Uint32(b[0x14:]),
		Sequence: be.Uint32(b[0x18:]), Start: be.Uint32(b[0x1C:]), Errno: int32(be.Uint32(b[0x20:])),
	}
	switch h.kind {
	case typeSuperblockV1:
		sb.Version = 1
		return sb, sb.check(b)
	case typeSuperblockV2:
		sb.Version = 2
	default:
		return nil, badSuper(4, "h_blocktype is %d, expected %d or %d", h.kind, typeSuperblockV1, typeSuperblockV2)
	}
	sb.FeatureCompat, sb.FeatureIncompat, sb.FeatureROCompat = be.Uint32(b[0x24:]), be.Uint32(b[0x28:]), be.Uint32(b[0x2C:])
	copy(sb.UUID[:], b[0x30:])
	sb.Users, sb.DynSuper = be.Uint32(b[0x40:]), be.Uint32(b[0x44:])
	sb.MaxTransaction, sb.MaxTransData = be.Uint32(b[0x48:]), be.Uint32(b[0x4C:])
	sb.ChecksumType, sb.Checksum = b[0x50], be.Uint32(b[checksumOffset:])
	return sb, sb.check(b)
}

// Encode writes the fields into b, SuperblockSize bytes long, and keeps what it does not
// know. With per-block checksums it computes the superblock's.
func (sb *Superblock) Encode(b []byte) {
	b = b[:SuperblockSize]
	be := binary.BigEndian
	kind := uint32(typeSuperblockV1)
	if sb.Version == 2 {
		kind = typeSuperblockV2
	}
	header{kind: kind, sequence: be.Uint32(b[8:])}.encode(b)
	be.PutUint32(b[0x0C:], sb.BlockSize)
	be.PutUint32(b[0x10:], sb.MaxLen)
	be.PutUint32(b[0x14:], sb.First)
	be.PutUint32(b[0x18:], sb.Sequence)
	be.PutUint32(b[0x1C:], sb.Start)
	be.PutUint32(b[0x20:], uint32(sb.Errno))
	if sb.Version == 1 {
		return
	}
	be.PutUint32(b[0x24:], sb.FeatureCompat)
	be.PutUint32(b[0x28:], sb.FeatureIncompat)
	be.PutUint32(b[0x2C:], sb.FeatureROCompat)
	copy(b[0x30:], sb.UUID[:])
	be.PutUint32(b[0x40:], sb.Users)
	be.PutUint32(b[0x44:], sb.DynSuper)
	be.PutUint32(b[0x48:], sb.MaxTransaction)
	be.PutUint32(b[0x4C:], sb.MaxTransData)
	b[0x50] = sb.ChecksumType
	if sb.Format().perBlock() {
		sb.Checksum = sumWithout(^uint32(0), b, checksumOffset)
	}
	be.PutUint32(b[checksumOffset:], sb.Checksum)
}

// Format is what the features say about the journal's blocks.
func (sb *Superblock) Format() Format {
	f := Format{
		Wide:   sb.FeatureIncompat&incompat64Bit != 0,
		Async:  sb.FeatureIncompat&incompatAsync != 0,
		Revoke: sb.FeatureIncompat&incompatRevoke != 0,
	}
	switch {
	case sb.FeatureIncompat&incompatChecksumV3 != 0:
		f.Checksum = ChecksumV3
	case sb.FeatureIncompat&incompatChecksumV2 != 0:
		f.Checksum = ChecksumV2
	case sb.FeatureCompat&compatChecksum != 0:
		f.Checksum = ChecksumV1
	}
	return f
}

// setFormat puts f into the features. A version 1 superblock becomes version 2 when f
// needs it.
func (sb *Superblock) setFormat(f Format) {
	if sb.Version == 1 {
		if f == (Format{}) {
			return
		}
		sb.Version, sb.Users = 2, 1
	}
	sb.FeatureCompat &^= compatChecksum
	sb.FeatureIncompat &^= knownIncompat
	sb.ChecksumType, sb.Checksum = 0, 0
	switch f.Checksum {
	case ChecksumV1:
		sb.FeatureCompat |= compatChecksum
	case ChecksumV2:
		sb.FeatureIncompat |= incompatChecksumV2
		sb.ChecksumType = checksumCRC32C
	case ChecksumV3:
		sb.FeatureIncompat |= incompatChecksumV3
		sb.ChecksumType = checksumCRC32C
	}
	for bit, on := range map[uint32]bool{incompat64Bit: f.Wide, incompatAsync: f.Async, incompatRevoke: f.Revoke} {
		if on {
			sb.FeatureIncompat |= bit
		}
	}
}

// check is what can be said about the superblock alone.
func (sb *Superblock) check(b []byte) error {
	if unknown := sb.FeatureIncompat &^ uint32(knownIncompat); unknown != 0 || sb.FeatureROCompat != 0 {
		return sb.unsupported(unknown)
	}
	v2, v3 := sb.FeatureIncompat&incompatChecksumV2 != 0, sb.FeatureIncompat&incompatChecksumV3 != 0
	if v2 && v3 || (v2 || v3) && sb.FeatureCompat&compatChecksum != 0 {
		return badSuper(-1, "s_feature_compat 0x%X and s_feature_incompat 0x%X ask for more than one form of checksums", sb.FeatureCompat, sb.FeatureIncompat)
	}
	if v2 || v3 {
		if sb.ChecksumType != checksumCRC32C {
			return badSuper(0x50, "s_checksum_type is %d, expected %d (CRC-32C)", sb.ChecksumType, checksumCRC32C)
		}
		if want := sumWithout(^uint32(0), b, checksumOffset); sb.Checksum != want {
			return badSuper(checksumOffset, "s_checksum is 0x%08X, the content has 0x%08X", sb.Checksum, want)
		}
	}
	if sb.MaxLen < MinBlocks {
		return badSuper(0x10, "s_maxlen is %d, a journal has at least %d blocks", sb.MaxLen, MinBlocks)
	}
	if sb.First == 0 || sb.First > sb.MaxLen-MinBlocks+1 {
		return badSuper(0x14, "s_first is %d in a journal of %d blocks", sb.First, sb.MaxLen)
	}
	if sb.Start != 0 && (sb.Start < sb.First || sb.Start >= sb.MaxLen) {
		return badSuper(0x1C, "s_start is %d, outside of the log, blocks %d to %d", sb.Start, sb.First, sb.MaxLen-1)
	}
	return nil
}

// Check holds the superblock against the file system: its block size in bytes and the
// number of blocks that the journal has there.
func (sb *Superblock) Check(blockSize int, blocks uint32) error {
	if sb.BlockSize != uint32(blockSize) {
		return badSuper(0x0C, "s_blocksize is %d, the file system has blocks of %d bytes", sb.BlockSize, blockSize)
	}
	if sb.MaxLen > blocks {
		return badSuper(0x10, "s_maxlen is %d, but the journal has only %d blocks", sb.MaxLen, blocks)
	}
	return nil
}

func (sb *Superblock) unsupported(unknown uint32) error {
	var names []string
	for bit := uint32(1); bit != 0; bit <<= 1 {
		if unknown&bit == 0 {
			continue
		}
		if bit == 0x20 {
			names = append(names, "journal_fast_commit")
			continue
		}
		names = append(names, fmt.Sprintf("journal incompat 0x%X", bit))
	}
	if sb.FeatureROCompat != 0 {
		names = append(names, fmt.Sprintf("journal ro_compat 0x%X", sb.FeatureROCompat))
	}
	return &disk.UnsupportedError{Features: names, Detail: fmt.Sprintf(
		"the journal uses %s, which is not supported; run e2fsck -p first", strings.Join(names, ", "))}
}

func badSuper(off int, format string, args ...any) error {
	return corrupt("journal superblock", off, format+"; run e2fsck", args...)
}
