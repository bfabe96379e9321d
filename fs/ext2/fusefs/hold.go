package fusefs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// hold keeps umount(2) waiting until the image is complete, whoever calls it.
//
// Unless it is mounted from a block device as "fuseblk", a FUSE server hears nothing of
// an unmount: the kernel cuts the connection, umount(2) returns, and the server finds out
// while the next program already reads the image. But before it cuts the connection the
// kernel takes the superblock's lock (s_umount) for itself, and ustat(2), which names a
// file system by its device number and pins no mount, has that lock shared while it waits
// for the answer to its STATFS. So there always is an ustat(2) of our own under way, whose
// STATFS is left unanswered until the mount is out of the tree, the kernel waits for the
// lock, and everything is on the disk.
//
// Two threads take turns. Each turn shows whether somebody waits for the lock: then the
// second one does not come through. A remount wants it, too, and is let by. The threads
// are a child's (see Child), so that the connection ends when this process is killed, and
// the child with it.
//
// Where there is no ustat(2) (arm64, riscv64, some containers), umount(2) returns early.
type hold struct {
	c       *conn
	dev     string // of the mount, as mountinfo has it
	finish  func()
	table   int // descriptor of mountinfo
	child   *exec.Cmd
	calls   *os.File // to the child
	turns   [2]*turn
	arrived chan arrival

	mu    sync.Mutex
	wake  int // eventfd that tells run of the end of the connection
	ended bool
}

// turn is one of the child's threads that call ustat(2).
type turn struct {
	number   byte
	task     string     // its directory in /proc
	tid      uint32     // of which the kernel says that it asks
	errno    unix.Errno // of the call that was refused
	returned chan byte  // the errno of a call; closed when the child has ended
}

// arrival is the STATFS of a turn's ustat(2).
type arrival struct {
	turn   *turn
	unique uint64
}

const (
	// holdTurn is how often the threads take turns: a remount waits that long.
	holdTurn = 2 * time.Second
	// detachedTurn is how often they do when the mount is out of the tree but in use.
	detachedTurn = 50 * time.Millisecond
	// unmountSamples is how many times in a row, a millisecond apart, a thread must be
	// seen asleep outside of FUSE before it counts as waiting for the lock, when the mount
	// has left the tree; remountSamples when it has not. Then it sleeps for something else
	// perhaps, and letting go of the lock might let an unmount by.
	unmountSamples, remountSamples = 5, 200
)

// newHold begins to hold the mount on dir, which is served already. finish makes the
// image complete; it is called once, or never if umount(2) cannot be held.
func newHold(c *conn, dir string, finish func()) (*hold, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, dir, unix.AT_STATX_DONT_SYNC|unix.AT_NO_AUTOMOUNT, 0, &st); err != nil {
		return nil, err
	}
	h := &hold{c: c, finish: finish, arrived: make(chan arrival, 2),
		dev: fmt.Sprintf("%d:%d", st.Dev_major, st.Dev_minor)}
	var err error
	if h.table, err = unix.Open("/proc/self/mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return nil, err
	}
	if h.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
		_ = unix.Close(h.table)
		return nil, err
	}
	if err := h.startChild(int(encodeDev(st.Dev_major, st.Dev_minor))); err != nil {
		h.stop()
		return nil, err
	}
	c.hold.Store(h)
	held, state := h.ask(h.turns[0])
	if state != asked {
		h.stop()
		return nil, fmt.Errorf("ustat: %w", h.turns[0].errno)
	}
	go h.run(held)
	return h, nil
}

// startChild starts the process that calls ustat(2).
func (h *hold) startChild(dev int) error {
	requests, calls, err := os.Pipe()
	if err != nil {
		return err
	}
	defer requests.Close()
	h.calls = calls
	replies, returns, err := os.Pipe()
	if err != nil {
		return err
	}
	defer returns.Close()
	cmd := child("ext2fuse: lets umount wait for "+strconv.Itoa(os.Getpid()), fmt.Sprintf("ustat %d", dev))
	cmd.ExtraFiles = []*os.File{requests, returns}
	if err := cmd.Start(); err != nil {
		return errors.Join(err, replies.Close())
	}
	h.child = cmd
	for i := range h.turns {
		t := &turn{number: byte(i), returned: make(chan byte, 1)}
		if err := binary.Read(replies, binary.NativeEndian, &t.tid); err != nil {
			return errors.Join(err, replies.Close())
		}
		t.task = fmt.Sprintf("/proc/%d/task/%d/", cmd.Process.Pid, t.tid)
		h.turns[i] = t
	}
	go func() {
		defer replies.Close()
		for b := make([]byte, 2); ; {
			if _, err := io.ReadFull(replies, b); err != nil {
				close(h.turns[0].returned)
				close(h.turns[1].returned)
				return
			}
			h.turns[b[0]&1].returned <- b[1]
		}
	}()
	return nil
}

