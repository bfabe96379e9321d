package ext2

// Cred is on whose behalf an operation runs. Permission checks are the caller's; here
// it decides on ownership, reserved blocks and set-id bits. The zero value is root's.
type Cred struct {
	UID, GID uint32
	// Groups tells whether the caller is in a group besides GID; nil is no.
	Groups func(gid uint32) bool
}

// Root is the zero Cred, by name: it may do all.
var Root = Cred{}

// inGroup tells whether the caller is in the group.
func (c *Cred) inGroup(gid uint32) bool {
	return c.GID == gid || c.Groups != nil && c.Groups(gid)
}

// privileged stands for the capabilities that a kernel driver asks for.
func (c *Cred) privileged() bool { return c.UID == 0 }

// reserved tells whether the caller may use the blocks kept for root (s_r_blocks_count).
func (c *Cred) reserved(fs *FS) bool {
	uid, gid := fs.reservedFor()
	return c.privileged() || c.UID == uid || gid != 0 && c.inGroup(gid)
}

// reservedFor are the user and the group, besides root, that may use reserved blocks.
func (fs *FS) reservedFor() (uid, gid uint32) {
	uid, gid = uint32(fs.sb.DefResUID), uint32(fs.sb.DefResGID)
	if fs.opts.ResUID != nil {
		uid = *fs.opts.ResUID
	}
	if fs.opts.ResGID != nil {
		gid = *fs.opts.ResGID
	}
	return uid, gid
}
