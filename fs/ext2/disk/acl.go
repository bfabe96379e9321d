package disk

import (
	"errors"
	"fmt"
)

// An ACL is stored in ext2's own form, version 1: a 4-byte version, then 8 bytes per
// entry, of which those without an id keep only the first 4. Programs see it as
// system.posix_acl_access and _default in the POSIX form, version 2: always 8 bytes.
const (
	aclDiskVersion  = 1
	aclPosixVersion = 2
	aclHeaderBytes  = 4
	aclShortBytes   = 4
	aclFullBytes    = 8
	aclNoID         = 0xFFFFFFFF
)

// Tags of ACL entries.
const (
	ACLUserObj  = 0x01
	ACLUser     = 0x02 // has an id
	ACLGroupObj = 0x04
	ACLGroup    = 0x08 // has an id
	ACLMask     = 0x10
	ACLOther    = 0x20
)

// ErrACL: the bytes are no ACL, or one that must not be. What setxattr gets as a value
// and fails with this is the caller's mistake, not the image's.
var ErrACL = errors.New("invalid ACL")

// ACLEntry is one line of an ACL.
type ACLEntry struct {
	Tag  uint16
	Perm uint16 // rwx in the lowest three bits
	ID   uint32 // user or group, for ACLUser and ACLGroup only
}

func (e ACLEntry) hasID() bool { return e.Tag == ACLUser || e.Tag == ACLGroup }

// DecodeACL decodes a stored ACL. Every tag must be known and every entry complete;
// whether the whole makes sense is CheckACL's to say. The error is a *CorruptError.
func DecodeACL(b []byte) ([]ACLEntry, error) {
	if len(b) < aclHeaderBytes {
		return nil, badACL(0, "%d bytes, expected at least %d", len(b), aclHeaderBytes)
	}
	if v := le.Uint32(b); v != aclDiskVersion {
		return nil, badACL(0, "version is %d, expected %d", v, aclDiskVersion)
	}
	var acl []ACLEntry
	for off := aclHeaderBytes; off < len(b); {
		if len(b)-off < aclShortBytes {
			return nil, badACL(off, "%d bytes are left, expected an entry of %d", len(b)-off, aclShortBytes)
		}
		e := ACLEntry{Tag: le.Uint16(b[off:]), Perm: le.Uint16(b[off+2:])}
		size := aclShortBytes
		switch e.Tag {
		case ACLUserObj, ACLGroupObj, ACLMask, ACLOther:
		case ACLUser, ACLGroup:
			size = aclFullBytes
			if len(b)-off < size {
				return nil, badACL(off, "%d bytes are left, expected an entry of %d", len(b)-off, size)
			}
			e.ID = le.Uint32(b[off+4:])
		default:
			return nil, badACL(off, "tag is 0x%x, which does not exist", e.Tag)
		}
		acl = append(acl, e)
		off += size
	}
	return acl, nil
}

func badACL(off int, format string, args ...any) error { return corrupt("ACL", off, format, args...) }

// EncodeACL gives the form in which an ACL is stored.
func EncodeACL(acl []ACLEntry) []byte {
	b := le.AppendUint32(make([]byte, 0, aclHeaderBytes+len(acl)*aclFullBytes), aclDiskVersion)
	for _, e := range acl {
		b = le.AppendUint16(b, e.Tag)
		b = le.AppendUint16(b, e.Perm)
		if e.hasID() {
			b = le.AppendUint32(b, e.ID)
		}
	}
	return b
}

// ParsePosixACL decodes an ACL in the POSIX form. The error wraps ErrACL.
func ParsePosixACL(b []byte) ([]ACLEntry, error) {
	if len(b) < aclHeaderBytes || (len(b)-aclHeaderBytes)%aclFullBytes != 0 {
		return nil, fmt.Errorf("%w: %d bytes", ErrACL, len(b))
	}
	if v := le.Uint32(b); v != aclPosixVersion {
		return nil, fmt.Errorf("%w: version is %d, expected %d", ErrACL, v, aclPosixVersion)
	}
	acl := make([]ACLEntry, 0, (len(b)-aclHeaderBytes)/aclFullBytes)
	for off := aclHeaderBytes; off < len(b); off += aclFullBytes {
		e := ACLEntry{Tag: le.Uint16(b[off:]), Perm: le.Uint16(b[off+2:])}
		if e.hasID() {
			e.ID = le.Uint32(b[off+4:])
		}
		acl = append(acl, e)
	}
	return acl, nil
}

// PosixACL gives the POSIX form of an ACL.
func PosixACL(acl []ACLEntry) []byte {
	b := le.AppendUint32(make([]byte, 0, aclHeaderBytes+len(acl)*aclFullBytes), aclPosixVersion)
	for _, e := range acl {
		b = le.AppendUint16(b, e.Tag)
		b = le.AppendUint16(b, e.Perm)
		if e.hasID() {
			b = le.AppendUint32(b, e.ID)
		} else {
			b = le.AppendUint32(b, aclNoID)
		}
	}
	return b
}

// CheckACL tells whether an ACL is complete and in order: owner, named users, group,
// named groups, mask (which must be there when a user or group is named), others; each
// of the unnamed exactly once, no permission but rwx, no id that stands for nobody. The
// error wraps ErrACL.
func CheckACL(acl []ACLEntry) error {
	last, need := uint16(0), false
	seen := uint16(0)
	for i, e := range acl {
		if e.Perm&^7 != 0 {
			return fmt.Errorf("%w: entry %d has permissions 0x%x", ErrACL, i, e.Perm)
		}
		switch e.Tag {
		case ACLUserObj, ACLGroupObj, ACLMask, ACLOther:
			if seen&e.Tag != 0 {
				return fmt.Errorf("%w: entry %d has tag 0x%x for the second time", ErrACL, i, e.Tag)
			}
		case ACLUser, ACLGroup:
			if e.ID == aclNoID {
				return fmt.Errorf("%w: entry %d names nobody", ErrACL, i)
			}
			need = true
		default:
			return fmt.Errorf("%w: entry %d has tag 0x%x", ErrACL, i, e.Tag)
		}
		if e.Tag < last {
			return fmt.Errorf("%w: entry %d with tag 0x%x is out of order", ErrACL, i, e.Tag)
		}
		last = e.Tag
		seen |= e.Tag
	}
	const base = ACLUserObj | ACLGroupObj | ACLOther
	if seen&base != base || need && seen&ACLMask == 0 {
		return fmt.Errorf("%w: entries are missing (tags present: 0x%x)", ErrACL, seen)
	}
	return nil
}

// ACLToPosix turns the stored form of an ACL into the POSIX form. The error is a
// *CorruptError.
func ACLToPosix(b []byte) ([]byte, error) {
	acl, err := DecodeACL(b)
	if err != nil {
		return nil, err
	}
	return PosixACL(acl), nil
}

// ACLFromPosix turns the POSIX form of an ACL into the stored form, having checked it.
// The error wraps ErrACL.
func ACLFromPosix(b []byte) ([]byte, error) {
	acl, err := ParsePosixACL(b)
	if err != nil {
		return nil, err
	}
	if err := CheckACL(acl); err != nil {
		return nil, err
	}
	return EncodeACL(acl), nil
}
