package blockio

// Splicer is a Device that can pass on what the host's cache holds by way of a pipe: the
// bytes are copied once, by whoever takes them from the pipe, and never to this process.
//
// What is in the pipe are pages of the host's cache, not copies of them. Who writes to the
// range before the pipe is read changes what the reader gets.
type Splicer interface {
	// Cached tells whether the host's cache seems to hold the n bytes from off on. It
	// looks here and there; Splice waits for what it missed.
	Cached(off, n int64) bool
	// Splice puts n bytes from off on into a pipe, given by the descriptor of its
	// writing end, and tells how many it put there. There are fewer when the pipe is
	// full or the device cannot be read; reading the rest tells which. It counts as a
	// read, and keeps no bios.
	Splice(pipe int, off, n int64, what Purpose) int64
}

// SplicerOf is dev, if it is a Splicer and so is what it stands on; else nil.
func SplicerOf(dev Device) Splicer {
	for d := dev; ; {
		if _, ok := d.(Splicer); !ok {
			return nil
		}
		u, ok := d.(Unwrapper)
		if !ok {
			return dev.(Splicer)
		}
		d = u.Unwrap()
	}
}

func (w *window) Cached(off, n int64) bool {
	return w.check(Read, off, n) == nil && w.dev.(Splicer).Cached(w.off+off, n)
}

func (w *window) Splice(pipe int, off, n int64, what Purpose) int64 {
	if w.check(Read, off, n) != nil {
		return 0
	}
	return w.dev.(Splicer).Splice(pipe, w.off+off, n, what)
}

// Cached implements Splicer.
func (t *Trace) Cached(off, n int64) bool { return t.dev.(Splicer).Cached(off, n) }

// Splice implements Splicer.
func (t *Trace) Splice(pipe int, off, n int64, what Purpose) int64 {
	n = t.dev.(Splicer).Splice(pipe, off, n, what)
	if n > 0 {
		t.line(&Bio{Op: Read, For: what, Off: off, N: n}, n)
		t.flush()
	}
	return n
}
