package disk

import (
	"encoding/binary"
	"errors"
	"fmt"

	ext4 "github.com/dsoprea/go-ext4"
)

// This file is the only one that knows go-ext4. Of that library the structure of the
// superblock, the feature bits and their names are used; its readers refuse ext2 and
// panic on errors, so nothing of it that runs is called. Decoding goes through
// encoding/binary with an explicit byte order, and is needed once per mount.

// Feature bits of s_feature_compat: a driver that does not know one may read and write.
const (
	CompatDirPrealloc  = ext4.SbFeatureCompatDirPrealloc
	CompatHasJournal   = ext4.SbFeatureCompatHasJournal
	CompatExtAttr      = ext4.SbFeatureCompatExtAttr
	CompatResizeInode  = ext4.SbFeatureCompatResizeInode
	CompatDirIndex     = ext4.SbFeatureCompatDirIndex
	CompatSparseSuper2 = ext4.SbFeatureCompatSparseSuperblockV2
)

// Feature bits of s_feature_incompat: a driver that does not know one must not mount.
const (
	IncompatCompression = ext4.SbFeatureIncompatCompression
	IncompatFiletype    = ext4.SbFeatureIncompatFiletype
	IncompatRecover     = ext4.SbFeatureIncompatRecover // the journal holds changes to replay
	IncompatJournalDev  = ext4.SbFeatureIncompatJournalDev
	IncompatMetaBG      = ext4.SbFeatureIncompatMetaBg
	IncompatExtents     = ext4.SbFeatureIncompatExtents
	Incompat64Bit       = ext4.SbFeatureIncompat64bit
	IncompatFlexBG      = ext4.SbFeatureIncompatFlexBg
)

// Feature bits of s_feature_ro_compat: a driver that does not know one may only read.
const (
	ROCompatSparseSuper  = ext4.SbFeatureRoCompatSparseSuper
	ROCompatLargeFile    = ext4.SbFeatureRoCompatLargeFile // a regular file is larger than 2 GiB
	ROCompatHugeFile     = ext4.SbFeatureRoCompatHugeFile
	ROCompatMetadataCsum = ext4.SbFeatureRoCompatMetadataCsum
)

// libraryNames is the library's table of names for one of the feature words.
func libraryNames(set featureSet) map[string]uint32 {
	switch set {
	case compatSet:
		return ext4.SbFeatureCompatLookup
	case incompatSet:
		return ext4.SbFeatureIncompatLookup
	default:
		return ext4.SbFeatureRoCompatLookup
	}
}

// DecodeSuperblock decodes the 1024 bytes of a superblock. It judges nothing: the only
// error is a slice that is too short. Check does the rest.
func DecodeSuperblock(b []byte) (*Superblock, error) {
	if len(b) < SuperblockSize {
		return nil, fmt.Errorf("superblock: %d bytes, expected %d", len(b), SuperblockSize)
	}
	var d ext4.SuperblockData
	n, err := binary.Decode(b[:SuperblockSize], binary.LittleEndian, &d)
	if err != nil {
		return nil, fmt.Errorf("superblock: %w", err)
	}
	if n != SuperblockSize {
		return nil, errors.New("superblock: go-ext4's structure has not the size of a superblock")
	}
	return fromLibrary(&d), nil
}

// Encode writes all 1024 bytes of the superblock into b, which must have that many.
func (sb *Superblock) Encode(b []byte) {
	d := sb.toLibrary()
	// The destination is long enough and the type has a fixed size: it cannot fail.
	if _, err := binary.Encode(b[:SuperblockSize], binary.LittleEndian, d); err != nil {
		panic("disk: encode superblock: " + err.Error())
	}
}

