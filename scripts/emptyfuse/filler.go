//go:build linux && !386 && !arm && !mips && !mipsle

package main

import (
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// forEver is the time-out of all that is told to the kernel: nothing ever changes.
const forEver = 365 * 24 * time.Hour

// rootNode is the root directory; file i has the node number firstNode + i.
const (
	rootNode  = 1
	firstNode = 2
)

// filler is a directory of files that all hold the same few bytes. It has no state that changes, so its
// methods may run at once without a lock.
type filler struct {
	fuse.RawFileSystem
	files []file
	nodes map[string]uint64
	data  []byte // what every read is answered with; never written
}

func newFiller(files []file, maxRead int) *filler {
	f := &filler{
		RawFileSystem: fuse.NewDefaultRawFileSystem(),
		files:         files,
		nodes:         map[string]uint64{},
		data:          make([]byte, maxRead),
	}
	// Never the kernel's page of zeros: every page is memory of its own.
	for i := range f.data {
		f.data[i] = byte(i>>12) | 1
	}
	for i, file := range files {
		f.nodes[file.name] = uint64(firstNode + i)
	}
	return f
}

// String names the file system in logs.
func (f *filler) String() string { return "emptyfuse" }

// attr fills in what is known of a node.
func (f *filler) attr(node uint64, out *fuse.Attr) fuse.Status {
	out.Ino, out.Nlink, out.Blksize = node, 1, 4096
	if node == rootNode {
		out.Mode, out.Nlink = syscall.S_IFDIR|0o755, 2
		return fuse.OK
	}
	i := node - firstNode
	if i >= uint64(len(f.files)) {
		return fuse.ENOENT
	}
	out.Mode, out.Size = syscall.S_IFREG|0o644, f.files[i].size
	out.Blocks = (out.Size + 511) / 512
	return fuse.OK
}

// Lookup finds a file by its name.
func (f *filler) Lookup(_ <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	node, ok := f.nodes[name]
	if in.NodeId != rootNode || !ok {
		return fuse.ENOENT
	}
	out.NodeId, out.Generation = node, 1
	out.SetEntryTimeout(forEver)
	out.SetAttrTimeout(forEver)
	return f.attr(node, &out.Attr)
}

// GetAttr gives a node's attributes.
func (f *filler) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	out.SetTimeout(forEver)
	return f.attr(in.NodeId, &out.Attr)
}

// ReadDir lists the files.
func (f *filler) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	for i := in.Offset; in.NodeId == rootNode && i < uint64(len(f.files)); i++ {
		e := fuse.DirEntry{Name: f.files[i].name, Ino: firstNode + i, Mode: syscall.S_IFREG, Off: i + 1}
		if !out.AddDirEntry(e) {
			break
		}
	}
	return fuse.OK
}

// Read answers from memory, without touching the reply's own buffer.
func (f *filler) Read(_ <-chan struct{}, in *fuse.ReadIn, _ []byte) (fuse.ReadResult, fuse.Status) {
	i := in.NodeId - firstNode
	if i >= uint64(len(f.files)) {
		return nil, fuse.EISDIR
	}
	var n uint64
	if size := f.files[i].size; in.Offset < size {
		n = min(size-in.Offset, uint64(in.Size), uint64(len(f.data)))
	}
	return fuse.ReadResultData(f.data[:n]), fuse.OK
}

// Open tells the kernel that opening needs no message.
func (f *filler) Open(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status { return fuse.ENOSYS }

// Flush tells the kernel that closing needs no message.
func (f *filler) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.ENOSYS }
