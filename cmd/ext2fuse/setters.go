//go:build linux

package main

import (
	"errors"
	"strconv"
	"time"

	"github.com/ext2fuse/ext2fuse/fs/ext2"
)

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
		return usagef("only check=none is known").but("e2fsck checks file systems")
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
