package ext2

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// backupPlaces are where, in KiB, the first backup of a superblock lies when groups are
// as large as they can be: in group 1, for each block size from 1 to 64 KiB. (mke2fs
// makes no group larger than 65528 blocks.)
var backupPlaces = []int64{8193, 16384 * 2, 32768 * 4, 65528 * 8, 65528 * 16, 65528 * 32, 65528 * 64}

// BackupError is the error of a bad primary superblock, or of bad descriptors behind it, where
// there are backups that pass the checks.
type BackupError struct {
	Err    error
	Places []int64 // where the backups are, in KiB, for Options.Superblock
}

// Error says it in one line.
func (e *BackupError) Error() string {
	places := make([]string, len(e.Places))
	for i, kib := range e.Places {
		places[i] = fmt.Sprint(kib)
	}
	return fmt.Sprintf("%v; there is a backup superblock at %s KiB", e.Err, strings.Join(places, " or "))
}

// Unwrap gives what is wrong.
func (e *BackupError) Unwrap() error { return e.Err }

// withBackups makes an error a BackupError where that is so.
func (fs *FS) withBackups(err error) error {
	var corrupt *disk.CorruptError
	var foreign *disk.NotExt2Error
	if fs.opts.Superblock != 0 || !errors.As(err, &corrupt) && !errors.As(err, &foreign) {
		return err
	}
	if corrupt != nil && (corrupt.Inode != 0 || strings.HasPrefix(corrupt.What, "journal")) {
		return err // the superblock is fine, and a backup does not know of the journal
	}
	var found []int64
	for _, kib := range fs.likelyBackups() {
		if fs.goodBackup(kib) {
			found = append(found, kib)
		}
	}
	if len(found) == 0 {
		return err
	}
	return &BackupError{err, found}
}

// likelyBackups is backupPlaces and the place that what is left of the primary
// superblock tells.
func (fs *FS) likelyBackups() []int64 {
	places := backupPlaces
	if sb := fs.sb; sb != nil && sb.LogBlockSize <= 6 && sb.BlocksPerGroup != 0 {
		kib := (int64(sb.FirstDataBlock) + int64(sb.BlocksPerGroup)) << sb.LogBlockSize
		for _, p := range places {
			if p == kib {
				return places
			}
		}
		places = append([]int64{kib}, places...)
	}
	return places
}

// goodBackup tells whether there is, at kib, a superblock that can be used and that
// belongs there.
func (fs *FS) goodBackup(kib int64) bool {
	off := kib << 10
	if off < 0 || off > fs.dev.Size()-disk.SuperblockSize {
		return false
	}
	sb, err := readSuper(fs.dev, off)
	if err != nil {
		return false
	}
	if _, err := sb.Check(fs.dev.Size(), !fs.opts.ReadOnly); err != nil {
		return false
	}
	_, ok := superGroup(sb, off)
	return ok
}
