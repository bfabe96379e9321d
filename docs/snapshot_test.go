//go:build linux

// Package docs has the tests of what is written for people: the commands in it are run,
// and the names in it must be there.
package docs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// root is the top of the source tree, where the documents' paths begin.
const root = ".."

// tracked are the files of the source tree, by their paths from its top; what is new and
// not ignored is among them. Git alone knows them: without it the test is skipped.
func tracked(t *testing.T) []string {
	t.Helper()
	if _, err := os.Lstat(filepath.Join(root, ".git")); errors.Is(err, fs.ErrNotExist) {
		t.Skip("this tree is no git checkout, so that nobody knows which files belong to it")
	}
	files, err := listed()
	if err != nil {
		t.Fatal(err)
	}
	return files
}

var listed = sync.OnceValues(func() (files []string, err error) {
	// The tree may be another user's.
	cmd := exec.Command("git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%v: %w", cmd, err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if _, err := os.Lstat(filepath.Join(root, name)); err == nil { // not removed
			files = append(files, name)
		}
	}
	return files, nil
})

// documents are the texts for people.
func documents(t *testing.T) (names []string) {
	t.Helper()
	for _, name := range tracked(t) {
		if strings.HasSuffix(name, ".md") {
			names = append(names, name)
		}
	}
	if len(names) < 8 {
		t.Fatalf("only %q", names)
	}
	return names
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// snapshot makes a repository of the source tree as it is, for somebody to clone.
func snapshot(t *testing.T, dir string) {
	t.Helper()
	for _, name := range tracked(t) {
		to := filepath.Join(dir, name)
		info, err := os.Stat(filepath.Join(root, name))
		if err == nil {
			err = os.MkdirAll(filepath.Dir(to), 0o755)
		}
		if err == nil {
			err = os.WriteFile(to, []byte(read(t, name)), info.Mode())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	run(t, dir, "git", "init", "-q", "-b", "main")
	run(t, dir, "git", "add", "-A")
	run(t, dir, "git", "-c", "user.name=docs", "-c", "user.email=docs@localhost", "commit", "-q", "-m", "snapshot")
}

// run runs a command that must succeed, and returns its standard output.
func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, stderr.Bytes())
	}
	return string(out)
}

var built sync.Once

// program is ext2fuse as the Makefile builds it.
func program(t *testing.T) string {
	t.Helper()
	built.Do(func() { run(t, root, "make", "-s", "build") })
	abs, err := filepath.Abs(filepath.Join(root, "bin/ext2fuse"))
	if err != nil {
		t.Fatal(err)
	}
	return abs
}
