package ext2

import (
	"slices"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// setACLLocked sets one of the POSIX ACLs from the form that programs use; an empty
// value removes it. The access ACL and the group bits of the mode say the same thing in
// two places, so the mode follows; one that says no more than a mode is not stored.
func (in *Inode) setACLLocked(index uint8, value []byte, cred Cred) error {
	if len(value) == 0 {
		return in.setXattrLocked(index, "", nil, 0)
	}
	acl, err := disk.ParsePosixACL(value)
	if err == nil && len(acl) > 0 {
		err = disk.CheckACL(acl)
	}
	switch {
	case err != nil:
		return ErrInvalid
	case index == disk.XattrACLDefault && !in.IsDir():
		return ErrAccess
	case len(acl) == 0:
		return in.setXattrLocked(index, "", nil, 0)
	case index == disk.XattrACLDefault:
		return in.setXattrLocked(index, "", disk.EncodeACL(acl), 0)
	}
	mode, minimal := aclMode(acl)
	stored := disk.EncodeACL(acl)
	if minimal {
		stored = nil
	}
	if err := in.setXattrLocked(index, "", stored, 0); err != nil {
		return err
	}
	in.raw.Mode = in.raw.Mode&^0o777 | mode
	if !cred.privileged() && !cred.inGroup(in.raw.GID) {
		in.raw.Mode &^= modeSetGID
	}
	return nil
}

// aclMode gives the permission bits that an access ACL amounts to, and tells whether
// they say all that it says.
func aclMode(acl []disk.ACLEntry) (mode uint16, minimal bool) {
	minimal = true
	mask := -1
	for _, e := range acl {
		switch e.Tag {
		case disk.ACLUserObj:
			mode |= e.Perm << 6
		case disk.ACLGroupObj:
			mode |= e.Perm << 3
		case disk.ACLOther:
			mode |= e.Perm
		case disk.ACLMask:
			mask, minimal = int(e.Perm), false
		default:
			minimal = false
		}
	}
	if mask >= 0 {
		mode = mode&^0o070 | uint16(mask)<<3
	}
	return mode, minimal
}

// chmodACLLocked makes the access ACL, if there is one, follow a changed mode.
func (in *Inode) chmodACLLocked(mode uint16) error {
	stored, err := in.findXattrLocked(disk.XattrACLAccess, "")
	if err != nil || stored == nil {
		return err
	}
	acl, err := disk.DecodeACL(stored)
	if err != nil {
		return in.fs.damage(err, in.ino, 0)
	}
	group := slices.IndexFunc(acl, func(e disk.ACLEntry) bool { return e.Tag == disk.ACLMask })
	if group < 0 {
		group = slices.IndexFunc(acl, func(e disk.ACLEntry) bool { return e.Tag == disk.ACLGroupObj })
	}
	for i := range acl {
		switch {
		case acl[i].Tag == disk.ACLUserObj:
			acl[i].Perm = mode >> 6 & 7
		case acl[i].Tag == disk.ACLOther:
			acl[i].Perm = mode & 7
		case i == group:
			acl[i].Perm = mode >> 3 & 7
		}
	}
	return in.setXattrLocked(disk.XattrACLAccess, "", disk.EncodeACL(acl), 0)
}

// inheritACL works out what a new object gets from the default ACL of its directory:
// its own ACLs in stored form, nil for none, and its mode. The umask counts only where
// there is no default ACL. The directory's lock is held.
func (dir *Inode) inheritACL(mode uint16, umask uint16, isDir bool) (m uint16, access, def []byte, err error) {
	var stored []byte
	if !dir.fs.opts.NoACL {
		if stored, err = dir.findXattrLocked(disk.XattrACLDefault, ""); err != nil {
			return 0, nil, nil, err
		}
	}
	if len(stored) == 0 {
		return mode &^ umask, nil, nil, nil
	}
	acl, err := disk.DecodeACL(stored)
	if err != nil {
		return 0, nil, nil, dir.fs.damage(err, dir.ino, 0)
	}
	if len(acl) == 0 {
		return mode &^ umask, nil, nil, nil
	}
	if isDir {
		def = stored
	}
	masked := slices.Clone(acl)
	group := slices.IndexFunc(masked, func(e disk.ACLEntry) bool { return e.Tag == disk.ACLMask })
	if group < 0 {
		group = slices.IndexFunc(masked, func(e disk.ACLEntry) bool { return e.Tag == disk.ACLGroupObj })
	}
	for i := range masked {
		e := &masked[i]
		switch {
		case e.Tag == disk.ACLUserObj:
			e.Perm &= mode >> 6
		case e.Tag == disk.ACLOther:
			e.Perm &= mode
		case i == group:
			e.Perm &= mode >> 3
		}
	}
	bits, minimal := aclMode(masked)
	if !minimal {
		access = disk.EncodeACL(masked)
	}
	return mode&^0o777 | bits, access, def, nil
}

// findXattrLocked is the stored value of an attribute, copied; nil is none.
func (in *Inode) findXattrLocked(index uint8, name string) ([]byte, error) {
	var value []byte
	err := in.xattrsLocked(func(e *disk.XattrEntry) bool {
		if e.Index != index || e.Name != name {
			return true
		}
		value = append([]byte{}, e.Value...)
		return false
	})
	return value, err
}
