//go:build linux

package main

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2"
)

// parse reads a command line that has an image and a mount point beside args.
func parse(t *testing.T, args ...string) *config {
	t.Helper()
	c, err := parseCommandLine(append(args, "disk.img", "mnt"))
	if err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	return c
}

// Every word that people type for ext2, FUSE and mount(8) is known.
func TestWordsKnown(t *testing.T) {
	const accepted = `ro rw errors=continue errors=remount-ro errors=panic sb=8193 bsddf minixdf grpid bsdgroups
		nogrpid sysvgroups resuid=0 resgid=4294967294 nouid32 user_xattr nouser_xattr acl noacl orlov oldalloc
		reservation noreservation debug check=none nocheck noload norecovery nojournal discard nodiscard barrier
		barrier=0 barrier=1 nobarrier offset=1048576 offset=1m sizelimit=0x1000 part=1 direct cache_size=64m
		writeback_cache nowriteback_cache trace=/tmp/x readahead=0 allow_other allow_root default_permissions
		max_read=131072 fsname=a=b subtype=x nonempty defaults noatime relatime strictatime nodiratime lazytime
		sync async dirsync suid nosuid dev nodev exec noexec user user=ralf users owner group nouser auto noauto
		nofail _netdev x-systemd.automount x-gvfs-show X-mount.mkdir=0755 comment=x uid-map=0:1:2 ids loop
		loop=/dev/loop7 noquota commit=5`
	for _, w := range strings.Fields(accepted) {
		parse(t, "-o", w)
	}
	refused := map[string]string{
		"quota": "quota", "usrquota": "quota", "grpquota": "quota", "dax": "direct access", "xip": "execute in place",
	}
	for w, why := range refused {
		_, err := parseCommandLine([]string{"-o", w, "disk.img", "mnt"})
		if err == nil || !strings.Contains(err.Error(), w) || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, want a refusal that names the word and says %q", w, err, why)
		}
	}
}

// Each entry of the table does what it says, or is accepted and changes nothing.
func TestWordsMean(t *testing.T) {
	base := *parse(t)
	tests := []struct {
		words string
		want  func(c *config)
	}{
		{"ro", func(c *config) { c.mount.readOnly, c.fs.ReadOnly = true, true }},
		{"ro,rw", func(*config) {}},
		{"errors=panic", func(c *config) { c.fs.Errors = ext2.ErrorsPanic }},
		{"errors=panic,errors=remount-ro", func(c *config) { c.fs.Errors = ext2.ErrorsRemountRO }},
		{"errors=continue", func(c *config) { c.fs.Errors = ext2.ErrorsContinue }},
		{"sb=131072", func(c *config) { c.fs.Superblock = 131072 }},
		{"minixdf", func(c *config) { c.fs.MinixDF = true }},
		{"minixdf,bsddf", func(*config) {}},
		{"bsdgroups", func(c *config) { c.mount.writePolicy.groupID = true }},
		{"grpid,sysvgroups", func(*config) {}},
		{"resuid=1000,resgid=100", func(c *config) {
			c.mount.writePolicy.resUID, c.mount.writePolicy.resGID = 1000, 100
		}},
		{"nouid32", func(c *config) { c.fs.NoUID32 = true }},
		{"nouser_xattr,noacl", func(c *config) { c.fs.NoUserXattr, c.fs.NoACL = true, true }},
		{"nouser_xattr,noacl,user_xattr,acl", func(*config) {}},
		{"noload", func(c *config) { c.fs.NoLoad = true }},
		{"norecovery", func(c *config) { c.fs.NoLoad = true }},
		{"nojournal", func(c *config) { c.fs.NoJournal = true }},
		{"oldalloc,noreservation,discard,barrier=0", func(c *config) {
			c.mount.writePolicy = writeWords{resUID: -1, resGID: -1, oldAlloc: true, noReservation: true,
				discard: true, noBarrier: true}
		}},
		{"oldalloc,noreservation,discard,nobarrier,orlov,reservation,nodiscard,barrier", func(*config) {}},
		{"offset=1m,sizelimit=3g", func(c *config) { c.fs.Offset, c.fs.SizeLimit = 1<<20, 3<<30 }},
		{"part=3", func(c *config) { c.fs.Part = 3 }},
		{"direct", func(c *config) { c.fs.Direct = true }},
		{"cache_size=128M", func(c *config) { c.fs.CacheBytes = 128 << 20 }},
		{"trace=/tmp/a=b", func(c *config) { c.fs.Trace = "/tmp/a=b" }},
		{"readahead=512k", func(c *config) { c.mount.readAhead = 512 << 10 }},
		{"readahead=0", func(c *config) { c.mount.readAhead = 0 }},
		{"allow_other", func(c *config) { c.mount.allowOther = true }},
		{"allow_other,allow_root", func(c *config) { c.mount.noOthers = true }},
		{"max_read=64k", func(c *config) { c.mount.maxRead = 64 << 10 }},
		{`fsname=a\,b\\c,subtype=x`, func(c *config) { c.mount.fsname, c.mount.subtype = `a,b\c`, "x" }},
		{"debug", func(c *config) { c.mount.describe = true }},
		{"writeback_cache", func(c *config) { c.mount.writeBack = true }},
		{"writeback_cache,nowriteback_cache", func(*config) {}},
		{"nosuid,nodev,noexec", func(c *config) { c.mount.flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC }},
		{"user", func(c *config) { c.mount.flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC }},
		{"users,exec,dev,suid", func(*config) {}},
		{"noatime", func(c *config) { c.mount.flags = unix.MS_NOATIME }},
		{"noatime,relatime", func(c *config) { c.mount.flags = unix.MS_RELATIME }},
		{"relatime,strictatime", func(c *config) { c.mount.flags = unix.MS_STRICTATIME }},
		{"lazytime,nodiratime,sync,dirsync", func(c *config) {
			c.mount.flags = unix.MS_LAZYTIME | unix.MS_NODIRATIME | unix.MS_SYNCHRONOUS | unix.MS_DIRSYNC
		}},
		{"sync,async", func(*config) {}},
		{"commit=30", func(c *config) { c.mount.writePolicy.commit = 30 * time.Second }},
		{"commit=30,commit=0", func(*config) {}},
		{",,ro,", func(c *config) { c.mount.readOnly, c.fs.ReadOnly = true, true }},
	}
	for w := range allWords {
		if w.apply != nil {
			continue
		}
		text := w.name
		if w.needsValue() {
			text += "=none"
		}
		tests = append(tests, struct {
			words string
			want  func(c *config)
		}{text, func(*config) {}})
	}
	for _, tt := range tests {
		want := base
		tt.want(&want)
		if got := parse(t, "-o", tt.words); !reflect.DeepEqual(*got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", tt.words, *got, want)
		}
	}
}

