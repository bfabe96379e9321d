package blockio

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// deviceSize asks the kernel for the size of a block device in bytes.
func deviceSize(fd int) (int64, error) {
	var size uint64
	if err := ioctl(fd, unix.BLKGETSIZE64, unsafe.Pointer(&size)); err != nil {
		return 0, err
	}
	if size > 1<<63-1 {
		return 0, errors.New("the kernel reports an impossible device size")
	}
	return int64(size), nil
}

// blkDiscard trims n bytes at off of a block device.
func blkDiscard(fd int, off, n int64) error {
	span := [2]uint64{uint64(off), uint64(n)}
	return ioctl(fd, unix.BLKDISCARD, unsafe.Pointer(&span))
}

func ioctl(fd int, request uintptr, arg unsafe.Pointer) error {
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg)); e != 0 {
		return e
	}
	return nil
}

// Bounds of one fadvise(WILLNEED) call, in bytes.
const (
	minAdvice = 128 << 10
	maxAdvice = 4 << 20
)

// adviceStep is how many bytes one fadvise(WILLNEED) call reads at most on the disk
// below: the larger of its read-ahead and its largest request. st belongs to the
// open image.
func adviceStep(st *unix.Stat_t) int64 {
	dev := st.Dev
	if st.Mode&unix.S_IFMT == unix.S_IFBLK {
		dev = st.Rdev
	}
	id := strconv.Itoa(int(unix.Major(dev))) + ":" + strconv.Itoa(int(unix.Minor(dev)))
	step := max(
		sysfsKiB(filepath.Join("/sys/class/bdi", id, "read_ahead_kb")),
		sysfsKiB(filepath.Join("/sys/dev/block", id, "queue/max_sectors_kb")),
		sysfsKiB(filepath.Join("/sys/dev/block", id, "../queue/max_sectors_kb")),
	)
	return min(max(step, minAdvice), maxAdvice)
}

// sysfsKiB reads a number of KiB from sysfs and gives it in bytes; 0 if there is none.
func sysfsKiB(path string) int64 {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 32)
	if err != nil || n < 0 {
		return 0
	}
	return n << 10
}
