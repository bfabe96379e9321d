//go:build linux

package main

import (
	"errors"
	iofs "io/fs"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/fs/ext2"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/fusefs"
)

// hint says what to do about an error, where its own words do not: "; check the path".
func hint(image string, err error) string {
	var foreign *disk.NotExt2Error
	var mount *fusefs.MountError
	text := err.Error()
	switch {
	case errors.As(err, &mount):
		switch {
		case errors.Is(err, unix.ENOTDIR):
			return "; the image comes first, then a directory to mount it on"
		case strings.Contains(text, "no write access"):
			return "; mount on a directory of your own"
		}
	case errors.Is(err, blockio.ErrBusy) && strings.Contains(text, "locked"):
		return "; unmount it there first, or mount it with -o ro at both places"
	case errors.Is(err, blockio.ErrNotImage) && strings.Contains(text, "empty"):
		return "; make a file system first: mke2fs " + image + " SIZE"
	case errors.Is(err, blockio.ErrNotImage):
		return "; the image comes first, then a directory to mount it on"
	case errors.Is(err, blockio.ErrNoPartition), errors.Is(err, blockio.ErrPastEnd):
		return "; \"ext2fuse info " + image + "\" shows what there is"
	case errors.As(err, &foreign) && foreign.Looks == "" && !strings.Contains(text, "sb="):
		return "; \"file " + image + "\" may tell what it is"
	case errors.Is(err, iofs.ErrNotExist) && strings.Contains(text, "no such image"):
		return "; check the path"
	case errors.Is(err, ext2.ErrNoSpace):
		return "; make room, or enlarge the image: truncate, then resize2fs"
	}
	return ""
}
