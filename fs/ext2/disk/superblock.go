package disk

// Superblock is struct ext2_super_block with the ext3 and ext4 fields behind it. The
// comments give the name of the field on disk where it is not the same word. A block
// count is one of blocks of BlockSize bytes; a time is in seconds since 1970.
type Superblock struct {
	InodesCount     uint32
	BlocksCount     uint32
	RBlocksCount    uint32 // reserved for DefResUID and DefResGID
	FreeBlocksCount uint32
	FreeInodesCount uint32
	FirstDataBlock  uint32 // block of the superblock: 1 with 1 KiB blocks, else 0
	LogBlockSize    uint32 // block size is 1024 << LogBlockSize
	LogFragSize     uint32 // s_log_frag_size (ext4: s_log_cluster_size)
	BlocksPerGroup  uint32
	FragsPerGroup   uint32 // ext4: s_clusters_per_group
	InodesPerGroup  uint32
	Mtime           uint32 // last mount
	Wtime           uint32 // last write of the superblock
	MntCount        uint16 // mounts since the last check
	MaxMntCount     uint16 // check is due when MntCount reaches it; 0 and 0xFFFF: never
	Magic           uint16
	State           uint16 // StateValid, StateErrors
	Errors          uint16 // ErrorsContinue, …
	MinorRevLevel   uint16
	LastCheck       uint32 // time of the last check
	CheckInterval   uint32 // seconds between checks; 0: never due
	CreatorOS       uint32
	RevLevel        uint32
	DefResUID       uint16
	DefResGID       uint16

	// From here on only with RevLevel >= DynamicRev. FirstIno and InodeSize are the
	// methods that give the effective values.
	DynFirstIno      uint32 // s_first_ino
	DynInodeSize     uint16 // s_inode_size
	BlockGroupNr     uint16 // group this copy of the superblock lies in
	FeatureCompat    uint32
	FeatureIncompat  uint32
	FeatureROCompat  uint32
	UUID             [16]byte
	VolumeName       [16]byte // padded with zeros; see Label
	LastMounted      [64]byte // padded with zeros
	AlgorithmBitmap  uint32   // s_algorithm_usage_bitmap
	PreallocBlocks   uint8
	PreallocDir      uint8  // s_prealloc_dir_blocks
	ReservedGDT      uint16 // s_reserved_gdt_blocks: descriptor blocks kept for resizing
	JournalUUID      [16]byte
	JournalInum      uint32
	JournalDev       uint32
	LastOrphan       uint32
	HashSeed         [4]uint32
	DefHashVersion   uint8
	JnlBackupType    uint8
	DescSize         uint16 // ext4 with 64bit only
	DefaultMountOpts uint32
	FirstMetaBG      uint32 // first descriptor block placed the meta_bg way
	MkfsTime         uint32
	JnlBlocks        [17]uint32 // copy of the journal inode's i_block and size

	// ext4.
	BlocksCountHi     uint32
	RBlocksCountHi    uint32
	FreeBlocksCountHi uint32
	MinExtraIsize     uint16 // all inodes have at least this i_extra_isize
	WantExtraIsize    uint16 // new inodes get it
	Flags             uint32 // FlagSignedHash, …
	RAIDStride        uint16
	MMPInterval       uint16
	MMPBlock          uint64
	RAIDStripeWidth   uint32
	LogGroupsPerFlex  uint8
	ChecksumType      uint8
	EncryptionLevel   uint8
	ReservedPad       uint8
	KBytesWritten     uint64
	SnapshotInum      uint32
	SnapshotID        uint32
	SnapshotRBlocks   uint64
	SnapshotList      uint32
	ErrorCount        uint32
	FirstErrorTime    uint32
	FirstErrorIno     uint32
	FirstErrorBlock   uint64
	FirstErrorFunc    [32]byte
	FirstErrorLine    uint32
	LastErrorTime     uint32
	LastErrorIno      uint32
	LastErrorLine     uint32
	LastErrorBlock    uint64
	LastErrorFunc     [32]byte
	MountOpts         [64]byte
	UsrQuotaInum      uint32
	GrpQuotaInum      uint32
	OverheadClusters  uint32
	BackupBGs         [2]uint32 // sparse_super2
	EncryptAlgos      [4]byte
	EncryptPwSalt     [16]byte
	LpfIno            uint32
	PrjQuotaInum      uint32
	ChecksumSeed      uint32
	WtimeHi           uint8
	MtimeHi           uint8
	MkfsTimeHi        uint8
	LastCheckHi       uint8
	FirstErrorTimeHi  uint8
	LastErrorTimeHi   uint8
	FirstErrorCode    uint8
	LastErrorCode     uint8
	Reserved          [96]uint32 // s_encoding, s_encoding_flags, s_orphan_file_inum, padding
	Checksum          uint32     // s_checksum, with metadata_csum only
}
