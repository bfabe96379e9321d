//go:build !linux

// Command ext2fuse mounts ext2 file systems, on Linux.
package main

import (
	"fmt"
	"os"
	"runtime"
)

func main() {
	fmt.Fprintf(os.Stderr, "ext2fuse: %s is not supported: it needs Linux, for its FUSE and for its ways to lock and read images\n", runtime.GOOS)
	os.Exit(2)
}