func fromLibrary(d *ext4.SuperblockData) *Superblock {
	return &Superblock{
		InodesCount: d.SInodesCount, BlocksCount: d.SBlocksCountLo, RBlocksCount: d.SRBlocksCountLo,
		FreeBlocksCount: d.SFreeBlocksCountLo, FreeInodesCount: d.SFreeInodesCount,
		FirstDataBlock: d.SFirstDataBlock, LogBlockSize: d.SLogBlockSize, LogFragSize: d.SLogClusterSize,
		BlocksPerGroup: d.SBlocksPerGroup, FragsPerGroup: d.SClustersPerGroup, InodesPerGroup: d.SInodesPerGroup,
		Mtime: d.SMtime, Wtime: d.SWtime, MntCount: d.SMntCount, MaxMntCount: d.SMaxMntCount,
		Magic: d.SMagic, State: d.SState, Errors: d.SErrors, MinorRevLevel: d.SMinorRevLevel,
		LastCheck: d.SLastcheck, CheckInterval: d.SCheckinterval, CreatorOS: d.SCreatorOs, RevLevel: d.SRevLevel,
		DefResUID: d.SDefResuid, DefResGID: d.SDefResgid,

		DynFirstIno: d.SFirstIno, DynInodeSize: d.SInodeSize, BlockGroupNr: d.SBlockGroupNr,
		FeatureCompat: d.SFeatureCompat, FeatureIncompat: d.SFeatureIncompat, FeatureROCompat: d.SFeatureRoCompat,
		UUID: d.SUuid, VolumeName: d.SVolumeName, LastMounted: d.SLastMounted, AlgorithmBitmap: d.SAlgorithmUsageBitmap,
		PreallocBlocks: d.SPreallocBlocks, PreallocDir: d.SPreallocDirBlocks, ReservedGDT: d.SReservedGdtBlocks,
		JournalUUID: d.SJournalUuid, JournalInum: d.SJournalInum, JournalDev: d.SJournalDev, LastOrphan: d.SLastOrphan,
		HashSeed: d.SHashSeed, DefHashVersion: d.SDefHashVersion, JnlBackupType: d.SJnlBackupType, DescSize: d.SDescSize,
		DefaultMountOpts: d.SDefaultMountOpts, FirstMetaBG: d.SFirstMetaBg, MkfsTime: d.SMkfsTime, JnlBlocks: d.SJnlBlocks,

		BlocksCountHi: d.SBlocksCountHi, RBlocksCountHi: d.SRBlocksCountHi, FreeBlocksCountHi: d.SFreeBlocksCountHi,
		MinExtraIsize: d.SMinExtraIsize, WantExtraIsize: d.SWantExtraIsize, Flags: d.SFlags,
		RAIDStride: d.SRaidStride, MMPInterval: d.SMmpInterval, MMPBlock: d.SMmpBlock, RAIDStripeWidth: d.SRaidStripeWidth,
		LogGroupsPerFlex: d.SLogGroupsPerFlex, ChecksumType: d.SChecksumType, EncryptionLevel: d.SEncryptionLevel,
		ReservedPad: d.SReservedPad, KBytesWritten: d.SKbytesWritten,
		SnapshotInum: d.SSnapshotInum, SnapshotID: d.SSnapshotId, SnapshotRBlocks: d.SSnapshotRBlocksCount, SnapshotList: d.SSnapshotList,
		ErrorCount: d.SErrorCount, FirstErrorTime: d.SFirstErrorTime, FirstErrorIno: d.SFirstErrorIno,
		FirstErrorBlock: d.SFirstErrorBlock, FirstErrorFunc: d.SFirstErrorFunc, FirstErrorLine: d.SFirstErrorLine,
		LastErrorTime: d.SLastErrorTime, LastErrorIno: d.SLastErrorIno, LastErrorLine: d.SLastErrorLine,
		LastErrorBlock: d.SLastErrorBlock, LastErrorFunc: d.SLastErrorFunc,
		MountOpts: d.SMountOpts, UsrQuotaInum: d.SUsrQuotaInum, GrpQuotaInum: d.SGrpQuotaInum, OverheadClusters: d.SOverheadClusters,
		BackupBGs: d.SBackupBgs, EncryptAlgos: d.SEncryptAlgos, EncryptPwSalt: d.SEncryptPwSalt, LpfIno: d.SLpfIno,
		PrjQuotaInum: d.SPrjQuotaInum, ChecksumSeed: d.SChecksumSeed,
		WtimeHi: d.SWtimeHi, MtimeHi: d.SMtimeHi, MkfsTimeHi: d.SMkfsTimeHi, LastCheckHi: d.SLastcheckHi,
		FirstErrorTimeHi: d.SFirstErrorTimeHi, LastErrorTimeHi: d.SLastErrorTimeHi,
		FirstErrorCode: d.SPad[0], LastErrorCode: d.SPad[1], Reserved: d.SReserved, Checksum: uint32(d.SChecksum),
	}
}

