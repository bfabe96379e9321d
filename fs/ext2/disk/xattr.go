package disk

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Extended attributes lie in a block of their own (i_file_acl), which inodes with the
// same attributes may share, or behind the fixed fields of an inode larger than 128
// bytes. Entries grow from the front, values from the back:
//
//	block  magic(4) refcount(4) blocks(4) hash(4) checksum(4) zero(12), entries, zero(4) … values
//	inode  magic(4), entries, zero(4) … values
//	entry  name_len(1) name_index(1) value_offs(2) value_inum(4) value_size(4) hash(4) name, to a multiple of 4
//
// value_offs counts from the start of the block, in an inode from the first entry.
const (
	xattrMagic        = 0xEA020000
	xattrHeaderBytes  = 32
	xattrEntryBytes   = 16
	xattrInodeHeader  = 4
	xattrEndMark      = 4
	XattrMaxRefcount  = 1024 // inodes that may share one block
	XattrMaxNameBytes = 255  // without the prefix
)

// ErrXattrSpace: the attributes do not fit.
var ErrXattrSpace = errors.New("no room for the extended attributes")

// XattrEntry is an extended attribute. When decoded, Value aliases the bytes decoded
// from.
type XattrEntry struct {
	Index uint8  // stands for the prefix of the name: XattrUser, …
	Name  string // without the prefix
	Value []byte
	Hash  uint32 // XattrEntryHash in a block; in an inode Linux writes 0
}

// XattrHeader is the header of an attribute block.
type XattrHeader struct {
	Refcount uint32 // inodes that share the block
	Blocks   uint32 // always 1
	Hash     uint32 // XattrBlockHash; 0: the block is not to be shared
	Checksum uint32 // ext4 with metadata_csum only
}

// DecodeXattrBlock decodes and checks an attribute block. The entries come in the order
// of the block.
func DecodeXattrBlock(b []byte) ([]XattrEntry, XattrHeader, error) {
	if len(b) < MinBlockSize {
		return nil, XattrHeader{}, badXattr(0, "block of %d bytes, expected at least %d", len(b), MinBlockSize)
	}
	if magic := le.Uint32(b); magic != xattrMagic {
		return nil, XattrHeader{}, badXattr(0, "h_magic is 0x%08x, expected 0x%08x", magic, uint32(xattrMagic))
	}
	h := XattrHeader{
		Refcount: le.Uint32(b[4:]),
		Blocks:   le.Uint32(b[8:]),
		Hash:     le.Uint32(b[12:]),
		Checksum: le.Uint32(b[16:]),
	}
	if h.Blocks != 1 {
		return nil, h, badXattr(8, "h_blocks is %d, expected 1", h.Blocks)
	}
	entries, err := decodeXattrs(b, xattrHeaderBytes, 0)
	return entries, h, err
}

// DecodeInodeXattrs decodes and checks the attributes in an inode; area is what
// InodeXattrArea gave. Without the magic number there are none.
func DecodeInodeXattrs(area []byte) ([]XattrEntry, error) {
	if len(area) < xattrInodeHeader+xattrEndMark || le.Uint32(area) != xattrMagic {
		return nil, nil
	}
	return decodeXattrs(area, xattrInodeHeader, xattrInodeHeader)
}

// decodeXattrs decodes the entries from offset off of b on; value offsets count from
// base. It first finds the end of the entries, because no value may reach into them.
func decodeXattrs(b []byte, off, base int) ([]XattrEntry, error) {
	end, count := off, 0
	for {
		if end+xattrEndMark > len(b) {
			return nil, badXattr(end, "the entries do not end before the end at %d", len(b))
		}
		if le.Uint32(b[end:]) == 0 {
			break
		}
		next := end + xattrEntryBytes + pad4(int(b[end]))
		if next > len(b) {
			return nil, badXattr(end, "e_name_len is %d, past the end at %d", b[end], len(b))
		}
		end = next
		count++
	}
	if count == 0 {
		return nil, nil
	}
	entries := make([]XattrEntry, 0, count)
	first := off
	for off < end {
		e, err := decodeXattr(b, off, base, end+xattrEndMark)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
		off += xattrEntryBytes + pad4(len(e.Name))
	}
	// Values that share their bytes would be a thousand times as large in memory.
	if n := XattrSize(entries, base != 0); n > len(b) {
		return nil, badXattr(first, "the attributes take %d bytes of %d: values overlap", n, len(b))
	}
	return entries, nil
}

