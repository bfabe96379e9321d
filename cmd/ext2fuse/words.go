package main

import (
	"errors"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2"
)

// word is one entry of the table of -o words: what it takes and what it does.
type word struct {
	name  string // without "=value"
	value argument
	// apply carries the word out; nil where it is accepted in silence, because
	// what it asks for is so anyway, or means nothing to a file system of a user
	// process.
	apply func(c *config, value string) error
	// refuse is the reason why a known word is not accepted.
	refuse string
}

// argument says whether a word takes "=value".
type argument uint8

const (
	noValue argument = iota
	needValue
	mayValue
)

// words is the table of every -o word known. A word that is not in it is an error.
var words = []word{
	// ext2
	{name: "ro", apply: func(c *config, _ string) error { c.mount.readOnly = true; return nil }},
	{name: "rw", apply: func(c *config, _ string) error { c.mount.readOnly = false; return nil }},
	{name: "errors", value: needValue, apply: setErrors},
	{name: "sb", value: needValue, apply: setSuperblock},
	{name: "bsddf", apply: func(c *config, _ string) error { c.fs.MinixDF = false; return nil }},
	{name: "minixdf", apply: func(c *config, _ string) error { c.fs.MinixDF = true; return nil }},
	{name: "grpid", apply: setGroupID(true)},
	{name: "bsdgroups", apply: setGroupID(true)},
	{name: "nogrpid", apply: setGroupID(false)},
	{name: "sysvgroups", apply: setGroupID(false)},
	{name: "resuid", value: needValue, apply: setID(func(c *config) *int64 { return &c.mount.writePolicy.resUID })},
	{name: "resgid", value: needValue, apply: setID(func(c *config) *int64 { return &c.mount.writePolicy.resGID })},
	{name: "nouid32", apply: func(c *config, _ string) error { c.fs.NoUID32 = true; return nil }},
	{name: "user_xattr", apply: func(c *config, _ string) error { c.fs.NoUserXattr = false; return nil }},
	{name: "nouser_xattr", apply: func(c *config, _ string) error { c.fs.NoUserXattr = true; return nil }},
	{name: "acl", apply: func(c *config, _ string) error { c.fs.NoACL = false; return nil }},
	{name: "noacl", apply: func(c *config, _ string) error { c.fs.NoACL = true; return nil }},
	{name: "orlov", apply: setWrite(func(w *writeWords) { w.oldAlloc = false })},
	{name: "oldalloc", apply: setWrite(func(w *writeWords) { w.oldAlloc = true })},
	{name: "reservation", apply: setWrite(func(w *writeWords) { w.noReservation = false })},
	{name: "noreservation", apply: setWrite(func(w *writeWords) { w.noReservation = true })},
	{name: "debug", apply: func(c *config, _ string) error { c.mount.describe = true; return nil }},
	{name: "check", value: needValue, apply: setCheck},
	{name: "nocheck"},
	{name: "noload", apply: func(c *config, _ string) error { c.fs.NoLoad = true; return nil }},
	{name: "norecovery", apply: func(c *config, _ string) error { c.fs.NoLoad = true; return nil }},
	{name: "nojournal", apply: func(c *config, _ string) error { c.fs.NoJournal = true; return nil }},
	{name: "discard", apply: setWrite(func(w *writeWords) { w.discard = true })},
	{name: "nodiscard", apply: setWrite(func(w *writeWords) { w.discard = false })},
	{name: "barrier", value: mayValue, apply: setBarrier},
	{name: "nobarrier", apply: setWrite(func(w *writeWords) { w.noBarrier = true })},
	{name: "commit", value: needValue, apply: setCommit},
	{name: "noquota"},
	{name: "quota", refuse: "disk quotas need the kernel's driver"},
	{name: "usrquota", refuse: "disk quotas need the kernel's driver"},
	{name: "grpquota", refuse: "disk quotas need the kernel's driver"},
	{name: "dax", value: mayValue, refuse: "direct access to persistent memory needs the kernel's driver"},
	{name: "xip", refuse: "execute in place needs the kernel's driver"},

	// ours
	{name: "offset", value: needValue, apply: setSize(func(c *config) *int64 { return &c.fs.Offset }, 0)},
	{name: "sizelimit", value: needValue, apply: setSize(func(c *config) *int64 { return &c.fs.SizeLimit }, 0)},
	{name: "part", value: needValue, apply: setPart},
	{name: "direct", apply: func(c *config, _ string) error { c.fs.Direct = true; return nil }},
	{name: "cache_size", value: needValue, apply: setSize(func(c *config) *int64 { return &c.fs.CacheBytes }, 1<<20)},
	{name: "readahead", value: needValue, apply: setSize(func(c *config) *int64 { return &c.mount.readAhead }, 0)},
	{name: "writeback_cache", apply: func(c *config, _ string) error { c.mount.writeBack = true; return nil }},
	{name: "nowriteback_cache", apply: func(c *config, _ string) error { c.mount.writeBack = false; return nil }},
	{name: "trace", value: needValue, apply: func(c *config, v string) error { c.fs.Trace = v; return nil }},

	// FUSE
	{name: "allow_other", apply: func(c *config, _ string) error {
		c.mount.allowOther, c.mount.noOthers = true, false
		return nil
	}},
	{name: "allow_root", apply: func(c *config, _ string) error {
		c.mount.allowOther, c.mount.noOthers = false, true
		return nil
	}},
	{name: "default_permissions"}, // always
	{name: "nonempty"},            // a mount point need not be empty
	{name: "max_read", value: needValue, apply: setSize(func(c *config) *int64 { return &c.mount.maxRead }, 4096)},
	{name: "fsname", value: needValue, apply: func(c *config, v string) error { c.mount.fsname = v; return nil }},
	{name: "subtype", value: needValue, apply: func(c *config, v string) error { c.mount.subtype = v; return nil }},

	// mount(8)
	{name: "defaults"},
	{name: "async", apply: setFlags(0, unix.MS_SYNCHRONOUS)},
	{name: "auto"},
	{name: "noauto"},
	{name: "nofail"},
	{name: "nouser"},
	{name: "_netdev"},
	{name: "comment", value: mayValue},
	{name: "loop", value: mayValue}, // an image needs no loop device here
	{name: "uid-map", value: mayValue},
	{name: "ids", value: mayValue},
	{name: "silent"},
	{name: "loud"},
	{name: "user", value: mayValue, apply: setFlags(unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, 0)},
	{name: "users", apply: setFlags(unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, 0)},
	{name: "owner", apply: setFlags(unix.MS_NOSUID|unix.MS_NODEV, 0)},
	{name: "group", apply: setFlags(unix.MS_NOSUID|unix.MS_NODEV, 0)},
	{name: "suid", apply: setFlags(0, unix.MS_NOSUID)},
	{name: "nosuid", apply: setFlags(unix.MS_NOSUID, 0)},
	{name: "dev", apply: setFlags(0, unix.MS_NODEV)},
	{name: "nodev", apply: setFlags(unix.MS_NODEV, 0)},
	{name: "exec", apply: setFlags(0, unix.MS_NOEXEC)},
	{name: "noexec", apply: setFlags(unix.MS_NOEXEC, 0)},
	{name: "atime", apply: setFlags(0, unix.MS_NOATIME)},
	{name: "noatime", apply: setFlags(unix.MS_NOATIME, unix.MS_RELATIME|unix.MS_STRICTATIME)},
	{name: "relatime", apply: setFlags(unix.MS_RELATIME, unix.MS_NOATIME|unix.MS_STRICTATIME)},
	{name: "norelatime", apply: setFlags(0, unix.MS_RELATIME)},
	{name: "strictatime", apply: setFlags(unix.MS_STRICTATIME, unix.MS_NOATIME|unix.MS_RELATIME)},
	{name: "nostrictatime", apply: setFlags(0, unix.MS_STRICTATIME)},
	{name: "diratime", apply: setFlags(0, unix.MS_NODIRATIME)},
	{name: "nodiratime", apply: setFlags(unix.MS_NODIRATIME, 0)},
	{name: "lazytime", apply: setFlags(unix.MS_LAZYTIME, 0)},
	{name: "nolazytime", apply: setFlags(0, unix.MS_LAZYTIME)},
	{name: "sync", apply: setFlags(unix.MS_SYNCHRONOUS, 0)},
	{name: "dirsync", apply: setFlags(unix.MS_DIRSYNC, 0)},
}

