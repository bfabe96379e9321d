//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// syncDir makes what was done durable.
func syncDir(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		t.Error(err)
	}
}

// effectErrors lists a directory that is damaged, and writes afterwards.
func effectErrors(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "bad"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, policy := range []string{"continue", "remount-ro", "panic"} {
		img := ext2test.Make(t, ext2test.Options{Root: root})
		ext2test.DebugfsWrite(t, img, "set_inode_field bad block[0] 3")
		dir := mountPoint(t)
		if code, stderr := finish(t, command(t, img, dir, "-o", "errors="+policy)); code != exitOK {
			t.Fatalf("exit %d: %s", code, stderr)
		}
		pid := daemonOf(t, dir)
		if _, err := os.ReadDir(filepath.Join(dir, "bad")); err == nil {
			t.Error("the damage was not noticed")
		}
		if policy == "panic" {
			eventually(t, "the daemon ends", func() bool { return ended(pid) })
			mounted(t, img, "ro", func(string) {}) // the note may still stand in the journal
		} else {
			err := os.WriteFile(filepath.Join(dir, "a"), nil, 0o644)
			if want := map[string]error{"continue": nil, "remount-ro": unix.EROFS}[policy]; !errors.Is(err, want) {
				t.Errorf("errors=%s: writing gives %v, want %v", policy, err, want)
			}
			unmount(t, dir)
			eventually(t, "the daemon ends", func() bool { return ended(pid) })
		}
		if state := labels(output(t, "info", img))["Filesystem state"]; !strings.Contains(state, "with errors") {
			t.Errorf("errors=%s: the state is %q", policy, state)
		}
	}
}

func effectGroup(t *testing.T) {
	img := ext2test.Make(t, ext2test.Options{})
	ext2test.DebugfsWrite(t, img, "mkdir d", "set_inode_field d gid 1234")
	for i, words := range []string{"grpid", "bsdgroups", "grpid,nogrpid", "bsdgroups,sysvgroups"} {
		want := uint32(1234)
		if i > 1 {
			want = 0
		}
		mounted(t, img, words, func(dir string) {
			path := filepath.Join(dir, "d", fmt.Sprint(i))
			writeFile(t, path, "")
			if got := statOf(t, path).Gid; got != want {
				t.Errorf("%s: group %d, want %d", words, got, want)
			}
		})
	}
	ext2test.Fsck(t, img)
}

// effectReserved writes more than is not reserved, as a plain user.
func effectReserved(t *testing.T) {
	img := ext2test.Make(t, ext2test.Options{Args: []string{"-m", "50"}})
	for words, want := range map[string]bool{"rw": false, fmt.Sprint("resuid=", nobody): true, fmt.Sprint("resgid=", nobody): true} {
		mounted(t, img, words, func(dir string) {
			file := filepath.Join(dir, "f")
			f, err := os.Create(file)
			if err != nil {
				t.Fatal(err)
			}
			cmd := asNobody(exec.Command("dd", "if=/dev/zero", "bs=1M", "count=10"))
			cmd.Stdout = f
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			err = cmd.Run()
			f.Close()
			if (err == nil) != want || !want && !strings.Contains(stderr.String(), "No space left") {
				t.Errorf("%s: %v: %s", words, err, stderr.String())
			}
			if err := os.Remove(file); err != nil {
				t.Error(err)
			}
		})
	}
}

// traced mounts with a trace and gives it as far as it is after fn.
func traced(t *testing.T, words string, fn func(dir, trace string)) {
	t.Helper()
	trace := filepath.Join(t.TempDir(), "trace")
	img := ext2test.Make(t, ext2test.Options{})
	mounted(t, img, words+",trace="+trace, func(dir string) { fn(dir, trace) })
	ext2test.Fsck(t, img)
}

// actions counts the lines of a trace that carry out an action.
func actions(t *testing.T, trace, action string) int {
	t.Helper()
	b, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(b), " "+action+" ")
}

// flushes counts what of a trace waits for the disk: syncs of everything, and durable writes.
func flushes(t *testing.T, trace string) int {
	t.Helper()
	b, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(b), " datasync ") + strings.Count(string(b), " durable\n")
}

// effectCommit: with nobody asking the device is synced after the time given.
func effectCommit(t *testing.T) {
	traced(t, "commit=1", func(dir, trace string) {
		before := flushes(t, trace)
		writeFile(t, filepath.Join(dir, "a"), "x")
		eventually(t, "a sync", func() bool { return flushes(t, trace) > before })
	})
}

