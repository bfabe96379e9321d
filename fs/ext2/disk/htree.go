package disk

import "sort"

// A directory with InodeIndex is a tree of hashes. Its blocks pass for directory blocks
// to a reader who does not know: the root, block 0, holds "." and a ".." that reaches
// to the block's end, an inner node one free entry of the block's size, and the tables
// of entries lie behind these. Leaves are plain directory blocks, each holding the
// names whose hashes lie between its entry's and the next one's.
//
//	root   0 "." 12 ".." 24 zero(4) version(1) info length(1) levels(1) flags(1) 32 table
//	node   0 free entry                                                           8 table
//	table  limit(2) count(2) block(4), then count-1 times hash(4) block(4)

// Where things are in the blocks of an index, in bytes.
const (
	dxDotDot    = 12
	dxInfo      = 24
	dxInfoBytes = 8
	dxRootTable = dxInfo + dxInfoBytes
	dxNodeTable = DirentHeaderBytes
	dxEntrySize = 8
	dxBlockMask = 0x0FFFFFFF // the upper bits of an entry's block are not in use
)

// MaxDxLevels is the most levels of nodes between the root and the leaves.
const MaxDxLevels = 1

// DxEntry points from a hash on to a block of the directory. The lowest bit of Hash
// says that names with this hash (bit cleared) begin in the block before.
type DxEntry struct {
	Hash  uint32
	Block uint32 // block of the directory, not of the device
}

// DxNode is the table of a root or inner node. It aliases the block, and Set and
// SetCount change it there.
type DxNode struct {
	Limit int // entries there is room for
	Count int // entries in use, at least 1
	off   int // of the table in the block, bytes
	table []byte
}

// DxRoot is the root of a directory index.
type DxRoot struct {
	HashVersion    uint8 // as on disk; see Superblock.HashVersion
	IndirectLevels uint8 // levels of nodes between root and leaves
	DxNode
}

// DecodeDxRoot decodes and checks the first block of an indexed directory: its two
// entries, the header and the bounds of the table; CheckOrder checks the rest. A fault
// means that the directory must be read linearly. The result aliases b.
func DecodeDxRoot(b []byte) (DxRoot, error) {
	if err := checkDxDots(b); err != nil {
		return DxRoot{}, err
	}
	r := DxRoot{HashVersion: b[dxInfo+4], IndirectLevels: b[dxInfo+6]}
	switch length, flags := b[dxInfo+5], b[dxInfo+7]; {
	case r.HashVersion > HashTEA:
		return r, badDx(dxInfo+4, "hash_version is %d, expected at most %d", r.HashVersion, HashTEA)
	case length != dxInfoBytes:
		return r, badDx(dxInfo+5, "info_length is %d, expected %d", length, dxInfoBytes)
	case r.IndirectLevels > MaxDxLevels:
		return r, badDx(dxInfo+6, "indirect_levels is %d, expected at most %d", r.IndirectLevels, MaxDxLevels)
	case flags&1 != 0:
		return r, badDx(dxInfo+7, "unused_flags is 0x%x, expected 0", flags)
	}
	var err error
	r.DxNode, err = decodeDxTable(b, dxRootTable)
	return r, err
}

// checkDxDots checks the "." and ".." entries of an index root.
func checkDxDots(b []byte) error {
	if len(b) < MinBlockSize {
		return badDx(0, "block of %d bytes, expected at least %d", len(b), MinBlockSize)
	}
	dot, next, ok := NextDirent(b, 0)
	if !ok || string(dot.Name) != "." || next != dxDotDot {
		return badDx(0, "the first entry is not \".\" of %d bytes", dxDotDot)
	}
	dotdot, next, ok := NextDirent(b, dxDotDot)
	if !ok || string(dotdot.Name) != ".." || next != len(b) {
		return badDx(dxDotDot, "the second entry is not \"..\" to the end of the block")
	}
	return nil
}

// DecodeDxNode decodes an inner node of a directory index and checks it as DecodeDxRoot
// does. The result aliases b.
func DecodeDxNode(b []byte) (DxNode, error) {
	if len(b) < MinBlockSize {
		return DxNode{}, badDx(0, "block of %d bytes, expected at least %d", len(b), MinBlockSize)
	}
	if d, next, ok := NextDirent(b, 0); !ok || d.Inode != 0 || next != len(b) {
		return DxNode{}, badDx(0, "the node does not begin with a free entry of the block's size")
	}
	return decodeDxTable(b, dxNodeTable)
}

