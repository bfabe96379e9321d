package ext2

import (
	"context"
	"fmt"
	"path"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

// errorPolicy carries out errors= on a read-write mount: damage is noted in the
// superblock, as ext4 does it, and then the file system goes on, turns read-only, or
// stops. So is a bitmap or an inode table that the device does not give.
//
// Damage is found in the midst of operations, with all kinds of locks held, so the
// superblock is written by a goroutine of its own.
type errorPolicy struct {
	action ErrorPolicy

	mu      sync.Mutex // a leaf
	pending []damageRecord
	early   *trouble // found before startPolicy
	lost    uint32   // found beyond those pending: counted only

	wake    chan struct{} // capacity 1
	stop    chan struct{}
	stopped chan struct{}
	failed  chan struct{}           // closed when the file system stopped: ErrorsPanic
	why     atomic.Pointer[trouble] // what ended writing; set before failed is closed
}

// trouble is what errors= is followed for.
type trouble struct {
	err   error
	ino   uint32
	block uint64
	code  uint8 // for s_last_error_errcode
}

// The codes that stand for EFSCORRUPTED and EIO there (EXT4_ERR_…).
const (
	errorCodeIO      = 2
	errorCodeCorrupt = 5
)

// damageRecord is what the superblock keeps of damage.
type damageRecord struct {
	at    time.Time
	ino   uint32
	block uint64
	fn    [32]byte // function that found it, s_last_error_func
	line  uint32
	code  uint8
}

// maxPendingDamage bounds the records that wait: the first and the last count.
const maxPendingDamage = 16

// startPolicy begins to follow errors=: the option, or else s_errors. Damage that was
// found while the mount looked around counts.
func (fs *FS) startPolicy() {
	p := &fs.policy
	p.action = fs.opts.Errors
	if p.action == ErrorsDefault {
		switch fs.sb.Errors {
		case disk.ErrorsRemountRO:
			p.action = ErrorsRemountRO
		case disk.ErrorsPanic:
			p.action = ErrorsPanic
		default:
			p.action = ErrorsContinue
		}
	}
	p.wake, p.stop, p.stopped = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	p.failed = make(chan struct{})
	if early := p.early; early != nil {
		fs.act(early)
		p.wake <- struct{}{}
	}
	go fs.recordDamage()
}

// stopPolicy returns when all damage found so far is noted.
func (fs *FS) stopPolicy() {
	close(fs.policy.stop)
	<-fs.policy.stopped
}

// Failed is closed when the file system stopped because of damage (errors=panic): nothing
// is changed any more, and whoever serves it should end.
func (fs *FS) Failed() <-chan struct{} { return fs.policy.failed }

// Failure is the damage, or the error of the device, that ended all writing
// (errors=remount-ro, errors=panic); nil while none did.
func (fs *FS) Failure() error {
	if why := fs.policy.why.Load(); why != nil {
		return why.err
	}
	return nil
}

// react follows errors=. Any locks may be held.
func (fs *FS) react(e trouble) {
	p := &fs.policy
	if fs.opts.ReadOnly || fs.readOnly.Load() {
		return // not writable: nothing can be noted
	}
	fn, line := finder()
	r := damageRecord{at: time.Now(), ino: e.ino, block: e.block, line: line, code: e.code}
	copy(r.fn[:31], fn)
	p.mu.Lock()
	if len(p.pending) < maxPendingDamage {
		p.pending = append(p.pending, r)
	} else {
		p.pending[maxPendingDamage-1] = r
		p.lost++
	}
	started := p.wake != nil
	if !started && p.early == nil {
		p.early = &e
	}
	p.mu.Unlock()
	if !started {
		return
	}
	fs.act(&e)
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// act ends writing, unless damage is to change nothing.
func (fs *FS) act(e *trouble) {
	p := &fs.policy
	if p.action == ErrorsContinue {
		return
	}
	p.why.CompareAndSwap(nil, e)
	if fs.readOnly.CompareAndSwap(false, true) && p.action == ErrorsRemountRO {
		found := "damage was found"
		if e.code == errorCodeIO {
			found = "one of its structures cannot be read"
		}
		fs.log.Error("the file system is read-only from now on, as " + found + " (errors=remount-ro); run e2fsck")
	}
}

// finder is the function that found damage, and its line: the innermost caller outside
// of those that pass damage on.
func finder() (name string, line uint32) {
	var pcs [16]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	for {
		f, more := frames.Next()
		switch path.Base(f.File) {
		case "funnel.go", "policy.go":
		default:
			return f.Function[strings.LastIndexByte(f.Function, '.')+1:], uint32(f.Line)
		}
		if !more {
			return "", 0
		}
	}
}

// recordDamage is the goroutine that brings damage to the superblock.
func (fs *FS) recordDamage() {
	p := &fs.policy
	defer close(p.stopped)
	announced := false
	for last := false; !last; {
		select {
		case <-p.wake:
		case <-p.stop:
			last = true
		}
		p.mu.Lock()
		pending, lost := p.pending, p.lost
		p.pending, p.lost = nil, 0
		p.mu.Unlock()
		if len(pending) == 0 {
			continue
		}
		if err := fs.noteDamage(pending, lost); err != nil {
			fs.log.Error(fmt.Sprintf("the damage cannot be noted in the superblock: %v", err))
		}
		if p.action == ErrorsPanic && !announced {
			announced = true
			close(p.failed)
		}
	}
}

// noteDamage writes damage into the superblock and makes it durable. It works on a file
// system that has just turned read-only, too.
func (fs *FS) noteDamage(pending []damageRecord, lost uint32) error {
	if err := fs.ckpt.Begin(context.Background(), 1); err != nil {
		return err
	}
	err := fs.changeSuper(func(sb *disk.Superblock) {
		sb.State |= disk.StateErrors
		if sb.RevLevel == disk.GoodOldRev {
			return // the fields are not part of that format
		}
		first, last := pending[0], pending[len(pending)-1]
		if sb.ErrorCount == 0 || sb.FirstErrorTime == 0 {
			sb.FirstErrorTime, sb.FirstErrorTimeHi = uint32(first.at.Unix()), uint8(first.at.Unix()>>32)
			sb.FirstErrorIno, sb.FirstErrorBlock = first.ino, first.block
			sb.FirstErrorFunc, sb.FirstErrorLine, sb.FirstErrorCode = first.fn, first.line, first.code
		}
		sb.LastErrorTime, sb.LastErrorTimeHi = uint32(last.at.Unix()), uint8(last.at.Unix()>>32)
		sb.LastErrorIno, sb.LastErrorBlock = last.ino, last.block
		sb.LastErrorFunc, sb.LastErrorLine, sb.LastErrorCode = last.fn, last.line, last.code
		if n := sb.ErrorCount + uint32(len(pending)) + lost; n > sb.ErrorCount {
			sb.ErrorCount = n
		}
	})
	fs.ckpt.End(1)
	if err != nil {
		return err
	}
	if err := fs.ckpt.Commit(context.Background()); err != nil {
		return err
	}
	return fs.journal.Tidy(true) // into its place: whoever looks next may not replay a journal
}