// effectNoJournal: the file system has no journal while it is mounted.
func effectNoJournal(t *testing.T) {
	img := ext2test.Make(t, ext2test.Options{Size: 64 << 20})
	mounted(t, img, "nojournal", func(dir string) {
		writeFile(t, filepath.Join(dir, "a"), "x")
		syncDir(t, dir)
		if out := ext2test.Debugfs(t, img, "features"); strings.Contains(out, "has_journal") {
			t.Errorf("features: %s", out)
		}
	})
	ext2test.Fsck(t, img)
}

func effectBarrier(t *testing.T) {
	for words, want := range map[string]bool{"rw": true, "barrier": true, "barrier=1": true, "nobarrier": false, "barrier=0": false, "nobarrier,barrier": true} {
		traced(t, words, func(dir, trace string) {
			before := flushes(t, trace)
			f, err := os.Create(filepath.Join(dir, "a"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteString("x"); err != nil {
				t.Error(err)
			}
			if err := f.Sync(); err != nil {
				t.Error(err)
			}
			f.Close()
			if got := flushes(t, trace) > before; got != want {
				t.Errorf("%s: fsync syncs the device: %v", words, got)
			}
		})
	}
}

func effectDiscard(t *testing.T) {
	for words, want := range map[string]bool{"rw": false, "discard": true, "discard,nodiscard": false} {
		traced(t, words, func(dir, trace string) {
			path := filepath.Join(dir, "a")
			writeFile(t, path, strings.Repeat("x", 1<<20))
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			syncDir(t, dir)
			if want { // some time after the kernel has forgotten the file
				eventually(t, "a discard", func() bool { return actions(t, trace, "trim") > 0 })
			} else if n := actions(t, trace, "trim"); n > 0 {
				t.Errorf("%s: %d discards", words, n)
			}
		})
	}
}

// effectAllocation: the words arrive where fs/ext2's own tests show what they do.
func effectAllocation(t *testing.T) {
	for words, want := range map[string][2]bool{"rw": {}, "oldalloc": {true, false}, "noreservation": {false, true},
		"oldalloc,noreservation,orlov,reservation": {}} {
		c := parse(t, "-o", words)
		c.writeOptions()
		if got := [2]bool{c.fs.OldAlloc, c.fs.NoReservation}; got != want {
			t.Errorf("%s: %v, want %v", words, got, want)
		}
	}
}

// effectCache: the size arrives where package cache's own tests show that it is kept.
func effectCache(t *testing.T) {
	if c := parse(t, "-o", "cache_size=3m"); c.fs.CacheBytes != 3<<20 {
		t.Errorf("%d bytes", c.fs.CacheBytes)
	}
}

// effectSync: a change is on the disk when the call has returned.
func effectSync(t *testing.T) {
	for words, want := range map[string]bool{"sync": true, "sync,async": false} {
		traced(t, words, func(dir, trace string) {
			before := flushes(t, trace)
			if err := os.Mkdir(filepath.Join(dir, "a"), 0o755); err != nil {
				t.Fatal(err)
			}
			if got := flushes(t, trace) > before; got != want {
				t.Errorf("%s: mkdir syncs the device: %v", words, got)
			}
		})
	}
}

// effectWriteBack: the connection's first message tells.
func effectWriteBack(t *testing.T) {
	for words, want := range map[string]bool{"rw": false, "writeback_cache": true, "writeback_cache,nowriteback_cache": false} {
		dir := mountPoint(t)
		log := filepath.Join(t.TempDir(), "log")
		f, err := os.Create(log)
		if err != nil {
			t.Fatal(err)
		}
		cmd := command(t, "-d", ext2test.Make(t, ext2test.Options{}), dir, "-o", words)
		cmd.Stderr = f
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		f.Close()
		eventually(t, "mount", func() bool { return isMounted(dir) })
		if _, err := os.Stat(filepath.Join(dir, "lost+found")); err != nil {
			t.Error(err)
		}
		unmount(t, dir)
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		text, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		_, answer, _ := strings.Cut(string(text), "tx 2:")
		answer, _, _ = strings.Cut(answer, "\n")
		if got := strings.Contains(answer, "WRITEBACK"); got != want {
			t.Errorf("%s: the kernel collects writes: %v (%s)", words, got, answer)
		}
	}
}