// Each word stands in the table once, and says what it does, in one line to begin with.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for w := range allWords {
		if seen[w.name] {
			t.Errorf("%s stands twice in the table", w.name)
		}
		seen[w.name] = true
		if doc := firstSentence(w.doc); doc == "" || helpColumn+len(doc) > 120 {
			t.Errorf("%s is described as %q", w.name, doc)
		}
	}
}

// The dashed options and -o may stand anywhere, and be repeated.
func TestOrder(t *testing.T) {
	lines := [][]string{
		{"-f", "-o", "ro,sb=8193", "-o", "nouid32", "disk.img", "mnt"},
		{"disk.img", "mnt", "-f", "-o", "ro,sb=8193,nouid32"},
		{"disk.img", "-o", "ro", "mnt", "--foreground", "-osb=8193,nouid32"},
		{"-fo", "ro", "disk.img", "--options=sb=8193", "mnt", "-o", "nouid32"},
		{"-f", "-o", "ro,sb=8193,nouid32", "--", "disk.img", "mnt"},
	}
	var first *config
	for _, args := range lines {
		c, err := parseCommandLine(args)
		if err != nil {
			t.Errorf("%q: %v", args, err)
			continue
		}
		if first == nil {
			first = c
		}
		if !reflect.DeepEqual(c, first) {
			t.Errorf("%q:\n got %+v\nwant %+v", args, c, first)
		}
	}
	if first.image != "disk.img" || first.dir != "mnt" || !first.foreground || first.fs.Superblock != 8193 {
		t.Errorf("got %+v", first)
	}
}

func TestDebugStaysInForeground(t *testing.T) {
	if c := parse(t, "-d"); !c.debug || !c.foreground {
		t.Errorf("-d: debug %v, foreground %v, want both", c.debug, c.foreground)
	}
}

func TestParseSize(t *testing.T) {
	good := map[string]int64{
		"0": 0, "1": 1, "4096": 4096, "1k": 1 << 10, "1K": 1 << 10, "3m": 3 << 20, "2g": 2 << 30, "1t": 1 << 40,
		"0x10": 16, "1KiB": 1 << 10, "8MiB": 8 << 20, "9223372036854775807": 1<<63 - 1, "8388607t": 8388607 << 40,
	}
	for s, want := range good {
		if got, ok := parseSize(s); !ok || got != want {
			t.Errorf("%s: got %d, %v; want %d", s, got, ok, want)
		}
	}
	for _, s := range []string{"", "k", "-1", "+1", "1x", "1kk", "1.5m", "9223372036854775808", "8388608t", "12ib", "ib", " 1"} {
		if got, ok := parseSize(s); ok {
			t.Errorf("%q: got %d, want an error", s, got)
		}
	}
}
