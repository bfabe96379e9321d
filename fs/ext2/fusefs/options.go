package fusefs

import (
	"log"
	"log/slog"
)

// Subtype is what Options.Subtype is as a rule.
const Subtype = "ext2fuse"

// Options steer a mount.
type Options struct {
	// Source is the first field in /proc/mounts, Subtype what stands behind "fuse."
	// in the third.
	Source, Subtype string
	// AllowOther lets users other than the mounting one in.
	AllowOther bool
	// UID and GID, if set, are the owner and the group that all files show; what is stored
	// stays as it is.
	UID, GID *uint32
	// FakeRoot: nobody's permissions are checked, who asks counts as root, and new files
	// are root's. Nobody but the mounting user may enter.
	FakeRoot bool
	// NoACL: the file system shows no POSIX ACLs, so the kernel need not ask.
	NoACL bool
	// WriteBack has the kernel collect writes (FUSE's write-back cache).
	WriteBack bool
	// Flags are those of mount(2): MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_NOATIME, ….
	// A plain user's mount has MS_NOSUID and MS_NODEV whatever they say.
	Flags uintptr
	// MaxRead bounds a READ request in bytes; 0 is 1 MiB, which is also the most.
	MaxRead int
	// ReadAhead is what the kernel reads ahead of a sequential reader, in bytes;
	// negative is DefaultReadAhead. Only root can set it.
	ReadAhead int64
	// Finish, if set, makes the image complete, and closes it: it is called once, when the
	// file system is unmounted and nothing asks it any more. Wait returns after it, and the
	// connection is closed only then, which is what Unmount waits for.
	Finish func()
	// Logger gets warnings and the traces of handlers that panicked; nil is
	// slog.Default().
	Logger *slog.Logger
	// Messages, if set, gets two lines for every message: the request, the answer.
	Messages *log.Logger
}

// UnmountOptions are how a file system is unmounted.
type UnmountOptions struct {
	// Lazy takes the mount out of the tree at once, in use or not. Then nobody waits.
	Lazy bool
	// Force cuts the connection first: whoever uses the mount gets ENOTCONN. Where the kernel's
	// /sys/fs/fuse/connections is not mounted only root can.
	Force bool
}
