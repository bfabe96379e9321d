//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// coldBytes is how much of an image may be in the page cache when it counts as cold:
// what a driver reads in order to mount, and what the host reads ahead there.
const coldBytes = 8 << 20

// fill brings a file into the page cache and makes sure that it is there.
func fill(path string) error {
	// Whoever else uses the machine may make the host drop some of it meanwhile.
	const tries = 5
	for range tries {
		in, size, err := resident(path)
		if err != nil || in >= size {
			return err
		}
		if err := readThrough(path); err != nil {
			return err
		}
	}
	in, size, err := resident(path)
	if err == nil && in < size {
		err = fmt.Errorf("only %s of %s stay in the page cache: too little memory for this measurement", mib(in), path)
	}
	return err
}

// readThrough reads a file from its start to its end.
func readThrough(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, make([]byte, 1<<20))
	return err
}

// isCold fails if a file is in the page cache.
func isCold(path string) error {
	in, _, err := resident(path)
	if err == nil && in > coldBytes {
		err = fmt.Errorf("%s of %s stay in the page cache (a file in memory? try another -dir)", mib(in), path)
	}
	return err
}

// evict drops a file from the page cache, and, as root, all caches of the machine.
// The programs that are about to run are read in again.
func evict(ctx context.Context, path string, programs ...string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	err = unix.Fdatasync(int(f.Fd()))
	if err == nil {
		err = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("dropping %s from the page cache: %w", path, err)
	}
	if os.Geteuid() == 0 {
		if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
			return fmt.Errorf("dropping caches: %w", err)
		}
	}
	for _, program := range programs {
		if err := warmUp(ctx, program); err != nil {
			return err
		}
	}
	return nil
}

// warmUp brings a program and its libraries into memory.
func warmUp(ctx context.Context, program string) error {
	path, err := exec.LookPath(program)
	if err != nil {
		return err
	}
	if err := readThrough(path); err != nil {
		return err
	}
	// For the libraries. Some of them know no --version and fail; that does as well.
	err = exec.CommandContext(ctx, path, "--version").Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		return nil
	}
	return err
}

// resident tells how much of a file is in the page cache, and its size, in bytes and
// whole pages.
func resident(path string) (in, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return 0, 0, err
	}
	mapping, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return 0, 0, fmt.Errorf("mmap %s: %w", path, err)
	}
	pageSize := os.Getpagesize()
	pages := make([]byte, (len(mapping)+pageSize-1)/pageSize)
	err = errors.Join(mincore(mapping, pages), unix.Munmap(mapping))
	return int64(countResident(pages) * pageSize), int64(len(pages) * pageSize), err
}

// countResident counts the pages whose lowest bit is set; the others are undefined.
func countResident(pages []byte) int {
	for i := range pages {
		pages[i] &= 1
	}
	return bytes.Count(pages, []byte{1})
}
