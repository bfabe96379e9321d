//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// effect shows that a word does what the table says.
type effect func(t *testing.T)

// effects are all words that have one, and what shows it. Where two words contradict each
// other one function shows both.
var effects = map[string]effect{
	"offset": effectWhere, "sizelimit": effectWhere, "part": effectWhere, "sb": effectSuperblock,

	"ro": TestReadOnlyWritesNothing, "rw": effectReadWrite, "noload": effectNoLoad, "norecovery": effectNoLoad,
	"user_xattr": effectUserXattr, "nouser_xattr": effectUserXattr, "acl": effectACL, "noacl": effectACL,
	"bsddf": effectDF, "minixdf": effectDF, "nouid32": effectNoUID32,

	"errors": effectErrors, "grpid": effectGroup, "bsdgroups": effectGroup, "nogrpid": effectGroup, "sysvgroups": effectGroup,
	"resuid": effectReserved, "resgid": effectReserved, "commit": effectCommit, "nojournal": effectNoJournal,
	"barrier": effectBarrier, "nobarrier": effectBarrier, "discard": effectDiscard, "nodiscard": effectDiscard,
	"orlov": effectAllocation, "oldalloc": effectAllocation, "reservation": effectAllocation, "noreservation": effectAllocation,

	"allow_other": effectOthers, "allow_root": effectOthers, "uid": effectOwner, "gid": effectOwner, "fakeroot": effectFakeRoot, "fsname": effectNames, "subtype": effectNames,
	"debug": TestDebug, "trace": effectBarrier,

	"cache_size": effectCache, "readahead": effectReadAhead, "max_read": effectTable, "direct": effectDirect,
	"writeback_cache": effectWriteBack, "nowriteback_cache": effectWriteBack,

	"suid": effectTable, "nosuid": effectTable, "dev": effectTable, "nodev": effectTable, "exec": effectTable, "noexec": effectTable,
	"atime": effectTable, "noatime": effectTable, "relatime": effectTable, "norelatime": effectTable, "strictatime": effectTable,
	"nostrictatime": effectTable, "diratime": effectTable, "nodiratime": effectTable, "lazytime": effectTable, "nolazytime": effectTable,
	"sync": effectSync, "async": effectSync, "dirsync": effectTable,
	"user": effectTable, "users": effectTable, "owner": effectTable, "group": effectTable,

	"check": effectAccepted, // the rest of what is accepted has nothing to do
}

// Every word that is carried out has a test that shows its effect.
func TestWordsHaveEffects(t *testing.T) {
	ext2test.NeedFUSE(t)
	needRoot(t)
	run := map[string]bool{}
	for w := range allWords {
		show, ok := effects[w.name]
		if want := w.apply != nil && !w.isRefused(); ok != want {
			t.Errorf("%s: an effect is shown: %v, there is one: %v", w.name, ok, want)
		}
		name := fmt.Sprintf("%p", show)
		if show == nil || run[name] {
			continue
		}
		run[name] = true
		t.Run(w.name, show)
	}
}

// mounted mounts an image with words, has fn use the mount, and unmounts it.
func mounted(t *testing.T, img, words string, fn func(dir string)) {
	t.Helper()
	dir := mountPoint(t)
	if code, stderr := finish(t, command(t, img, dir, "-o", words)); code != exitOK {
		t.Fatalf("-o %s: exit %d: %s", words, code, stderr)
	}
	pid := daemonOf(t, dir)
	fn(dir)
	unmount(t, dir)
	eventually(t, "the daemon ends", func() bool { return ended(pid) })
}

// tableLine is what the mount table says of a mount point, from the source on.
func tableLine(t *testing.T, dir string) string {
	t.Helper()
	table, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(table), "\n") {
		if strings.Contains(line, " "+dir+" ") {
			return line
		}
	}
	return ""
}

