//go:build linux

package jbd2

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// allFormats are the formats that occur.
func allFormats() []Format {
	var all []Format
	for _, sum := range []Checksum{ChecksumNone, ChecksumV1, ChecksumV2, ChecksumV3} {
		for _, wide := range []bool{false, true} {
			all = append(all, Format{Checksum: sum, Wide: wide, Revoke: true}, Format{Checksum: sum, Wide: wide, Revoke: true, Async: true})
		}
	}
	return all
}

// TestTagSize pins the sizes of struct journal_block_tag_s and journal_block_tag3_s as
// the features choose them.
func TestTagSize(t *testing.T) {
	for f, want := range map[Format]int{
		{}: 8, {Wide: true}: 12, {Checksum: ChecksumV1}: 8, {Checksum: ChecksumV1, Wide: true}: 12,
		{Checksum: ChecksumV2}: 10, {Checksum: ChecksumV2, Wide: true}: 14,
		{Checksum: ChecksumV3}: 16, {Checksum: ChecksumV3, Wide: true}: 16,
	} {
		if got := f.tagSize(); got != want {
			t.Errorf("%+v: %d bytes, expected %d", f, got, want)
		}
	}
}

func TestCRC(t *testing.T) {
	naive := func(crc, poly uint32, p []byte) uint32 { // most significant bit first
		for _, c := range p {
			crc ^= uint32(c) << 24
			for range 8 {
				carry := crc & (1 << 31)
				if crc <<= 1; carry != 0 {
					crc ^= poly
				}
			}
		}
		return crc
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		p := make([]byte, rng.IntN(3000))
		for i := range p {
			p[i] = byte(rng.Uint32())
		}
		start := rng.Uint32()
		if got, want := crc32be(start, p), naive(start, 0x04C11DB7, p); got != want {
			t.Fatalf("crc32be of %d bytes from 0x%X is 0x%X, expected 0x%X", len(p), start, got, want)
		}
	}
	// The check value of CRC-32C, which inverts at both ends.
	if got := ^crc32c(^uint32(0), []byte("123456789")); got != 0xE3069283 {
		t.Errorf("crc32c is 0x%X", got)
	}
}

func TestSuperblockRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, f := range allFormats() {
		b := make([]byte, SuperblockSize)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		sb := &Superblock{Version: 2, BlockSize: 1024, MaxLen: 2000, First: 1, Sequence: rng.Uint32(), Start: 77, Errno: -5, Users: 1}
		sb.setFormat(f)
		sb.Encode(b)
		got, err := DecodeSuperblock(b)
		if err != nil {
			t.Fatalf("%+v: %v", f, err)
		}
		if *got != *sb || got.Format() != f {
			t.Fatalf("got %+v, expected %+v", got, sb)
		}
		again := bytes.Clone(b)
		if got.Encode(again); !bytes.Equal(again, b) {
			t.Fatalf("%+v: encoded again it differs", f)
		}
	}
}

