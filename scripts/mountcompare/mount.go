//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a mount or an unmount may take.
const patience = 60 * time.Second

// mount is a mounted file system on a directory of its own.
type mount struct {
	dir     string
	unmount func() error // unmounts, removes dir; call it once, whatever happened
}

// mountFUSE has a FUSE driver mount the image read-only. The driver stays in the
// foreground as a child, so that its end can be waited for, and ends with us.
func mountFUSE(ctx context.Context, binary, image string, o options) (*mount, error) {
	dir, err := os.MkdirTemp("", "mount-compare-")
	if err != nil {
		return nil, err
	}
	args := []string{"-f", "-o", strings.Join(append(options{"ro"}, o...), ","), image, dir}
	cmd := exec.CommandContext(ctx, binary, args...)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	// ^C at the terminal is for us; we then end the driver.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		os.Remove(dir)
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for deadline := time.Now().Add(patience); !isMount(dir); {
		select {
		case err := <-ended:
			os.Remove(dir)
			return nil, fmt.Errorf("%s %s: %s (%w)", binary, strings.Join(args, " "), said(&log), orNoError(err))
		case <-time.After(2 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			cmd.Cancel()
			err := <-ended
			os.Remove(dir)
			return nil, fmt.Errorf("%s: no mount after %v: %s (%w)", binary, patience, said(&log), orNoError(err))
		}
	}
	return &mount{dir, func() error {
		err := unmount(dir)
		late := time.AfterFunc(patience, func() { cmd.Process.Kill() })
		waitErr := <-ended
		if !late.Stop() && err == nil {
			err = fmt.Errorf("%s: still there %v after the unmount", binary, patience)
		}
		if err == nil && waitErr != nil && ctx.Err() == nil {
			err = fmt.Errorf("%s ended with %w: %s", binary, waitErr, said(&log))
		}
		return errors.Join(err, os.Remove(dir))
	}}, nil
}

// said is what a driver printed.
func said(log *bytes.Buffer) string {
	if text := strings.TrimSpace(log.String()); text != "" {
		return text
	}
	return "it printed nothing"
}

func orNoError(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// mountKernel has the kernel mount the image read-only, through a read-only loop
// device, which goes away with the mount.
func mountKernel(image string, w window, o options) (*mount, error) {
	dir, err := os.MkdirTemp("", "mount-compare-")
	if err != nil {
		return nil, err
	}
	opts := append(options{"ro"}, o.forKernel()...)
	if st, err := os.Stat(image); err == nil && st.Mode().IsRegular() || w != (window{}) {
		opts = append(opts, "loop")
	}
	if w.offset != 0 {
		opts = append(opts, fmt.Sprint("offset=", w.offset))
	}
	if w.size != 0 {
		opts = append(opts, fmt.Sprint("sizelimit=", w.size))
	}
	args := []string{"-t", "ext2", "-o", strings.Join(opts, ","), image, dir}
	if out, err := exec.Command(findTool("mount"), args...).CombinedOutput(); err != nil {
		os.Remove(dir)
		return nil, fmt.Errorf("mount %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return &mount{dir, func() error { return errors.Join(unmount(dir), os.Remove(dir)) }}, nil
}

// unmount unmounts dir if something is mounted there; if it is busy, or the driver
// hangs, it is detached, so that nothing of ours stays behind, and the error told.
func unmount(dir string) error {
	if !isMount(dir) {
		return nil
	}
	args := []string{findTool("umount"), dir}
	if os.Geteuid() != 0 {
		args = []string{findTool("fusermount3"), "-u", dir}
	}
	var out []byte
	var err error
	// Busy may mean that somebody just looks by, or that a process we started still
	// holds our descriptors between fork and exec: worth a few tries.
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if out, err = exec.Command(args[0], args[1:]...).CombinedOutput(); err == nil || !isMount(dir) {
			return nil // or the driver, told to stop, was quicker
		}
		if !bytes.Contains(out, []byte("busy")) || time.Now().After(deadline) {
			break
		}
	}
	if os.Geteuid() == 0 {
		unix.Unmount(dir, unix.MNT_DETACH)
	} else {
		exec.Command(findTool("fusermount3"), "-u", "-z", dir).Run()
	}
	return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
}

// isMount tells whether something is mounted at dir. A mount whose driver is gone
// counts.
func isMount(dir string) bool {
	var here, above unix.Stat_t
	if err := unix.Lstat(dir, &here); err != nil {
		return errors.Is(err, unix.ENOTCONN)
	}
	return unix.Lstat(filepath.Dir(dir), &above) == nil && here.Dev != above.Dev
}
