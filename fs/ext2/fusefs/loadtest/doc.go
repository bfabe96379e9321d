//go:build linux && !386 && !arm && !mips && !mipsle

// Package loadtest holds a read-write ext2fuse mount against real programs: the go-fuse
// POSIX suite, fio with verification, stress-ng, SQLite, git, the Go toolchain, tar and
// cp. Every test ends with an unmount and e2fsck -f -n. Where the kernel's driver can
// say what is right, it does.
//
// The daemon is a process of its own: a mount that the test's process served could wait
// for a page fault of that process.
//
// All that there is runs in a short form with `go test`; -long makes each load larger
// (`make soak`). -options gives mount options, -daemon-race has the race detector watch the
// daemon.
package loadtest
