//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// isStream tells a file whose content is read, or written, from one end to the other: a
// pipe, a terminal, a device.
func (m *fileMeta) isStream() bool {
	return m.is(unix.S_IFIFO) || m.is(unix.S_IFCHR) || m.is(unix.S_IFBLK) || m.is(unix.S_IFSOCK)
}

// asContent makes a stream the regular file that its content is copied to.
func (m *fileMeta) asContent() {
	m.id = m.imageID() // a device is what it is, not where it lies
	m.mode, m.links = unix.S_IFREG|m.mode&0o777, 1
	m.size = unknownSize
}

// unknownSize is the size of what is read to its end.
const unknownSize = -1

// readStream reads a file of the host from one end to the other. Opening and reading may wait
// for somebody, in /proc with what seems to be an empty regular file too, and the end of ctx
// ends the wait.
func readStream(ctx context.Context, name string) io.ReadCloser {
	r, w := io.Pipe()
	stop := context.AfterFunc(ctx, func() { _ = w.CloseWithError(errInterrupted) })
	go func() {
		defer stop()
		f, err := os.Open(name)
		if err == nil {
			_, err = io.Copy(w, f)
			_ = f.Close() // it was only read
		}
		_ = w.CloseWithError(err)
	}()
	return r
}

// copyStream copies what a file of the host gives until its end.
func (k *copier) copyStream(src string, to target, dst string) (err error) {
	r := readStream(k.ctx, src)
	defer func() { _ = r.Close() }() // it was only read
	var w content
	defer func() {
		if w != nil {
			err = errors.Join(err, w.Close())
		}
	}()
	for off, last := int64(0), false; !last; {
		n, err := io.ReadFull(r, k.buffer)
		if last = errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF); err != nil && !last {
			return readError{err}
		}
		if w == nil { // not before it is known that there is something to read
			if w, err = to.create(dst); err != nil {
				return err
			}
		}
		if n == 0 {
			break
		}
		if _, err := w.WriteAt(k.buffer[:n], off); err != nil {
			return err
		}
		off += int64(n)
	}
	return nil
}

// readError is an error of what is copied from; others are of what is copied to.
type readError struct{ error }

func (e readError) Unwrap() error { return e.error }

// markedReader tells its errors from those of who writes what is read.
type markedReader struct{ io.ReaderAt }

func (r markedReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.ReaderAt.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		err = readError{err}
	}
	return n, err
}

// writeStream copies a regular file into what is no regular file on the host and stays what it is.
func (k *copier) writeStream(from source, src, dst string) error {
	there, err := hostTree{}.meta(dst, true, false)
	if err == nil {
		err = k.checkInUse(dst, there)
	}
	if err != nil {
		return err
	}
	m, err := from.meta(src, true, false)
	if err != nil {
		return readError{err}
	}
	c, err := from.open(src)
	if err != nil {
		return readError{err}
	}
	defer func() { _ = c.Close() }() // it was only read
	r, w := io.Pipe()
	defer context.AfterFunc(k.ctx, func() { _ = r.CloseWithError(errInterrupted) })()
	done := make(chan error, 1)
	go func() {
		f, err := os.OpenFile(dst, os.O_WRONLY, 0)
		if err == nil {
			_, err = io.Copy(f, r)
			err = errors.Join(err, f.Close())
		}
		_ = r.CloseWithError(err)
		done <- err
	}()
	_, err = io.CopyBuffer(struct{ io.Writer }{w}, io.NewSectionReader(markedReader{c}, 0, m.size), k.buffer)
	_ = w.CloseWithError(err)
	select {
	case err := <-done: // what failed on this side too
		return err
	case <-k.ctx.Done(): // who opens or writes may wait for somebody
		return errInterrupted
	}
}

// fileID is the imageID of a file of the host.
func fileID(name string) (id [2]uint64, err error) {
	m, err := hostTree{}.meta(name, true, false)
	if err != nil {
		return id, fmt.Errorf("%s: %w", name, err)
	}
	return m.imageID(), nil
}
