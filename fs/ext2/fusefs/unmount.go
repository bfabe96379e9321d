//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// ErrNotOurs tells that something else is mounted there.
var ErrNotOurs = errors.New("not mounted by ext2fuse")

// Unmount unmounts what is mounted on target, a mount point or the source of a mount, and
// returns when the server is through with it: the image is complete, and nobody holds its
// lock. A server that has died is waited for as little as one whose mount is in use
// elsewhere yet.
//
// Errors: a *MountError, for a mount in use with EBUSY, for another user's with EPERM, and for
// what another program mounted with ErrNotOurs.
func Unmount(target string, o UnmountOptions) error {
	m, err := findMount(target)
	if err != nil {
		return err
	}
	server := serverOf(m.Minor)
	if !ours(m, server) && !(server == "" && answers(m)) {
		return &MountError{Dir: m.Mountpoint, Err: ErrNotOurs,
			Reason: "not mounted by ext2fuse: the file system is of type " + m.FSType, Advice: "umount(8) unmounts it"}
	}
	helped := os.Geteuid() != 0
	if helped && foreign(m) {
		return &MountError{Dir: m.Mountpoint, Err: unix.EPERM, Reason: "mounted by another user, and only that one and root can unmount it"}
	}
	if o.Force {
		err = cutOff(m, helped)
	} else {
		err = detach(m.Mountpoint, helped, o.Lazy)
	}
	if err != nil {
		return err
	}
	// With another mount of the same file system somebody else may go on using it.
	if o.Lazy || mountedElsewhere(m) {
		return nil
	}
	if foreign(m) {
		server.wait(m.Minor, strangerPatience)
		return nil
	}
	if server == "" {
		waitUnlocked(m.Source, func() { time.Sleep(time.Millisecond) })
	}
	server.wait(m.Minor, 0)
	return nil
}

// cutOff cuts the connection to the server, so that whoever uses the mount gets ENOTCONN and
// the server ends, and unmounts.
func cutOff(m *mountinfo.Info, helped bool) error {
	if !helped {
		// MNT_FORCE alone cuts the connection, and leaves a mount where it is in use.
		if err := unix.Unmount(m.Mountpoint, unix.MNT_FORCE|unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return &MountError{Dir: m.Mountpoint, Reason: "unmount failed: " + cause(err), Err: err}
		}
		return nil
	}
	// The kernel gives the file to the mounting user.
	if err := os.WriteFile(fmt.Sprintf("/sys/fs/fuse/connections/%d/abort", m.Minor), []byte("1"), 0); err != nil {
		return &MountError{Dir: m.Mountpoint, Err: unix.EPERM,
			Reason: "whoever uses it cannot be cut off here, except by root (" + cause(err) + " for /sys/fs/fuse/connections)",
			Advice: "unmounting lazily takes the mount out of the tree and lets them finish"}
	}
	return detach(m.Mountpoint, helped, true)
}

// ours tells whether this program mounted a file system: it is of its type, or, as subtype=
// may have named it differently, its server is this program.
func ours(m *mountinfo.Info, server connection) bool {
	return m.FSType == "fuse."+Subtype || strings.HasPrefix(m.FSType, "fuse.") && server != "" && server.isOurProgram()
}

// answers tells whether the server of a mount, whom the kernel does not tell, answers as this
// program does. It may be anything, and one that hangs, too.
func answers(m *mountinfo.Info) bool {
	if !strings.HasPrefix(m.FSType, "fuse.") {
		return false
	}
	answer := make(chan bool, 1)
	go func() {
		n, err := unix.Getxattr(m.Mountpoint, StatsXattr, nil)
		answer <- err == nil && n > 0
	}()
	select {
	case yes := <-answer:
		return yes
	case <-time.After(strangerPatience):
		return false
	}
}

// isOurProgram tells whether the server is this program, or another build of it.
func (c connection) isOurProgram() bool {
	proc, _, _ := strings.Cut(string(c), "/fd/")
	theirs, err1 := os.Stat(proc + "/exe")
	own, err2 := os.Stat("/proc/self/exe")
	if err1 == nil && err2 == nil && os.SameFile(theirs, own) {
		return true
	}
	name, err := os.Readlink(proc + "/exe")
	return err == nil && strings.TrimSuffix(filepath.Base(name), " (deleted)") == Subtype
}

// strangerPatience is how long another user's server is waited for: it may have been stopped,
// and be no ext2fuse at all.
const strangerPatience = 10 * time.Second

// foreign tells whether somebody else mounted a file system.
func foreign(m *mountinfo.Info) bool {
	return !slices.Contains(strings.Split(m.VFSOptions, ","), fmt.Sprintf("user_id=%d", os.Geteuid()))
}

