//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// output runs a verb that is to succeed in silence and gives what it printed.
func output(t *testing.T, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if code := run(args, &stdout, &stderr); code != exitOK || stderr.Len() != 0 {
		t.Fatalf("ext2fuse %q: exit %d: %s", args, code, stderr.String())
	}
	return stdout.String()
}

// complaint runs a verb that is to fail and gives what it said.
func complaint(t *testing.T, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if code := run(args, &stdout, &stderr); code != exitUsage || stderr.Len() == 0 {
		t.Errorf("ext2fuse %q: exit %d, %q; want a failure", args, code, stderr.String())
	}
	return stderr.String()
}

// labels reads lines of a label and a value.
func labels(text string) map[string]string {
	m := map[string]string{}
	for _, line := range strings.Split(text, "\n") {
		if label, value, ok := strings.Cut(line, ":"); ok {
			m[label] = strings.TrimSpace(value)
		}
	}
	return m
}

// info tells what dumpe2fs -h tells, in its words.
func TestInfoAgainstDumpe2fs(t *testing.T) {
	// What only the journal's own superblock, or a feature of ext4, has to say.
	left := regexp.MustCompile(`^(Journal (features|length|sequence|start|checksum)|Total journal blocks|Max transaction|Fast commit|Flex|Check(sum|interval)|Lifetime|Journal (UUID|device)|First error|Last error|Group descriptor|.* checksum|MMP|User quota|Encoding)`)
	for name, make := range map[string]func() string{
		"ext2": func() string { return ext2test.Make(t, ext2test.Options{Args: []string{"-L", "a label", "-m", "7"}}) },
		"ext3": func() string {
			return ext2test.Make(t, ext2test.Options{Type: "ext3", BlockSize: 4096, Size: 64 << 20})
		},
		"ext4": func() string {
			return ext2test.Make(t, ext2test.Options{Type: "ext4", BlockSize: 4096, Size: 64 << 20})
		},
		"rev0": func() string { return ext2test.Make(t, ext2test.Options{Revision0: true}) },
		"errors": func() string {
			img := ext2test.Make(t, ext2test.Options{Args: []string{"-e", "remount-ro"}})
			ext2test.DebugfsWrite(t, img, "set_super_value state 2", "set_super_value last_mounted /mnt/x", "set_super_value mtime 20200102030405",
				"set_super_value error_count 3", "set_super_value def_resuid 65534", "set_super_value default_mount_opts 0x2")
			return img
		},
	} {
		t.Run(name, func(t *testing.T) {
			img := make()
			out, err := exec.Command("dumpe2fs", "-h", img).Output()
			if err != nil {
				t.Fatal(err)
			}
			text := output(t, "info", img)
			got := labels(text)
			n := 0
			for label, want := range labels(string(out)) {
				if left.MatchString(label) {
					continue
				}
				n++
				if got[label] != want {
					t.Errorf("%s: got %q, dumpe2fs has %q", label, got[label], want)
				}
			}
			if n < 25 {
				t.Errorf("compared %d lines only", n)
			}
			if why := "Cannot be mounted:"; strings.Contains(text, why) != (name == "ext4") {
				t.Errorf("%q in\n%s", why, text)
			}
			var j imageInfo
			if err := json.Unmarshal([]byte(output(t, "info", "--json", img)), &j); err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(j.Superblock.Blocks) != got["Block count"] || j.Superblock.UUID != got["Filesystem UUID"] {
				t.Errorf("JSON has %+v", j.Superblock)
			}
			if j.Free != nil && fmt.Sprint(j.Free.Blocks) != got["Free blocks"] {
				t.Errorf("%d blocks are free, %s by the superblock", j.Free.Blocks, got["Free blocks"])
			}
		})
	}
}

// partitioned is a disk with an ext2 file system in partition 1 and nothing known in 2.
func partitioned(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	disk, part := filepath.Join(dir, "disk.img"), ext2test.Make(t, ext2test.Options{Size: 16 << 20, Args: []string{"-L", "inner"}})
	ext2test.DebugfsWrite(t, part, "mkdir here")
	ext2test.Truncate(t, disk, 32<<20)
	cmd := exec.Command("sfdisk", "-q", "--no-reread", "--no-tell-kernel", disk)
	cmd.Stdin = strings.NewReader("label: gpt\nstart=2048, size=32768, name=\"root\"\nsize=2048\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sfdisk: %v: %s", err, out)
	}
	from, err := os.ReadFile(part)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(disk, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt(from, 1<<20)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return disk
}

