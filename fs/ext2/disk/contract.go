package disk

func DecodeSuperblock(b []byte) (*Superblock, error) { return nil, nil }
func (sb *Superblock) Encode(b []byte)               {}
func (sb *Superblock) Check(deviceBytes int64, readWrite bool) (warnings []string, err error) {
	return nil, nil
}
func (sb *Superblock) ForceReadOnly() bool                         { return false }
func (sb *Superblock) Label() string                               { return "" }
func (sb *Superblock) BlockSize() int                              { return 0 }
func (sb *Superblock) BlockBits() uint                             { return 0 }
func (sb *Superblock) GroupCount() uint32                          { return 0 }
func (sb *Superblock) InodeSize() int                              { return 0 }
func (sb *Superblock) FirstIno() uint32                            { return 0 }
func (sb *Superblock) InodesPerBlock() uint32                      { return 0 }
func (sb *Superblock) InodeTableBlocks() uint32                    { return 0 }
func (sb *Superblock) AddrPerBlock() uint32                        { return 0 }
func (sb *Superblock) DescPerBlock() uint32                        { return 0 }
func (sb *Superblock) DescBlocks() uint32                          { return 0 }
func (sb *Superblock) HasSuper(group uint32) bool                  { return false }
func (sb *Superblock) DescBlock(i uint32) uint64                   { return 0 }
func (sb *Superblock) GroupFirstBlock(g uint32) uint64             { return 0 }
func (sb *Superblock) GroupBlocks(g uint32) uint32                 { return 0 }
func (sb *Superblock) GroupOverhead(g uint32) uint32               { return 0 } // blocks of superblock and descriptor copies in group g
func (sb *Superblock) MaxFileSize() int64                          { return 0 }
func (sb *Superblock) ValidBlock(block uint64) bool                { return false } // inside the data area
func (sb *Superblock) ValidInode(ino uint32) bool                  { return false }
func (sb *Superblock) InodeGroup(ino uint32) (group, index uint32) { return 0, 0 }
func (sb *Superblock) HashVersion(onDisk uint8) uint8              { return 0 } // adds the unsigned variant as s_flags say
func (sb *Superblock) HasCompat(bit uint32) bool                   { return false }
func (sb *Superblock) HasIncompat(bit uint32) bool                 { return false }
func (sb *Superblock) HasROCompat(bit uint32) bool                 { return false }

const (
	CompatDirPrealloc   = 0x1
	CompatHasJournal    = 0x4
	CompatExtAttr       = 0x8
	CompatResizeInode   = 0x10
	CompatDirIndex      = 0x20
	CompatSparseSuper2  = 0x200
	IncompatFiletype    = 0x2
	IncompatRecover     = 0x4
	IncompatJournalDev  = 0x8
	IncompatMetaBG      = 0x10
	ROCompatSparseSuper = 0x1
	ROCompatLargeFile   = 0x2
)

// FeatureNames names set bits as e2fsprogs does.
func FeatureNames(compat, incompat, roCompat uint32) []string { return nil }

type GroupDesc struct {
	BlockBitmap, InodeBitmap, InodeTable    uint32
	FreeBlocks, FreeInodes, UsedDirs, Flags uint16
}

func DecodeGroupDesc(b []byte) GroupDesc                          { return GroupDesc{} }
func (g GroupDesc) Encode(b []byte)                               {}
func (sb *Superblock) CheckGroupDesc(g uint32, d GroupDesc) error { return nil }

type Timespec struct {
	Sec  int64
	Nsec uint32
}

type Inode struct {
	Mode, Links                uint16
	UID, GID                   uint32
	Size                       uint64
	Atime, Mtime, Ctime, Btime Timespec
	HasBtime                   bool
	Dtime, Flags, Generation   uint32
	Sectors                    uint32 // i_blocks, 512-byte units
	Block                      [15]uint32
	FileACL                    uint32
	DirACL                     uint32
	FragAddr                   uint32
	ExtraSize                  uint16
}

