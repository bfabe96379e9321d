package disk

// Magic stands in s_magic of every ext2, ext3 and ext4 superblock.
const Magic = 0xEF53

// Where and how large the fixed structures are, in bytes.
const (
	SuperblockOffset = 1024 // of the primary superblock from the start of the image
	SuperblockSize   = 1024
	GroupDescSize    = 32
	GoodOldInodeSize = 128 // inode size of revision 0, and the least of any
	MinBlockSize     = 1024
	MaxBlockSize     = 65536
)

// Revisions (s_rev_level).
const (
	GoodOldRev = 0 // fixed 128-byte inodes, no feature words
	DynamicRev = 1
)

// Reserved inode numbers.
const (
	BadBlocksIno    = 1
	RootIno         = 2
	BootLoaderIno   = 5
	UndelDirIno     = 6
	ResizeIno       = 7
	JournalIno      = 8
	GoodOldFirstIno = 11 // the first that is not reserved, in revision 0
)

// What the pointers of i_block are for, by their index.
const (
	NDirBlocks = 12 // direct pointers, from 0 on
	IndBlock   = 12 // single indirect
	DIndBlock  = 13 // double
	TIndBlock  = 14 // triple
	NBlocks    = 15 // how many there are
)

// Limits.
const (
	MaxLinks          = 32000       // names of an inode, subdirectories of a directory
	MaxNameLen        = 255         // bytes
	FastSymlinkBytes  = NBlocks * 4 // room in i_block for a target and a terminating zero
	DirentHeaderBytes = 8           // of an entry, before its name
)

// File system states (s_state).
const (
	StateValid  = 0x0001 // cleanly unmounted
	StateErrors = 0x0002 // errors were seen
	StateOrphan = 0x0004 // orphans are being recovered (ext3)
)

// What to do when corruption is found (s_errors).
const (
	ErrorsContinue  = 1
	ErrorsRemountRO = 2
	ErrorsPanic     = 3
)

// Bits of s_flags.
const (
	FlagSignedHash   = 0x0001 // directory hashes take name bytes as signed
	FlagUnsignedHash = 0x0002 // directory hashes take name bytes as unsigned
)

// Default mount options (s_default_mount_opts).
const (
	DefmDebug     = 0x0001
	DefmBSDGroups = 0x0002
	DefmXattrUser = 0x0004
	DefmACL       = 0x0008
	DefmUID16     = 0x0010
)

// File type bits of i_mode.
const (
	ModeFmt     = 0xF000
	ModeSocket  = 0xC000
	ModeSymlink = 0xA000
	ModeReg     = 0x8000
	ModeBlock   = 0x6000
	ModeDir     = 0x4000
	ModeChar    = 0x2000
	ModeFIFO    = 0x1000
)

// Inode flags (i_flags).
const (
	InodeSecRm        = 0x00000001
	InodeUnrm         = 0x00000002
	InodeCompr        = 0x00000004
	InodeSync         = 0x00000008
	InodeImmutable    = 0x00000010
	InodeAppend       = 0x00000020
	InodeNoDump       = 0x00000040
	InodeNoAtime      = 0x00000080
	InodeIndex        = 0x00001000 // hash-indexed directory
	InodeIMagic       = 0x00002000
	InodeJournalData  = 0x00004000
	InodeNoTail       = 0x00008000
	InodeDirSync      = 0x00010000
	InodeTopDir       = 0x00020000
	InodeHugeFile     = 0x00040000
	InodeExtents      = 0x00080000
	InodeEAInode      = 0x00200000
	InodeInlineData   = 0x10000000
	InodeFlagsVisible = 0x0003DFFF // what FS_IOC_GETFLAGS shows
	InodeFlagsModify  = 0x000380FF // what FS_IOC_SETFLAGS may change
)

// File types of directory entries.
const (
	TypeUnknown = 0
	TypeReg     = 1
	TypeDir     = 2
	TypeChar    = 3
	TypeBlock   = 4
	TypeFIFO    = 5
	TypeSocket  = 6
	TypeSymlink = 7
)

// FileType is the directory entry file type of an i_mode; TypeUnknown for a mode of
// no known type.
func FileType(mode uint16) uint8 {
	switch mode & ModeFmt {
	case ModeReg:
		return TypeReg
	case ModeDir:
		return TypeDir
	case ModeChar:
		return TypeChar
	case ModeBlock:
		return TypeBlock
	case ModeFIFO:
		return TypeFIFO
	case ModeSocket:
		return TypeSocket
	case ModeSymlink:
		return TypeSymlink
	}
	return TypeUnknown
}
