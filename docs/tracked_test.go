//go:build linux

package docs

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What was built into the tree, or is large, does not stay in git by accident; without git
// nothing is said.
func TestTrackedFiles(t *testing.T) {
	script, err := filepath.Abs("../scripts/tracked.sh")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	in := func(name string, args ...string) (string, error) {
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir))
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for name, content := range map[string][]byte{
		"script": []byte("#!/bin/sh\n"), "large": make([]byte, 1<<20), "larger": make([]byte, 1<<20+1), "empty": nil, "told": []byte("of \x7fELF\n"),
		"a b/-x": append([]byte("\x7fELF\x02\x01\x01\x00"), bytes.Repeat([]byte{0}, 100)...), "not in git": make([]byte, 2<<20),
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("not in git", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if out, err := in(script); err != nil || out != "" {
		t.Errorf("without git: %v: %s", err, out)
	}
	for _, args := range [][]string{{"init", "-q"}, {"add", "script", "large", "larger", "empty", "told", "a b", "link"}} {
		if out, err := in("git", args...); err != nil {
			t.Fatalf("git %s: %v: %s", args, err, out)
		}
	}
	want := "a b/-x: a built program is tracked by git; take it out: git rm --cached a\\ b/-x\n" +
		"larger: a file of more than 1 MiB is tracked by git; take it out: git rm --cached larger\n"
	if out, err := in(script); err == nil || out != want {
		t.Errorf("%v, got\n%swant\n%s", err, out, want)
	}
	if out, err := in("git", "rm", "-q", "--cached", "a b/-x", "larger"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := in(script); err != nil || out != "" {
		t.Errorf("when they are taken out: %v: %s", err, out)
	}
	lint, err := os.ReadFile("../scripts/lint.sh")
	if err != nil || !strings.Contains(string(lint), "\nrun tracked scripts/tracked.sh\n") {
		t.Errorf("lint does not look: %v", err)
	}
}
