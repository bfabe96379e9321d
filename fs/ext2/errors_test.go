//go:build linux

package ext2

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"log/slog"
	"strings"
	"syscall"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

func testLogger(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

func TestErrno(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want syscall.Errno
	}{
		{nil, 0},
		{ErrNotExist, syscall.ENOENT},
		{fmt.Errorf("looking: %w", ErrNotDir), syscall.ENOTDIR},
		{ErrNameTooLong, syscall.ENAMETOOLONG},
		{ErrStale, syscall.ESTALE},
		{ErrNoData, syscall.ENXIO},
		{&disk.CorruptError{}, syscall.EIO},
		{fmt.Errorf("reading: %w", &disk.CorruptError{}), syscall.EIO},
		{blockio.ErrPastEnd, syscall.EIO},
		{fmt.Errorf("the host said %w", syscall.ENOENT), syscall.EIO},
		{errors.New("anything"), syscall.EIO},
	} {
		if got := Errno(tt.err); got != tt.want {
			t.Errorf("Errno(%v) = %v, expected %v", tt.err, got, tt.want)
		}
	}
	for err, is := range map[error]error{ErrNotExist: iofs.ErrNotExist, ErrExist: iofs.ErrExist, ErrNotSupported: errors.ErrUnsupported} {
		if !errors.Is(err, is) {
			t.Errorf("%v is not %v", err, is)
		}
	}
}

// TestFunnel: once per inode and block, and bounded however much is found.
func TestFunnel(t *testing.T) {
	var log bytes.Buffer
	fs := &FS{log: testLogger(&log)}
	for range 3 {
		for ino := range uint32(10) {
			fs.corrupt(&disk.CorruptError{What: "thing", Inode: ino, Block: 7, Detail: "bad"})
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 10 {
		t.Errorf("%d lines for 10 faults", n)
	}
	for ino := range uint32(10 * maxFaults) {
		fs.corrupt(&disk.CorruptError{What: "thing", Inode: ino})
	}
	if len(fs.funnel.seen) != maxFaults || len(fs.funnel.order) != maxFaults {
		t.Errorf("remembers %d faults, expected %d", len(fs.funnel.seen), maxFaults)
	}
}
