//go:build linux

package hostile

import (
	"encoding/binary"
	"math/rand/v2"

	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// MutationBytes is the length of one mutation in a program: what, which (2 bytes), where
// (2 bytes), how, value (4 bytes).
const MutationBytes = 10

// maxMutations bounds what of a program is carried out.
const maxMutations = 16

// Kinds is how many kinds of structures the first byte of a mutation chooses among.
const Kinds = 13

// Mutate changes dev, a Device of the image, as the program says. Every program is one.
func (im *Image) Mutate(dev *blockiotest.Mem, program []byte) {
	for n := 0; len(program) >= MutationBytes && n < maxMutations; n++ {
		im.mutateOnce(dev, program[:MutationBytes])
		program = program[MutationBytes:]
	}
}

// Program is a random program of 1 to most mutations.
func Program(rnd *rand.Rand, most int) []byte {
	p := make([]byte, MutationBytes*(1+rnd.IntN(most)))
	for i := range p {
		p[i] = byte(rnd.Uint32())
	}
	return p
}

func (im *Image) mutateOnce(dev *blockiotest.Mem, m []byte) {
	at, width := im.target(m[0], int(binary.LittleEndian.Uint16(m[1:])), int64(binary.LittleEndian.Uint16(m[3:])))
	if width == 0 {
		width = []int64{1, 2, 4, 4}[m[5]>>4&3]
	}
	if at < 0 || at+width > dev.Size() {
		return
	}
	arg := binary.LittleEndian.Uint32(m[6:])
	var p [4]byte
	copy(p[:], dev.Bytes(at, width))
	v := binary.LittleEndian.Uint32(p[:])
	if im.bigEndian(at) { // the journal's numbers
		v = binary.BigEndian.Uint32(p[:]) >> (32 - 8*width)
	}
	switch m[5] & 3 {
	case 0:
		v = arg
	case 1:
		v = im.pointers[arg%uint32(len(im.pointers))]
	case 2:
		v += uint32(int32(int8(arg)))
	case 3:
		v ^= 1 << (arg & 31)
	}
	binary.LittleEndian.PutUint32(p[:], v)
	if im.bigEndian(at) {
		binary.BigEndian.PutUint32(p[:], v<<(32-8*width))
	}
	if _, err := dev.WritevAt([][]byte{p[:width]}, at); err != nil {
		panic(err) // the device is in memory and the range inside it
	}
}

func (im *Image) bigEndian(at int64) bool {
	for _, j := range im.journal {
		if at >= j && at < j+im.bs {
			return true
		}
	}
	return false
}

// field is a field of a structure: offset and width in bytes.
type field struct{ off, width int64 }

var inodeFields = []field{
	{0x00, 2}, {0x02, 2}, {0x04, 4}, {0x04, 4}, {0x14, 4}, {0x1A, 2}, {0x1A, 2}, {0x1C, 4}, {0x20, 4}, // mode, uid, size, dtime, links, blocks, flags
	{0x28, 4}, {0x2C, 4}, {0x30, 4}, {0x34, 4}, {0x50, 4}, {0x54, 4}, // i_block, direct ones
	{0x58, 4}, {0x58, 4}, {0x5C, 4}, {0x5C, 4}, {0x60, 4}, {0x60, 4}, // the indirect ones
	{0x64, 4}, {0x68, 4}, {0x68, 4}, {0x6C, 4}, {0x74, 2}, {0x76, 2}, // generation, file_acl, size_high, blocks_high, file_acl_high
	{0x80, 2}, {0x84, 4}, {0x9C, 4}, {0xA0, 4}, // extra_isize, ctime_extra, projid; the first in-inode attribute
}

var entryFields = []field{{0, 4}, {0, 4}, {4, 2}, {4, 2}, {6, 1}, {7, 1}, {8, 1}, {9, 1}} // inode, rec_len, name_len, file_type, name

// dxFields are info and entry table of the root of an indexed directory, behind . and ..
var dxFields = []field{{24, 4}, {28, 1}, {29, 1}, {30, 1}, {31, 1}, {32, 2}, {34, 2}, {36, 4}, {40, 4}, {44, 4}, {48, 4}}

// target is the byte that a mutation begins at, -1 if there is no such structure, and how
// many bytes it changes; width 0 leaves that to the mutation.
func (im *Image) target(what byte, which int, where int64) (at, width int64) {
	pick := func(list []int64, n int64) int64 {
		if len(list) == 0 {
			return -1
		}
		return list[which%len(list)] + where%n
	}
	pickField := func(list []int64, fields []field) (int64, int64) {
		if len(list) == 0 {
			return -1, 0
		}
		f := fields[where%int64(len(fields))]
		return list[which%len(list)] + f.off, f.width
	}
	switch what % Kinds {
	case 0:
		return disk.SuperblockOffset + where%disk.SuperblockSize, 0
	case 1:
		return pick(im.groups, 18), 0 // what follows has no meaning
	case 2:
		return pick(im.inodes, int64(im.sb.InodeSize())), 0
	case 3, 4:
		return pickField(im.inodes, inodeFields)
	case 5:
		return pick(im.tables, im.bs) &^ 3, 4
	case 6:
		return pick(im.dirs, im.bs), 0
	case 7:
		return pickField(im.entries, entryFields)
	case 8:
		return pickField(im.roots, dxFields)
	case 9:
		return pick(im.xattrs, im.bs), 0
	case 10:
		return pick(im.bitmaps, int64(im.sb.BlocksPerGroup)/8), 0
	case 11:
		return pick(im.journal, 256) &^ 3, 4 // headers and tags stand at a block's start
	}
	return (int64(which)<<16 | where) % im.dev.Size(), 0
}
