//go:build linux

// Command ext2fuse mounts an ext2 file system that lies in an image file or on a
// block device, without the kernel's ext2 driver.
//
//	ext2fuse [options] IMAGE MOUNTPOINT
//
// Options may stand before or after the operands; ext2fuse --help lists them. The
// command returns once the mount serves, and a daemon stays behind until the file
// system is unmounted (ext2fuse -u MOUNTPOINT, umount MOUNTPOINT, or fusermount3 -u
// MOUNTPOINT for a plain user). With -f there is no daemon: the command itself serves.
// SIGINT and SIGTERM unmount. While files are in use, SIGTERM makes everything durable and
// takes the mount out of the tree, and the daemon ends with its last user; SIGINT leaves
// the mount alone unless it comes twice.
//
// Exit codes are those of mount(8):
//
//	 0  the file system is mounted (with -f: was mounted, and is unmounted again)
//	 1  wrong usage: unknown option, missing operand
//	 2  the system failed: the daemon could not be started
//	 8  interrupted before the mount was complete
//	32  the mount failed; one line on standard error says why and what to do
package main

import (
	"os"
)

// The exit codes, as in mount(8).
const (
	exitOK        = 0
	exitUsage     = 1
	exitSystem    = 2
	exitInterrupt = 8
	exitMount     = 32
)

func main() {
	os.Exit(runAs(os.Args[0], os.Args[1:], os.Stdout, os.Stderr))
}