// waitUnlocked returns when nobody has a lock on an image, or it is mounted again. What is
// no image is not waited for: a source in the mount table may be just a name. Between two
// looks it pauses.
func waitUnlocked(image string, pause func()) {
	if st, err := os.Stat(image); err != nil || !st.Mode().IsRegular() && st.Mode()&os.ModeType != os.ModeDevice {
		return
	}
	fd, err := unix.Open(image, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer func() { _ = unix.Close(fd) }()
	for unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB) == unix.EWOULDBLOCK {
		again, err := mountinfo.GetMounts(func(o *mountinfo.Info) (skip, stop bool) { return o.Source != image, false })
		if err != nil || len(again) > 0 {
			return
		}
		pause()
	}
}

// Ours tells whether this program mounted what is mounted on target, a mount point or the
// source of a mount, as far as can be told without asking its server.
func Ours(target string) bool {
	m, err := findMount(target)
	return err == nil && ours(m, serverOf(m.Minor))
}

// Serves tells whether a file system of a subtype is what is mounted on target.
func Serves(target, subtype string) bool {
	m, err := findMount(target)
	return err == nil && m.FSType == "fuse."+subtype
}

// findMount finds the topmost mount on a mount point, or else the one mount of a source.
func findMount(target string) (*mountinfo.Info, error) {
	dir := resolve(target)
	abs, err := filepath.Abs(target)
	if err != nil {
		return nil, &MountError{Dir: target, Err: err, Reason: cause(err)}
	}
	_, err = os.Lstat(target)
	name := err != nil // perhaps what fsname= said
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, &MountError{Dir: target, Err: err, Reason: "the mount table cannot be read: " + cause(err)}
	}
	var on, of []*mountinfo.Info
	for _, m := range mounts {
		if m.Mountpoint == dir {
			on = append(on, m)
		}
		if m.Source == abs || m.Source == dir || name && m.Source == target {
			of = append(of, m)
		}
	}
	switch {
	case len(on) > 0:
		return on[len(on)-1], nil
	case len(of) == 1:
		return of[0], nil
	case len(of) > 1:
		return nil, &MountError{Dir: target, Err: unix.EINVAL, Reason: "mounted more than once", Advice: "name the mount point"}
	}
	if _, err := os.Lstat(target); err != nil {
		return nil, &MountError{Dir: target, Err: err, Reason: cause(err)}
	}
	return nil, &MountError{Dir: target, Err: unix.EINVAL, Reason: "nothing is mounted there"}
}

// resolve makes a path absolute and free of symbolic links. The last element may be a
// mount point whose server is gone.
func resolve(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		return real
	}
	if parent, err := filepath.EvalSymlinks(filepath.Dir(abs)); err == nil {
		return filepath.Join(parent, filepath.Base(abs))
	}
	return abs
}

// mountedElsewhere tells whether there is a mount of the same file system.
func mountedElsewhere(m *mountinfo.Info) bool {
	others, err := mountinfo.GetMounts(func(o *mountinfo.Info) (skip, stop bool) {
		return o.Major != m.Major || o.Minor != m.Minor, false
	})
	return err == nil && len(others) > 0
}

// connection is a process's descriptor of a connection, as /proc/PID/fd/N; empty if it
// was not found.
type connection string

// serverOf finds who serves a FUSE mount, whose device number is 0:minor. The kernel tells
// since Linux 6.16; before, and where the server is another user's, nobody is found, and
// the image's lock tells (waitUnlocked).
func serverOf(minor int) connection {
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, link := range links {
		if c := connection(link); c.is(minor) {
			return c
		}
	}
	return ""
}

func (c connection) is(minor int) bool {
	if to, err := os.Readlink(string(c)); err != nil || to != "/dev/fuse" {
		return false
	}
	info, err := os.ReadFile(strings.Replace(string(c), "/fd/", "/fdinfo/", 1))
	return err == nil && strings.Contains(string(info), fmt.Sprintf("fuse_connection:\t%d\n", minor))
}

// wait returns when the server has closed the connection to a mount, which is the last it
// does, or after some time, unless that is 0.
func (c connection) wait(minor int, most time.Duration) {
	for begin := time.Now(); c != "" && c.is(minor) && (most == 0 || time.Since(begin) < most); {
		time.Sleep(time.Millisecond)
	}
}

// RemoveDead takes the mounts of servers that have died off a mount point, if they are of
// the given subtype, and tells how many there were.
func RemoveDead(dir, subtype string) (int, error) {
	for n := 0; ; n++ {
		if !dead(dir) {
			return n, nil
		}
		m, err := findMount(dir)
		if err != nil || m.FSType != "fuse."+subtype {
			return n, nil // CheckMountPoint has words for it
		}
		if err := detach(m.Mountpoint, os.Geteuid() != 0, true); err != nil {
			return n, err
		}
	}
}

// dead tells whether the server of what is mounted on dir has died. The kernel may answer
// stat(2) from its cache even then; statfs(2) it does not. That of a path would set off an
// automount, which waits for the very mount that is being made; of a descriptor it does not.
func dead(dir string) bool {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err == nil {
		var st unix.Statfs_t
		err = unix.Fstatfs(fd, &st)
		_ = unix.Close(fd)
	}
	return err == unix.ENOTCONN || err == unix.ECONNABORTED
}
