package ext2

import (
	"errors"
	"fmt"
	"sync"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// errorFunnel is where every damage and every device failure passes, to be logged
// once. What was logged is remembered up to a bound, so that a hostile image can
// make neither the log nor the memory grow by being read again and again.
type errorFunnel struct {
	mu     sync.Mutex
	seen   map[faultKey]struct{}
	order  []faultKey // the keys of seen, a ring: oldest is overwritten first
	oldest int
}

// faultKey is what makes two faults the same.
type faultKey struct {
	ino   uint32
	block uint64
	what  string
}

const maxFaults = 1024

// first tells whether the fault was not seen before, as far as is remembered.
func (f *errorFunnel) first(k faultKey) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.seen[k]; ok {
		return false
	}
	if f.seen == nil {
		f.seen = make(map[faultKey]struct{})
	}
	f.seen[k] = struct{}{}
	if len(f.order) < maxFaults {
		f.order = append(f.order, k)
		return true
	}
	delete(f.seen, f.order[f.oldest])
	f.order[f.oldest] = k
	f.oldest = (f.oldest + 1) % maxFaults
	return true
}

// corrupt passes damage through the funnel and returns it as an error. What is found for
// the first time is dealt with as errors= says.
func (fs *FS) corrupt(e *disk.CorruptError) error {
	if fs.funnel.first(faultKey{e.Inode, e.Block, e.What}) {
		fs.log.Error(e.Error(), "inode", e.Inode, "block", e.Block)
		fs.react(trouble{e, e.Inode, e.Block, errorCodeCorrupt})
	}
	return e
}

// damage passes what a check found through the funnel, with the inode and the block
// filled in that the check did not know. Other errors, and nil, come back unchanged.
func (fs *FS) damage(err error, ino uint32, block uint64) error {
	var found *disk.CorruptError
	if !errors.As(err, &found) {
		return err
	}
	e := *found
	if e.Inode == 0 {
		e.Inode = ino
	}
	if e.Block == 0 {
		e.Block = block
	}
	return fs.corrupt(&e)
}

// readFault is a failure of the device that went through the funnel.
type readFault struct {
	what  string // what was read
	ino   uint32
	unit  string // what block counts: "block", on the device, or "file block"
	block uint64
	err   error
	grave bool // a block without which nobody knows what is free or where inodes are
}

func (e *readFault) Error() string {
	return fmt.Sprintf("reading %s, inode %d, %s %d: %v", e.what, e.ino, e.unit, e.block, e.err)
}

func (e *readFault) Unwrap() error { return e.err }

// readError passes the failure to get a block of metadata through the funnel: damage
// found by a check of the content, or an error of the device.
func (fs *FS) readError(what string, ino uint32, block uint64, err error) error {
	return fs.getError(&readFault{what: what, ino: ino, unit: "block", block: block, err: err})
}

// structureError is readError for the blocks of a group's structures. A device that does not
// give one counts as damage where errors= is concerned, as with the kernel's drivers.
func (fs *FS) structureError(what string, ino uint32, block uint64, err error) error {
	return fs.getError(&readFault{what: what, ino: ino, unit: "block", block: block, err: err, grave: true})
}

func (fs *FS) getError(e *readFault) error {
	var found *disk.CorruptError
	if errors.As(e.err, &found) {
		return fs.damage(e.err, e.ino, e.block)
	}
	return fs.fault(e)
}

// contentError passes the failure to read a file's content at byte off through the funnel,
// unless it went there when its cause was found.
func (fs *FS) contentError(ino uint32, off int64, err error) error {
	var found *disk.CorruptError
	var fault *readFault
	if errors.As(err, &found) || errors.As(err, &fault) {
		return err
	}
	return fs.fault(&readFault{what: "file content", ino: ino, unit: "file block", block: uint64(off) >> fs.blockBits, err: err})
}

func (fs *FS) fault(e *readFault) error {
	if fs.funnel.first(faultKey{e.ino, e.block, e.what}) {
		fs.log.Error(e.Error(), "inode", e.ino, "block", e.block)
		if e.grave {
			fs.react(trouble{e, e.ino, e.block, errorCodeIO})
		}
	}
	return e
}
