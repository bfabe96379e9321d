//go:build linux

package crashtest

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// staleByte fills the free blocks of every image. No content ever has it, so that a file
// which shows it shows what was never written to it.
const staleByte = 0xEE

// content is n bytes for one write of one object, from byte off of the file on: what is
// written where, by whom and in which write can be told from the bytes. None is 0 or
// staleByte.
func content(tag, write int, off, n int64) []byte {
	p := make([]byte, n)
	seed := uint64(tag)<<40 ^ uint64(write)<<20
	var word uint64
	for i := range p {
		if at := off + int64(i); i == 0 || at%8 == 0 {
			word = mix(seed + uint64(at/8))
		}
		p[i] = 1 + byte(word>>(8*uint((off+int64(i))%8)))%200
	}
	return p
}

// mix is the finalizer of splitmix64.
func mix(x uint64) uint64 {
	x += 0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

var images sync.Map // ext2test.Options as a string -> *blockiotest.Mem

// fillBytes is how far from both ends of an image free blocks are filled. Those in the
// middle are zero, which no content has, either.
const fillBytes = 3 << 20

// Image is an empty file system in memory, as mke2fs makes it, whose free blocks are
// full of one byte that no content has.
func Image(t testing.TB, o ext2test.Options) *blockiotest.Mem {
	t.Helper()
	key := imageKey(o)
	if m, ok := images.Load(key); ok {
		return m.(*blockiotest.Mem).Clone()
	}
	data, err := os.ReadFile(ext2test.Make(t, o))
	if err != nil {
		t.Fatal(err)
	}
	fillFree(t, data)
	m, _ := images.LoadOrStore(key, blockiotest.MemOf(data))
	return m.(*blockiotest.Mem).Clone()
}

func fillFree(t testing.TB, data []byte) {
	t.Helper()
	sb, err := disk.DecodeSuperblock(data[disk.SuperblockOffset:])
	if err != nil {
		t.Fatal(err)
	}
	bs := uint64(sb.BlockSize())
	for g := range sb.GroupCount() {
		at := sb.DescBlock(g/sb.DescPerBlock())*bs + uint64(g%sb.DescPerBlock())*disk.GroupDescSize
		bitmap := disk.Bitmap(data[uint64(disk.DecodeGroupDesc(data[at:]).BlockBitmap)*bs:][:bs])
		for b := range sb.GroupBlocks(g) {
			off := (sb.GroupFirstBlock(g) + uint64(b)) * bs
			if bitmap.Test(int(b)) || off >= fillBytes && off < uint64(len(data))-fillBytes {
				continue
			}
			block := data[off:][:bs]
			for i := range block {
				block[i] = staleByte
			}
		}
	}
}

func imageKey(o ext2test.Options) string { return fmt.Sprintf("%+v", o) }
