package disk

import (
	"fmt"
	"strings"
)

// CorruptError tells that a structure of the image breaks the format. Decoders fill
// What, Offset and Detail; who knows the inode and the block adds them.
type CorruptError struct {
	What   string // the structure: "superblock", "directory block", "xattr block", …
	Inode  uint32 // inode concerned; 0 when none or not known
	Block  uint64 // device block concerned; 0 when none or not known
	Offset int    // byte offset of the fault in the structure; -1 when it has none
	Detail string // the field, its value and what was expected
}

// Error gives the fault in one line.
func (e *CorruptError) Error() string {
	var s strings.Builder
	s.WriteString("corrupt ")
	s.WriteString(e.What)
	if e.Inode != 0 {
		fmt.Fprintf(&s, ", inode %d", e.Inode)
	}
	if e.Block != 0 {
		fmt.Fprintf(&s, ", block %d", e.Block)
	}
	if e.Offset >= 0 {
		fmt.Fprintf(&s, ", offset %d", e.Offset)
	}
	s.WriteString(": ")
	s.WriteString(e.Detail)
	return s.String()
}

// NotExt2Error tells that the image is no ext2 file system at all.
type NotExt2Error struct {
	Magic uint16 // what stands in s_magic
	Looks Guess  // what the image seems to be instead
}

// Error gives the magic found, and what the image looks like when that is known.
func (e *NotExt2Error) Error() string {
	s := fmt.Sprintf("not an ext2 file system: s_magic is 0x%04X, expected 0x%04X", e.Magic, Magic)
	if e.Looks.Name != "" {
		s += "; this looks like " + e.Looks.Name
	}
	return s
}

// UnsupportedError tells that the image uses something this driver does not do, either
// at all or for writing.
type UnsupportedError struct {
	Features   []string // names of the features in the way, as e2fsprogs prints them
	ReadOnlyOK bool     // a read-only mount is possible
	Detail     string   // the whole message
}

// Error gives the message.
func (e *UnsupportedError) Error() string { return e.Detail }

// TooSmallError tells that the device ends before the file system does.
type TooSmallError struct {
	Have, Want int64 // bytes
	Detail     string
}

// Error gives the message.
func (e *TooSmallError) Error() string { return e.Detail }

// corrupt makes a CorruptError; off is -1 when the fault has no offset.
func corrupt(what string, off int, format string, args ...any) *CorruptError {
	return &CorruptError{What: what, Offset: off, Detail: fmt.Sprintf(format, args...)}
}
