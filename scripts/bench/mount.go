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
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a mount, an unmount or the end of a server may take.
const patience = 60 * time.Second

// mounted is a mounted file system.
type mounted struct {
	dir   string
	pid   int           // of the server; 0 for the kernel
	took  time.Duration // what the command that mounts took
	close func() error  // unmounts and waits until nothing of it is left; call it once
}

// startDaemon runs a FUSE driver the way a user does: it goes to the background when
// it serves.
func startDaemon(ctx context.Context, image, dir string, args ...string) (*mounted, error) {
	took, err := timedMount(ctx, args)
	if err == nil && !isMount(dir) {
		err = fmt.Errorf("%s: it ended well and nothing is mounted", strings.Join(args, " "))
	}
	m := &mounted{dir: dir, took: took}
	if err == nil {
		m.pid, err = serverOf(image, dir)
	}
	m.close = func() error {
		err := unmount(dir)
		if m.pid != 0 {
			err = errors.Join(err, waitGone(m.pid))
		}
		return err
	}
	if err != nil {
		return nil, errors.Join(err, m.close())
	}
	return m, nil
}

// timedMount runs a command that mounts. It is not cut short when the run is cancelled:
// what half a mount leaves behind is hard to find.
func timedMount(ctx context.Context, args []string) (time.Duration, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	limited, stop := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer stop()
	return timed(limited, args)
}

// serverOf is the process that serves the mount of image on dir: the one with both on
// its command line.
func serverOf(image, dir string) (int, error) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, err
	}
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err != nil {
			continue // it ended meanwhile
		}
		args := strings.Split(string(line), "\x00")
		if slices.Contains(args, image) && slices.Contains(args, dir) {
			return strconv.Atoi(filepath.Base(filepath.Dir(file)))
		}
	}
	return 0, fmt.Errorf("no process serves %s", dir)
}

// waitGone waits until a process that is not our child is gone.
func waitGone(pid int) error {
	path := fmt.Sprintf("/proc/%d/stat", pid)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		text, err := os.ReadFile(path)
		// Whoever inherited it may be slow to collect it.
		if err != nil || strings.Contains(string(text), ") Z ") {
			return nil
		}
	}
	return fmt.Errorf("process %d: still there %v after the unmount", pid, patience)
}

// startServer starts a FUSE server that stays in the foreground, as our child, and
// returns when something is mounted.
func startServer(ctx context.Context, dir string, args ...string) (*mounted, error) {
	cmd := exec.Command(args[0], args[1:]...)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	// ^C at the terminal is for us; we then unmount.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	m := &mounted{dir: dir, pid: cmd.Process.Pid}
	m.close = func() error {
		err := unmount(dir)
		select {
		case waitErr := <-ended:
			if err == nil && waitErr != nil {
				err = fmt.Errorf("%s ended with %w: %s", args[0], waitErr, lastLines(log.String(), 3))
			}
			return err
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			<-ended
			return errors.Join(err, fmt.Errorf("%s: still there %v after the unmount", args[0], patience))
		}
	}
	deadline := time.After(patience)
	for {
		if isMount(dir) {
			return m, nil
		}
		select {
		case err := <-ended:
			return nil, fmt.Errorf("%s: no mount (%v): %s", strings.Join(args, " "), err, lastLines(log.String(), 3))
		case <-ctx.Done():
			_ = cmd.Process.Signal(syscall.SIGTERM)
			return nil, errors.Join(ctx.Err(), m.close())
		case <-deadline:
			_ = cmd.Process.Signal(syscall.SIGTERM)
			return nil, errors.Join(fmt.Errorf("%s: no mount after %v", args[0], patience), m.close())
		case <-time.After(time.Millisecond):
		}
	}
}

// mountKernel has the kernel mount the image through a read-only loop device, which
// goes away with the mount.
func mountKernel(ctx context.Context, image, dir string, options ...string) (*mounted, error) {
	return mountLoop(ctx, image, dir, join("loop,ro", options))
}

// mountKernelRW is mountKernel for writing.
func mountKernelRW(ctx context.Context, image, dir string) (*mounted, error) {
	return mountLoop(ctx, image, dir, "loop,rw")
}

func mountLoop(ctx context.Context, image, dir, options string) (*mounted, error) {
	took, err := timedMount(ctx, []string{"mount", "-t", "ext2", "-o", options, image, dir})
	if err != nil {
		return nil, errors.Join(err, unmount(dir))
	}
	return &mounted{dir: dir, took: took, close: func() error {
		return errors.Join(unmount(dir), loopGone(image))
	}}, nil
}

// unmount unmounts dir if something is mounted there. If it stays busy it is detached,
// so that nothing of ours is left behind, and the error told.
func unmount(dir string) error {
	if !isMount(dir) {
		return nil
	}
	quiet, lazy := []string{"umount", dir}, []string{"umount", "-l", dir}
	if os.Geteuid() != 0 {
		quiet, lazy = []string{"fusermount3", "-u", dir}, []string{"fusermount3", "-u", "-z", dir}
	}
	// Not with the context of the run: this has to be done when that is cancelled.
	var err error
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err = command(context.Background(), quiet...); err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			break
		}
	}
	_, lazyErr := command(context.Background(), lazy...)
	return errors.Join(err, lazyErr)
}

// isMount tells whether something is mounted at dir. A mount whose server is gone
// counts.
func isMount(dir string) bool {
	var here, above unix.Stat_t
	if err := unix.Lstat(dir, &here); err != nil {
		return errors.Is(err, unix.ENOTCONN)
	}
	return unix.Lstat(filepath.Dir(dir), &above) == nil && here.Dev != above.Dev
}

// loopGone waits until no loop device holds the image: the kernel lets go of it a
// moment after the unmount.
func loopGone(image string) error {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		holder := loopOf(image)
		if holder == "" {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s still holds %s after the unmount; losetup -d %s lets go of it", holder, image, holder)
		}
	}
}

// loopOf is the loop device that holds the image, "" if none does.
func loopOf(image string) string {
	files, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, file := range files {
		if held, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(held)) == image {
			return "/dev/" + filepath.Base(filepath.Dir(filepath.Dir(file)))
		}
	}
	return ""
}

// deviceOf is the device number of the file system that dir is on.
func deviceOf(dir string) (major, minor uint32, err error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return 0, 0, fmt.Errorf("stat %s: %w", dir, err)
	}
	return unix.Major(st.Dev), unix.Minor(st.Dev), nil
}