// took tells whether a request is the STATFS of a turn, which is not answered now. The
// connection's readers call it.
func (h *hold) took(r request) bool {
	for _, t := range h.turns {
		if t.tid == r.pid() {
			h.arrived <- arrival{t, r.unique()}
			return true
		}
	}
	return false
}

// What became of an ustat(2).
type askState uint8

const (
	asked   askState = iota // its STATFS is here
	refused                 // it returned: the connection is cut, or there is no ustat(2)
	blocked                 // it waits for the lock
)

// ask has a thread call ustat(2), and tells what came of it.
func (h *hold) ask(t *turn) (arrival, askState) {
	if _, err := h.calls.Write([]byte{t.number}); err != nil {
		return arrival{}, refused
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for samples := 0; samples < unmountSamples || samples < remountSamples && h.mounted(); {
		select {
		case a := <-h.arrived:
			return a, asked
		case errno := <-t.returned:
			t.errno = unix.Errno(errno)
			return arrival{}, refused
		case <-tick.C:
			if t.waitsForLock() {
				samples++
			} else {
				samples = 0
			}
		}
	}
	return arrival{}, blocked
}

// waitsForLock tells whether a thread sleeps for something that is not the answer of a
// FUSE server: for that it sleeps so that signals can wake it, unless one has.
func (t *turn) waitsForLock() bool {
	stat, err := os.ReadFile(t.task + "stat")
	i := bytes.LastIndexByte(stat, ')')
	if err != nil || i < 0 || len(stat) < i+3 || stat[i+2] != 'D' {
		return false
	}
	where, _ := os.ReadFile(t.task + "wchan") // "0" where the kernel does not tell
	return string(where) != "request_wait_answer"
}

// release answers the STATFS that was held, and waits for its call to return.
func (h *hold) release(a arrival) {
	var out [outHeaderSize]byte
	h.c.send(out[:errorReply(out[:], a.unique, unix.EAGAIN)], opStatFs)
	<-a.turn.returned
}

// run takes turns until the mount is gone.
func (h *hold) run(held arrival) {
	defer h.stop()
	wait, detached := holdTurn, false
	for h.wait(wait) {
		detached = !h.mounted()
		next := h.turns[1-held.turn.number]
		a, state := h.ask(next)
		if state == blocked {
			detached = !h.mounted() // an unmount may have begun meanwhile
		}
		if state == refused {
			h.c.log.Warn("umount(2) will return before the image is complete", "error", next.errno)
			return
		}
		if state == blocked && detached {
			// Nobody has the mount any more: the kernel waits to cut the connection.
			h.c.quiesce()
			h.finish()
			h.release(held)
			return
		}
		h.release(held)
		if state == blocked { // by a remount, which has its way now
			select {
			case a = <-h.arrived:
			case <-next.returned:
				return
			}
		}
		held = a
		switch {
		case !detached:
			wait = holdTurn
		case wait == holdTurn: // just detached; most probably an unmount under way
			wait = time.Millisecond
		default:
			wait = min(2*wait, detachedTurn)
		}
	}
}

// wait waits for a change of the mount table, at most d. It returns false at the end of
// the connection.
func (h *hold) wait(d time.Duration) bool {
	fds := []unix.PollFd{{Fd: int32(h.table), Events: unix.POLLPRI}, {Fd: int32(h.wake), Events: unix.POLLIN}}
	_, err := unix.Poll(fds, int(d/time.Millisecond))
	return err != nil || fds[1].Revents == 0
}

// mounted tells whether the file system is in this process's tree of mounts.
func (h *hold) mounted() bool {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return true
	}
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == h.dev {
			return true
		}
	}
	return false
}

// end tells run that the connection ended.
func (h *hold) end() {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.ended {
		_, _ = unix.Write(h.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
}

// stop lets go of everything. The child ends when its calls have returned, at the latest
// when the connection ends.
func (h *hold) stop() {
	h.c.hold.Store(nil)
	if h.calls != nil {
		_ = h.calls.Close()
	}
	if h.child != nil {
		go func() { _ = h.child.Wait() }() // how it ended is nobody's business
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = true
	_ = unix.Close(h.table)
	_ = unix.Close(h.wake)
}