func DecodeInode(b []byte, sb *Superblock) Inode              { return Inode{} }
func (in *Inode) Encode(b []byte, sb *Superblock)             {}
func (in *Inode) CheckInode(ino uint32, sb *Superblock) error { return nil }
func (in *Inode) IsDir() bool                                 { return false }
func (in *Inode) IsReg() bool                                 { return false }
func (in *Inode) IsSymlink() bool                             { return false }
func (in *Inode) IsDevice() bool                              { return false } // char or block
func (in *Inode) IsFIFO() bool                                { return false }
func (in *Inode) IsSocket() bool                              { return false }
func (in *Inode) Stale() bool                                 { return false } // deleted or never used
func (in *Inode) FastSymlink(sb *Superblock) bool             { return false }
func (in *Inode) SymlinkTarget() []byte                       { return nil } // fast: Size bytes out of i_block; nil when it does not fit
func (in *Inode) Rdev() (major, minor uint32)                 { return 0, 0 }
func (in *Inode) SetRdev(major, minor uint32)                 {}
func InodeXattrArea(b []byte, in *Inode) []byte               { return nil } // inode bytes behind ExtraSize; nil when there is no room

// Dirent: Name aliases the block.
type Dirent struct {
	Inode    uint32
	RecLen   int
	Name     []byte
	FileType uint8
	Off      int
}

func CheckDirBlock(b []byte, inodesCount uint32) error                                 { return nil }
func NextDirent(b []byte, off int) (d Dirent, next int, ok bool)                       { return }
func RecLen(nameLen int) int                                                           { return 0 }
func PutDirent(b []byte, off int, ino uint32, recLen int, name []byte, fileType uint8) {}

const (
	HashLegacy = iota
	HashHalfMD4
	HashTEA
	HashLegacyUnsigned
	HashHalfMD4Unsigned
	HashTEAUnsigned
)

func DirHash(version uint8, seed [4]uint32, name []byte) (major, minor uint32) { return 0, 0 }

type DxEntry struct{ Hash, Block uint32 }

// DxNode aliases the block it was decoded from.
type DxNode struct {
	Limit, Count int
	entries      []byte
}

func (n DxNode) At(i int) DxEntry       { return DxEntry{} }
func (n DxNode) Search(hash uint32) int { return 0 } // last entry whose hash is <= hash

type DxRoot struct {
	HashVersion    uint8 // as on disk; see Superblock.HashVersion
	IndirectLevels uint8
	DxNode
}

func DecodeDxRoot(b []byte) (DxRoot, error) { return DxRoot{}, nil }
func DecodeDxNode(b []byte) (DxNode, error) { return DxNode{}, nil }

// XattrEntry: Value aliases the block.
type XattrEntry struct {
	Index uint8
	Name  string
	Value []byte
	Hash  uint32 // as found on disk; Encode computes it anew
}

type XattrHeader struct {
	Refcount, Blocks, Hash, Checksum uint32
}

func DecodeXattrBlock(b []byte) ([]XattrEntry, XattrHeader, error)           { return nil, XattrHeader{}, nil }
func DecodeInodeXattrs(b []byte) ([]XattrEntry, error)                       { return nil, nil }
func EncodeXattrBlock(b []byte, refcount uint32, entries []XattrEntry) error { return nil }
func EncodeInodeXattrs(b []byte, entries []XattrEntry) error                 { return nil }
func XattrFullName(index uint8, name string) (full string, ok bool)          { return "", false }
func XattrSplitName(full string) (index uint8, name string, ok bool)         { return 0, "", false }

const (
	XattrUser       = 1
	XattrACLAccess  = 2
	XattrACLDefault = 3
	XattrTrusted    = 4
	XattrLustre     = 5
	XattrSecurity   = 6
	XattrSystem     = 7
)

// ACLToPosix turns the value stored on disk (version 1) into that of system.posix_acl_* (version 2).
func ACLToPosix(b []byte) ([]byte, error)   { return nil, nil }
func ACLFromPosix(b []byte) ([]byte, error) { return nil, nil }

// Ptr and SetPtr read and write pointer i of an indirect block; PtrRun counts how many pointers from i on, at most max, are
// one contiguous run (or, when pointer i is 0, one run of holes).
func Ptr(b []byte, i int) uint32       { return 0 }
func SetPtr(b []byte, i int, p uint32) {}
func PtrRun(b []byte, i, max int) int  { return 0 }

// Sniff says what an image that is not ext2 seems to be; b is its beginning, up to 68 KiB of use. "" when unknown.
func Sniff(b []byte) string { return "" }
