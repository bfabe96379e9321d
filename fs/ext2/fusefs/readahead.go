//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// DefaultReadAhead is how many bytes the kernel reads ahead of a sequential reader
// where nothing else is asked for and the daemon may set it. The kernel's own default
// for FUSE is 128 KiB, which costs a message for each 128 KiB. A page less than 1 MiB is
// what fits, with the reply's header, into the largest pipe that a host lets everybody
// have (/proc/sys/fs/pipe-max-size).
const DefaultReadAhead = 1<<20 - 4<<10

// setReadAhead sets the read-ahead of the file system mounted on dir. There is no way
// to do it in the protocol: it takes root and sysfs. A plain user's mount stays as it
// is, without an error unless a size was asked for.
func setReadAhead(dir string, size int64) error {
	asked := size >= 0
	if !asked {
		size = DefaultReadAhead
	}
	var st unix.Statx_t
	// The attributes are not asked for, so this sends no message to ourselves.
	if err := unix.Statx(unix.AT_FDCWD, dir, unix.AT_STATX_DONT_SYNC|unix.AT_NO_AUTOMOUNT, 0, &st); err != nil {
		return err
	}
	path := fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", st.Dev_major, st.Dev_minor)
	err := os.WriteFile(path, []byte(strconv.FormatInt(size>>10, 10)), 0)
	if err != nil && !asked {
		return nil
	}
	return err
}
