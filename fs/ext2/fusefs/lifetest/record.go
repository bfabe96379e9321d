//go:build linux && !386 && !arm && !mips && !mipsle

package lifetest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// record is what is known, outside of the mount, of the files in it. Each file belongs
// to one worker.
type record struct {
	mu    sync.Mutex
	files map[string]*file
}

// file is what may and must be found under a name.
type file struct {
	// durable is the version whose fsync returned last; 0 is no file.
	durable version
	// later are versions that may be there instead: they were on their way.
	later []version
}

// version is one content of a file: sequence number and size. The bytes follow from the
// name and the number; a file that grows keeps its number.
type version struct {
	seq  uint32
	size int // bytes
}

func newRecord() *record { return &record{files: map[string]*file{}} }

func (r *record) get(name string) file {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.files[name]; f != nil {
		return *f
	}
	return file{}
}

// intend notes a version before the first call that may bring it about.
func (r *record) intend(name string, v version) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.files[name]
	if f == nil {
		f = &file{}
		r.files[name] = f
	}
	f.later = append(f.later, v)
}

// promised notes that a version is durable.
func (r *record) promised(name string, v version) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*r.files[name] = file{durable: v}
}

// headerSize is what each file begins with: its sequence number and a checksum of that
// and the name.
const headerSize = 8

// content gives the first n bytes of a version.
func content(name string, seq uint32, n int) []byte {
	sum := uint32(2166136261) // FNV-1a
	for _, c := range []byte(name) {
		sum = (sum ^ uint32(c)) * 16777619
	}
	b := make([]byte, headerSize, n+headerSize)
	binary.LittleEndian.PutUint32(b, seq)
	sum = (sum ^ seq) * 16777619
	binary.LittleEndian.PutUint32(b[4:], sum)
	for x := uint64(sum) | 1; len(b) < n; x ^= x << 17 {
		x ^= x << 13
		x ^= x >> 7
		b = binary.LittleEndian.AppendUint64(b, x)
	}
	return b[:max(n, 0)]
}

// verify compares a mount with the record, and makes the record what was found, since
// that is durable now. An error names every file that is not as promised.
func (r *record) verify(dir string) error {
	var errs []error
	for name, f := range r.files {
		found, err := r.verifyFile(dir, name, f)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w (durable: %+v, on the way: %+v)", name, err, f.durable, f.later))
		}
		*f = file{durable: found}
	}
	return errors.Join(errs...)
}

func (r *record) verifyFile(dir, name string, f *file) (version, error) {
	allowed := append([]version{f.durable}, f.later...)
	got, err := os.ReadFile(filepath.Join(dir, name))
	if errors.Is(err, unix.ENOENT) {
		for _, v := range allowed {
			if v.seq == 0 {
				return version{}, nil
			}
		}
		return version{}, errors.New("is lost")
	}
	if err != nil {
		return version{}, err
	}
	seq := uint32(0)
	if len(got) >= headerSize {
		seq = binary.LittleEndian.Uint32(got)
	}
	why := fmt.Errorf("holds version %d, of %d bytes", seq, len(got))
	for _, v := range allowed {
		// A version that is on its way may be there in part.
		least := v.size
		if v != f.durable {
			least = 0
			if v.seq == f.durable.seq {
				least = f.durable.size
			}
		}
		if v.seq == 0 || len(got) < least || len(got) > v.size {
			continue
		}
		if bytes.Equal(got, content(name, v.seq, len(got))) {
			return version{v.seq, len(got)}, nil
		}
		why = fmt.Errorf("has %d bytes, not all of which were ever written to it", len(got))
	}
	return version{}, why
}
