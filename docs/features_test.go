//go:build linux

package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// features are the features that docs/COMPATIBILITY.md has in its table, and what is done with them.
func features(t *testing.T) map[string]string {
	t.Helper()
	_, section, _ := strings.Cut(read(t, "docs/COMPATIBILITY.md"), "\n| Features | |\n|---|---|\n")
	section, _, _ = strings.Cut(section, "\n\n")
	all := map[string]string{}
	for row := range strings.Lines(section) {
		names, what, _ := strings.Cut(strings.Trim(row, "| \n"), " | ")
		for _, m := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(names, -1) {
			all[m[1]] = what
		}
	}
	if len(all) < 20 {
		t.Fatalf("only %v", all)
	}
	return all
}

// TestFeatures holds the table against the program: mke2fs makes an image with each feature,
// which is listed, and written to.
func TestFeatures(t *testing.T) {
	ext2fuse, note := program(t), filepath.Join(t.TempDir(), "note")
	if err := os.WriteFile(note, []byte("written\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, what := range features(t) {
		img := filepath.Join(t.TempDir(), "disk.img")
		mke2fs := func(options string) ([]byte, error) {
			return exec.Command("mke2fs", "-q", "-F", "-t", "ext2", "-O", options, img, "16M").CombinedOutput()
		}
		// Some are nothing without another, or with one that mke2fs gives by itself.
		var made []byte
		for _, options := range []string{name, name + ",extent", name + ",^resize_inode"} {
			out, err := mke2fs(options)
			if made = out; err == nil {
				made = nil
				break
			}
		}
		if made != nil {
			t.Errorf("%s: mke2fs: %s", name, made)
			continue
		}
		reads := exec.Command(ext2fuse, "ls", img).Run() == nil
		out, err := exec.Command(ext2fuse, "cp", note, img+":/").CombinedOutput()
		if reads == strings.HasPrefix(what, "refused") || (err == nil) != (what == "read and written") {
			t.Errorf("%s: reads %t, writes %t (%s), but the table has %q", name, reads, err == nil, out, what)
		}
		if err != nil && !strings.Contains(string(out), name) {
			t.Errorf("%s: the refusal does not name it: %s", name, out)
		}
		run(t, ".", "e2fsck", "-f", "-n", img)
	}
}