// tableWords are the options that the mount table has of a mount point.
func tableWords(t *testing.T, dir string) []string {
	t.Helper()
	return strings.Split(strings.Fields(tableLine(t, dir))[3], ",")
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func effectWhere(t *testing.T) {
	disk := partitioned(t)
	for _, words := range []string{"part=1", "offset=1m", "offset=0x100000,sizelimit=16m"} {
		mounted(t, disk, words, func(dir string) {
			if _, err := os.Stat(filepath.Join(dir, "here")); err != nil {
				t.Errorf("%s: %v", words, err)
			}
		})
	}
	code, stderr := finish(t, command(t, disk, mountPoint(t), "-o", "offset=1m,sizelimit=4m"))
	if code != exitMount || !strings.Contains(stderr, "s_blocks_count") {
		t.Errorf("a part that is too small: exit %d, %q", code, stderr)
	}
}

func effectSuperblock(t *testing.T) {
	img := ext2test.Make(t, ext2test.Options{})
	f, err := os.OpenFile(img, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt(make([]byte, 1024), 1024)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	code, stderr := finish(t, command(t, img, mountPoint(t), "-o", "ro"))
	if code != exitMount || !strings.Contains(stderr, "try -o sb=8193") {
		t.Errorf("without: exit %d, %q", code, stderr)
	}
	mounted(t, img, "ro,sb=8193", func(dir string) {
		if _, err := os.Stat(filepath.Join(dir, "lost+found")); err != nil {
			t.Error(err)
		}
	})
}

func effectReadWrite(t *testing.T) {
	img := ext2test.Make(t, ext2test.Options{})
	mounted(t, img, "ro,rw", func(dir string) { writeFile(t, filepath.Join(dir, "a"), "x") })
	ext2test.Fsck(t, img)
}

func effectNoLoad(t *testing.T) {
	raw := filepath.Join(t.TempDir(), "raw")
	writeFile(t, raw, strings.Repeat("new!", 256))
	root := t.TempDir()
	writeFile(t, filepath.Join(root, "hello"), strings.Repeat("old.", 256))
	img := ext2test.Make(t, ext2test.Options{Type: "ext3", Root: root})
	_, block, _ := strings.Cut(ext2test.Debugfs(t, img, "blocks /hello"), "blocks /hello\n")
	ext2test.DebugfsWrite(t, img, "journal_open", "journal_write -b "+strings.TrimSpace(block)+" "+raw, "journal_close")
	before := hashOf(t, img)
	for _, words := range []string{"ro,noload", "ro,norecovery", "ro"} {
		want := map[bool]string{true: "new!", false: "old."}[words == "ro"]
		mounted(t, img, words, func(dir string) {
			if b, err := os.ReadFile(filepath.Join(dir, "hello")); err != nil || !bytes.HasPrefix(b, []byte(want)) {
				t.Errorf("%s: %.8q, %v; want %s", words, b, err, want)
			}
		})
		if changed := hashOf(t, img) != before; changed != (words == "ro") {
			t.Errorf("%s: the image changed: %v", words, changed)
		}
	}
}

func effectUserXattr(t *testing.T) {
	img := ext2test.Make(t, ext2test.Options{})
	for words, want := range map[string]error{"user_xattr": nil, "nouser_xattr": unix.EOPNOTSUPP, "nouser_xattr,user_xattr": nil} {
		mounted(t, img, words, func(dir string) {
			if err := unix.Setxattr(filepath.Join(dir, "lost+found"), "user.a", []byte("b"), 0); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", words, err, want)
			}
		})
	}
}

func effectACL(t *testing.T) {
	img := ext2test.Make(t, ext2test.Options{})
	acl := ext2test.ACL(ext2test.ACLEntry{Tag: ext2test.ACLUserObj, Perm: 7}, ext2test.ACLEntry{Tag: ext2test.ACLUser, Perm: 4, ID: 1000},
		ext2test.ACLEntry{Tag: ext2test.ACLGroupObj, Perm: 5}, ext2test.ACLEntry{Tag: ext2test.ACLMask, Perm: 7}, ext2test.ACLEntry{Tag: ext2test.ACLOther})
	for words, want := range map[string]error{"acl": nil, "noacl": unix.EOPNOTSUPP, "noacl,acl": nil} {
		mounted(t, img, words, func(dir string) {
			if err := unix.Setxattr(filepath.Join(dir, "lost+found"), "system.posix_acl_access", acl, 0); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", words, err, want)
			}
		})
	}
}

func effectDF(t *testing.T) {
	img := ext2test.Make(t, ext2test.Options{})
	blocks := func(words string) (n uint64) {
		mounted(t, img, words, func(dir string) {
			var st unix.Statfs_t
			if err := unix.Statfs(dir, &st); err != nil {
				t.Fatal(err)
			}
			n = st.Blocks
		})
		return n
	}
	if minix, bsd := blocks("minixdf"), blocks("minixdf,bsddf"); minix != 16384 || bsd >= minix {
		t.Errorf("%d blocks with minixdf, %d with bsddf, there are 16384", minix, bsd)
	}
}

func effectNoUID32(t *testing.T) {
	img := ext2test.Make(t, ext2test.Options{})
	ext2test.DebugfsWrite(t, img, "mkdir d", "set_inode_field d uid 70000")
	for words, want := range map[string]uint32{"ro": 70000, "ro,nouid32": 70000 & 0xFFFF} {
		mounted(t, img, words, func(dir string) {
			if got := statOf(t, filepath.Join(dir, "d")).Uid; got != want {
				t.Errorf("%s: owner %d, want %d", words, got, want)
			}
		})
	}
}

