package mpage

import "sync/atomic"

// WriteErrors keeps the latest error of writing a file until everybody who asks has been
// told of it once: whoever syncs the file must learn that something was lost, though it
// was somebody else's write. The zero value is ready for use; all methods may be called
// from several goroutines at once.
//
//	mark := f.errors.Mark()           // when the file is opened
//	err := f.errors.Check(&mark)      // at each fsync
//
// An error that came before a mark was made is not reported to it, unless nobody had been
// told of it by then: then it is, for else nobody might ever be.
type WriteErrors struct{ last atomic.Pointer[writeError] }

// writeError is an error that was set, told apart from others by where it is in memory.
type writeError struct {
	err  error
	told atomic.Bool
}

// ErrorMark is what one reader of a WriteErrors has been told so far. It belongs to that
// reader, who calls one Check at a time. The zero value has been told nothing.
type ErrorMark struct{ last *writeError }

// ErrorKeeper is a Mapper that keeps a WriteErrors with its file. The engine sets there
// what devices say of the file's writes. Errors of the mapper are not kept: what it had
// no place for is still dirty, or known to its writer to be unwritten.
type ErrorKeeper interface {
	WriteErrors() *WriteErrors
}

// Set notes an error, which is not nil.
func (w *WriteErrors) Set(err error) { w.last.Store(&writeError{err: err}) }

// Mark starts a reader.
func (w *WriteErrors) Mark() ErrorMark {
	last := w.last.Load()
	if last != nil && !last.told.Load() {
		last = nil
	}
	return ErrorMark{last}
}

// Check returns the latest error that was set since the mark was made or last checked,
// and nil when there is none.
func (w *WriteErrors) Check(m *ErrorMark) error {
	last := w.last.Load()
	if last == m.last {
		return nil
	}
	last.told.Store(true)
	m.last = last
	return last.err
}
