package ext2

import (
	"context"
	"io"

	"github.com/ext2fuse/ext2fuse/blockio"
)

// Read reads file content from off (bytes) on into p and returns how many bytes there
// were: without an error, fewer than len(p) only at the end of the file. With an
// error, n says how many bytes before the fault are good. Behind n, and not further
// than to the end of a page, p may have been written to. Read watches for sequential
// readers and has the host read ahead for them. It takes 4 MiB at a time and looks at ctx
// before each.
func (in *Inode) Read(ctx context.Context, p []byte, off int64) (int, error) {
	if err := in.readable(); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, ErrInvalid
	}
	defer in.accessed() // runs when the lock is free again
	in.mu.RLock()
	defer in.mu.RUnlock()
	for n := 0; ; {
		if err := ctx.Err(); err != nil {
			return n, in.stopped(ctx, err, "reading")
		}
		piece, at := p[n:min(len(p), n+readChunk)], off+int64(n)
		got, cold, err := in.fs.engine.Read((*blockMap)(in), piece, at, int64(in.raw.Size))
		n += got
		if err != nil {
			return n, in.fs.contentError(in.ino, off+int64(n), err)
		}
		if got > 0 {
			in.readAheadLocked(at, int64(got), cold)
		}
		if got < len(piece) || n == len(p) {
			return n, nil
		}
	}
}

// readChunk is how much is read between two looks at the context, in bytes: the most that
// one I/O carries.
const readChunk = blockio.MergeBytes

// ReaderAt is the content for users of package io, as in io.NewSectionReader(r, 0, size).
// Reads end when ctx does. The caller keeps his reference to the inode for as long.
func (in *Inode) ReaderAt(ctx context.Context) io.ReaderAt { return readerAt{in, ctx} }

// WriterAt is the content for users of package io, as in io.NewOffsetWriter(w, 0). Writes
// end when ctx does. The caller keeps his reference to the inode for as long.
func (in *Inode) WriterAt(ctx context.Context, o WriteOptions) io.WriterAt {
	return writerAt{in, ctx, o}
}

// readerAt is Inode.Read as package io has it.
type readerAt struct {
	in  *Inode
	ctx context.Context
}

func (r readerAt) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.in.Read(r.ctx, p, off)
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

// writerAt is Inode.Write as package io has it.
type writerAt struct {
	in  *Inode
	ctx context.Context
	o   WriteOptions
}

func (w writerAt) WriteAt(p []byte, off int64) (int, error) { return w.in.Write(w.ctx, p, off, w.o) }

// readable: only regular files have content to read.
func (in *Inode) readable() error {
	if in.IsReg() {
		return nil
	}
	if in.IsDir() {
		return ErrIsDir
	}
	return ErrInvalid
}
