//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// info --files tells of a damaged image what can be told, and the damage.
func TestInfoFilesOfDamaged(t *testing.T) {
	img := ext2test.Make(t, ext2test.Options{})
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	ext2test.DebugfsWrite(t, img, "mkdir a", "mkdir a/b", "link a a/b/loop", "write "+file+" a/one", "write "+file+" two")
	var stdout, stderr bytes.Buffer
	code := run([]string{"info", "--files", img}, &stdout, &stderr)
	if want := img + ":/a/b/loop: corrupt directory loop"; code != exitUsage || !strings.Contains(stderr.String(), want) {
		t.Errorf("exit %d, no %q in %q", code, want, stderr.String())
	}
	got := labels(stdout.String())
	if !strings.HasPrefix(got["Files with content"], "2, ") || !strings.HasPrefix(got["Not counted"], "1 place") || got["Free runs"] == "" {
		t.Errorf("got\n%s", stdout.String())
	}
	stdout.Reset()
	code = run([]string{"info", "--files", "--json", img}, &stdout, &stderr)
	var j imageInfo
	if err := json.Unmarshal(stdout.Bytes(), &j); err != nil || code != exitUsage || j.Files == nil || j.Files.Files != 2 || j.Files.Unread != 1 {
		t.Errorf("exit %d, %v, %s", code, err, stdout.String())
	}
}