// decodeDxTable decodes the table at offset off. With the feature metadata_csum the
// last eight bytes of the block are a checksum, and the limit is one less.
func decodeDxTable(b []byte, off int) (DxNode, error) {
	n := DxNode{off: off, Limit: int(le.Uint16(b[off:])), Count: int(le.Uint16(b[off+2:]))}
	room := (len(b) - off) / dxEntrySize
	if n.Limit != room && n.Limit != room-1 {
		return n, badDx(off, "limit is %d, expected %d", n.Limit, room)
	}
	if n.Count < 1 || n.Count > n.Limit {
		return n, badDx(off+2, "count is %d, expected 1 to %d", n.Count, n.Limit)
	}
	n.table = b[off : off+n.Limit*dxEntrySize]
	return n, nil
}

// CheckOrder tells whether the hashes ascend, without which Search finds nothing. It
// looks at every entry, so whoever keeps the block in memory does it once.
func (n DxNode) CheckOrder() error {
	for i := 2; i < n.Count; i++ {
		if prev, hash := n.At(i-1).Hash, n.At(i).Hash; hash < prev {
			return badDx(n.off+i*dxEntrySize, "hash 0x%08x comes after 0x%08x", hash, prev)
		}
	}
	return nil
}

func badDx(off int, format string, args ...any) error {
	return corrupt("directory index", off, format, args...)
}

// At is entry i, 0 <= i < Count. The first entry's hash is 0.
func (n DxNode) At(i int) DxEntry {
	e := DxEntry{Block: le.Uint32(n.table[i*dxEntrySize+4:]) & dxBlockMask}
	if i > 0 {
		e.Hash = le.Uint32(n.table[i*dxEntrySize:])
	}
	return e
}

// Search is the index of the entry to follow for a name of the given hash: the last one
// whose hash is not greater. Names of that hash may go on in the blocks of the entries
// behind it, as long as these have hash|1.
func (n DxNode) Search(hash uint32) int {
	return sort.Search(n.Count-1, func(i int) bool { return n.At(i+1).Hash > hash })
}

// CheckBlocks tells whether all entries point into a directory of dirBlocks blocks, and
// none at its root.
func (n DxNode) CheckBlocks(dirBlocks uint64) error {
	for i := range n.Count {
		if block := n.At(i).Block; block == 0 || uint64(block) >= dirBlocks {
			return badDx(-1, "entry %d points at block %d of a directory of %d blocks", i, block, dirBlocks)
		}
	}
	return nil
}

// Set writes entry i, 0 <= i < Limit. The first entry has no hash.
func (n DxNode) Set(i int, e DxEntry) {
	if i > 0 {
		le.PutUint32(n.table[i*dxEntrySize:], e.Hash)
	}
	le.PutUint32(n.table[i*dxEntrySize+4:], e.Block)
}

// SetCount writes the number of entries in use, 1 to Limit.
func (n *DxNode) SetCount(count int) {
	n.Count = count
	le.PutUint16(n.table[2:], uint16(count))
}

// InitDxRoot makes block b the root of an index: "." of inode dir, ".." of inode parent
// (with their file types when filetype says so), no levels, and one entry, block 1.
func InitDxRoot(b []byte, dir, parent uint32, filetype bool, version uint8) DxRoot {
	clear(b)
	t := uint8(TypeUnknown)
	if filetype {
		t = TypeDir
	}
	PutDirent(b, 0, dir, dxDotDot, []byte("."), t)
	PutDirent(b, dxDotDot, parent, len(b)-dxDotDot, []byte(".."), t)
	b[dxInfo+4] = version
	b[dxInfo+5] = dxInfoBytes
	n := initDxTable(b, dxRootTable)
	n.Set(0, DxEntry{Block: 1})
	return DxRoot{HashVersion: version, DxNode: n}
}

// SetLevels writes the number of levels into the root block b.
func (r *DxRoot) SetLevels(b []byte, levels uint8) {
	r.IndirectLevels = levels
	SetDxLevels(b, levels)
}

// InitDxNode makes block b an inner node with one entry, block 0, for the caller to set.
func InitDxNode(b []byte) DxNode {
	clear(b)
	PutDirent(b, 0, 0, len(b), nil, TypeUnknown)
	return initDxTable(b, dxNodeTable)
}

func initDxTable(b []byte, off int) DxNode {
	limit := (len(b) - off) / dxEntrySize
	n := DxNode{off: off, Limit: limit, table: b[off : off+limit*dxEntrySize]}
	le.PutUint16(n.table, uint16(limit))
	n.SetCount(1)
	return n
}

// In is the same table in another copy b of the block, which the result aliases.
func (n DxNode) In(b []byte) DxNode {
	n.table = b[n.off : n.off+len(n.table)]
	return n
}

// SetDxLevels writes the number of levels into root block b.
func SetDxLevels(b []byte, levels uint8) { b[dxInfo+6] = levels }
