//go:build linux

package main

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// field is one thing that is compared about a file.
type field int

// The fields, in the order in which differences are shown.
const (
	fType    field = iota
	fDtype         // type in the directory entry
	fDino          // inode number in the directory entry
	fIno           // inode number of the inode
	fMode          // permission bits, octal
	fLinks         // link count
	fUID           //
	fGID           //
	fSize          // bytes
	fBlocks        // st_blocks: 512-byte units
	fBlksize       // st_blksize: bytes
	fDevice        // major:minor of device files
	fAtime         // times to the nanosecond
	fMtime         //
	fCtime         //
	fBtime         //
	fTarget        // of a symlink
	fFlags         // inode flags, FS_IOC_GETFLAGS
	fVersion       // inode generation, FS_IOC_GETVERSION
	fXattrs        // the list of names; values are compared by themselves
	fHoles         // where data lies, as SEEK_DATA and SEEK_HOLE say
	fContent       // SHA-256 over the pages that are not all zero
	fList          // of a directory: . and .., names that come twice
	nFields
)

var fieldNames = [nFields]string{
	"type", "d_type", "d_ino", "ino", "mode", "links", "uid", "gid", "size", "blocks", "blksize", "device",
	"atime", "mtime", "ctime", "btime", "target", "flags", "version", "xattrs", "holes", "content", "list",
}

func (f field) String() string { return fieldNames[f] }

// node is what one side knows about one file. A field that the side cannot know, or
// that the file does not have, is empty and is not compared.
type node struct {
	fields [nFields]string
	xattrs map[string]string // name to value
	pages  []pageSum         // checksums of the pages that are not all zero
}

// pageSum is the checksum of one page of a file.
type pageSum struct {
	index uint64 // in pages of pageSize bytes
	crc   uint32
}

const pageSize = 4096

// tree is all that one side says about a file system.
type tree struct {
	label   string // how reports call this side
	nodes   map[string]*node
	statfs  map[string]uint64
	bytes   int64 // of content read
	skipped int   // fields left out because this user may not look at them
	// filetype: directory entries of the image hold types (debugfs only).
	filetype bool
}

// typeName names the type bits of a mode.
func typeName(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return "file"
	case unix.S_IFDIR:
		return "directory"
	case unix.S_IFLNK:
		return "symlink"
	case unix.S_IFIFO:
		return "fifo"
	case unix.S_IFSOCK:
		return "socket"
	case unix.S_IFCHR:
		return "character device"
	case unix.S_IFBLK:
		return "block device"
	}
	return fmt.Sprintf("unknown type %#o", mode&unix.S_IFMT)
}

// dtypeName names the type of a directory entry as typeName does.
func dtypeName(d uint8) string {
	if d == unix.DT_UNKNOWN {
		return dtypeUnknown
	}
	return typeName(uint32(d) << 12) // that is how DT_… are defined
}

const dtypeUnknown = "not told"

// stamp shows a time, whatever its year.
func stamp(sec int64, nsec uint32) string {
	return time.Unix(sec, int64(nsec)).UTC().Format("2006-01-02T15:04:05.000000000Z")
}

// failed shows an error as the value of a field, so that it differs from any value
// and equals the same error on the other side.
func failed(err error) string { return "error: " + err.Error() }

// ranges shows where data lies in a file; a long list is cut, with a checksum over
// the whole.
type ranges struct {
	text  []byte
	n     int
	check uint64
}

func (r *ranges) add(off, end int64) {
	r.n++
	for _, v := range [2]int64{off, end} {
		r.check = (r.check ^ uint64(v)) * 0x100000001b3 // FNV-1a by words
	}
	if len(r.text) < 200 {
		r.text = fmt.Appendf(r.text, "%d-%d ", off, end)
	}
}

func (r *ranges) String() string {
	switch {
	case r.n == 0:
		return "no data"
	case len(r.text) >= 200:
		return fmt.Sprintf("data %s… (%d ranges, checksum %016x)", r.text, r.n, r.check)
	}
	return fmt.Sprintf("data %s(%d ranges)", r.text, r.n)
}
