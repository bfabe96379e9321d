package blockio

import "fmt"

// window is part of another device.
type window struct {
	dev       Device
	off, size int64 // bytes on dev
}

// Window returns the part of dev that begins at byte off and is size bytes long.
// It takes dev over: closing the window closes dev. A window of a window is one
// window. The error is ErrPastEnd when dev ends before the part does.
func Window(dev Device, off, size int64) (Device, error) {
	if off < 0 || size < 0 || off > dev.Size() || size > dev.Size()-off {
		return nil, fmt.Errorf("the part from byte %d on, %d bytes long: %w (%d bytes)", off, size, ErrPastEnd, dev.Size())
	}
	if w, ok := dev.(*window); ok {
		dev, off = w.dev, w.off+off
	}
	return &window{dev: dev, off: off, size: size}, nil
}

// Unwrap gives the device the window is part of.
func (w *window) Unwrap() Device { return w.dev }

func (w *window) Size() int64    { return w.size }
func (w *window) ReadOnly() bool { return w.dev.ReadOnly() }
func (w *window) Sync() error    { return w.dev.Sync() }
func (w *window) Close() error   { return w.dev.Close() }

func (w *window) Submit(bios ...*Bio) {
	batch := newBatch(len(bios))
	for _, b := range bios {
		vecs, n, err := b.Begin(w.size, w.dev.ReadOnly())
		if err != nil || n == 0 && b.Op != Sync {
			// What came before it must be complete first.
			batch.submit(w.dev)
			b.Complete(0, w.wrap(b.Op, b.Off, b.Bytes(), err))
			continue
		}
		c := batch.add(b)
		c.Off, c.Vecs, c.Len, c.Clip = b.Off+w.off, vecs, n, false
	}
	batch.submit(w.dev)
	batch.release()
}

func (w *window) ReadvAt(iov [][]byte, off int64) (int, error) {
	if err := w.check(Read, off, vecBytes(iov)); err != nil {
		return 0, err
	}
	return w.dev.ReadvAt(iov, w.off+off)
}

func (w *window) WritevAt(iov [][]byte, off int64) (int, error) {
	if err := w.check(Write, off, vecBytes(iov)); err != nil {
		return 0, err
	}
	return w.dev.WritevAt(iov, w.off+off)
}

func (w *window) Discard(off, n int64) error {
	if err := w.check(Discard, off, n); err != nil {
		return err
	}
	return w.dev.Discard(w.off+off, n)
}

func (w *window) Advise(off, n int64, a Advice) {
	if off < 0 || n <= 0 || off >= w.size {
		return
	}
	w.dev.Advise(w.off+off, min(n, w.size-off), a)
}

func (w *window) check(op Op, off, n int64) error {
	b := Bio{Op: op, Off: off, Len: n}
	if off < 0 || n < 0 || off > w.size || n > w.size-off {
		return w.wrap(op, off, n, ErrPastEnd)
	}
	_, _, err := b.Begin(w.size, w.dev.ReadOnly())
	return w.wrap(op, off, n, err)
}

func (w *window) wrap(op Op, off, n int64, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Op: op, Path: fmt.Sprintf("the part of %s at %d", NameOf(w.dev), w.off), Off: off, Len: n, Err: err}
}

// NameOf is the path dev or a device below it was opened by, or what else it calls
// itself.
func NameOf(dev Device) string {
	for dev != nil {
		if p, ok := dev.(interface{ Path() string }); ok {
			return p.Path()
		}
		u, ok := dev.(Unwrapper)
		if !ok {
			break
		}
		dev = u.Unwrap()
	}
	return "the device"
}
