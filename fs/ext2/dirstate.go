package ext2

// dirState is what the directory code keeps in an in-memory inode.
type dirState struct{}

// evicted is called, without locks held, when the inode leaves memory.
func (d *dirState) evicted() {}

// nameState is what the directory code keeps in a file system.
type nameState struct{}

// init is called at mount; maxBytes bounds the memory for name indexes.
func (n *nameState) init(fs *FS, maxBytes int64) {}
