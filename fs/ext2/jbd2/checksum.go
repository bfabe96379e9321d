package jbd2

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crc32c continues crc over p. Unlike hash/crc32 it inverts neither before nor after,
// as the journal's checksums do not.
func crc32c(crc uint32, p []byte) uint32 { return ^crc32.Update(^crc, castagnoli, p) }

// crc32be continues crc over p, most significant bit first: the checksum of ChecksumV1.
// That is the usual CRC-32 with the bits of every byte, and of the result, mirrored.
func crc32be(crc uint32, p []byte) uint32 {
	var mirrored [1024]byte
	sum := ^bits.Reverse32(crc)
	for len(p) > 0 {
		n := min(len(p), len(mirrored))
		i, le := 0, binary.LittleEndian
		for ; i+8 <= n; i += 8 {
			le.PutUint64(mirrored[i:], bits.ReverseBytes64(bits.Reverse64(le.Uint64(p[i:]))))
		}
		for ; i < n; i++ {
			mirrored[i] = bits.Reverse8(p[i])
		}
		sum = crc32.Update(sum, crc32.IEEETable, mirrored[:n])
		p = p[n:]
	}
	return bits.Reverse32(^sum)
}

// sumWithout is the CRC-32C of b, seeded, with the four bytes at off taken as zero.
func sumWithout(seed uint32, b []byte, off int) uint32 {
	var zero [4]byte
	sum := crc32c(seed, b[:off])
	sum = crc32c(sum, zero[:])
	return crc32c(sum, b[off+4:])
}

// seedOf is what per-block checksums start from.
func seedOf(uuid [16]byte) uint32 { return crc32c(^uint32(0), uuid[:]) }

// tailOK checks a descriptor or revoke block.
func tailOK(seed uint32, b []byte) bool {
	at := len(b) - tailSize
	return binary.BigEndian.Uint32(b[at:]) == sumWithout(seed, b, at)
}

func putTail(seed uint32, b []byte) {
	at := len(b) - tailSize
	binary.BigEndian.PutUint32(b[at:], sumWithout(seed, b, at))
}

// commitOK checks a commit block with a per-block checksum. Past its header it is zero
// when it is made; one whose first sector alone arrived is as good.
func commitOK(seed uint32, b []byte) bool {
	want := binary.BigEndian.Uint32(b[commitChecksum:])
	if want == sumWithout(seed, b, commitChecksum) {
		return true
	}
	whole := make([]byte, len(b))
	copy(whole, b[:commitHeaderSize])
	return want == sumWithout(seed, whole, commitChecksum)
}

// copySum is the checksum of a copy as it stands in the log, as its tag has it.
func (f Format) copySum(seed, sequence uint32, b []byte) uint32 {
	var seq [4]byte
	binary.BigEndian.PutUint32(seq[:], sequence)
	sum := crc32c(crc32c(seed, seq[:]), b)
	if f.Checksum == ChecksumV2 {
		return sum & 0xFFFF
	}
	return sum
}
