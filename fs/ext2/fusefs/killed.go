//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// toTheEnd is the context of requests that are carried out whatever signal comes for who
// asked: all but those of unbounded length. A local file system does the same. Waiting for
// a transaction, for a lock or for fsync is not interrupted there, and a program that gets
// EINTR from what never gave it before breaks. The kernel waits for the answer, as it has to
// where a write may have happened or not.
var toTheEnd = context.Background()

// killPoll is how often a request that was interrupted looks whether it was for good.
const killPoll = 50 * time.Millisecond

// killable is the context of a request that may take minutes, FALLOCATE or FITRIM: it ends
// when who asked was killed. Interrupts alone do not end it, as the kernel sends them for
// every signal: a program with a timer would never get to the end of a long request. It
// sends but one, though, so that from then on we look.
func killable(interrupted <-chan struct{}, pid uint32) (ctx context.Context, stop context.CancelFunc) {
	ctx, stop = context.WithCancel(context.Background())
	go func() {
		select {
		case <-interrupted:
		case <-ctx.Done():
			return
		}
		poll := time.NewTicker(killPoll)
		defer poll.Stop()
		for !killed(pid) {
			select {
			case <-poll.C:
			case <-ctx.Done():
				return
			}
		}
		stop()
	}()
	return ctx, stop
}

// killed tells whether SIGKILL waits for a thread, which it does in every thread of a process
// that any fatal signal ends; or whether the thread is gone.
// Of threads that the daemon cannot see (pid 0, another name space, /proc that hides them) it
// knows no more than that they are there.
func killed(pid uint32) bool {
	const sigkill = 1 << (9 - 1)
	if pid == 0 {
		return false
	}
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return gone(pid)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if set, ok := strings.CutPrefix(s.Text(), "SigPnd:"); ok {
			pending, err := strconv.ParseUint(strings.TrimSpace(set), 16, 64)
			return err == nil && pending&sigkill != 0
		}
	}
	return gone(pid)
}

// gone tells whether there is no such thread any more, for which it needs no file and no leave.
func gone(pid uint32) bool { return unix.Kill(int(pid), 0) == unix.ESRCH }
