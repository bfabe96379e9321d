package ext2

import (
	"sync"
	"sync/atomic"
)

// dirState is what the code for directories and attributes keeps in an in-memory inode:
// next to nothing before the inode is first used as a directory.
type dirState struct {
	p       atomic.Pointer[dirData]
	inInode atomic.Uint32 // whether extended attributes stand in the inode; see xattr.go
}

// dirData is the in-memory state of a directory.
type dirData struct {
	fs *FS
	// parent is the directory in which this one was found first; 0: not yet. A
	// directory has one parent. The directory code refuses a second one, so that no
	// path is endless: whoever walks holds the directories above, and so a
	// directory that comes up again below itself is noticed. Rename sets it anew.
	parent atomic.Uint32
	// badIndex: the htree cannot be followed; the directory is read linearly.
	badIndex atomic.Bool
	// scans counts the lookups that read a big directory linearly. The second one
	// makes the name index.
	scans atomic.Uint32
	// hopeless: the directory is larger than a name index may be.
	hopeless atomic.Bool
	// repeat is the first file block of a large directory that stands in it before, or more
	// than it can have; 0: nobody has looked yet. See repeatLocked.
	repeat atomic.Uint64
	index  atomic.Pointer[nameIndex]

	building sync.Mutex // held by whoever makes the index
}

// data gives the directory's state, making it on first use.
func (d *dirState) data(fs *FS) *dirData {
	if p := d.p.Load(); p != nil {
		return p
	}
	d.p.CompareAndSwap(nil, &dirData{fs: fs})
	return d.p.Load()
}

// evicted is called, without locks held, when the inode leaves memory.
func (d *dirState) evicted() {
	if p := d.p.Load(); p != nil {
		p.fs.names.drop(p)
	}
}
