//go:build linux

package main

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// word is one entry of the table of -o words: what it takes and what it does. The table
// is the one source of what parses words, helps, completes them and documents them.
type word struct {
	name string // without "=value"
	// arg names the value, as "N"; in brackets where it may be left out. Empty: the word
	// takes none.
	arg string
	doc string // what it does, a sentence or more; the first is enough for the help
	// apply carries the word out; nil where it is accepted in silence, because
	// what it asks for is so anyway, or means nothing to a file system of a user
	// process.
	apply func(c *config, value string) error
}

// errRefused is what a word answers that is known and not accepted; its doc says why.
var errRefused = errors.New("refused")

func refuse(*config, string) error { return errRefused }

// wordGroup is words about one thing.
type wordGroup struct {
	title string
	brief bool // listed by --help
	words []word
}

// spelling is a word as documentation writes it: "offset=N", "barrier[=0|1]".
func (w *word) spelling() string {
	switch {
	case w.arg == "":
		return w.name
	case w.arg[0] == '[':
		return w.name + "[=" + w.arg[1:]
	}
	return w.name + "=" + w.arg
}

// needsValue tells a word that is nothing without a value.
func (w *word) needsValue() bool { return w.arg != "" && w.arg[0] != '[' }

// isRefused tells a word that is known and not accepted.
func (w *word) isRefused() bool {
	return w.apply != nil && errors.Is(w.apply(newConfig(), ""), errRefused)
}

// choices are the values of a word that takes one of a few.
func (w *word) choices() []string {
	if list := strings.Trim(w.arg, "[]"); strings.Contains(list, "|") {
		return strings.Split(list, "|")
	}
	return nil
}

// allWords calls yield with every word of the table.
func allWords(yield func(*word) bool) {
	for i := range wordGroups {
		for j := range wordGroups[i].words {
			if !yield(&wordGroups[i].words[j]) {
				return
			}
		}
	}
}

