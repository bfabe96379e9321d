package ext2

import (
	"log/slog"
	"time"

	"github.com/ext2fuse/ext2fuse/fs/ext2/internal/testhook"
)

// Options steer Open and New. The zero value asks for a read-write mount of the whole
// device with the defaults of a kernel mount.
type Options struct {
	// ReadOnly: nothing is ever written to the device, but by the replay of a journal.
	ReadOnly bool
	// NoLoad: a journal that would have to be replayed is left alone (noload,
	// norecovery). Such a file system can only be opened ReadOnly then.
	NoLoad bool
	// Superblock is where the superblock is looked for, in KiB from the start of the
	// device (the sb= option); 0 is the usual place.
	Superblock int64
	// Offset and SizeLimit choose a window of the device, in bytes; SizeLimit 0 is
	// all of the rest. Open only.
	Offset, SizeLimit int64
	// Part chooses a partition by number, from 1 on; 0 is none. Open only.
	Part int
	// Direct bypasses the host's page cache. Open only.
	Direct bool
	// LockWait is how long to wait for another holder of the image's lock to let go. Open only.
	LockWait time.Duration
	// Trace is a file that gets one line per bio; empty is none. Open only.
	Trace string
	// CacheBytes bounds the memory for metadata: cached blocks, unreferenced inodes
	// and name indexes together. 0 is DefaultCacheBytes.
	CacheBytes int64
	// MinixDF: Statfs counts the blocks of the file system's own structures, too.
	MinixDF bool
	// NoUserXattr hides the user namespace of extended attributes, NoACL the POSIX
	// ACLs.
	NoUserXattr, NoACL bool
	// NoUID32: owners are the low 16 bits of the ids only.
	NoUID32 bool
	// Errors says what happens after damage was found, or where a structure cannot be read.
	Errors ErrorPolicy
	// NoReadAhead: sequential reads do not make the host read ahead.
	NoReadAhead bool
	// Atime says when reading changes a time of last access. Relatime is the default.
	Atime AtimePolicy
	// NoDirAtime leaves those of directories alone.
	NoDirAtime bool
	// OldAlloc puts directories into the groups with most free blocks, in place of
	// spreading those at the top and keeping the others near their parents.
	OldAlloc bool
	// NoReservation: no room is kept behind files that grow.
	NoReservation bool
	// GrpID: new objects get the group of their directory (grpid, bsdgroups).
	GrpID bool
	// ResUID and ResGID may use the reserved blocks, instead of those the superblock
	// names (s_def_resuid, s_def_resgid).
	ResUID, ResGID *uint32
	// MountPoint is noted in the superblock (s_last_mounted) by a read-write mount.
	MountPoint string
	// Discard punches freed blocks out of the image, or discards them on the device,
	// once their release is durable.
	Discard bool
	// Sync makes every change durable before the call that made it returns; DirSync
	// those of directories. Files and directories marked so (chattr +S, +D) are treated
	// like that anyway.
	Sync, DirSync bool
	// NoBarrier leaves out the syncs of the device that make changes durable; it is
	// synced at the end only.
	NoBarrier bool
	// NoJournal: changes are written in place, without a journal. A crash may then need a
	// person and e2fsck, and lose what was thought safe.
	NoJournal bool
	// Commit is how soon a change is durable with nobody asking; 0 is 5 seconds.
	Commit time.Duration
	// Logger gets warnings and damage found; nil is slog.Default().
	Logger *slog.Logger

	testing testhook.Hooks
}

// DefaultCacheBytes is the default of Options.CacheBytes.
const DefaultCacheBytes = 64 << 20

// ErrorPolicy is what happens on a read-write mount after damage was found, or where a bitmap,
// an inode table or the group descriptors cannot be read.
type ErrorPolicy uint8

// The error policies (the errors= option). A read-only mount logs and goes on.
const (
	ErrorsDefault   ErrorPolicy = iota // as the superblock says (s_errors)
	ErrorsContinue                     // log and go on
	ErrorsRemountRO                    // every later write is refused
	ErrorsPanic                        // stop serving
)
