package disk

// GroupDesc is struct ext2_group_desc: where a group's bitmaps and inode table lie, and
// what is free. Bytes 20 to 31, which only ext4 uses, are not kept here.
type GroupDesc struct {
	BlockBitmap uint32 // block number
	InodeBitmap uint32
	InodeTable  uint32 // first block of the table
	FreeBlocks  uint16
	FreeInodes  uint16
	UsedDirs    uint16
	Flags       uint16 // padding in ext2; bg_flags in ext4
}

// DecodeGroupDesc decodes a descriptor from the first 20 bytes of b.
func DecodeGroupDesc(b []byte) GroupDesc {
	_ = b[19]
	return GroupDesc{
		BlockBitmap: le.Uint32(b[0:]),
		InodeBitmap: le.Uint32(b[4:]),
		InodeTable:  le.Uint32(b[8:]),
		FreeBlocks:  le.Uint16(b[12:]),
		FreeInodes:  le.Uint16(b[14:]),
		UsedDirs:    le.Uint16(b[16:]),
		Flags:       le.Uint16(b[18:]),
	}
}

// Encode writes the descriptor into the first 20 bytes of b and leaves the rest alone.
func (d GroupDesc) Encode(b []byte) {
	_ = b[19]
	le.PutUint32(b[0:], d.BlockBitmap)
	le.PutUint32(b[4:], d.InodeBitmap)
	le.PutUint32(b[8:], d.InodeTable)
	le.PutUint16(b[12:], d.FreeBlocks)
	le.PutUint16(b[14:], d.FreeInodes)
	le.PutUint16(b[16:], d.UsedDirs)
	le.PutUint16(b[18:], d.Flags)
}

// CheckGroupDesc tells whether both bitmaps and the whole inode table of group g lie
// inside the group, apart from each other and from its superblock and descriptors.
func (sb *Superblock) CheckGroupDesc(g uint32, d GroupDesc) error {
	first := sb.GroupFirstBlock(g)
	end := first + uint64(sb.GroupBlocks(g))
	data := first + uint64(sb.GroupOverhead(g))
	table, tableEnd := uint64(d.InodeTable), uint64(d.InodeTable)+uint64(sb.InodeTableBlocks())
	for _, f := range []struct {
		name     string
		from, to uint64
	}{
		{"bg_block_bitmap", uint64(d.BlockBitmap), uint64(d.BlockBitmap) + 1},
		{"bg_inode_bitmap", uint64(d.InodeBitmap), uint64(d.InodeBitmap) + 1},
		{"bg_inode_table", table, tableEnd},
	} {
		if f.from < data || f.to > end {
			return badGroup(g, "%s is block %d to %d, expected inside the group's %d to %d", f.name, f.from, f.to-1, data, end-1)
		}
	}
	inTable := func(block uint32) bool { return uint64(block) >= table && uint64(block) < tableEnd }
	switch {
	case d.BlockBitmap == d.InodeBitmap:
		return badGroup(g, "bg_block_bitmap and bg_inode_bitmap are the same block, %d", d.BlockBitmap)
	case inTable(d.BlockBitmap):
		return badGroup(g, "bg_block_bitmap, block %d, lies in the inode table, %d to %d", d.BlockBitmap, table, tableEnd-1)
	case inTable(d.InodeBitmap):
		return badGroup(g, "bg_inode_bitmap, block %d, lies in the inode table, %d to %d", d.InodeBitmap, table, tableEnd-1)
	}
	return nil
}

func badGroup(g uint32, format string, args ...any) error {
	e := corrupt("group descriptor", -1, format, args...)
	e.Detail = "group " + utoa(g) + ": " + e.Detail
	return e
}
