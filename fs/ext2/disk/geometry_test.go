//go:build linux

package disk

import "testing"

// TestCheckGroupDesc takes a sound descriptor and breaks it in each way.
func TestCheckGroupDesc(t *testing.T) {
	sb := sound() // groups 0 and 1 begin with a superblock and one block of descriptors
	good := func(g uint32) GroupDesc {
		first := uint32(sb.GroupFirstBlock(g))
		return GroupDesc{BlockBitmap: first + 2, InodeBitmap: first + 3, InodeTable: first + 4}
	}
	for _, c := range []struct {
		g      uint32
		change func(*GroupDesc)
		text   string
	}{
		{0, func(*GroupDesc) {}, ""}, {1, func(*GroupDesc) {}, ""}, {7, func(*GroupDesc) {}, ""},
		{1, func(d *GroupDesc) { d.BlockBitmap = 8194 }, "bg_block_bitmap is block 8194 to 8194, expected inside the group's 8195 to 16384"},
		{1, func(d *GroupDesc) { d.BlockBitmap = 0 }, "bg_block_bitmap is block 0"},
		{1, func(d *GroupDesc) { d.BlockBitmap = 16385 }, "bg_block_bitmap is block 16385"},
		{1, func(d *GroupDesc) { d.BlockBitmap = 16384 }, ""},
		{1, func(d *GroupDesc) { d.InodeBitmap = 16385 }, "bg_inode_bitmap is block 16385"},
		{1, func(d *GroupDesc) { d.InodeTable = 16385 - 512 }, ""},
		{1, func(d *GroupDesc) { d.InodeTable = 16385 - 511 }, "bg_inode_table is block 15874 to 16385"},
		{1, func(d *GroupDesc) { d.InodeTable = 0xFFFFFFFF }, "bg_inode_table is block 4294967295 to 4294967806"},
		{1, func(d *GroupDesc) { d.InodeBitmap = d.BlockBitmap }, "the same block"},
		{1, func(d *GroupDesc) { d.InodeBitmap = d.InodeTable + 511 }, "bg_inode_bitmap, block 8708, lies in the inode table"},
		{1, func(d *GroupDesc) { d.BlockBitmap = d.InodeTable }, "bg_block_bitmap, block 8197, lies in the inode table"},
		{2, func(d *GroupDesc) { d.BlockBitmap = 16385 }, ""}, // no superblock there
		{7, func(d *GroupDesc) { d.BlockBitmap = 65535 }, ""}, // the last block
		{7, func(d *GroupDesc) { d.BlockBitmap = 65536 }, "bg_block_bitmap is block 65536"},
	} {
		d := good(c.g)
		c.change(&d)
		err := sb.CheckGroupDesc(c.g, d)
		if !says(err, c.text) {
			t.Errorf("group %d, %+v: expected %q, got %v", c.g, d, c.text, err)
		}
	}
}

func TestValid(t *testing.T) {
	sb := sound()
	for block, want := range map[uint64]bool{0: false, 1: false, 2: true, 65535: true, 65536: false, 1 << 40: false} {
		if sb.ValidBlock(block) != want {
			t.Errorf("block %d: valid is %t", block, !want)
		}
	}
	for ino, want := range map[uint32]bool{0: false, 1: false, 2: true, 3: false, 10: false, 11: true, 16384: true, 16385: false, 1<<32 - 1: false} {
		if sb.ValidInode(ino) != want {
			t.Errorf("inode %d: valid is %t", ino, !want)
		}
	}
	for ino, want := range map[uint32][2]uint32{1: {0, 0}, 2048: {0, 2047}, 2049: {1, 0}, 16384: {7, 2047}} {
		if g, i := sb.InodeGroup(ino); [2]uint32{g, i} != want {
			t.Errorf("inode %d: group %d, index %d", ino, g, i)
		}
	}
}

// TestGroupOverhead: superblock, descriptors and what is reserved for more of them.
func TestGroupOverhead(t *testing.T) {
	sb := sound()
	sb.ReservedGDT = 100
	if got := sb.GroupOverhead(0); got != 2 {
		t.Errorf("without resize_inode: %d blocks, expected 2", got)
	}
	sb.FeatureCompat |= CompatResizeInode
	for g, want := range map[uint32]uint32{0: 102, 1: 102, 2: 0, 3: 102, 5: 102, 6: 0, 7: 102} {
		if got := sb.GroupOverhead(g); got != want {
			t.Errorf("group %d: %d blocks, expected %d", g, got, want)
		}
	}
}