// prefixes begin words that are for mount(8), systemd and their like.
var prefixes = []string{"x-", "X-"}

// setFlags is for words that are flags of mount(2).
func setFlags(set, clear uintptr) func(*config, string) error {
	return func(c *config, _ string) error {
		c.mount.flags = c.mount.flags&^clear | set
		return nil
	}
}

func setGroupID(on bool) func(*config, string) error {
	return setWrite(func(w *writeWords) { w.groupID = on })
}

func setWrite(set func(*writeWords)) func(*config, string) error {
	return func(c *config, _ string) error {
		set(&c.mount.writePolicy)
		return nil
	}
}

func setErrors(c *config, v string) error {
	switch v {
	case "continue":
		c.fs.Errors = ext2.ErrorsContinue
	case "remount-ro":
		c.fs.Errors = ext2.ErrorsRemountRO
	case "panic":
		c.fs.Errors = ext2.ErrorsPanic
	default:
		return errors.New("expected continue, remount-ro or panic")
	}
	return nil
}

func setCheck(_ *config, v string) error {
	if v != "none" {
		return errors.New("only check=none is known; e2fsck checks file systems")
	}
	return nil
}

func setBarrier(c *config, v string) error {
	switch v {
	case "", "1":
		c.mount.writePolicy.noBarrier = false
	case "0":
		c.mount.writePolicy.noBarrier = true
	default:
		return errors.New("expected 0 or 1")
	}
	return nil
}

// setCommit takes seconds, as ext3 and ext4 do; 0 is the default.
func setCommit(c *config, v string) error {
	n, err := strconv.ParseUint(v, 10, 31)
	if err != nil {
		return errors.New("expected a number of seconds")
	}
	c.mount.writePolicy.commit = time.Duration(n) * time.Second
	return nil
}
