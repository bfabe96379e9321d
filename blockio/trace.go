package blockio

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
)

// Trace is a Device that writes a line for each bio that passes to the device below.
//
// The lines are fio's iolog, version 2: file, action, offset and length in bytes,
// so that "fio --read_iolog=FILE" replays them. fio reads four columns; ours
// follow: t, the seconds from the start of the trace to the bio's completion;
// block, its first block, once the block size is known; for, its purpose; cold, if the
// host's cache had to wait; durable, if it was more than a write; err, if it failed.
// Offsets are those of the image file also where a window of it is used; blocks count from
// the start of the window.
//
// fio takes file names of at most 256 bytes without spaces. In another name, odd
// characters become underscores; fio's --replay_redirect then names the image.
// fio 3.33 leaves discards out, with the message "bad ddir: 2"; later ones replay them.
type Trace struct {
	dev       Device
	name      string
	base      int64 // bytes; where dev begins on the image
	start     time.Time
	blockSize atomic.Int64

	mu      sync.Mutex
	out     *bufio.Writer
	file    io.Closer // nil: not ours to close
	err     error     // the first failure to write; nothing is written after it
	closed  bool
	scratch []byte // for one line
}

var _ Device = (*Trace)(nil)

// traceHeader is the first line of an iolog.
const traceHeader = "fio version 2 iolog"

// maxTrim bounds one discard in an iolog, whose lengths fio reads as 32 bits.
const maxTrim = 1 << 30

// NewTrace traces what goes to dev, which it takes over, to w.
func NewTrace(dev Device, w io.Writer) *Trace {
	t := &Trace{dev: dev, name: traceName(NameOf(dev)), start: time.Now(), out: bufio.NewWriterSize(w, 64<<10)}
	for d := dev; d != nil; {
		if win, ok := d.(*window); ok {
			t.base += win.off
		}
		u, ok := d.(Unwrapper)
		if !ok {
			break
		}
		d = u.Unwrap()
	}
	_, err := fmt.Fprintf(t.out, "%s\n%s add\n%s open\n", traceHeader, t.name, t.name)
	t.note(err)
	return t
}

// TraceTo traces what goes to dev, which it takes over on success, to a new file.
func TraceTo(dev Device, path string) (*Trace, error) {
	image, err := os.Stat(NameOf(dev))
	if err == nil {
		if old, err := os.Stat(path); err == nil && os.SameFile(image, old) {
			return nil, fmt.Errorf("cannot write the trace to %s: it is the image itself", path)
		}
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("cannot write the trace: %w", err)
	}
	t := NewTrace(dev, f)
	t.file = f
	return t, nil
}

// SetBlockSize makes later lines show blocks of n bytes.
func (t *Trace) SetBlockSize(n int) { t.blockSize.Store(int64(n)) }

// Unwrap gives the device below.
func (t *Trace) Unwrap() Device { return t.dev }

// Submit implements Device.
func (t *Trace) Submit(bios ...*Bio) {
	batch := newBatch(len(bios))
	for _, b := range bios {
		batch.add(b).watch = t
	}
	batch.submit(t.dev)
	batch.release()
	t.flush()
}

// watched implements watcher. What never reached the host is not in the trace.
func (t *Trace) watched(b *Bio) {
	n := b.Bytes()
	if b.Err == nil && b.Op != Discard {
		n = b.N
	}
	if n == 0 && b.Op != Sync || errors.Is(b.Err, ErrPastEnd) || errors.Is(b.Err, ErrReadOnly) || errors.Is(b.Err, ErrClosed) {
		return
	}
	t.line(b, n)
}

// ReadvAt implements Device.
func (t *Trace) ReadvAt(iov [][]byte, off int64) (int, error) {
	return t.anonymous(Bio{Op: Read, Off: off, Vecs: iov})
}

// WritevAt implements Device.
func (t *Trace) WritevAt(iov [][]byte, off int64) (int, error) {
	return t.anonymous(Bio{Op: Write, Off: off, Vecs: iov})
}

// Sync implements Device.
func (t *Trace) Sync() error {
	_, err := t.anonymous(Bio{Op: Sync})
	return err
}

// Discard implements Device.
func (t *Trace) Discard(off, n int64) error {
	_, err := t.anonymous(Bio{Op: Discard, Off: off, Len: n})
	return err
}

func (t *Trace) anonymous(b Bio) (int, error) {
	t.Submit(&b)
	return int(b.N), b.Err
}

// Advise implements Device.
func (t *Trace) Advise(off, n int64, a Advice) { t.dev.Advise(off, n, a) }

// Size implements Device.
func (t *Trace) Size() int64 { return t.dev.Size() }

// ReadOnly implements Device.
func (t *Trace) ReadOnly() bool { return t.dev.ReadOnly() }

// Close ends the trace and closes the device below. It reports if the trace could
// not be written.
func (t *Trace) Close() error {
	t.mu.Lock()
	if !t.closed {
		t.closed = true
		_, err := fmt.Fprintf(t.out, "%s close\n", t.name)
		t.note(err)
		t.note(t.out.Flush())
		if t.file != nil {
			t.note(t.file.Close())
		}
	}
	traceErr := t.err
	t.mu.Unlock()
	if err := t.dev.Close(); err != nil {
		return err
	}
	return traceErr
}

// note keeps the first failure. Called with mu held.
func (t *Trace) note(err error) {
	if t.err == nil && err != nil {
		t.err = fmt.Errorf("the trace is incomplete: %w", err)
	}
}

func (t *Trace) flush() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.note(t.out.Flush())
}

// fioActions names operations as fio does.
var fioActions = [numOps]string{"read", "write", "datasync", "trim"}

// line writes down one bio of n bytes.
func (t *Trace) line(b *Bio, n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.err != nil {
		return
	}
	at := time.Since(t.start).Seconds()
	if b.Op == Sync {
		t.columns(b, 0, 0, at)
		return
	}
	for off, end := b.Off, b.Off+n; off < end; {
		piece := end - off
		if b.Op == Discard {
			piece = min(piece, maxTrim)
		}
		t.columns(b, off, piece, at)
		off += piece
	}
}

// columns writes one line. Called with mu held.
func (t *Trace) columns(b *Bio, off, n int64, at float64) {
	pos := off
	if b.Op != Sync {
		pos += t.base
	}
	line := append(t.scratch[:0], t.name...)
	line = fmt.Appendf(line, " %s %d %d t=%.6f", fioActions[b.Op], pos, n, at)
	if bs := t.blockSize.Load(); bs > 0 && b.Op != Sync {
		line = fmt.Appendf(line, " block=%d", off/bs)
	}
	line = append(append(line, " for="...), b.For.String()...)
	if b.Cold {
		line = append(line, " cold"...)
	}
	if b.Durable {
		line = append(line, " durable"...)
	}
	if b.Err != nil {
		line = append(line, " err"...)
	}
	t.scratch = append(line, '\n')
	_, err := t.out.Write(t.scratch)
	t.note(err)
}

// traceName is a file name as an iolog can hold it.
func traceName(path string) string {
	if abs, err := filepath.Abs(path); err == nil && path != "" {
		path = abs
	}
	path = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || !unicode.IsPrint(r) {
			return '_'
		}
		return r
	}, path)
	return path[:min(len(path), 256)]
}
