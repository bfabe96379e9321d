package ext2

import (
	"context"
	"errors"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/cache"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/mpage"
)

// Bounds of one operation that writes file content: bytes, and pieces that the
// allocator gave, each of which may change a bitmap, a descriptor and up to three
// tables.
const (
	writeChunk   = 1 << 20
	writePieces  = 32
	writeCredits = writePieces*(2+maxDepth) + 4
)

// errPause ends an operation whose pieces are used up; what it did stands.
var errPause = errors.New("operation is large enough")

// allocState is what the block map knows of the operation that it allocates for. The
// inode's lock, held exclusively, guards it.
type allocState struct {
	next       nextBlock // where the file goes on if it grows
	privileged bool      // may use the reserved blocks
	pieces     int       // that may still be allocated in this operation
	shrinking  bool      // blocks behind the end of the file are still to be freed
	fresh      []freshRun
	placed     []cache.Extent // where the operation's content goes
}

// begin starts an operation that may allocate so many pieces.
func (a *allocState) begin(pieces int, privileged bool) {
	a.pieces, a.privileged, a.fresh, a.placed = pieces, privileged, a.fresh[:0], a.placed[:0]
}

// freshRun are file blocks that this operation allocated.
type freshRun struct{ iblock, n uint64 }

// WriteOptions qualify a write.
type WriteOptions struct {
	Cred Cred
	// KillPriv drops the set-id bits, as a write by somebody without CAP_FSETID does.
	KillPriv bool
	// Append writes at the end of the file, wherever that is by then; each MiB goes to what
	// is the end then, and another's may come between.
	Append bool
	// Opened: the file was opened for this write, and what its flags forbid was refused
	// then; as with the kernel's driver they bind who opens a file later.
	Opened bool
	// KeepTimes leaves the times alone: whoever sends the write keeps them.
	KeepTimes bool
}

// Write writes p at byte off and returns how many bytes were written: fewer than all
// only with an error. The data is on its way to the device when it returns; Fsync makes
// it durable. It takes 1 MiB at a time and looks at ctx before each.
func (in *Inode) Write(ctx context.Context, p []byte, off int64, o WriteOptions) (int, error) {
	n, err := in.write(ctx, p, off, o)
	if n > 0 {
		err = errors.Join(err, in.settle(ctx))
	}
	return n, in.stopped(ctx, err, "writing to")
}

func (in *Inode) write(ctx context.Context, p []byte, off int64, o WriteOptions) (int, error) {
	if err := in.readable(); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, ErrInvalid
	}
	done := 0
	for done < len(p) {
		var n int
		err := in.change(ctx, writeCredits, func() (err error) {
			n, err = in.writeLocked(p[done:min(len(p), done+writeChunk)], off+int64(done), &o)
			return err
		})
		done += n
		if err != nil {
			return done, err
		}
		if n == 0 {
			break
		}
	}
	return done, nil
}

// writeLocked is one operation of Write. With n > 0 there is no error: the rest meets it.
func (in *Inode) writeLocked(p []byte, off int64, o *WriteOptions) (n int, err error) {
	if o.Append {
		off = int64(in.raw.Size)
	}
	if err := in.mayWriteLocked(off); err != nil && !o.Opened {
		return 0, err
	}
	limit := in.fs.sb.MaxFileSize()
	if off >= limit {
		return 0, ErrTooBig
	}
	p = p[:min(int64(len(p)), limit-off)]
	if err := in.zeroTailLocked(off); err != nil {
		return 0, err
	}
	in.alloc.begin(writePieces, o.Cred.reserved(in.fs))
	n, err = in.fs.engine.Write((*blockMap)(in), p, off, max(int64(in.raw.Size), off+int64(len(p))))
	if err != nil && n < len(p) {
		in.dropUnwrittenLocked(off, n)
	}
	if n > 0 {
		err = nil
	}
	in.markContentLocked()
	if err != nil {
		if !errors.Is(err, errRetry) && !errors.Is(err, ErrNoSpace) {
			err = in.fs.contentError(in.ino, off, err)
		}
		return 0, errors.Join(err, in.flushLocked())
	}
	if end := uint64(off) + uint64(n); end > in.raw.Size {
		if err := in.setSizeLocked(end); err != nil {
			return 0, err
		}
	}
	if !o.KeepTimes {
		in.raw.Mtime = in.fs.now()
		in.raw.Ctime = in.raw.Mtime
	}
	if o.KillPriv {
		in.killPrivLocked()
	}
	return n, in.flushLocked()
}

