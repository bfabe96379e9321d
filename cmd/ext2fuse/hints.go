//go:build linux

package main

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/fs/ext2"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/fusefs"
	"github.com/ext2fuse/ext2fuse/internal/shell"
)

// A message is one line: what is wrong and where, and behind a semicolon what to do.

// seeHelp ends a message about wrong usage of a command.
func seeHelp(command string, err error) string {
	if strings.Contains(err.Error(), "; ") {
		return " (see " + command + " --help)"
	}
	return "; see " + command + " --help"
}

// hint says what to do about an error, where its own words do not: "; check the path".
func hint(image string, err error) string {
	var foreign *disk.NotExt2Error
	var mount *fusefs.MountError
	text := err.Error()
	switch {
	case errors.As(err, &mount):
		return mountHint(err)
	case errors.Is(err, blockio.ErrBusy) && strings.Contains(text, "locked"):
		return "; " + unmountCommand(image) + ", or mount it with -o ro at both places"
	case errors.Is(err, blockio.ErrNotImage) && strings.Contains(text, "empty"):
		return "; make a file system first: mke2fs " + shell.Quote(image) + " SIZE"
	case errors.Is(err, blockio.ErrNotImage):
		return "; the image comes first, then a directory to mount it on"
	case errors.Is(err, blockio.ErrNoPartition), errors.Is(err, blockio.ErrPastEnd):
		return "; \"ext2fuse info " + shell.Quote(image) + "\" shows what there is"
	case errors.As(err, &foreign) && foreign.Looks == "" && !strings.Contains(text, "sb="):
		return "; \"file " + shell.Quote(image) + "\" may tell what it is"
	case errors.As(err, &foreign) && foreign.Looks != "" && !strings.HasSuffix(text, ")"):
		return "; mount or unpack it with what is made for that"
	case errors.Is(err, iofs.ErrNotExist) && strings.Contains(text, "no such image"):
		return "; check the path"
	case strings.HasPrefix(text, "cannot open "+image):
		return openHint(image, err)
	}
	return ""
}

// openHint says what to do about an image that cannot be opened.
func openHint(image string, err error) string {
	write := strings.Contains(err.Error(), "for writing")
	switch {
	case errors.Is(err, unix.EROFS), errors.Is(err, unix.ETXTBSY),
		errors.Is(err, iofs.ErrPermission) && write && unix.Access(image, unix.R_OK) == nil:
		return "; -o ro needs to read it only"
	case errors.Is(err, iofs.ErrPermission):
		rights := "r"
		if write {
			rights = "rw"
		}
		return fmt.Sprintf("; root or its owner can let you in: setfacl -m u:%d:%s %s", os.Getuid(), rights, shell.Quote(image))
	case errors.Is(err, unix.ENOTCONN), errors.Is(err, unix.ESTALE):
		return "; the file system that it lies on is gone: mount that anew"
	}
	return ""
}

// hintInside says what to do about an error with a file of an image.
func hintInside(image string, err error) string {
	image = shell.Quote(image)
	switch {
	case errors.Is(err, iofs.ErrNotExist):
		return "; \"ext2fuse tree " + image + "\" shows what there is"
	case errors.Is(err, ext2.ErrNoSpace):
		return "; make room, or enlarge the image: truncate -s +1G " + image + " && e2fsck -f -p " + image + " && resize2fs " + image
	}
	return ""
}

// withImage puts the advice that comes with what an image seems to be, "a gzip-compressed file
// (decompress it first: gunzip)", behind a semicolon, and the image's name into its command.
func withImage(image, text string, err error) string {
	var foreign *disk.NotExt2Error
	if !errors.As(err, &foreign) {
		return text
	}
	looks, advice, ok := strings.Cut(foreign.Looks, " (")
	if !ok {
		return text
	}
	switch advice = strings.TrimSuffix(advice, ")"); {
	case strings.Contains(advice, "-o part"), strings.Contains(advice, "vgchange"):
	case strings.HasSuffix(advice, "convert -O raw"), strings.HasSuffix(advice, "simg2img"):
		advice += " " + shell.Quote(image) + " " + shell.Quote(image+".raw")
	default:
		advice += " " + shell.Quote(image)
	}
	return strings.Replace(text, foreign.Looks, looks+"; "+advice, 1)
}

// mountHint says what to do where a file system could not be mounted.
func mountHint(err error) string {
	text := err.Error()
	switch {
	case errors.Is(err, unix.ENOTDIR):
		return "; the image comes first, then a directory to mount it on"
	case strings.Contains(text, "no write access"):
		return "; mount on a directory of your own"
	case strings.Contains(text, "user_allow_other"):
		return "; root can allow it: echo user_allow_other >>/etc/fuse.conf"
	case strings.Contains(text, "open /dev/fuse: Permission denied"):
		return deviceHint()
	case strings.Contains(text, "fuse device not found"):
		return "; load it with \"modprobe fuse\", or give /dev/fuse to the container"
	}
	return ""
}

// deviceHint says how a plain user gets at /dev/fuse.
func deviceHint() string {
	var st unix.Stat_t
	if err := unix.Stat("/dev/fuse", &st); err == nil && st.Mode&0o060 == 0o060 && st.Gid != 0 {
		if g, err := user.LookupGroupId(strconv.Itoa(int(st.Gid))); err == nil {
			return "; root can make you a member of its group, from your next login on: usermod -a -G " + g.Name + " " + userName()
		}
	}
	return "; root can open it to everybody: chmod 666 /dev/fuse"
}

func userName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return strconv.Itoa(os.Getuid())
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
