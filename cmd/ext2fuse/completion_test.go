//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// completionFile puts the completions for a shell into a file.
func completionFile(t *testing.T, shell string) string {
	t.Helper()
	text, err := completions(shell)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "ext2fuse."+shell)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func needShell(t *testing.T, shell string) {
	t.Helper()
	if _, err := exec.LookPath(shell); err != nil {
		t.Skipf("needs %s; scripts/setup.sh installs it", shell)
	}
}

// What bash offers behind what was typed. In the last case the shell breaks words at
// "=", as it does unless told otherwise.
func TestCompletionBash(t *testing.T) {
	needShell(t, "bash")
	script := completionFile(t, "bash")
	for _, tt := range []struct {
		typed string
		want  []string // among others
		not   string   // not among them
	}{
		{"ext2fuse inf", []string{"info"}, "ls"},
		{"ext2fuse --fore", []string{"--foreground"}, "--debug"},
		{"ext2fuse -o off", []string{"offset="}, "ro"},
		{"ext2fuse -o ro,wri", []string{"ro,writeback_cache"}, "ro,rw"},
		{"ext2fuse disk.img mnt -o ", []string{"ro", "errors=", "x-"}[:2], "usrquota"},
		{"ext2fuse info -o pa", []string{"part="}, ""},
		{"ext2fuse completion ", []string{"bash", "fish", "zsh"}, "info"},
		{"ext2fuse help t", []string{"tree"}, "info"},
		{"ext2fuse -o ro,errors=", []string{"continue", "panic", "remount-ro"}, "ro"},
	} {
		out, err := exec.Command("bash", "--norc", "-c", `
			source "$1"
			COMP_LINE=$2 COMP_POINT=${#2}
			_ext2fuse 2>&1
			printf '%s\n' "${COMPREPLY[@]}"`, "bash", script, tt.typed).CombinedOutput()
		got := strings.Fields(string(out))
		for _, w := range tt.want {
			if err != nil || !slices.Contains(got, w) {
				t.Errorf("%q: %v, no %q among %q", tt.typed, err, w, got)
			}
		}
		if slices.Contains(got, tt.not) {
			t.Errorf("%q: %q is offered", tt.typed, tt.not)
		}
	}
}

// zsh reads its completions without complaint.
func TestCompletionZsh(t *testing.T) {
	needShell(t, "zsh")
	script := completionFile(t, "zsh")
	if out, err := exec.Command("zsh", "-f", "-n", script).CombinedOutput(); err != nil || len(out) != 0 {
		t.Errorf("%v: %s", err, out)
	}
	out, err := exec.Command("zsh", "-f", "-c", fmt.Sprintf(`
		_describe() { print -l ${(P)4} }
		_arguments() { print -l "$@" }
		_files() { }
		compadd() { print -l ${(P)4} }
		compset() { }
		words=(ext2fuse '') CURRENT=2 PREFIX=''
		source %s
		PREFIX=errors=
		_ext2fuse_words
		PREFIX=
		_ext2fuse_words`, script)).CombinedOutput()
	for _, want := range []string{"info:", "remount-ro", "offset="} {
		if err != nil || !bytes.Contains(out, []byte(want)) {
			t.Errorf("%v: no %q in\n%s", err, want, out)
		}
	}
}

// What fish offers behind what was typed.
func TestCompletionFish(t *testing.T) {
	needShell(t, "fish")
	script := completionFile(t, "fish")
	for typed, want := range map[string]string{
		"ext2fuse inf":          "info",
		"ext2fuse -o ro,off":    "ro,offset=",
		"ext2fuse -o errors=re": "errors=remount-ro",
		"ext2fuse completion z": "zsh",
		"ext2fuse ls --":        "--long",
	} {
		cmd := exec.Command("fish", "--no-config", "-c", fmt.Sprintf("source %s; complete -C '%s'", script, typed))
		cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains("\n"+string(out), "\n"+want) {
			t.Errorf("%q: %v, no %q in\n%s", typed, err, want, out)
		}
	}
}

func TestCompletionUnknown(t *testing.T) {
	if _, err := completions("tcsh"); err == nil || !strings.Contains(err.Error(), "bash, zsh and fish") {
		t.Errorf("%v; want the shells that there are", err)
	}
}

// The manual page is one that man(1) formats without a warning.
func TestManualIsGoodRoff(t *testing.T) {
	if _, err := exec.LookPath("groff"); err != nil {
		t.Skip("needs groff; scripts/setup.sh installs it")
	}
	text, err := manualPage()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("groff", "-man", "-Tutf8", "-ww", "-z")
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) != 0 {
		t.Errorf("%v: %s", err, out)
	}
}
