//go:build linux && !386 && !arm && !mips && !mipsle

// Package modeltest holds one mounted file system against another: the same long
// random sequence of operations is applied to both, errno and results are compared
// at each step, and the trees at the end. A sequence is a function of its seed; one
// that diverges is shrunk to the few operations that matter.
//
// It knows nothing of ext2fuse: a Side is a directory. The tests beside it hold an
// ext2fuse mount against the kernel's driver on an equal image.
package modeltest

import (
	"fmt"
	"strings"
)

// Kind names an operation.
type Kind string

// The operations. Paths are relative to the side's root; slots are open files.
const (
	Creat      Kind = "creat"     // Path, Mode; slot Slot
	Open       Kind = "open"      // Path, Flags; slot Slot
	Close      Kind = "close"     // Slot
	PWrite     Kind = "pwrite"    // Slot, Off, Len, Seed
	Append     Kind = "append"    // Slot (opened O_APPEND by flags), Len, Seed
	PRead      Kind = "pread"     // Slot, Off, Len
	FTruncate  Kind = "ftruncate" // Slot, Off
	Truncate   Kind = "truncate"  // Path, Off
	Fallocate  Kind = "fallocate" // Slot, Mode, Off, Len
	SeekHole   Kind = "seek"      // Slot, Off, Mode = whence
	CopyRange  Kind = "copyrange" // Slot -> Slot2, Off, Off2, Len
	MmapWrite  Kind = "mmapwrite" // Slot, Off, Len, Seed
	Fsync      Kind = "fsync"     // Slot
	FStat      Kind = "fstat"     // Slot
	Mkdir      Kind = "mkdir"     // Path, Mode
	Rmdir      Kind = "rmdir"     // Path
	Unlink     Kind = "unlink"    // Path
	Link       Kind = "link"      // Path -> Path2
	Symlink    Kind = "symlink"   // Name (content) at Path
	Readlink   Kind = "readlink"  // Path
	Rename     Kind = "rename"    // Path -> Path2, Flags
	Mknod      Kind = "mknod"     // Path, Mode, Off = device number
	Chmod      Kind = "chmod"     // Path, Mode
	Chown      Kind = "chown"     // Path, Off = uid, Off2 = gid
	Utimens    Kind = "utimens"   // Path, Off = atime, Off2 = mtime (seconds), Len = nanoseconds
	Stat       Kind = "stat"      // Path
	ReadDir    Kind = "readdir"   // Path
	SetXattr   Kind = "setxattr"  // Path, Name, Len, Seed, Flags
	GetXattr   Kind = "getxattr"  // Path, Name
	ListXattr  Kind = "listxattr" // Path
	DelXattr   Kind = "delxattr"  // Path, Name
	SetACL     Kind = "setacl"    // Path, Name (access|default), Seed
	SetFlags   Kind = "setflags"  // Path, Flags
	GetFlags   Kind = "getflags"  // Path
	Tmpfile    Kind = "tmpfile"   // directory Path, Mode; slot Slot
	LinkFd     Kind = "linkfd"    // Slot -> Path
	OpenTrunc  Kind = "opentrunc" // Path
	AccessAs   Kind = "accessas"  // Path, Mode = rwx bits, Off = uid
	CreatAs    Kind = "creatas"   // Path, Mode, Off = uid (gid too)
	UnlinkAs   Kind = "unlinkas"  // Path, Off = uid
	WriteAs    Kind = "writeas"   // Path, Off = uid, Len: open, write, close
	ChmodAs    Kind = "chmodas"   // Path, Mode, Off = uid
	RemountAll Kind = "remount"   // both sides unmounted, checked and mounted again
)

// Op is one step. Fields that its Kind does not name are zero.
type Op struct {
	Kind        Kind
	Path, Path2 string
	Name        string
	Slot, Slot2 int
	Mode        uint32
	Flags       int
	Off, Off2   int64
	Len         int64
	Seed        uint64
}

// String writes the operation in a form that reads well in a failure report.
func (o Op) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s", o.Kind)
	field := func(name string, show bool, v any) {
		if show {
			fmt.Fprintf(&b, " %s=%v", name, v)
		}
	}
	field("path", o.Path != "", o.Path)
	field("path2", o.Path2 != "", o.Path2)
	field("name", o.Name != "", short(o.Name))
	field("slot", o.usesSlot(), o.Slot)
	field("slot2", o.Kind == CopyRange, o.Slot2)
	field("mode", o.Mode != 0, fmt.Sprintf("%#o", o.Mode))
	field("flags", o.Flags != 0, fmt.Sprintf("%#x", o.Flags))
	field("off", o.Off != 0, o.Off)
	field("off2", o.Off2 != 0, o.Off2)
	field("len", o.Len != 0, o.Len)
	field("seed", o.Seed != 0, o.Seed)
	return b.String()
}

func (o Op) usesSlot() bool {
	switch o.Kind {
	case Creat, Open, Close, PWrite, Append, PRead, FTruncate, Fallocate, SeekHole, CopyRange,
		MmapWrite, Fsync, FStat, Tmpfile, LinkFd:
		return true
	}
	return false
}

// leavesPart tells an operation that may run out of space after a part of it was done: how
// large a part two drivers need not agree on. The kernel's keeps a block of zeros that it
// had no content for inside a file.
func (o Op) leavesPart() bool {
	switch o.Kind {
	case PWrite, Append, WriteAs, CopyRange, MmapWrite, Fallocate, Chmod, ChmodAs:
		return true
	}
	return false
}

func short(s string) string {
	if len(s) > 120 {
		return fmt.Sprintf("%s…(%d)", s[:120], len(s))
	}
	return s
}
