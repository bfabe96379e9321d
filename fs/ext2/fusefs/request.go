//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs

import (
	"encoding/binary"
	"os"
	"time"
	"unsafe"
)

// request is a message of the kernel: struct fuse_in_header, what belongs to the
// opcode, and data. conn looks at the little it needs to choose a buffer and to decide
// who handles it; go-fuse decodes the rest.
type request []byte

// Sizes in bytes of structures of linux/fuse.h.
const (
	headerSize    = 40 // fuse_in_header
	outHeaderSize = 16 // fuse_out_header
	ioctlOutSize  = 16 // fuse_ioctl_out
	structSpace   = 512
)

// Opcodes of linux/fuse.h that conn knows.
const (
	opForget      = 2
	opGetAttr     = 3
	opOpen        = 14
	opRead        = 15
	opWrite       = 16
	opStatFs      = 17
	opFsync       = 20
	opGetXAttr    = 22
	opListXAttr   = 23
	opFlush       = 25
	opInit        = 26
	opOpenDir     = 27
	opReadDir     = 28
	opFsyncDir    = 30
	opInterrupt   = 36
	opIoctl       = 39
	opBatchForget = 42
	opFallocate   = 43
	opReadDirPlus = 44
	opStatx       = 52
)

func (r request) opcode() uint32 { return binary.NativeEndian.Uint32(r[4:]) }
func (r request) unique() uint64 { return binary.NativeEndian.Uint64(r[8:]) }
func (r request) node() uint64   { return binary.NativeEndian.Uint64(r[16:]) }

// u32 is the 32-bit field at a byte offset behind the header; 0 if there is none.
func (r request) u32(off int) uint32 {
	if len(r) < headerSize+off+4 {
		return 0
	}
	return binary.NativeEndian.Uint32(r[headerSize+off:])
}

// u64 is the 64-bit field at a byte offset behind the header; 0 if there is none.
func (r request) u64(off int) uint64 {
	if len(r) < headerSize+off+8 {
		return 0
	}
	return binary.NativeEndian.Uint64(r[headerSize+off:])
}

// readRange is which bytes of the file a READ wants (fuse_read_in.offset and size).
func (r request) readRange() (off int64, size int) { return int64(r.u64(8)), int(r.u32(16)) }

// kernelFlags are flags and flags2 of struct fuse_init_in.
func (r request) kernelFlags() uint64 { return uint64(r.u32(12)) | uint64(r.u32(16))<<32 }

// ioctl is the command of an IOCTL.
func (r request) ioctl() uint32 { return r.u32(12) }

// data is how many bytes of data the reply may have behind its structure.
func (r request) data() int {
	switch r.opcode() {
	case opRead, opReadDir, opReadDirPlus: // fuse_read_in.size
		return int(r.u32(16))
	case opGetXAttr, opListXAttr: // fuse_getxattr_in.size
		return int(r.u32(0))
	case opIoctl: // fuse_ioctl_in.out_size
		return int(r.u32(28))
	}
	return 0
}

// replySize is how much room the reply needs.
func (r request) replySize() int { return structSpace + r.data() }

// replyErrno is the error that a reply tells; 0 is none.
func replyErrno(out []byte) int32 {
	return -int32(binary.NativeEndian.Uint32(out[4:]))
}

// setTimeUnit puts the unit of inode times into the reply to INIT (fuse_init_out.time_gran),
// for which go-fuse has no setting. Where the kernel keeps the times of files it rounds
// them as the image will.
func setTimeUnit(out []byte, unit uint32) {
	const off = outHeaderSize + 24
	if len(out) >= off+4 && binary.NativeEndian.Uint32(out[4:]) == 0 {
		binary.NativeEndian.PutUint32(out[off:], unit)
	}
}

// quick tells requests that are answered from memory: inodes that the kernel knows
// are there, and the rest does not even need one. On a read-write mount an inode may be
// locked by somebody who writes, and forgetting one may delete it.
func (r request) quick(writable bool) bool {
	switch r.opcode() {
	case opStatFs, opOpenDir, opFlush, opInterrupt:
		return true
	case opForget, opBatchForget, opOpen, opGetAttr, opStatx, opFsync, opFsyncDir:
		return !writable
	}
	return false
}

// bulk is from how many bytes on a WRITE is left to itself.
const bulk = 128 << 10

// bulky tells WRITEs that keep a processor busy for a while.
func (r request) bulky() bool { return len(r) >= bulk }

// long tells requests that wait for the disk, or may work for minutes.
func (r request) long() bool {
	switch r.opcode() {
	case opFsync, opFsyncDir, opFallocate:
		return true
	case opIoctl:
		return r.ioctl() == iocTrim
	}
	return false
}

// buffers are what one of the crew works with: room for the largest request, and for
// a reply.
type buffers struct {
	in    []byte
	small []byte // for most replies
	large []byte // for READs; made when it is first needed

	begin time.Time // of the READ being answered
}

const smallReply = 64 << 10

func newBuffers() *buffers {
	return &buffers{in: make([]byte, maxRequest+os.Getpagesize()), small: alignedReply(smallReply)}
}

// reply gives room for a reply of n bytes, header included.
func (b *buffers) reply(n int) []byte {
	if n <= len(b.small) {
		return b.small
	}
	if n > len(b.large) {
		b.large = alignedReply(max(n, maxRequest+structSpace))
	}
	return b.large
}

// alignedReply makes a buffer of n bytes in which the data of a READ, which follows
// the header, begins on a page: the kernel then takes each page of the file from one
// page of ours, and a host that reads past its cache can put it there.
func alignedReply(n int) []byte {
	page := os.Getpagesize()
	b := make([]byte, n+2*page)
	at := page - int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))%uintptr(page)) - outHeaderSize
	if at < 0 {
		at += page
	}
	return b[at : at+n]
}