// decodeXattr decodes one entry whose bounds are known to lie in b; values begin at
// valueMin or later.
func decodeXattr(b []byte, off, base, valueMin int) (XattrEntry, error) {
	name := b[off+xattrEntryBytes:][:b[off]]
	e := XattrEntry{Index: b[off+1], Name: string(name), Value: []byte{}, Hash: le.Uint32(b[off+12:])}
	if i := bytes.IndexByte(name, 0); i >= 0 {
		return e, badXattr(off, "the name has a zero byte at %d", i)
	}
	if inum := le.Uint32(b[off+4:]); inum != 0 {
		return e, badXattr(off+4, "e_value_inum is %d, expected 0", inum)
	}
	size := uint64(le.Uint32(b[off+8:]))
	if size == 0 {
		return e, nil
	}
	start := uint64(base) + uint64(le.Uint16(b[off+2:]))
	if start < uint64(valueMin) || start+size > uint64(len(b)) {
		return e, badXattr(off, "the value, %d bytes at e_value_offs %d, does not lie between the entries and the end", size, start-uint64(base))
	}
	e.Value = b[start : start+size : start+size]
	return e, nil
}

func badXattr(off int, format string, args ...any) error {
	return corrupt("extended attributes", off, format, args...)
}

func pad4(n int) int { return (n + 3) &^ 3 }

// XattrSize is the room that attributes take in a block of their own (header included)
// or, with inInode, in an inode.
func XattrSize(entries []XattrEntry, inInode bool) int {
	n := xattrHeaderBytes + xattrEndMark
	if inInode {
		n = xattrInodeHeader + xattrEndMark
	}
	for _, e := range entries {
		n += xattrEntryBytes + pad4(len(e.Name)) + pad4(len(e.Value))
	}
	return n
}

// EncodeXattrBlock makes b an attribute block of the entries, which it sorts as the
// block wants them and gives their hashes. It fails with ErrXattrSpace when they do not fit, leaving b as it
// was. The values must not alias b.
func EncodeXattrBlock(b []byte, refcount uint32, entries []XattrEntry) error {
	slices.SortFunc(entries, CompareXattr)
	if err := checkXattrs(entries, len(b), false); err != nil {
		return err
	}
	clear(b)
	le.PutUint32(b[0:], xattrMagic)
	le.PutUint32(b[4:], refcount)
	le.PutUint32(b[8:], 1)
	for i := range entries {
		entries[i].Hash = XattrEntryHash(entries[i].Name, entries[i].Value)
	}
	encodeXattrs(b, xattrHeaderBytes, 0, entries)
	le.PutUint32(b[12:], XattrBlockHash(entries))
	return nil
}

// EncodeInodeXattrs makes area, from InodeXattrArea, hold the entries in the order
// given. It fails with ErrXattrSpace when they do not fit, leaving area as it was. With
// no entries the area is zeroed. The values must not alias area.
func EncodeInodeXattrs(area []byte, entries []XattrEntry) error {
	if len(entries) == 0 {
		clear(area)
		return nil
	}
	if err := checkXattrs(entries, len(area), true); err != nil {
		return err
	}
	clear(area)
	le.PutUint32(area, xattrMagic)
	for i := range entries {
		entries[i].Hash = 0 // nobody needs it here
	}
	encodeXattrs(area, xattrInodeHeader, xattrInodeHeader, entries)
	return nil
}

// SetXattrRefcount changes the number of users in the header of an attribute block.
func SetXattrRefcount(b []byte, n uint32) { le.PutUint32(b[4:], n) }

// CompareXattr is the order of entries in a block: index, length of the name, name.
func CompareXattr(a, b XattrEntry) int {
	return cmp.Or(cmp.Compare(a.Index, b.Index), cmp.Compare(len(a.Name), len(b.Name)), cmp.Compare(a.Name, b.Name))
}

// checkXattrs tells whether entries can be encoded into size bytes.
func checkXattrs(entries []XattrEntry, size int, inInode bool) error {
	for _, e := range entries {
		if len(e.Name) > XattrMaxNameBytes || bytes.IndexByte([]byte(e.Name), 0) >= 0 || e.Index == 0 {
			return fmt.Errorf("extended attribute %d %q: the name cannot be stored", e.Index, e.Name)
		}
	}
	if XattrSize(entries, inInode) > size {
		return ErrXattrSpace
	}
	return nil
}

// encodeXattrs writes the entries from off on and their values from the end of b down.
func encodeXattrs(b []byte, off, base int, entries []XattrEntry) {
	end := len(b) &^ 3
	for _, e := range entries {
		b[off] = uint8(len(e.Name))
		b[off+1] = e.Index
		if len(e.Value) > 0 {
			end -= pad4(len(e.Value))
			copy(b[end:], e.Value)
			le.PutUint16(b[off+2:], uint16(end-base))
		}
		le.PutUint32(b[off+8:], uint32(len(e.Value)))
		le.PutUint32(b[off+12:], e.Hash)
		copy(b[off+xattrEntryBytes:], e.Name)
		off += xattrEntryBytes + pad4(len(e.Name))
	}
}
