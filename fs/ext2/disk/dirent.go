package disk

// A directory block is a chain of entries that ends exactly at the block's end:
//
//	0  inode      4 bytes; 0: the entry is free
//	4  rec_len    2 bytes; distance to the next entry, a multiple of 4
//	6  name_len   1 byte
//	7  file_type  1 byte; without the feature filetype the high byte of name_len, 0
//	8  name
//
// In blocks of 64 KiB a rec_len of 65535 or 0 stands for 65536, and the two lowest bits
// of any other are bits 16 and 17 of the length.

// Dirent is a directory entry. Name aliases the block.
type Dirent struct {
	Inode    uint32 // 0: free
	RecLen   int    // bytes from this entry to the next
	Name     []byte
	FileType uint8 // TypeReg, …; whoever reads it decides whether it makes sense
	Off      int   // offset in the block
}

// RecLen is the room that an entry with a name of nameLen bytes needs.
func RecLen(nameLen int) int { return (DirentHeaderBytes + nameLen + 3) &^ 3 }

// minRecLen is the least distance between two entries.
const minRecLen = DirentHeaderBytes + 4

// recLen decodes the rec_len at off for a block of size bytes.
func recLen(b []byte, off, size int) int {
	n := int(le.Uint16(b[off+4:]))
	if size < MaxBlockSize {
		return n
	}
	if n == 0 || n == 0xFFFF {
		return size
	}
	return n&^3 | (n&3)<<16
}

// putRecLen is recLen's counterpart.
func putRecLen(b []byte, off, n, size int) {
	switch {
	case n < MaxBlockSize:
	case n == size:
		n = 0xFFFF
	default:
		n = n&0xFFFC | n>>16&3
	}
	le.PutUint16(b[off+4:], uint16(n))
}

// SetRecLen changes the distance from the entry at off of block b to the next.
func SetRecLen(b []byte, off, n int) { putRecLen(b, off, n, len(b)) }

// CheckDirBlock checks the chain of entries of a directory block b and names the first
// fault with its offset. Past it, NextDirent cannot run astray. Whether the names make
// sense is not looked at.
func CheckDirBlock(b []byte, inodesCount uint32) error {
	size := len(b)
	for off := 0; off < size; {
		if size-off < minRecLen {
			return badDirent(off, "an entry does not fit in the block's last %d bytes", size-off)
		}
		n := recLen(b, off, size)
		nameLen := int(b[off+6])
		switch {
		case n < minRecLen:
			return badDirent(off, "rec_len is %d, smaller than the least, %d", n, minRecLen)
		case n&3 != 0:
			return badDirent(off, "rec_len is %d, not a multiple of 4", n)
		case n < RecLen(nameLen):
			return badDirent(off, "rec_len is %d, too small for name_len %d", n, nameLen)
		case n > size-off:
			return badDirent(off, "rec_len is %d, the entry crosses the block's end at %d", n, size)
		}
		if ino := le.Uint32(b[off:]); ino > inodesCount {
			return badDirent(off, "inode is %d, expected at most s_inodes_count, %d", ino, inodesCount)
		}
		off += n
	}
	return nil
}

func badDirent(off int, format string, args ...any) error {
	return corrupt("directory block", off, format, args...)
}

// NextDirent gives the entry at off of a block that CheckDirBlock has passed, and the
// offset of the next. ok is false at the end of the block, and where the chain is
// broken after all.
func NextDirent(b []byte, off int) (d Dirent, next int, ok bool) {
	if off < 0 || len(b)-off < minRecLen {
		return Dirent{}, len(b), false
	}
	n := recLen(b, off, len(b))
	nameEnd := off + DirentHeaderBytes + int(b[off+6])
	if n < minRecLen || off+n > len(b) || nameEnd > off+n {
		return Dirent{}, len(b), false
	}
	return Dirent{
		Inode:    le.Uint32(b[off:]),
		RecLen:   n,
		Name:     b[off+DirentHeaderBytes : nameEnd : nameEnd],
		FileType: b[off+7],
		Off:      off,
	}, off + n, true
}

// FindDirent looks for the entry in use of a name in a block that CheckDirBlock has
// passed. It is what every look-up ends with, and looks at no more of an entry than it
// must.
func FindDirent(b []byte, name string) (d Dirent, ok bool) {
	for off := 0; len(b)-off >= minRecLen; {
		if int(b[off+6]) == len(name) && len(b)-off-DirentHeaderBytes >= len(name) &&
			string(b[off+DirentHeaderBytes:off+DirentHeaderBytes+len(name)]) == name && le.Uint32(b[off:]) != 0 {
			d, _, ok = NextDirent(b, off)
			return d, ok
		}
		n := recLen(b, off, len(b))
		if n < minRecLen {
			break
		}
		off += n
	}
	return d, false
}

// FindRoom looks for the first entry of a directory block b behind whose name a record of
// need bytes has room: at off, where used bytes are the entry's own, 0 if it is free, of
// length in all. The chain of entries may be anything.
func FindRoom(b []byte, need int) (off, used, length int, ok bool) {
	for len(b)-off >= minRecLen {
		length = recLen(b, off, len(b))
		if length < minRecLen || off+length > len(b) {
			break
		}
		used = 0
		if le.Uint32(b[off:]) != 0 {
			used = RecLen(int(b[off+6]))
		}
		if length-used >= need {
			return off, used, length, true
		}
		off += length
	}
	return 0, 0, 0, false
}

// PutDirent writes an entry at off of block b. The caller has seen to it that recLen
// fits in the block and the name, at most MaxNameLen bytes, in recLen; without the
// feature filetype fileType is 0. The name's padding is zeroed.
func PutDirent(b []byte, off int, ino uint32, recLen int, name []byte, fileType uint8) {
	le.PutUint32(b[off:], ino)
	putRecLen(b, off, recLen, len(b))
	b[off+6] = uint8(len(name))
	b[off+7] = fileType
	end := off + DirentHeaderBytes + copy(b[off+DirentHeaderBytes:off+recLen], name)
	clear(b[end:min(off+RecLen(len(name)), off+recLen)])
}