// info shows a partition table; the words that choose a part work with every verb.
func TestVerbsInPartition(t *testing.T) {
	disk := partitioned(t)
	out := output(t, "info", disk)
	for _, want := range []string{"gpt", `ext2 "inner" (root)`, "16 MiB", "-o part=N"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	var j imageInfo
	if err := json.Unmarshal([]byte(output(t, "info", "--json", disk)), &j); err != nil || len(j.Partitions) != 2 || j.Partitions[0].Start != 1<<20 || j.Superblock != nil {
		t.Errorf("%v, %+v", err, j)
	}
	for _, words := range []string{"part=1", "offset=1m", "offset=1048576,sizelimit=16m", "part=1,sb=8193"} {
		if got := labels(output(t, "info", "-o", words, disk))["Filesystem volume name"]; got != "inner" {
			t.Errorf("info -o %s: the label is %q", words, got)
		}
		if got := output(t, "ls", "-o", words, disk); got != "here\nlost+found\n" {
			t.Errorf("ls -o %s: %q", words, got)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	output(t, "cp", "-o", "part=1", file, disk+":/here")
	if got := output(t, "cat", "-o", "part=1", disk+":here/file"); got != "content" {
		t.Errorf("cat: %q", got)
	}
	if got := complaint(t, "ls", disk); !strings.Contains(got, "-o part=N") {
		t.Errorf("%q does not say what to do", got)
	}
}

// filled is an image of a small tree of all sorts, and that tree.
func filled(t *testing.T) (img, tree string) {
	t.Helper()
	tree = t.TempDir()
	ext2test.Populate(t, tree, 1024)
	return ext2test.Make(t, ext2test.Options{Size: 48 << 20, Root: tree}), tree
}

// ls, cat, tree and map show what is there, and change nothing.
func TestLook(t *testing.T) {
	img, tree := filled(t)
	before := hashOf(t, img)
	var node struct {
		Children []struct{ Name, Type, Mode, Target string }
	}
	if err := json.Unmarshal([]byte(output(t, "tree", "--json", img)), &node); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(tree)
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, e := range entries {
		want = append(want, e.Name())
	}
	for _, n := range node.Children {
		if n.Name != "lost+found" {
			got = append(got, n.Name)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("tree --json: got %q, want %q", got, want)
	}
	drawn := output(t, "tree", img)
	ls := map[string]int{}
	err = filepath.WalkDir(tree, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(tree, path)
		if name != "." && !strings.Contains(drawn, "── "+safe(d.Name())) {
			t.Errorf("tree does not draw %q", name)
		}
		switch {
		case d.Type().IsRegular() && statOf(t, path).Size < 8<<20:
			data, err := os.ReadFile(path)
			if out := output(t, "cat", img, name); err != nil || out != string(data) {
				t.Errorf("cat %q: %d bytes that are not the %d of the original (%v)", name, len(out), len(data), err)
			}
		case d.IsDir():
			lines := strings.Split(strings.TrimSuffix(output(t, "ls", "-il", img, name), "\n"), "\n")
			ls[name] = len(lines)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if ls["."] != len(entries)+1 {
		t.Errorf("ls has %d lines for %d names and lost+found", ls["."], len(entries))
	}
	if hashOf(t, img) != before {
		t.Error("looking changed the image")
	}
}

// ls -l is debugfs's ls -l.
func TestLsAgainstDebugfs(t *testing.T) {
	img := ext2test.Make(t, ext2test.Options{})
	ext2test.DebugfsWrite(t, img, "mkdir d", "symlink link d", "mknod pipe p", "mknod disk b 8 1", "mknod tty c 4 300",
		"write /etc/hostname f", "set_inode_field f mode 0104751", "set_inode_field f uid 1234", "set_inode_field f gid 70000",
		"set_inode_field f mtime 20010203040506", "set_inode_field d mode 041777")
	t.Setenv("TZ", "UTC")
	for line := range strings.SplitSeq(output(t, "ls", "-il", img), "\n") {
		f := strings.Fields(line)
		if len(f) == 0 || strings.Contains(line, "lost+found") {
			continue
		}
		ino, name := f[0], strings.Split(strings.Join(f, " "), " -> ")[0]
		name = name[strings.LastIndexByte(name, ' ')+1:]
		stat := ext2test.Debugfs(t, img, "stat /"+name)
		var mode, uid, gid, links string
		for _, x := range []struct {
			into *string
			re   string
		}{{&mode, `Mode:\s+(\d+)`}, {&uid, `User:\s+(\d+)`}, {&gid, `Group:\s+(\d+)`}, {&links, `Links: (\d+)`}} {
			if m := regexp.MustCompile(x.re).FindStringSubmatch(stat); m != nil {
				*x.into = m[1]
			}
		}
		want := map[string]string{"d": "drwxrwxrwt", "link": "lrwxrwxrwx", "pipe": "p---------", "disk": "b---------",
			"tty": "c---------", "f": "-rwsr-x--x"}[name]
		if f[1] != want && name != "link" && name != "pipe" && name != "disk" && name != "tty" || f[1][0] != want[0] {
			t.Errorf("%s has mode %s (debugfs: %s), want %s", name, f[1], mode, want)
		}
		if f[2] != links || f[3] != uid || f[4] != gid || !strings.Contains(stat, "Inode: "+ino+" ") {
			t.Errorf("%s: got %q, debugfs has\n%s", name, line, stat)
		}
		if name == "f" && !strings.Contains(line, "2001-02-03 04:05") || name == "tty" && !strings.Contains(line, "4, 300") {
			t.Errorf("%s: %q", name, line)
		}
	}
	if got := output(t, "ls", "-d", img, "d", "f"); got != "/d\n/f\n" {
		t.Errorf("ls -d: %q", got)
	}
}

// map is what debugfs lists; its picture is XML with a box for each extent.
func TestMap(t *testing.T) {
	root := t.TempDir()
	ext2test.FarWrites(t, filepath.Join(root, "far"), 1024)
	img := ext2test.Make(t, ext2test.Options{Size: 32 << 20, Root: root})
	var m fileMap
	if err := json.Unmarshal([]byte(output(t, "map", "--json", img, "far")), &m); err != nil {
		t.Fatal(err)
	}
	var blocks []string
	var end uint64
	boxes := 0
	for _, l := range m.Extents {
		if l.Kind == "hole" || l.Kind == "data" {
			if l.File != end {
				t.Errorf("%+v does not follow file block %d", l, end)
			}
			end = l.File + l.Count
		}
		if l.Kind != "hole" {
			boxes++
			for i := range l.Count {
				blocks = append(blocks, fmt.Sprint(l.Disk+i))
			}
		}
		if l.Kind == "data" {
			boxes++
		}
	}
	_, list, _ := strings.Cut(ext2test.Debugfs(t, img, "blocks /far"), "/far")
	if want := strings.Fields(list); !slices.Equal(blocks, want) {
		t.Errorf("%d blocks that are not the %d of debugfs", len(blocks), len(want))
	}
	if end != uint64(m.Size+1023)/1024 || m.Pieces != ext2test.Fragments(t, img, "/far") {
		t.Errorf("the map ends at block %d of %d bytes and has %d pieces", end, m.Size, m.Pieces)
	}
	text := output(t, "map", img+":/far")
	if n := strings.Count(text, "\n"); n != len(m.Extents)+4 || !strings.Contains(text, "triple indirect") || !strings.Contains(text, "hole") {
		t.Errorf("%d lines for %d extents:\n%s", n, len(m.Extents), text)
	}
	svg := output(t, "map", "--svg", img, "far")
	got := 0
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := tok.(xml.StartElement); ok && e.Name.Local == "rect" {
			got++
		}
	}
	if got < boxes {
		t.Errorf("the picture has %d boxes, want at least %d", got, boxes)
	}
}

// An image that is called like a verb is mounted by a path, and a file whose name holds a
// colon is found.
func TestNamesLikeVerbs(t *testing.T) {
	ext2test.NeedFUSE(t)
	dir, mnt := t.TempDir(), mountPoint(t)
	if err := os.Rename(ext2test.Make(t, ext2test.Options{}), filepath.Join(dir, "info")); err != nil {
		t.Fatal(err)
	}
	cmd := command(t, "./info", mnt)
	cmd.Dir = dir
	if code, stderr := finish(t, cmd); code != exitOK {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	pid := daemonOf(t, mnt)
	unmount(t, mnt)
	eventually(t, "the daemon ends", func() bool { return ended(pid) })
	odd := filepath.Join(dir, "a:b")
	if err := os.Rename(filepath.Join(dir, "info"), odd); err != nil {
		t.Fatal(err)
	}
	if got := output(t, "ls", odd+":/"); got != "lost+found\n" {
		t.Errorf("ls: %q", got)
	}
	t.Chdir(dir)
	if err := os.WriteFile("x:y", []byte("colon"), 0o644); err != nil {
		t.Fatal(err)
	}
	output(t, "cp", "x:y", "a:b:/")
	if got := output(t, "cat", "a:b", "x:y"); got != "colon" {
		t.Errorf("cat: %q", got)
	}
}

// What verbs say about mistakes.
func TestVerbMessages(t *testing.T) {
	img := ext2test.Make(t, ext2test.Options{})
	t.Chdir(filepath.Dir(img))
	img = filepath.Base(img)
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"info"}, "usage: ext2fuse info IMAGE; see ext2fuse info --help"},
		{[]string{"info", img, "x"}, `one operand too many: "x"; usage: ext2fuse info IMAGE (see ext2fuse info --help)`},
		{[]string{"info", "--jsno", img}, "unknown option --jsno; the nearest known one is --json (see ext2fuse info --help)"},
		{[]string{"ls", "-x", img}, "unknown option -x (known are -l, -i, -d, -o and -h); see ext2fuse ls --help"},
		{[]string{"ls", "-o", "prt=1", img}, `unknown mount option "prt=1"; the nearest known one is "part" (see ext2fuse ls --help)`},
		{[]string{"ls", "none.img"}, "cannot open none.img: there is no such image or device: no such file or directory; check the path"},
		{[]string{"ls", img, "/nowhere"}, img + `:/nowhere: no such file or directory; "ext2fuse tree ` + img + `" shows what there is`},
		{[]string{"ls", img + ":/", "/x"}, `a path stands in "` + img + `:/" already, "/x" is one too many; see ext2fuse ls --help`},
		{[]string{"cat", img, "lost+found"}, img + ":/lost+found: is a directory"},
		{[]string{"map", "--json", "--svg", img, "x"}, "--json and --svg exclude each other; see ext2fuse map --help"},
		{[]string{"help", "inof"}, `unknown verb "inof"; the nearest known one is "info" (see ext2fuse help --help)`},
		{[]string{"cp", "/etc/hostname", "/tmp/x"}, "nothing of this is in an image; write IMAGE:PATH for what is, as in disk.img:/etc (see ext2fuse cp --help)"},
		{[]string{"cp", "/etc/hostname", img + ":/a/b"}, img + `:/a/b: no such file or directory; "ext2fuse tree ` + img + `" shows what there is`},
		{[]string{"cp", "/etc/hostname", "/etc/passwd", img + ":/a"}, img + ":/a is not a directory, and has to be one for this; make it first"},
		{[]string{"cp", "/etc", img + ":/"}, "/etc: is a directory; with -r it is copied"},
		{[]string{"cp", img + ":/lost+found", "-r", img + ":/lost+found"}, img + ":/lost+found/lost+found: a directory cannot be copied into itself"},
	} {
		if got, want := complaint(t, tt.args...), "ext2fuse: "+tt.want+"\n"; got != want {
			t.Errorf("%q:\n got %swant %s", tt.args, got, want)
		}
	}
	if code, stderr := finish(t, command(t, "ls", "-l", img)); code != exitOK {
		t.Errorf("exit %d: %s", code, stderr)
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	big := filepath.Join(t.TempDir(), "big")
	writeFile(t, big, strings.Repeat("x", 10000)) // more than waits to be printed
	output(t, "cp", big, img+":/")
	const want = "ext2fuse: not all could be printed: write /dev/stdout: no space left on device\n"
	for _, args := range [][]string{{"ls", img}, {"cat", img, "big"}} {
		cmd := command(t, args...)
		cmd.Stdout = full
		if code, stderr := finish(t, cmd); code != exitUsage || stderr != want {
			t.Errorf("%q to a full device: exit %d, %q, want %q", args, code, stderr, want)
		}
	}
}
