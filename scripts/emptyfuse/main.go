//go:build linux && !386 && !arm && !mips && !mipsle

// Command emptyfuse is the ceiling of what a FUSE server in Go can do on a machine: it
// serves files that all hold the same few bytes, from one buffer that never leaves the
// processor's cache, and remembers everything for ever. A driver that reads from an
// image does the same and has to find the data too, so how much slower it is than
// this is what it costs, and the rest is the price of FUSE.
//
//	emptyfuse [-max-read BYTES] MOUNTPOINT NAME=SIZE...
//
// It serves in the foreground until it is unmounted or told to end (SIGINT, SIGTERM).
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

const usage = `emptyfuse: a FUSE file system that answers from memory, the ceiling for any FUSE driver

  emptyfuse [-max-read BYTES] MOUNTPOINT NAME=SIZE...

`

func main() {
	maxRead := flag.Int("max-read", 1<<20, "largest read request, in `bytes`")
	flag.Usage = func() {
		fmt.Fprint(os.Stderr, usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() < 2 {
		flag.Usage()
		os.Exit(2)
	}
	if err := serve(flag.Arg(0), *maxRead, flag.Args()[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "emptyfuse:", err)
		os.Exit(1)
	}
}

// serve mounts the files on dir and returns when they are unmounted.
func serve(dir string, maxRead int, specs []string) error {
	if maxRead < 4096 || maxRead > 1<<20 {
		return fmt.Errorf("-max-read %d: want 4096 to %d", maxRead, 1<<20)
	}
	var files []file
	for _, spec := range specs {
		f, err := parseFile(spec)
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	server, err := fuse.NewServer(newFiller(files, maxRead), dir, &fuse.MountOptions{
		Name:                     "emptyfuse",
		FsName:                   "emptyfuse",
		DirectMount:              true,
		MaxWrite:                 maxRead,
		MaxBackground:            64,
		ExplicitDataCacheControl: true,
		DisableXAttrs:            true,
		DisableReadDirPlus:       true,
		Options:                  []string{"default_permissions"},
	})
	if err != nil {
		return fmt.Errorf("cannot mount on %s: %w", dir, err)
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, os.Interrupt, syscall.SIGTERM)
	go func() {
		for range ended {
			if err := server.Unmount(); err != nil {
				fmt.Fprintf(os.Stderr, "emptyfuse: cannot unmount %s: %v\n", dir, err)
			}
		}
	}()
	server.Serve()
	return nil
}

// file is one of the files served; its size is in bytes.
type file struct {
	name string
	size uint64
}

// parseFile reads NAME=SIZE.
func parseFile(spec string) (file, error) {
	name, text, ok := strings.Cut(spec, "=")
	if !ok || name == "" || strings.Contains(name, "/") {
		return file{}, fmt.Errorf("%q: want NAME=SIZE", spec)
	}
	size, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return file{}, fmt.Errorf("%q: the size must be a number of bytes: %w", spec, errors.Unwrap(err))
	}
	return file{name, size}, nil
}
