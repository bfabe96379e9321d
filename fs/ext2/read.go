package ext2

import "io"

// Read reads file content from off (bytes) on into p and returns how many bytes there
// were: without an error, fewer than len(p) only at the end of the file. With an
// error, n says how many bytes before the fault are good. Behind n, and not further
// than to the end of a page, p may have been written to. Read watches for sequential
// readers and has the host read ahead for them.
func (in *Inode) Read(p []byte, off int64) (int, error) {
	if err := in.readable(); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, ErrInvalid
	}
	defer in.accessed() // runs when the lock is free again
	in.mu.RLock()
	defer in.mu.RUnlock()
	n, cold, err := in.fs.engine.Read((*blockMap)(in), p, off, int64(in.raw.Size))
	if err != nil {
		return n, in.fs.contentError(in.ino, off+int64(n), err)
	}
	if n > 0 {
		in.readAheadLocked(off, int64(n), cold)
	}
	return n, nil
}

// ReadAt reads as io.ReaderAt says.
func (in *Inode) ReadAt(p []byte, off int64) (int, error) {
	n, err := in.Read(p, off)
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

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
