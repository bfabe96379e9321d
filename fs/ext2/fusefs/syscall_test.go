//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ioctl calls ioctl(2) with a buffer that is larger than any answer.
func ioctl(fd int, cmd uint, buf []byte) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(cmd), uintptr(unsafe.Pointer(unsafe.SliceData(buf))))
	if errno != 0 {
		return errno
	}
	return nil
}

// dirent is one entry of a getdents64(2) buffer.
type dirent struct {
	text string // name, inode number and type
	name string
	len  int
}

func parseDirent(b []byte) dirent {
	ino := binary.NativeEndian.Uint64(b)
	length := int(binary.NativeEndian.Uint16(b[16:]))
	name, _, _ := bytes.Cut(b[19:length], []byte{0})
	return dirent{text: fmt.Sprintf("%s:%d:%d", name, ino, b[18]), name: string(name), len: length}
}

func checksum(data []byte) uint32 { return crc32.ChecksumIEEE(data) }
