package main

import (
	"runtime"
	"runtime/debug"
)

const helpText = `Usage: ext2fuse [options] IMAGE MOUNTPOINT
       mount -t fuse.ext2fuse -o WORDS IMAGE MOUNTPOINT
Mount an ext2 file system from an image file or block device.
Unmount it with umount, or with fusermount3 -u as a plain user.

Options, before or after the operands:
  -o WORDS                 mount options, separated by commas; may be repeated
  -f, --foreground         serve in the foreground
  -d, --debug              log every FUSE message (stays in the foreground)
  -V, --version            print the version
  -h, --help               print this help

Where the file system is:
  offset=N sizelimit=N     it starts at byte N of IMAGE, it is N bytes long
  part=N                   it is partition N of IMAGE (MBR or GPT)
  sb=N                     use the superblock at N KiB (a backup)

What it shows:
  ro                       read-only: IMAGE is never written (default: read-write)
  nouser_xattr noacl       without user attributes, without POSIX ACLs
  minixdf bsddf            df counts the structures' own blocks, or does not (default)
  nouid32                  16-bit owners
  errors=continue|remount-ro|panic   what happens when damage is found

How it is mounted:
  allow_other              other users may enter (root: always; else user_allow_other
                           in /etc/fuse.conf is needed)
  allow_root               as root: nobody else may enter
  fsname=NAME              source in /proc/mounts, instead of IMAGE
  subtype=NAME             the type is fuse.NAME, instead of fuse.ext2fuse
  suid dev exec atime …    as in mount(8); a plain user's mount is nosuid,nodev

Speed:
  cache_size=N[kmg]        memory for metadata (default 64m)
  readahead=N[kmg]         what the kernel reads ahead (set as root; default 1m)
  max_read=N               largest read request
  writeback_cache          the kernel collects small writes; a full disk is then told
                           at fsync or close, not at write (default: nowriteback_cache)
  direct                   bypass the host's page cache
  trace=FILE               write one line per I/O of IMAGE (fio iolog format)

Sizes may carry k, m, g or t. The words of ext2, FUSE and mount(8) that mean nothing
here are accepted.

Exit codes: 0 mounted, 1 usage, 2 system error, 8 interrupted, 32 mount failed.
`

// version is set by the build (-ldflags "-X main.version=…"); otherwise it is what the
// Go toolchain recorded.
var version string

// versionText is what -V prints: the version, the commit it was built from, and the
// toolchain.
func versionText() string {
	v, commit := version, ""
	if info, ok := debug.ReadBuildInfo(); ok {
		if v == "" {
			v = info.Main.Version
		}
		modified := ""
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				commit = s.Value
			case "vcs.modified":
				if s.Value == "true" {
					modified = ", modified"
				}
			}
		}
		if commit != "" {
			commit = " (commit " + commit[:min(12, len(commit))] + modified + ")"
		}
	}
	if v == "" {
		v = "(devel)"
	}
	return "ext2fuse " + v + commit + " " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH + "\n"
}
