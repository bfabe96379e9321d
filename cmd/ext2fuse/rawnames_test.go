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

// JSON has names that are not UTF-8 once more, in base64, and only those.
func TestRawNames(t *testing.T) {
	ext2test.NeedFUSE(t)
	dir := t.TempDir()
	img, mnt := filepath.Join(dir, "disk\xff.img"), filepath.Join(dir, "mnt\xfe")
	copyFile(t, ext2test.Make(t, ext2test.Options{Args: []string{"-L", "lab\xfdl", "-M", "/last\xfc"}}), img, 0o600)
	tree := filepath.Join(dir, "tree")
	for _, name := range []string{tree, mnt} {
		if err := os.Mkdir(name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, filepath.Join(tree, "plain ü"), "x")
	writeFile(t, filepath.Join(tree, "file\xff\xfe"), "x")
	if err := os.Symlink("to\xff", filepath.Join(tree, "link")); err != nil {
		t.Fatal(err)
	}
	output(t, "cp", "-r", tree+"/.", img+":/")

	var node treeNode
	unmarshal(t, output(t, "tree", "--json", img), &node)
	var got []string
	for _, n := range node.Children {
		got = append(got, n.Name+"="+string(n.Bytes), n.Target+"="+string(n.Leads))
	}
	if want := "file\ufffd\ufffd=file\xff\xfe = link= to\ufffd=to\xff lost+found= = plain ü= ="; strings.Join(got, " ") != want {
		t.Errorf("tree: %q, want %q", strings.Join(got, " "), want)
	}
	var m fileMap
	unmarshal(t, output(t, "map", "--json", img, "file\xff\xfe"), &m)
	if string(m.PathRaw) != "/file\xff\xfe" || string(m.ImageRaw) != img {
		t.Errorf("map: %q of %q", m.PathRaw, m.ImageRaw)
	}
	var info imageInfo
	unmarshal(t, output(t, "info", "--json", img), &info)
	if s := info.Superblock; string(info.ImageRaw) != img || string(s.LabelRaw) != "lab\xfdl" || string(s.LastMountedRaw) != "/last\xfc" {
		t.Errorf("info: %q, %q, %q", info.ImageRaw, s.LabelRaw, s.LastMountedRaw)
	}
	if code, stderr := finish(t, command(t, img, mnt)); code != exitOK {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	if s := statsOf(t, mnt); string(s.ImageBytes) != img || string(s.MountPointBytes) != mnt {
		t.Errorf("stats: %q on %q", s.ImageBytes, s.MountPointBytes)
	}
	output(t, "umount", mnt)
	if svg := output(t, "map", "--svg", img, "file\xff\xfe"); !strings.Contains(svg, `/file\377\376: `) {
		t.Errorf("the picture has no name in octal:\n%.600s", svg)
	}
}

func unmarshal(t *testing.T, text string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
}

// No name reaches the terminal as a command, wherever it comes from.
func TestControlCharacters(t *testing.T) {
	const evil, shown = "evil\x1b[31m", `evil\033[31m`
	dir := t.TempDir()
	img := filepath.Join(dir, evil+".img")
	copyFile(t, ext2test.Make(t, ext2test.Options{}), img, 0o600)
	ext2test.DebugfsWrite(t, img, "set_super_value last_mounted /"+evil)
	file := filepath.Join(dir, evil)
	writeFile(t, file, "x")
	ext2test.DebugfsWrite(t, img, "mkdir "+evil, "mkdir "+evil+"/b", "link "+evil+" "+evil+"/b/loop")
	for _, args := range [][]string{
		{"cp", "-v", file, img + ":/file" + evil},
		{"map", img, "file" + evil},
		{"info", img},
		{"tree", img},
		{"cat", img, evil + "none"},
		{"info", "-o", "part=1", img},
		{"umount", filepath.Join(dir, evil)},
	} {
		var stdout, stderr bytes.Buffer
		run(args, &stdout, &stderr)
		if text := stdout.String() + stderr.String(); strings.Contains(text, "\x1b") || !strings.Contains(text, shown) {
			t.Errorf("%q: %q", args, text)
		}
	}
	if _, text := finish(t, command(t, "no-image"+evil, dir)); strings.Contains(text, "\x1b") || !strings.Contains(text, shown) {
		t.Errorf("a mount: %q", text)
	}
	var stdout bytes.Buffer
	info := imageInfo{Image: img, Partitions: []partitionInfo{{Number: 1, Table: "gpt", Type: evil, Name: evil}}}
	info.print(&call{stdout: &stdout})
	if text := stdout.String(); strings.Contains(text, "\x1b") || strings.Count(text, shown) != 3 {
		t.Errorf("a partition table: %q", text)
	}
}