// wordGroups is the table of every -o word known. A word that is not in it is an error.
var wordGroups = []wordGroup{
	{"Where the file system is", true, []word{
		{"offset", "N[kmgt]", "it starts at byte N of the image", setSize(func(c *config) *int64 { return &c.fs.Offset }, 0)},
		{"sizelimit", "N[kmgt]", "it is at most N bytes long", setSize(func(c *config) *int64 { return &c.fs.SizeLimit }, 0)},
		{"part", "N", "it is partition N of the image. MBR and GPT tables are read, logical partitions are numbered from 5 on; no loop device is needed.", setPart},
		{"sb", "N", "use the superblock at N KiB (a backup). The first backup is at 8193 with blocks of 1 KiB, at 131072 with 4 KiB; its copy of the group descriptors is used, too.", setSuperblock},
	}},
	{"What it shows", true, []word{
		{"ro", "", "read-only: the image is not written. A journal that has to be replayed is, unless noload says otherwise.", func(c *config, _ string) error { c.mount.readOnly = true; return nil }},
		{"rw", "", "read-write (the default)", func(c *config, _ string) error { c.mount.readOnly = false; return nil }},
		{"noload", "", "with ro: leave a journal alone that should be replayed. What is to be seen is then older than it could be.", func(c *config, _ string) error { c.fs.NoLoad = true; return nil }},
		{"norecovery", "", "the same as noload", func(c *config, _ string) error { c.fs.NoLoad = true; return nil }},
		{"user_xattr", "", "show attributes of the user namespace (the default)", func(c *config, _ string) error { c.fs.NoUserXattr = false; return nil }},
		{"nouser_xattr", "", "hide attributes of the user namespace", func(c *config, _ string) error { c.fs.NoUserXattr = true; return nil }},
		{"acl", "", "show and obey POSIX ACLs (the default)", func(c *config, _ string) error { c.fs.NoACL = false; return nil }},
		{"noacl", "", "neither show nor obey POSIX ACLs", func(c *config, _ string) error { c.fs.NoACL = true; return nil }},
		{"bsddf", "", "df leaves the file system's own blocks out (the default)", func(c *config, _ string) error { c.fs.MinixDF = false; return nil }},
		{"minixdf", "", "df counts the file system's own blocks", func(c *config, _ string) error { c.fs.MinixDF = true; return nil }},
		{"nouid32", "", "owners are 16-bit numbers", func(c *config, _ string) error { c.fs.NoUID32 = true; return nil }},
	}},
	{"How it is written", true, []word{
		{"errors", "continue|remount-ro|panic", "what happens when damage is found. Go on, refuse every later change, or detach the mount and end the daemon; without the word it is as the superblock says. A bitmap, an inode table or group descriptors that cannot be read count as damage. It is noted in the superblock in any case.", setErrors},
		{"grpid", "", "new files get the group of their directory", setGroupID(true)},
		{"bsdgroups", "", "the same as grpid", setGroupID(true)},
		{"nogrpid", "", "new files get the group of their maker, or of a set-gid directory (the default)", setGroupID(false)},
		{"sysvgroups", "", "the same as nogrpid", setGroupID(false)},
		{"resuid", "UID", "this user may use the reserved blocks", setID(func(c *config) *int64 { return &c.mount.writePolicy.resUID })},
		{"resgid", "GID", "this group may use the reserved blocks", setID(func(c *config) *int64 { return &c.mount.writePolicy.resGID })},
		{"commit", "SECONDS", "a change is durable after this time with nobody asking. 0 is the default, 5 seconds.", setCommit},
		{"nojournal", "", "write in place, without a journal", func(c *config, _ string) error { c.fs.NoJournal = true; return nil }},
		{"barrier", "[0|1]", "wait for the disk where the order of writes matters (the default)", setBarrier},
		{"nobarrier", "", "do not wait for the disk until unmount. Faster, and a crash of the machine may cost the image.", setWrite(func(w *writeWords) { w.noBarrier = true })},
		{"discard", "", "punch freed blocks out of the image, or discard them on the device", setWrite(func(w *writeWords) { w.discard = true })},
		{"nodiscard", "", "keep freed blocks in the image (the default)", setWrite(func(w *writeWords) { w.discard = false })},
		{"orlov", "", "spread top directories, keep others near their parents (the default)", setWrite(func(w *writeWords) { w.oldAlloc = false })},
		{"oldalloc", "", "put directories where most blocks are free", setWrite(func(w *writeWords) { w.oldAlloc = true })},
		{"reservation", "", "keep room behind a growing file while others look for some (the default)", setWrite(func(w *writeWords) { w.noReservation = false })},
		{"noreservation", "", "keep no room behind growing files", setWrite(func(w *writeWords) { w.noReservation = true })},
	}},
	{"How it is mounted", true, []word{
		{"allow_other", "", "other users may enter. Root's mounts always let them in; a plain user needs user_allow_other in /etc/fuse.conf.", func(c *config, _ string) error {
			c.mount.allowOther, c.mount.noOthers = true, false
			return nil
		}},
		{"allow_root", "", "as root: nobody else may enter", func(c *config, _ string) error {
			c.mount.allowOther, c.mount.noOthers = false, true
			return nil
		}},
		{"uid", "UID", "all files show this owner, and what is stored stays. For a disk from elsewhere.", setID(func(c *config) *int64 { return &c.mount.owners.uid })},
		{"gid", "GID", "all files show this group, and what is stored stays", setID(func(c *config) *int64 { return &c.mount.owners.gid })},
		{"fakeroot", "", "who mounts counts as root in the mount, where nobody else may enter. New files are root's, and any owner can be given. To build root file systems as a plain user; the kernel refuses device files, for which there is ext2fuse mknod.", func(c *config, _ string) error { c.mount.owners.fakeRoot = true; return nil }},
		{"fsname", "NAME", "the source in /proc/mounts, instead of the image", func(c *config, v string) error { c.mount.fsname = v; return nil }},
		{"subtype", "NAME", "the type in /proc/mounts is fuse.NAME, instead of fuse.ext2fuse", func(c *config, v string) error { c.mount.subtype = v; return nil }},
		{"debug", "", "log what kind of file system was mounted", func(c *config, _ string) error { c.mount.describe = true; return nil }},
		{"trace", "FILE", "write a line to FILE for each access of the image (fio's iolog format)", func(c *config, v string) error { c.fs.Trace = v; return nil }},
	}},
	{"Speed", true, []word{
		{"cache_size", "N[kmg]", "memory for metadata (default 64m)", setSize(func(c *config) *int64 { return &c.fs.CacheBytes }, 1<<20)},
		{"readahead", "N[kmg]", "what the kernel reads ahead (default 1m; root only)", setSize(func(c *config) *int64 { return &c.mount.readAhead }, 0)},
		{"max_read", "N[kmg]", "the largest read request (default and most 1m)", setSize(func(c *config) *int64 { return &c.mount.maxRead }, 4096)},
		{"direct", "", "bypass the host's page cache", func(c *config, _ string) error { c.fs.Direct = true; return nil }},
		{"writeback_cache", "", "the kernel collects small writes. A full disk is then told at fsync or close, not at write.", func(c *config, _ string) error { c.mount.writeBack = true; return nil }},
		{"nowriteback_cache", "", "each write is sent at once (the default)", func(c *config, _ string) error { c.mount.writeBack = false; return nil }},
	}},
	{"As in mount(8)", false, []word{
		{"suid", "", "set-id bits count (root only)", setFlags(0, unix.MS_NOSUID)},
		{"nosuid", "", "set-id bits do not count; always so in a plain user's mount", setFlags(unix.MS_NOSUID, 0)},
		{"dev", "", "device files work (root only)", setFlags(0, unix.MS_NODEV)},
		{"nodev", "", "device files do not work; always so in a plain user's mount", setFlags(unix.MS_NODEV, 0)},
		{"exec", "", "programs can be run", setFlags(0, unix.MS_NOEXEC)},
		{"noexec", "", "programs cannot be run", setFlags(unix.MS_NOEXEC, 0)},
		{"atime", "", "not noatime", setFlags(0, unix.MS_NOATIME)},
		{"noatime", "", "reading never moves access times", setFlags(unix.MS_NOATIME, unix.MS_RELATIME|unix.MS_STRICTATIME)},
		{"relatime", "", "access times move when they are behind the last change, or a day old (the default)", setFlags(unix.MS_RELATIME, unix.MS_NOATIME|unix.MS_STRICTATIME)},
		{"norelatime", "", "not relatime", setFlags(0, unix.MS_RELATIME)},
		{"strictatime", "", "access times move with every read that reaches ext2fuse", setFlags(unix.MS_STRICTATIME, unix.MS_NOATIME|unix.MS_RELATIME)},
		{"nostrictatime", "", "not strictatime", setFlags(0, unix.MS_STRICTATIME)},
		{"diratime", "", "not nodiratime", setFlags(0, unix.MS_NODIRATIME)},
		{"nodiratime", "", "reading directories never moves their access times", setFlags(unix.MS_NODIRATIME, 0)},
		{"lazytime", "", "accepted", setFlags(unix.MS_LAZYTIME, 0)},
		{"nolazytime", "", "accepted", setFlags(0, unix.MS_LAZYTIME)},
		{"sync", "", "every change is durable before the call returns", setFlags(unix.MS_SYNCHRONOUS, 0)},
		{"async", "", "not sync", setFlags(0, unix.MS_SYNCHRONOUS)},
		{"dirsync", "", "changes of directories are durable before the call returns", setFlags(unix.MS_DIRSYNC, 0)},
		{"user", "[NAME]", "nosuid, nodev and noexec; in fstab, plain users may mount", setFlags(unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, 0)},
		{"users", "", "as user", setFlags(unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, 0)},
		{"owner", "", "nosuid and nodev; in fstab, the device's owner may mount", setFlags(unix.MS_NOSUID|unix.MS_NODEV, 0)},
		{"group", "", "nosuid and nodev; in fstab, the device's group may mount", setFlags(unix.MS_NOSUID|unix.MS_NODEV, 0)},
	}},
	{"Accepted, without an effect here", false, []word{
		{"default_permissions", "", "permissions are checked in any case", nil},
		{"nonempty", "", "the mount point need not be empty in any case", nil},
		{"check", "none", "e2fsck checks file systems", setCheck},
		{"nocheck", "", "the same", nil},
		{"noquota", "", "there are no quotas", nil},
		{"loop", "[DEVICE]", "an image needs no loop device here", nil},
		{"defaults", "", "the defaults", nil},
		{"auto", "", "for mount -a", nil},
		{"noauto", "", "for mount -a", nil},
		{"nofail", "", "for systemd and mount -a", nil},
		{"nouser", "", "the default", nil},
		{"_netdev", "", "for systemd and mount -a", nil},
		{"comment", "[TEXT]", "for people", nil},
		{"silent", "", "for the kernel's drivers", nil},
		{"loud", "", "for the kernel's drivers", nil},
		{"uid-map", "[MAP]", "for mounts with mapped ids", nil},
		{"ids", "[MAP]", "for mounts with mapped ids", nil},
	}},
	{"Refused", false, []word{
		{"quota", "", "disk quotas need the kernel's driver", refuse},
		{"usrquota", "", "disk quotas need the kernel's driver", refuse},
		{"grpquota", "", "disk quotas need the kernel's driver", refuse},
		{"dax", "[always|never|inode]", "direct access to persistent memory needs the kernel's driver", refuse},
		{"xip", "", "execute in place needs the kernel's driver", refuse},
	}},
}
