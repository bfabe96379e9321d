//go:build linux

package main

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/fs/ext2"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/fusefs"
	"github.com/ext2fuse/ext2fuse/internal/shell"
)

// A message is one line: what is wrong and where, and behind a semicolon what to do. Errors of
// the packages say what is wrong, and by their type what kind of mistake it is; what to do about
// it on the command line is said here.

// seeHelp ends a message about wrong usage of a command.
func seeHelp(command string, err error) string {
	var usage *usageError
	if errors.As(err, &usage) && usage.advice != "" {
		return " (see " + command + " --help)"
	}
	return "; see " + command + " --help"
}

// hint says what to do about an error, where its own words do not: "; check the path".
func (c *config) hint(image string, err error) string {
	var (
		backup      *ext2.BackupError
		foreign     *disk.NotExt2Error
		unsupported *disk.UnsupportedError
		mount       *fusefs.MountError
		open        *blockio.OpenError
	)
	switch {
	case errors.As(err, &mount):
		return mountHint(mount)
	case errors.Is(err, ext2.ErrReplayReadOnly):
		return "; run e2fsck -p first, or look without them with -o ro,noload"
	case errors.As(err, &backup):
		return backupHint(backup.Places)
	case errors.As(err, &foreign):
		return c.foreignHint(image, foreign.Looks)
	case errors.As(err, &unsupported) && unsupported.ReadOnlyOK:
		return "; mounting with -o ro works"
	case errors.Is(err, blockio.ErrLocked):
		return "; " + unmountCommand(image) + ", or mount it with -o ro at both places"
	case errors.Is(err, blockio.ErrEmpty):
		return "; make a file system first: mke2fs " + shell.Quote(image) + " SIZE"
	case errors.Is(err, blockio.ErrNotImage):
		return imageFirst
	case errors.Is(err, blockio.ErrNoPartition), errors.Is(err, blockio.ErrPastEnd):
		return seeInfo(image)
	case errors.As(err, &open):
		return c.openHint(open)
	}
	return ""
}

func seeInfo(image string) string {
	return "; \"ext2fuse info " + shell.Quote(image) + "\" shows what there is"
}

const imageFirst = "; the image comes first, then a directory to mount it on"

// backupHint says how the backups of a superblock are used, which are at places.
func backupHint(places []int64) string {
	words := make([]string, len(places))
	for i, kib := range places {
		words[i] = fmt.Sprintf("-o sb=%d", kib)
	}
	return "; try " + strings.Join(words, " or ")
}

// foreignHint says what to do with an image that is no ext2 file system.
func (c *config) foreignHint(image string, looks disk.Guess) string {
	switch advice := looks.Advice(shell.Quote(image)); {
	case c.fs.Superblock != 0:
		return "; without sb= it is looked for at the usual place"
	case c.fs.Part != 0, c.fs.Offset != 0: // advice is for all of the image
		return seeInfo(image)
	case looks.Partitioned:
		return "; give a partition of it: -o part=N"
	case advice != "":
		return "; " + advice
	}
	return "; \"file " + shell.Quote(image) + "\" may tell what it is"
}

// openHint says what to do about an image that cannot be opened.
func (c *config) openHint(err *blockio.OpenError) string {
	image := shell.Quote(err.Path)
	switch {
	case errors.Is(err, iofs.ErrNotExist):
		return "; check the path"
	case err.Write && c.dir != "" && (errors.Is(err, unix.EROFS) || errors.Is(err, unix.ETXTBSY) ||
		errors.Is(err, iofs.ErrPermission) && unix.Access(err.Path, unix.R_OK) == nil): // a verb has to write
		return "; -o ro needs to read it only"
	case errors.Is(err, iofs.ErrPermission):
		rights := "r"
		if err.Write {
			rights = "rw"
		}
		return fmt.Sprintf("; root or its owner can let you in: setfacl -m u:%d:%s %s", os.Getuid(), rights, image)
	case errors.Is(err, unix.ENOTCONN), errors.Is(err, unix.ESTALE):
		return "; the file system that it lies on is gone: mount that anew"
	}
	return ""
}

// hintInside says what to do about an error with a file of an image.
func hintInside(image string, err error) string {
	image = shell.Quote(image)
	var damage *disk.CorruptError
	switch {
	case errors.As(err, &damage):
		return "; run e2fsck -f " + image
	case errors.Is(err, iofs.ErrNotExist):
		return "; \"ext2fuse tree " + image + "\" shows what there is"
	case errors.Is(err, ext2.ErrNoSpace):
		return "; make room, or enlarge the image: truncate -s +1G " + image + " && e2fsck -f -p " + image + " && resize2fs " + image
	}
	return ""
}

// mountHint says what to do where a file system could not be mounted.
func mountHint(err *fusefs.MountError) string {
	switch {
	case err.Advice != "":
		return ""
	case errors.Is(err, unix.ENOTDIR):
		return imageFirst
	case errors.Is(err, unix.ENOSYS):
		return "; the verbs (ext2fuse help) work without a mount"
	}
	return ""
}

// unmountCommand says how to free an image that an ext2fuse holds.
func unmountCommand(image string) string {
	abs, err := filepath.Abs(image)
	if err != nil {
		abs = image
	}
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return m.Source != abs || !strings.HasPrefix(m.FSType, "fuse."), false
	})
	if err != nil || len(mounts) == 0 {
		return "unmount it there first"
	}
	return "free it with: ext2fuse -u " + shell.Quote(mounts[0].Mountpoint)
}
