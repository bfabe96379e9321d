// Package blockio moves bytes between memory and an ext2 image or block device.
//
// Everything above it speaks in bios: one contiguous range of the device, the
// memory it comes from or goes to, and what it is for. A Device carries bios out;
// a Plug gathers, sorts and merges them first. Devices stack: a Window shows part
// of another device, a tracing, counting, fault-injecting or recording device
// wraps one. blockio knows nothing of files or file systems.
package blockio

import "errors"

// Op is what a bio does.
type Op uint8

// The operations of a bio.
const (
	Read    Op = iota // device to memory
	Write             // memory to device
	Sync              // everything written before is durable when it completes (fdatasync)
	Discard           // the range's content is no longer needed and may read as zeros

	numOps // how many there are
)

// Purpose says what a bio is for. It steers nothing; traces and statistics show it.
type Purpose uint8

// The purposes of a bio.
const (
	Unknown     Purpose = iota
	Super               // superblock and its backups
	GroupDesc           // group descriptor table
	BlockBitmap         // block bitmap
	InodeBitmap         // inode bitmap
	InodeTable          // inode table block
	Indirect            // single, double or triple indirect block
	Directory           // directory block
	Xattr               // extended attribute block
	Data                // file content
	Journal             // journal block
	Mixed               // merged by a Plug from bios of different purposes

	numPurposes // how many there are
)

// Errors of a device. Errors of the host are passed on as they came (they wrap a
// syscall.Errno).
var (
	// ErrPastEnd: a bio lies partly or wholly past the end of the device and its
	// submitter did not ask for the tail to be clipped.
	ErrPastEnd = errors.New("access past the end of the device")
	// ErrReadOnly: a write, or a discard, on a device opened read-only.
	ErrReadOnly = errors.New("device is opened read-only")
)

// Advice tells the host what is about to happen to a range.
type Advice uint8

// The kinds of advice.
const (
	WillNeed Advice = iota // start reading the range in the background
	DontNeed               // drop the range from the host's cache
)

// Names of operations and purposes, as traces and statistics show them.
var (
	opNames = [numOps]string{"read", "write", "sync", "discard"}

	purposeNames = [numPurposes]string{
		"unknown", "super", "groupdesc", "blockbitmap", "inodebitmap", "inodetable",
		"indirect", "directory", "xattr", "data", "journal", "mixed",
	}
)

// String names the operation in one word.
func (o Op) String() string {
	if o < numOps {
		return opNames[o]
	}
	return "op?"
}

// String names the purpose in one word.
func (p Purpose) String() string {
	if p < numPurposes {
		return purposeNames[p]
	}
	return "purpose?"
}

// Device is random access to an image or block device by byte offset. All methods
// may be called from several goroutines at once; overlapping concurrent writes
// leave either content. No method keeps a reference to the caller's memory after
// it returned (for Submit: after the bio completed).
//
// Errors are *Error. A request cannot be taken back once it was submitted: who wants to be
// able to give up submits in pieces.
type Device interface {
	// Submit carries out the bios in the order given and returns when all are
	// complete: each one's Err is set and its Done, if any, was called. A bio
	// that fails does not keep the others from being carried out. A bio that
	// passes the end of the device fails as a whole unless it says Clip. Done may
	// submit further bios. A caller that passes a slice (Submit(s...)) may reuse
	// it afterwards.
	Submit(bios ...*Bio)
	// ReadvAt fills iov from offset off (bytes) on, or returns an error and how
	// many bytes arrived before it. It is Submit for one anonymous read.
	ReadvAt(iov [][]byte, off int64) (int, error)
	// WritevAt is ReadvAt's counterpart.
	WritevAt(iov [][]byte, off int64) (int, error)
	// Sync returns when everything written before is durable.
	Sync() error
	// Discard tells that n bytes from off on are no longer needed. It is a hint:
	// a host that cannot do it is no error.
	Discard(off, n int64) error
	// Advise passes advice on n bytes from off on to the host. Always a hint.
	Advise(off, n int64, a Advice)
	// Size is the size of the device in bytes.
	Size() int64
	// ReadOnly tells whether writes are refused.
	ReadOnly() bool
	// Close releases the device and its locks.
	Close() error
}

// Bio is one contiguous transfer. The submitter fills the first group of fields and
// owns Vecs' memory until completion; the device fills the second.
type Bio struct {
	Op      Op
	For     Purpose
	Off     int64      // first byte on the device
	Vecs    [][]byte   // memory, in device order; nil for Sync
	Len     int64      // Discard only: length in bytes (else the sum of Vecs)
	Clip    bool       // cut off what lies past the end of the device (reads see zeros there) instead of failing
	Durable bool       // Write only: when it completes without an error its bytes are durable; others need not be
	Done    func(*Bio) // called once, from Submit, when the bio is complete; may be nil

	N    int64 // bytes transferred to or from the device; less than asked with an Err, or with Clip
	Err  error
	Cold bool // a read that the host's cache could not serve at once
}