// TestSuperblockRefused: every fault of a superblock by its name.
func TestSuperblockRefused(t *testing.T) {
	for _, tt := range []struct {
		damage func(sb *Superblock)
		want   string
	}{
		{func(sb *Superblock) { sb.MaxLen = 1023 }, "s_maxlen is 1023"},
		{func(sb *Superblock) { sb.MaxLen = 4097 }, "s_maxlen is 4097, but the journal has only 4096 blocks"},
		{func(sb *Superblock) { sb.First = 0 }, "s_first is 0"},
		{func(sb *Superblock) { sb.First = 4000 }, "s_first is 4000"},
		{func(sb *Superblock) { sb.Start = 4096 }, "s_start is 4096"},
		{func(sb *Superblock) { sb.First, sb.Start = 10, 9 }, "s_start is 9"},
		{func(sb *Superblock) { sb.BlockSize = 4096 }, "s_blocksize is 4096"},
		{func(sb *Superblock) { sb.FeatureIncompat |= 0x20 }, "journal_fast_commit"},
		{func(sb *Superblock) { sb.FeatureIncompat |= 0x8000 }, "incompat 0x8000"},
		{func(sb *Superblock) { sb.FeatureROCompat = 1 }, "ro_compat 0x1"},
		{func(sb *Superblock) { sb.FeatureIncompat |= incompatChecksumV2 | incompatChecksumV3 }, "more than one form"},
		{func(sb *Superblock) {
			sb.FeatureIncompat, sb.FeatureCompat = incompatChecksumV2, compatChecksum
		}, "more than one form"},
		{func(sb *Superblock) { sb.FeatureIncompat |= incompatChecksumV3 }, "s_checksum_type is 0"},
	} {
		sb := &Superblock{Version: 2, BlockSize: 1024, MaxLen: 4096, First: 1}
		tt.damage(sb)
		b := make([]byte, SuperblockSize)
		sb.Encode(b)
		got, err := DecodeSuperblock(b)
		if err == nil {
			err = got.Check(1024, 4096)
		}
		var c *disk.CorruptError
		var u *disk.UnsupportedError
		if err == nil || !strings.Contains(err.Error(), tt.want) || !errors.As(err, &c) && !errors.As(err, &u) {
			t.Errorf("got %v, expected %q", err, tt.want)
		}
	}
	sb := &Superblock{Version: 2, BlockSize: 1024, MaxLen: 4096, First: 1}
	sb.setFormat(Format{Checksum: ChecksumV3})
	b := make([]byte, SuperblockSize)
	sb.Encode(b)
	b[0x300] ^= 1
	if _, err := DecodeSuperblock(b); err == nil || !strings.Contains(err.Error(), "s_checksum is") {
		t.Errorf("a wrong checksum: %v", err)
	}
	b[7] = 9
	if _, err := DecodeSuperblock(b); err == nil || !strings.Contains(err.Error(), "h_blocktype is 9") {
		t.Errorf("a wrong type: %v", err)
	}
	clear(b)
	if _, err := DecodeSuperblock(b); err == nil || !strings.Contains(err.Error(), "h_magic is 0x00000000") {
		t.Errorf("zeros: %v", err)
	}
}

func TestBlockMap(t *testing.T) {
	m, err := newBlockMap([]Extent{{100, 5}, {105, 3}, {50, 2}, {0, 0}, {200, 1000}}, 1200)
	if err != nil {
		t.Fatal(err)
	}
	want := []uint64{}
	for _, e := range []Extent{{100, 8}, {50, 2}, {200, 1000}} {
		for i := range uint64(e.Blocks) {
			want = append(want, e.Start+i)
		}
	}
	if int(m.blocks) != len(want) {
		t.Fatalf("%d blocks, expected %d", m.blocks, len(want))
	}
	mine := map[uint64]bool{}
	for i, home := range want {
		got, n := m.run(uint32(i))
		if got != home || n == 0 || want[i+int(n)-1] != home+uint64(n)-1 {
			t.Fatalf("block %d is at %d for %d, expected %d", i, got, n, home)
		}
		mine[home] = true
	}
	for home := range uint64(1300) {
		if m.owns(home) != mine[home] {
			t.Fatalf("owns(%d) is %t", home, m.owns(home))
		}
	}
	for _, bad := range [][]Extent{
		{{1200, 1}}, {{1199, 2}}, {{1 << 63, 1 << 31}}, {{10, 5}, {14, 1}}, {{10, 1}, {50, 5}, {10, 1}}, {{^uint64(0), 2}},
	} {
		if _, err := newBlockMap(bad, 1200); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
}

// TestOpenRefused: what is no place for a journal.
func TestOpenRefused(t *testing.T) {
	dev := blockiotest.NewMem(4 << 20)
	for _, tt := range []struct {
		extents []Extent
		want    string
	}{
		{nil, "it has 0 blocks"},
		{[]Extent{{10, 1023}}, "it has 1023 blocks"},
		{[]Extent{{4000, 1024}}, "outside of the file system"},
		{[]Extent{{10, 1024}}, "corrupt journal superblock, block 10, offset 0: h_magic is 0x00000000"},
	} {
		_, err := Open(Place{Dev: dev, BlockSize: 1024, Blocks: 4096, Extents: tt.extents})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: %v, expected %q", tt.extents, err, tt.want)
		}
	}
}