// markContentLocked tells the checkpoint of the content that the operation wrote, or may have.
func (in *Inode) markContentLocked() {
	if len(in.alloc.placed) > 0 {
		in.fs.ckpt.MarkContent(len(in.alloc.fresh) > 0, in.alloc.placed...)
	}
}

// dropUnwrittenLocked frees what was allocated for content from byte off on of which only
// n bytes were then written: the other blocks hold somebody else's old data, and when n is
// 0 so does the one that off is in the middle of.
func (in *Inode) dropUnwrittenLocked(off int64, n int) {
	first := uint64(off) >> in.fs.blockBits
	if n > 0 {
		first = uint64(off+int64(n)+int64(in.fs.blockSize)-1) >> in.fs.blockBits
	}
	for _, r := range in.alloc.fresh {
		if r.iblock+r.n > first {
			_, _ = (*blockMap)(in).freeRange(max(first, r.iblock), r.iblock+r.n) // reported
		}
	}
	in.alloc.next = nextBlock{}
}

// zeroTailLocked is called before the file grows to byte off or beyond: what the last
// block has behind the end of the file becomes content, and must be zero.
func (in *Inode) zeroTailLocked(off int64) error {
	size := int64(in.raw.Size)
	if off <= size || size&int64(in.fs.blockSize-1) == 0 {
		return nil
	}
	return in.zeroBytesLocked(size, min(off, (size|int64(in.fs.blockSize-1))+1))
}

// zeroBytesLocked writes zeros over the bytes [from, to) of the file, which lie in one
// block; a hole is zero already.
func (in *Inode) zeroBytesLocked(from, to int64) error {
	if from >= to {
		return nil // from may be where no file can have a block
	}
	block, err := in.bmapLocked(uint64(from) >> in.fs.blockBits)
	if err != nil || block == 0 {
		return err
	}
	at := int64(block)<<in.fs.blockBits + from&int64(in.fs.blockSize-1)
	bio := blockio.Bio{Op: blockio.Write, For: blockio.Data, Off: at, Vecs: [][]byte{make([]byte, to-from)}}
	in.fs.dev.Submit(&bio)
	// As fresh data: a size that makes these bytes content must not be durable before they are.
	in.fs.ckpt.MarkContent(true, cache.Extent{Block: block, Count: 1})
	if bio.Err != nil {
		return in.fs.contentError(in.ino, from, bio.Err)
	}
	return nil
}

// setSizeLocked sets the size; a file beyond 2 GiB needs the superblock to say so.
func (in *Inode) setSizeLocked(size uint64) error {
	const large = 1<<31 - 1
	if size > large && in.IsReg() && !in.fs.sb.HasROCompat(disk.ROCompatLargeFile) {
		if err := in.fs.changeSuper(func(sb *disk.Superblock) { addROCompat(sb, disk.ROCompatLargeFile) }); err != nil {
			return err
		}
	}
	in.raw.Size = size
	return nil
}

// The set-id bits of i_mode.
const (
	modeSetUID = 0o4000
	modeSetGID = 0o2000
)

// killPrivLocked drops the set-id bits of what somebody else may now have changed, or
// owns now: set-user-ID always, set-group-ID where it means one (the group may execute).
// On directories they mean something else.
func (in *Inode) killPrivLocked() {
	if in.IsDir() {
		return
	}
	if in.raw.Mode&modeSetGID != 0 && in.raw.Mode&0o010 != 0 {
		in.raw.Mode &^= modeSetGID
	}
	in.raw.Mode &^= modeSetUID
}

// mayWriteLocked refuses what the inode's flags forbid.
func (in *Inode) mayWriteLocked(off int64) error {
	switch {
	case in.raw.Flags&disk.InodeImmutable != 0:
		return ErrPerm
	case in.raw.Flags&disk.InodeAppend != 0 && off < int64(in.raw.Size):
		return ErrPerm
	}
	return nil
}

// Fsync makes the inode's content and attributes, and its name, durable. When ctx ends
// before that it waits no longer; what it has started goes on.
func (in *Inode) Fsync(ctx context.Context) error {
	return in.stopped(ctx, in.fs.commit(ctx), "syncing")
}

var _ mpage.Mapper = (*blockMap)(nil)
