package ext2

import "github.com/ext2fuse/ext2fuse/fs/ext2/disk"

// isACL tells whether an attribute index stands for one of the POSIX ACLs.
func isACL(index uint8) bool {
	return index == disk.XattrACLAccess || index == disk.XattrACLDefault
}

// posixACL turns a stored ACL into the form that programs see. One without entries is
// none at all.
func (in *Inode) posixACL(stored []byte) ([]byte, error) {
	if len(stored) == 0 {
		return nil, ErrNoAttr
	}
	acl, err := disk.DecodeACL(stored)
	if err != nil {
		return nil, in.fs.damage(err, in.ino, 0)
	}
	if len(acl) == 0 {
		return nil, ErrNoAttr
	}
	return disk.PosixACL(acl), nil
}