func effectOthers(t *testing.T) {
	img := ext2test.Make(t, ext2test.Options{})
	for words, want := range map[string]bool{"ro": true, "ro,allow_root": false, "ro,allow_root,allow_other": true} {
		mounted(t, img, words, func(dir string) {
			if got := slices.Contains(tableWords(t, dir), "allow_other"); got != want {
				t.Errorf("%s: others may enter: %v", words, got)
			}
		})
	}
}

func effectNames(t *testing.T) {
	img := ext2test.Make(t, ext2test.Options{})
	mounted(t, img, `ro,fsname=my\,disk,subtype=mine`, func(dir string) {
		if got := tableLine(t, dir); !strings.HasPrefix(got, "my,disk "+dir+" fuse.mine ") {
			t.Errorf("the table has %q", got)
		}
	})
}

// effectTable is for words whose effect is the kernel's, and seen in the mount table.
func effectTable(t *testing.T) {
	img := ext2test.Make(t, ext2test.Options{})
	for words, want := range map[string]string{ // what must be there, or not with a "-"
		"defaults":                  "rw -nosuid -nodev -noexec -noatime -sync -dirsync relatime",
		"nosuid,nodev,noexec":       "nosuid nodev noexec",
		"user,suid,dev,exec":        "-nosuid -nodev -noexec",
		"user":                      "nosuid nodev noexec",
		"users":                     "nosuid nodev noexec",
		"owner":                     "nosuid nodev -noexec",
		"group":                     "nosuid nodev -noexec",
		"noatime":                   "noatime -relatime",
		"noatime,atime":             "-noatime",
		"noatime,relatime":          "relatime -noatime",
		"strictatime":               "-relatime -noatime",
		"strictatime,nostrictatime": "relatime",
		"relatime,norelatime":       "-noatime",
		"nodiratime":                "nodiratime",
		"nodiratime,diratime":       "-nodiratime",
		"lazytime":                  "lazytime",
		"lazytime,nolazytime":       "-lazytime",
		"dirsync":                   "dirsync",
		"max_read=64k":              "max_read=65536",
	} {
		mounted(t, img, words, func(dir string) {
			list := tableWords(t, dir)
			for _, w := range strings.Fields(want) {
				name, not := strings.CutPrefix(w, "-")
				if slices.Contains(list, name) == not {
					t.Errorf("-o %s: the table has %q, want %q", words, list, w)
				}
			}
		})
	}
}

func effectReadAhead(t *testing.T) {
	img := ext2test.Make(t, ext2test.Options{})
	mounted(t, img, "ro,readahead=512k", func(dir string) {
		st := statOf(t, dir)
		b, err := os.ReadFile(fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", unix.Major(uint64(st.Dev)), unix.Minor(uint64(st.Dev))))
		if err != nil || strings.TrimSpace(string(b)) != "512" {
			t.Errorf("the kernel reads %q KiB ahead (%v)", b, err)
		}
	})
}

// effectDirect looks at the flags of the daemon's file.
func effectDirect(t *testing.T) {
	img := ext2test.Make(t, ext2test.Options{BlockSize: 4096})
	for words, want := range map[string]bool{"ro": false, "ro,direct": true} {
		dir := mountPoint(t)
		code, stderr := finish(t, command(t, img, dir, "-o", words))
		if code != exitOK {
			if strings.Contains(stderr, "O_DIRECT") {
				t.Skipf("this file system has no direct I/O: %s", stderr)
			}
			t.Fatalf("exit %d: %s", code, stderr)
		}
		pid, direct := daemonOf(t, dir), false
		links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range links {
			if target, _ := os.Readlink(l); target == img {
				info, _ := os.ReadFile(strings.Replace(l, "/fd/", "/fdinfo/", 1))
				var pos int64
				var flags int
				if _, err := fmt.Sscanf(string(info), "pos:\t%d\nflags:\t%o", &pos, &flags); err != nil {
					t.Error(err)
				}
				direct = direct || flags&unix.O_DIRECT != 0
			}
		}
		if direct != want {
			t.Errorf("%s: the image is open with O_DIRECT: %v", words, direct)
		}
		unmount(t, dir)
		eventually(t, "the daemon ends", func() bool { return ended(pid) })
	}
}

// effectAccepted: what is accepted lets the mount be as without it.
func effectAccepted(t *testing.T) {
	var list []string
	for w := range allWords {
		if w.apply == nil || w.name == "check" {
			text := w.name
			if w.needsValue() {
				text += "=none"
			}
			list = append(list, text)
		}
	}
	mounted(t, ext2test.Make(t, ext2test.Options{}), "ro,x-a.b=c,"+strings.Join(list, ","), func(dir string) {
		if out, err := exec.Command("ls", dir).Output(); err != nil || string(out) != "lost+found\n" {
			t.Errorf("%q, %v", out, err)
		}
	})
}
