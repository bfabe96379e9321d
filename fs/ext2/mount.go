package ext2

import (
	"context"
	"errors"
	"fmt"
	"math/bits"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/cache"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/mpage"
)

// mount does what ext2_fill_super does, in its order: superblock, its checks, the
// group descriptors, the root directory. A journal that needs it is replayed first.
func (fs *FS) mount(ctx context.Context) error {
	if err := fs.attach(ctx); err != nil {
		return err
	}
	if err := fs.checkRoot(); err != nil {
		return err
	}
	if fs.sb.HasCompat(disk.CompatHasJournal) && !fs.sb.HasIncompat(disk.IncompatRecover) && fs.opts.NoJournal && !fs.opts.ReadOnly {
		fs.warnings = append(fs.warnings, "mounting an ext3 file system as ext2: its journal, which is clean, is not used")
	}
	for _, w := range fs.warnings {
		fs.log.Warn(w)
	}
	fs.readOnly.Store(true)
	if fs.opts.ReadOnly || fs.sb.ForceReadOnly() {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	fs.readOnly.Store(false)
	return fs.startWriting(ctx)
}

// attach reads what everything else needs: the superblock and the group descriptors.
func (fs *FS) attach(ctx context.Context) error {
	if err := fs.readSuperblock(ctx); err != nil {
		return fs.withBackups(err)
	}
	fs.blockSize = fs.sb.BlockSize()
	fs.blockBits = uint(bits.TrailingZeros(uint(fs.blockSize)))
	if err := fs.locateSuper(); err != nil {
		return err
	}
	if err := fs.readGroups(); err != nil {
		return fs.withBackups(err)
	}
	fs.startCaches()
	return nil
}

// superOffset is where the superblock is read, in bytes.
func (fs *FS) superOffset() int64 {
	if fs.opts.Superblock == 0 {
		return disk.SuperblockOffset
	}
	return fs.opts.Superblock << 10
}

func readSuper(dev blockio.Device, off int64) (*disk.Superblock, error) {
	b := make([]byte, disk.SuperblockSize)
	bio := blockio.Bio{Op: blockio.Read, For: blockio.Super, Off: off, Vecs: [][]byte{b}}
	dev.Submit(&bio)
	if bio.Err != nil {
		return nil, fmt.Errorf("the superblock at byte %d cannot be read: %w", off, bio.Err)
	}
	return disk.DecodeSuperblock(b)
}

// ReadSuperblock reads a superblock without relying on anything else of the image: the
// one kib KiB from the start of the device, or 0 for the usual place. But for its magic
// number it need not pass the checks of a mount; without that it is a *disk.NotExt2Error.
func ReadSuperblock(dev blockio.Device, kib int64) (*disk.Superblock, error) {
	off := int64(disk.SuperblockOffset)
	if kib > 0 {
		off = kib << 10
	}
	sb, err := readSuper(dev, off)
	if err == nil && sb.Magic != disk.Magic {
		err = whatItIs(dev, kib, &disk.NotExt2Error{Magic: sb.Magic})
	}
	if err != nil {
		return nil, err
	}
	return sb, nil
}

// whatItIs adds to the error of an image that is no ext2 file system what it seems to be
// instead.
func whatItIs(dev blockio.Device, kib int64, err error) error {
	var foreign *disk.NotExt2Error
	if errors.As(err, &foreign) && kib == 0 {
		b := make([]byte, min(disk.SniffBytes, dev.Size()))
		if n, err := dev.ReadvAt([][]byte{b}, 0); err == nil {
			foreign.Looks = disk.Sniff(b[:n])
		}
	}
	return err
}

// readSuperblock reads the superblock, has the journal replayed if it says so, and makes
// the checks that need nothing else.
func (fs *FS) readSuperblock(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if at := fs.opts.Superblock; at < 0 || at > fs.dev.Size()>>10 {
		return fmt.Errorf("sb=%d: a position in KiB before the end of the device, %d, was expected", at, fs.dev.Size()>>10)
	}
	if end := fs.superOffset() + disk.SuperblockSize; fs.dev.Size() < end {
		return &disk.TooSmallError{Have: fs.dev.Size(), Want: end, Detail: fmt.Sprintf(
			"the device ends at byte %d, before the end of the superblock at byte %d", fs.dev.Size(), end)}
	}
	sb, err := readSuper(fs.dev, fs.superOffset())
	if err == nil && fs.loanCutOff(sb) {
		if err := fs.undoLoan(); err != nil {
			// Its blocks stay marked used, which harms nothing.
			fs.log.Warn(fmt.Sprintf("a journal that the last mount borrowed cannot be given back: %v; run e2fsck -p", err))
		}
		sb, err = readSuper(fs.dev, fs.superOffset())
	}
	if err == nil && fs.needsReplay(sb) {
		if err = fs.recoverJournal(ctx, sb); err == nil {
			sb, err = readSuper(fs.dev, fs.superOffset())
		}
	}
	if err != nil {
		return err
	}
	fs.sb = sb
	check := *sb
	if fs.opts.NoLoad && fs.opts.ReadOnly && sb.HasIncompat(disk.IncompatRecover) {
		check.FeatureIncompat &^= disk.IncompatRecover
		check.FeatureCompat &^= disk.CompatHasJournal
		fs.warnings = append(fs.warnings, "the journal is not replayed: what is to be seen is older than it could be, and may be damaged")
	}
	warnings, err := check.Check(fs.dev.Size(), !fs.opts.ReadOnly)
	fs.warnings = append(fs.warnings, warnings...)
	return whatItIs(fs.dev, fs.opts.Superblock, err)
}

// locateSuper finds the group that the superblock in use lies in: its descriptor
// table is the one that is used.
func (fs *FS) locateSuper() error {
	g, ok := superGroup(fs.sb, fs.superOffset())
	if !ok {
		return fmt.Errorf("sb=%d: this file system has no superblock there (groups of %d blocks of %d bytes, from block %d on)",
			fs.opts.Superblock, fs.sb.BlocksPerGroup, fs.blockSize, fs.sb.FirstDataBlock)
	}
	fs.superGroup = g
	return nil
}

// superGroup is the group that has its copy of the superblock at byte off.
func superGroup(sb *disk.Superblock, off int64) (group uint32, ok bool) {
	size := uint64(sb.BlockSize())
	block := uint64(off) / size
	if off == disk.SuperblockOffset {
		return 0, block == uint64(sb.FirstDataBlock)
	}
	first, perGroup := uint64(sb.FirstDataBlock), uint64(sb.BlocksPerGroup)
	if uint64(off)%size != 0 || block < first || block >= uint64(sb.BlocksCount) || (block-first)%perGroup != 0 {
		return 0, false
	}
	g := uint32((block - first) / perGroup)
	return g, sb.HasSuper(g)
}

// Shares of Options.CacheBytes.
const (
	inodeShare = 8 // one in eight for unreferenced inodes
	nameShare  = 4 // one in four for name indexes; blocks have the rest
)

// cacheBytes is the bound on the memory for metadata.
func (fs *FS) cacheBytes() int64 {
	if fs.opts.CacheBytes <= 0 {
		return DefaultCacheBytes
	}
	return fs.opts.CacheBytes
}

func (fs *FS) startCaches() {
	total := fs.cacheBytes()
	fs.cache = cache.New(fs.dev, fs.blockSize, total-total/inodeShare-total/nameShare)
	fs.engine = mpage.New(fs.dev, fs.blockSize, fs.cache)
	fs.inodes.init(total / inodeShare)
	fs.names.init(fs, total/nameShare)
	fs.readAhead.init()
}

// checkRoot is check 15: without a root directory nothing can be reached.
func (fs *FS) checkRoot() error {
	root, err := fs.Inode(RootIno)
	if err != nil {
		return fmt.Errorf("the root directory (inode %d) cannot be used: %w", RootIno, err)
	}
	defer root.Put()
	detail := ""
	switch a := root.Attr(); {
	case !root.IsDir():
		detail = fmt.Sprintf("i_mode is 0%o, a directory was expected", a.Mode)
	case a.Size == 0:
		detail = "i_size is 0"
	case a.Blocks == 0:
		detail = "i_blocks is 0"
	default:
		return nil
	}
	return &disk.CorruptError{What: "root directory", Inode: RootIno, Offset: -1, Detail: detail + "; run e2fsck"}
}
