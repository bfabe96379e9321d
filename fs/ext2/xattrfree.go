package ext2

func (in *Inode) freeXattrBlockLocked() error { return nil }
