//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/internal/shell"
)

// mounted is a connection to the kernel that is attached to the tree.
type mounted struct {
	fd     int
	dir    string
	helped bool
}

func (m *mounted) detach(lazy bool) error { return detach(m.dir, m.helped, lazy) }

// attach mounts a new connection on dir: root by mount(2), everybody else through
// fusermount3.
func attach(dir string, o *Options, readOnly bool) (*mounted, error) {
	abs, err := CheckMountPoint(dir)
	if err != nil {
		return nil, err
	}
	flags := o.Flags
	if readOnly {
		flags |= unix.MS_RDONLY
	}
	if os.Geteuid() != 0 {
		fd, err := fusermount(dir, abs, helperOptions(o, flags))
		if err != nil {
			return nil, err
		}
		return &mounted{fd: fd, dir: abs, helped: true}, nil
	}
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, deviceError(dir, err)
	}
	data := fmt.Sprintf("fd=%d,rootmode=40000,user_id=%d,group_id=%d,max_read=%d",
		fd, os.Getuid(), os.Getgid(), o.MaxRead)
	for _, w := range permissionWords(o) {
		data += "," + w
	}
	source := o.Source
	if source == "" {
		source = o.Subtype
	}
	if err := unix.Mount(source, abs, "fuse."+o.Subtype, flags, data); err != nil {
		_ = unix.Close(fd)
		return nil, mountError(dir, err)
	}
	return &mounted{fd: fd, dir: abs}, nil
}

// CheckMountPoint tells whether a file system can be mounted on dir, as far as one
// can see beforehand, and gives its absolute path without symbolic links. A directory
// need not be empty.
func CheckMountPoint(dir string) (string, error) {
	st, err := os.Stat(dir)
	switch {
	case dead(dir):
		return "", &MountError{Dir: dir, Err: unix.ENOTCONN, Reason: "a FUSE mount whose daemon is gone is in the way",
			Advice: "remove it with \"umount " + shell.Quote(dir) + "\" or \"fusermount3 -u " + shell.Quote(dir) + "\""}
	case errors.Is(err, os.ErrNotExist):
		return "", &MountError{Dir: dir, Err: err, Reason: "the mount point does not exist", Advice: "make it first: mkdir " + shell.Quote(dir)}
	case err != nil:
		return "", &MountError{Dir: dir, Err: err, Reason: "the mount point cannot be used: " + cause(err)}
	case !st.IsDir():
		return "", &MountError{Dir: dir, Err: unix.ENOTDIR, Reason: "the mount point is not a directory"}
	}
	abs, err := filepath.Abs(dir)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if err != nil {
		return "", &MountError{Dir: dir, Err: err, Reason: "the mount point cannot be used: " + cause(err)}
	}
	return abs, nil
}

// cause is the host's own word for an error, without the path that goes with it.
func cause(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return err.Error()
}

// getFUSE is what to do where there is no /dev/fuse.
const getFUSE = "load it with \"modprobe fuse\", or give /dev/fuse to the container"

// deviceError tells why /dev/fuse cannot be opened.
func deviceError(dir string, err error) error {
	e := &MountError{Dir: dir, Err: err}
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		e.Reason, e.Advice = "the kernel has no FUSE here (/dev/fuse: "+cause(err)+")", getFUSE
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		e.Reason, e.Advice = "no permission to open /dev/fuse ("+cause(err)+")", "in a container, allow the device"
	default:
		e.Reason = "/dev/fuse cannot be opened: " + cause(err)
	}
	return e
}

// mountError tells why mount(2) failed.
func mountError(dir string, err error) error {
	e := &MountError{Dir: dir, Err: err}
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		e.Reason, e.Advice = "no permission to mount ("+cause(err)+")", "in a container, CAP_SYS_ADMIN is needed"
	case errors.Is(err, unix.ENODEV):
		e.Reason, e.Advice = "the kernel has no FUSE here", getFUSE
	case errors.Is(err, unix.EINVAL):
		e.Reason = "the kernel refused the mount options (" + cause(err) + ")"
	default:
		e.Reason = "mount failed: " + cause(err)
	}
	return e
}

// detach unmounts dir: at once if nobody uses it, or with lazy in any case.
func detach(dir string, helped, lazy bool) error {
	if helped {
		return fuserunmount(dir, lazy)
	}
	flags := unix.UMOUNT_NOFOLLOW
	if lazy {
		flags |= unix.MNT_DETACH
	}
	err := unix.Unmount(dir, flags)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EBUSY):
		return &MountError{Dir: dir, Reason: "in use", Err: err}
	}
	return &MountError{Dir: dir, Reason: "unmount failed: " + cause(err), Err: err}
}

// helperOptions are the options for fusermount3, which wants the flags of mount(2) as
// words.
func helperOptions(o *Options, flags uintptr) string {
	words := []string{"nosuid", "nodev", fmt.Sprintf("max_read=%d", o.MaxRead), "subtype=" + escape(o.Subtype)}
	if o.Source != "" {
		words = append(words, "fsname="+escape(o.Source))
	}
	for _, f := range []struct {
		flag uintptr
		word string
	}{
		{unix.MS_RDONLY, "ro"}, {unix.MS_NOEXEC, "noexec"}, {unix.MS_NOATIME, "noatime"},
		{unix.MS_NODIRATIME, "nodiratime"}, {unix.MS_SYNCHRONOUS, "sync"}, {unix.MS_DIRSYNC, "dirsync"},
	} {
		if flags&f.flag != 0 {
			words = append(words, f.word)
		}
	}
	words = append(words, permissionWords(o)...)
	return strings.Join(words, ",")
}

// permissionWords say who may enter, and who checks what he may do there.
func permissionWords(o *Options) []string {
	switch {
	case o.FakeRoot:
		return nil
	case o.AllowOther:
		return []string{"default_permissions", "allow_other"}
	}
	return []string{"default_permissions"}
}

// escape protects the separators of an option list.
func escape(s string) string {
	return strings.NewReplacer(`\`, `\\`, ",", `\,`).Replace(s)
}
