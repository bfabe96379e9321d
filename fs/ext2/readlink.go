package ext2

import (
	"bytes"
	"fmt"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// maxTarget is the longest target that a Linux path can have (PATH_MAX less the
// terminating zero). Blocks of 8 KiB and more have room for longer ones.
const maxTarget = 4095

// Readlink is the target of a symbolic link. It gives ErrInvalid for other inodes and
// ErrNameTooLong for a target that no system call could return.
func (in *Inode) Readlink() (string, error) {
	if !in.IsSymlink() {
		return "", ErrInvalid
	}
	defer in.accessed() // deferred calls run in reverse: the lock is free by then
	in.mu.RLock()
	defer in.mu.RUnlock()
	fs := in.fs
	if in.raw.FastSymlink(fs.sb) {
		target := in.raw.SymlinkTarget()
		if target == nil {
			return "", in.badTarget("its target has %d bytes, in the inode is room for %d", in.raw.Size, disk.FastSymlinkBytes-1)
		}
		return in.target(target)
	}
	// The block holds a terminating zero, too.
	if in.raw.Size >= uint64(fs.blockSize) {
		return "", in.badTarget("its target has %d bytes, in its block is room for %d", in.raw.Size, fs.blockSize-1)
	}
	target := make([]byte, in.raw.Size)
	run, err := (*blockMap)(in).GetBlock(0, 1, false)
	if err != nil {
		return "", err
	}
	if run.Block == 0 {
		return "", in.badTarget("its target of %d bytes has no block", in.raw.Size)
	}
	if _, _, err := fs.engine.Read((*blockMap)(in), target, 0, int64(len(target))); err != nil {
		return "", fs.contentError(in.ino, 0, err)
	}
	return in.target(target)
}

// target checks the bytes of a target.
func (in *Inode) target(b []byte) (string, error) {
	switch i := bytes.IndexByte(b, 0); {
	case len(b) == 0:
		return "", in.badTarget("its target is empty")
	case i >= 0:
		return "", in.badTarget("its target of %d bytes holds a zero byte at %d", len(b), i)
	case len(b) > maxTarget:
		return "", ErrNameTooLong
	}
	return string(b), nil
}

func (in *Inode) badTarget(format string, args ...any) error {
	return in.fs.corrupt(&disk.CorruptError{What: "symbolic link", Inode: in.ino, Offset: -1, Detail: fmt.Sprintf(format, args...)})
}
