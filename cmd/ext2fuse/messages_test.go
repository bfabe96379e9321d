//go:build linux

package main

import (
	"bytes"
	"strings"
	"testing"
)

// What a mistake on the command line is answered with. Each message is one line that
// names the mistake and says what to do.
func TestUsageMessages(t *testing.T) {
	tests := []struct {
		args []string
		want string
	}{
		{nil, "no image and no mount point given"},
		{[]string{"-o", "ro"}, "no image and no mount point given"},
		{[]string{"disk.img"}, "no mount point given for disk.img"},
		{[]string{"a", "b", "c"}, `one operand too many: "c" (an image and a mount point are wanted)`},
		{[]string{"-x", "a", "b"}, "unknown option -x (known are -o, -r, -f, -d, -V and -h)"},
		{[]string{"--foregruond", "a", "b"}, "unknown option --foregruond; the nearest known one is --foreground"},
		{[]string{"inof", "b"}, `there is no image inof; if a verb is meant, the nearest known one is "info"`},
		{[]string{"a", "b", "-o"}, "flag needs an argument: 'o' in -o"},
		{[]string{"-o", "offest=1", "a", "b"}, `unknown mount option "offest=1"; the nearest known one is "offset"`},
		{[]string{"-o", "noacls", "a", "b"}, `unknown mount option "noacls"; the nearest known one is "noacl"`},
		{[]string{"-o", "read_ahead", "a", "b"}, `unknown mount option "read_ahead"; the nearest known one is "readahead"`},
		{[]string{"-o", "allowother", "a", "b"}, `unknown mount option "allowother"; the nearest known one is "allow_other"`},
		{[]string{"-o", "RO", "a", "b"}, `unknown mount option "RO"; the nearest known one is "ro"`},
		{[]string{"-o", "x-", "a", "b"}, `unknown mount option "x-"; the nearest known one is "xip"`},
		{[]string{"-o", "ro=1", "a", "b"}, `mount option "ro" takes no value, but "ro=1" was given`},
		{[]string{"-o", "offset", "a", "b"}, `mount option "offset" has no value; it is offset=N[kmgt]`},
		{[]string{"-o", "offset=", "a", "b"}, `mount option "offset" has no value; it is offset=N[kmgt]`},
		{[]string{"-o", "offset=1q", "a", "b"}, `mount option "offset=1q": expected a number of bytes, or one with k, m, g or t behind it`},
		{[]string{"-o", "cache_size=4k", "a", "b"}, `mount option "cache_size=4k": at least 1048576 bytes are wanted`},
		{[]string{"-o", "max_read=1", "a", "b"}, `mount option "max_read=1": at least 4096 bytes are wanted`},
		{[]string{"-o", "part=0", "a", "b"}, `mount option "part=0": expected the number of a partition, from 1 on`},
		{[]string{"-o", "errors=ignore", "a", "b"}, `mount option "errors=ignore": expected continue, remount-ro or panic`},
		{[]string{"-o", "check=strict", "a", "b"}, `mount option "check=strict": only check=none is known; e2fsck checks file systems`},
		{[]string{"-o", "barrier=2", "a", "b"}, `mount option "barrier=2": expected 0 or 1`},
		{[]string{"-o", "resuid=root", "a", "b"}, `mount option "resuid=root": expected a number from 0 to 4294967294`},
		{[]string{"-o", "resgid=4294967295", "a", "b"}, `mount option "resgid=4294967295": expected a number from 0 to 4294967294`},
		{[]string{"-o", "sb=0", "a", "b"}, `mount option "sb=0": expected where the superblock is, in units of 1 KiB (the first backup is at 8193 with 1 KiB blocks, at 131072 with 4 KiB)`},
		{[]string{"-o", "usrquota", "a", "b"}, `mount option "usrquota" is refused: disk quotas need the kernel's driver`},
	}
	for _, tt := range tests {
		var stdout, stderr bytes.Buffer
		code := run(tt.args, &stdout, &stderr)
		want := "ext2fuse: " + tt.want + "; see ext2fuse --help\n"
		if strings.Contains(tt.want, "; ") {
			want = "ext2fuse: " + tt.want + " (see ext2fuse --help)\n"
		}
		if code != exitUsage || stderr.String() != want || stdout.Len() != 0 {
			t.Errorf("%q: exit %d\n got %q\nwant %q", tt.args, code, stderr.String(), want)
		}
	}
}

