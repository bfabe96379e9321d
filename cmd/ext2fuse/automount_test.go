//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// automount is an autofs mount point in the hands of this test, as systemd has those of fstab's
// x-systemd.automount. Facts: Documentation/filesystems/autofs.rst, include/uapi/linux/auto_fs.h.
type automount struct {
	dir  *os.File // the mount point itself, below what is mounted on it later
	asks *os.File
}

// autofs' requests, _IO(0x93, …).
const (
	autofsReady     = 0x9360
	autofsCatatonic = 0x9362
)

func newAutomount(t *testing.T, dir string) *automount {
	t.Helper()
	needRoot(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close() // the kernel has it
	options := fmt.Sprintf("fd=%d,pgrp=%d,minproto=5,maxproto=5,direct", w.Fd(), unix.Getpgrp())
	if err := unix.Mount("test", dir, "autofs", 0, options); err != nil {
		if errors.Is(err, unix.ENODEV) {
			t.Skip("the kernel has no autofs")
		}
		t.Fatal(err)
	}
	a := &automount{asks: r}
	t.Cleanup(func() {
		if a.dir != nil { // nobody is to wait for what does not come
			_ = unix.IoctlSetInt(int(a.dir.Fd()), autofsCatatonic, 0)
			a.dir.Close()
		}
		r.Close()
		for unix.Unmount(dir, unix.MNT_DETACH) == nil { // after a failure there may be two
		}
	})
	if a.dir, err = os.Open(dir); err != nil {
		t.Fatal(err)
	}
	return a
}

// asked waits until somebody wants to see what is to be mounted, and gives the token of the
// answer.
func (a *automount) asked(t *testing.T) int {
	t.Helper()
	var packet struct { // autofs_v5_packet
		Version, Type uint32
		Token         uint32
		Dev           uint32
		Ino           uint64
		UID, GID      uint32
		PID, TGID     uint32
		Len           uint32
		Name          [256]byte
		_             uint32
	}
	raw := make([]byte, binary.Size(packet))
	n, err := io.ReadAtLeast(a.asks, raw, len(raw)-4) // where 64-bit numbers need no alignment there is no padding
	if err == nil {
		err = binary.Read(bytes.NewReader(raw), binary.NativeEndian, &packet)
	}
	if err != nil {
		t.Fatalf("%d bytes: %v", n, err)
	}
	if packet.Type != 5 { // autofs_ptype_missing_direct
		t.Fatalf("a packet of type %d", packet.Type)
	}
	return int(packet.Token)
}

func (a *automount) answer(t *testing.T, how uint, token int) {
	if err := unix.IoctlSetInt(int(a.dir.Fd()), how, token); err != nil {
		t.Error(err)
	}
}

// An automount has everybody outside of the process group of who serves it wait until the
// mount is there: ext2fuse must not be among them, nor its daemon.
func TestAutomount(t *testing.T) {
	ext2test.NeedFUSE(t)
	img := ext2test.Make(t, ext2test.Options{})
	dir := mountPoint(t)
	a := newAutomount(t, dir)
	for round := range 2 {
		name := fmt.Sprint(dir, "/", round)
		visitor := exec.Command("touch", name)
		visitor.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		var said bytes.Buffer
		visitor.Stderr = &said
		if err := visitor.Start(); err != nil {
			t.Fatal(err)
		}
		token := a.asked(t)
		vain := time.AfterFunc(20*time.Second, func() { a.answer(t, autofsCatatonic, 0) }) // nobody waits any more
		if code, stderr := finish(t, command(t, img, dir)); code != exitOK {
			t.Errorf("exit %d: %s", code, stderr)
		}
		switch {
		case !vain.Stop():
			t.Error("ext2fuse waits for its own mount")
		case t.Failed():
			a.answer(t, autofsCatatonic, 0)
		default:
			a.answer(t, autofsReady, token)
		}
		if err := visitor.Wait(); err != nil || t.Failed() {
			t.Fatalf("who looked: %v: %s", err, said.String())
		}
		for i := range round + 1 {
			if _, err := os.Stat(fmt.Sprint(dir, "/", i)); err != nil {
				t.Error(err)
			}
		}
		if code, stderr := finish(t, command(t, "-u", dir)); code != exitOK {
			t.Errorf("-u: exit %d: %s", code, stderr)
		}
		ext2test.Fsck(t, img)
	}
}