func (sb *Superblock) toLibrary() *ext4.SuperblockData {
	return &ext4.SuperblockData{
		SInodesCount: sb.InodesCount, SBlocksCountLo: sb.BlocksCount, SRBlocksCountLo: sb.RBlocksCount,
		SFreeBlocksCountLo: sb.FreeBlocksCount, SFreeInodesCount: sb.FreeInodesCount,
		SFirstDataBlock: sb.FirstDataBlock, SLogBlockSize: sb.LogBlockSize, SLogClusterSize: sb.LogFragSize,
		SBlocksPerGroup: sb.BlocksPerGroup, SClustersPerGroup: sb.FragsPerGroup, SInodesPerGroup: sb.InodesPerGroup,
		SMtime: sb.Mtime, SWtime: sb.Wtime, SMntCount: sb.MntCount, SMaxMntCount: sb.MaxMntCount,
		SMagic: sb.Magic, SState: sb.State, SErrors: sb.Errors, SMinorRevLevel: sb.MinorRevLevel,
		SLastcheck: sb.LastCheck, SCheckinterval: sb.CheckInterval, SCreatorOs: sb.CreatorOS, SRevLevel: sb.RevLevel,
		SDefResuid: sb.DefResUID, SDefResgid: sb.DefResGID,

		SFirstIno: sb.DynFirstIno, SInodeSize: sb.DynInodeSize, SBlockGroupNr: sb.BlockGroupNr,
		SFeatureCompat: sb.FeatureCompat, SFeatureIncompat: sb.FeatureIncompat, SFeatureRoCompat: sb.FeatureROCompat,
		SUuid: sb.UUID, SVolumeName: sb.VolumeName, SLastMounted: sb.LastMounted, SAlgorithmUsageBitmap: sb.AlgorithmBitmap,
		SPreallocBlocks: sb.PreallocBlocks, SPreallocDirBlocks: sb.PreallocDir, SReservedGdtBlocks: sb.ReservedGDT,
		SJournalUuid: sb.JournalUUID, SJournalInum: sb.JournalInum, SJournalDev: sb.JournalDev, SLastOrphan: sb.LastOrphan,
		SHashSeed: sb.HashSeed, SDefHashVersion: sb.DefHashVersion, SJnlBackupType: sb.JnlBackupType, SDescSize: sb.DescSize,
		SDefaultMountOpts: sb.DefaultMountOpts, SFirstMetaBg: sb.FirstMetaBG, SMkfsTime: sb.MkfsTime, SJnlBlocks: sb.JnlBlocks,

		SBlocksCountHi: sb.BlocksCountHi, SRBlocksCountHi: sb.RBlocksCountHi, SFreeBlocksCountHi: sb.FreeBlocksCountHi,
		SMinExtraIsize: sb.MinExtraIsize, SWantExtraIsize: sb.WantExtraIsize, SFlags: sb.Flags,
		SRaidStride: sb.RAIDStride, SMmpInterval: sb.MMPInterval, SMmpBlock: sb.MMPBlock, SRaidStripeWidth: sb.RAIDStripeWidth,
		SLogGroupsPerFlex: sb.LogGroupsPerFlex, SChecksumType: sb.ChecksumType, SEncryptionLevel: sb.EncryptionLevel,
		SReservedPad: sb.ReservedPad, SKbytesWritten: sb.KBytesWritten,
		SSnapshotInum: sb.SnapshotInum, SSnapshotId: sb.SnapshotID, SSnapshotRBlocksCount: sb.SnapshotRBlocks, SSnapshotList: sb.SnapshotList,
		SErrorCount: sb.ErrorCount, SFirstErrorTime: sb.FirstErrorTime, SFirstErrorIno: sb.FirstErrorIno,
		SFirstErrorBlock: sb.FirstErrorBlock, SFirstErrorFunc: sb.FirstErrorFunc, SFirstErrorLine: sb.FirstErrorLine,
		SLastErrorTime: sb.LastErrorTime, SLastErrorIno: sb.LastErrorIno, SLastErrorLine: sb.LastErrorLine,
		SLastErrorBlock: sb.LastErrorBlock, SLastErrorFunc: sb.LastErrorFunc,
		SMountOpts: sb.MountOpts, SUsrQuotaInum: sb.UsrQuotaInum, SGrpQuotaInum: sb.GrpQuotaInum, SOverheadClusters: sb.OverheadClusters,
		SBackupBgs: sb.BackupBGs, SEncryptAlgos: sb.EncryptAlgos, SEncryptPwSalt: sb.EncryptPwSalt, SLpfIno: sb.LpfIno,
		SPrjQuotaInum: sb.PrjQuotaInum, SChecksumSeed: sb.ChecksumSeed,
		SWtimeHi: sb.WtimeHi, SMtimeHi: sb.MtimeHi, SMkfsTimeHi: sb.MkfsTimeHi, SLastcheckHi: sb.LastCheckHi,
		SFirstErrorTimeHi: sb.FirstErrorTimeHi, SLastErrorTimeHi: sb.LastErrorTimeHi,
		SPad: [2]uint8{sb.FirstErrorCode, sb.LastErrorCode}, SReserved: sb.Reserved, SChecksum: int32(sb.Checksum),
	}
}