func TestHelpAndVersion(t *testing.T) {
	for _, arg := range []string{"-h", "--help", "-V", "--version"} {
		var stdout, stderr bytes.Buffer
		if code := run([]string{arg}, &stdout, &stderr); code != exitOK || stderr.Len() != 0 || stdout.Len() == 0 {
			t.Errorf("%s: exit %d, %q on standard error", arg, code, stderr.String())
		}
	}
	for i, line := range strings.Split(helpText(), "\n") {
		if n := len([]rune(line)); n > 88 {
			t.Errorf("line %d of the help has %d characters", i+1, n)
		}
	}
	if n := strings.Count(helpText(), "\n"); n > 60 {
		t.Errorf("the help has %d lines, more than a screen", n)
	}
	if v := versionText(); !strings.HasPrefix(v, "ext2fuse ") || strings.Count(v, "\n") != 1 {
		t.Errorf("version %q", v)
	}
}

// The version names the commit when the build says it.
func TestVersionNamesCommit(t *testing.T) {
	defer func(v, c string) { version, commit = v, c }(version, commit)
	version, commit = "v1.2.3", "0123456789ab"
	if v := versionText(); !strings.HasPrefix(v, "ext2fuse v1.2.3 (commit 0123456789ab") {
		t.Errorf("version %q", v)
	}
}

// -o help lists every word, and each verb and its help know each other.
func TestHelpIsComplete(t *testing.T) {
	output := func(args ...string) string {
		var stdout, stderr bytes.Buffer
		if code := run(args, &stdout, &stderr); code != exitOK || stderr.Len() != 0 {
			t.Errorf("%q: exit %d, %q on standard error", args, code, stderr.String())
		}
		return stdout.String()
	}
	list := output("-o", "help")
	manual := output("manpage")
	for w := range allWords {
		if !strings.Contains(list, "  "+w.spelling()) {
			t.Errorf("-o help does not list %s", w.name)
		}
		if !strings.Contains(manual, ".B "+escapeRoff(w.spelling())+"\n") {
			t.Errorf("the manual does not describe %s", w.name)
		}
	}
	help := output("help")
	for i := range verbs {
		v := &verbs[i]
		if !strings.Contains(help, "\n  "+v.name+" ") {
			t.Errorf("--help does not list %s", v.name)
		}
		if a, b := output(v.name, "--help"), output("help", v.name); a != b || !strings.HasPrefix(a, "Usage: ext2fuse "+v.name) {
			t.Errorf("%s --help: %q, help %s: %q", v.name, a, v.name, b)
		}
		if !strings.Contains(manual, ".SS ext2fuse "+v.name+" ") {
			t.Errorf("the manual does not describe %s", v.name)
		}
	}
}

// A period is the end of a sentence where it ends a word.
func TestFirstSentence(t *testing.T) {
	for doc, want := range map[string]string{
		"one":                              "one",
		"one.":                             "one",
		"one. Two. Three":                  "one",
		"names but . and .., sorted. More": "names but . and .., sorted",
		"all but .. and . of it":           "all but .. and . of it",
		"print ext2fuse(8). To read it":    "print ext2fuse(8)",
	} {
		if got := firstSentence(doc); got != want {
			t.Errorf("%q: %q, want %q", doc, got, want)
		}
	}
	if got := firstSentence(lsVerb.doc); got != "list directories of an image, without . and .., sorted" {
		t.Errorf("ls: %q", got)
	}
}
