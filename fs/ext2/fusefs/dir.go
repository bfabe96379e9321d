//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs

import (
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/ext2fuse/ext2fuse/fs/ext2"
)

// OpenDir tells the kernel that opening a directory needs no message; it then keeps
// listings in its page cache.
func (a *Adapter) OpenDir(_ <-chan struct{}, _ *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if a.noDir {
		return fuse.ENOSYS
	}
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE | fuse.FOPEN_CACHE_DIR
	return fuse.OK
}

// ReleaseDir has nothing to release.
func (a *Adapter) ReleaseDir(*fuse.ReleaseIn) {}

// ReadDir lists names from in.Offset on, as many as fit.
func (a *Adapter) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	dir, st := a.inode(in.NodeId)
	if st != fuse.OK {
		return st
	}
	defer dir.Put()
	added := false
	err := dir.ReadDir(toTheEnd, in.Offset, func(e ext2.DirEntry) bool {
		ok := out.AddDirEntry(direntry(&e))
		added = added || ok
		return ok
	})
	return listed(added, err)
}

// listed is the status of a listing that may have failed half-way: what came before
// the failure is delivered first, and the next request meets the failure at its start.
func listed(added bool, err error) fuse.Status {
	if added {
		return fuse.OK
	}
	return status(err)
}

// direntry converts an entry. The name stays where it is: go-fuse copies it into the
// reply before the call that gave it returns.
func direntry(e *ext2.DirEntry) fuse.DirEntry {
	return fuse.DirEntry{
		Name: unsafe.String(unsafe.SliceData(e.Name), len(e.Name)),
		Ino:  uint64(e.Ino),
		Mode: typeMode(e.Type),
		Off:  e.Next,
	}
}

// typeMode gives the type bits of a mode for a directory entry's file type; 0, which
// readdir(3) shows as DT_UNKNOWN, for an image without the filetype feature.
func typeMode(fileType uint8) uint32 {
	if int(fileType) < len(typeModes) {
		return typeModes[fileType]
	}
	return 0
}

// typeModes is indexed by file type (EXT2_FT_*): unknown, regular, directory,
// character device, block device, FIFO, socket, symbolic link.
var typeModes = [...]uint32{0, 0o100000, 0o040000, 0o020000, 0o060000, 0o010000, 0o140000, 0o120000}

// batch is the working memory of one READDIRPLUS.
type batch struct {
	inos    []uint32         // of the entries that want attributes
	entries []*fuse.EntryOut // where they go, in the reply
}

// ReadDirPlus lists names together with the attributes a look-up would give, and
// takes the reference that goes with each. It first fills the reply with names, then
// reads the inodes all at once: the inode table comes in few large I/Os, and no lock
// of the directory is held meanwhile.
func (a *Adapter) ReadDirPlus(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	dir, st := a.inode(in.NodeId)
	if st != fuse.OK {
		return st
	}
	defer dir.Put()
	b := a.batches.Get().(*batch)
	defer b.release(a)
	added := false
	err := dir.ReadDir(toTheEnd, in.Offset, func(e ext2.DirEntry) bool {
		entry := out.AddDirLookupEntry(direntry(&e))
		if entry == nil {
			return false
		}
		added = true
		if !isDot(e.Name) {
			b.inos = append(b.inos, e.Ino)
			b.entries = append(b.entries, entry)
		}
		return true
	})
	if st := listed(added, err); st != fuse.OK {
		return st
	}
	a.fs.PrefetchInodes(b.inos)
	for i, ino := range b.inos {
		// Node 0 in an entry means that there is a name but nothing is said of
		// its inode; the look-up that may follow gets the error.
		if inode, err := a.fs.Inode(ino); err == nil {
			a.fillEntry(b.entries[i], inode)
		}
	}
	return fuse.OK
}

func (b *batch) release(a *Adapter) {
	clear(b.entries) // they point into the reply
	b.inos, b.entries = b.inos[:0], b.entries[:0]
	a.batches.Put(b)
}

// isDot tells "." and "..", for which the kernel counts no look-up.
func isDot(name []byte) bool {
	return string(name) == "." || string(name) == ".."
}
