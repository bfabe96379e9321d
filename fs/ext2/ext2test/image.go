//go:build linux

package ext2test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Options says what image Make makes. The zero value is a 16 MiB ext2 image as
// mke2fs would make it, with blocks of 1024 and inodes of 256 bytes.
type Options struct {
	Size      int64    // bytes; the file is sparse
	BlockSize int      // bytes, 1024 to 65536
	InodeSize int      // bytes, 128 to the block size; ignored with Revision0
	Type      string   // "ext2" (default) or "ext3"
	Revision0 bool     // the original format: no features, inodes of 128 bytes
	Features  []string // for -O, as in "^dir_index", "meta_bg"
	Extended  []string // for -E, as in "hash_seed=…"
	Inodes    int      // how many inodes; 0 leaves it to mke2fs
	Root      string   // directory that mke2fs -d copies into the image
	Args      []string // further arguments of mke2fs
}

// tool finds a program of e2fsprogs or util-linux, which plain users often have not
// on their PATH.
func tool(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		path := filepath.Join(dir, name)
		if st, err := os.Stat(path); err == nil && st.Mode()&0o111 != 0 {
			return path
		}
	}
	return name
}

// run runs a program to its end and fails the test, with its output, if it fails.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(tool(name), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Make makes an image and returns its path.
func Make(t testing.TB, o Options) string {
	t.Helper()
	if o.Size == 0 {
		o.Size = 16 << 20
	}
	if o.BlockSize == 0 {
		o.BlockSize = 1024
	}
	if o.InodeSize == 0 {
		o.InodeSize = 256
	}
	if o.Type == "" {
		o.Type = "ext2"
	}
	img := filepath.Join(t.TempDir(), o.Type+".img")
	Truncate(t, img, o.Size)
	// -F: block sizes past the page size ask for confirmation otherwise.
	args := []string{"-q", "-F", "-t", o.Type, "-b", strconv.Itoa(o.BlockSize)}
	if o.Revision0 {
		args = append(args, "-r", "0")
	} else {
		args = append(args, "-I", strconv.Itoa(o.InodeSize))
		// One seed, so that a directory has the same tree each time.
		o.Extended = append([]string{"hash_seed=6c1e4a7c-3d0b-4f5e-9a66-0d9d5f1f3b21"}, o.Extended...)
	}
	if len(o.Features) > 0 {
		args = append(args, "-O", strings.Join(o.Features, ","))
	}
	if len(o.Extended) > 0 {
		args = append(args, "-E", strings.Join(o.Extended, ","))
	}
	if o.Inodes > 0 {
		args = append(args, "-N", strconv.Itoa(o.Inodes))
	}
	if o.Root != "" {
		args = append(args, "-d", o.Root)
	}
	args = append(args, o.Args...)
	run(t, "mke2fs", append(args, img)...)
	return img
}

// Truncate makes path a sparse file of size bytes.
func Truncate(t testing.TB, path string, size int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
}

// Copy copies an image, keeping it sparse, so that a test can damage the copy.
func Copy(t testing.TB, img string) string {
	t.Helper()
	dst := filepath.Join(t.TempDir(), filepath.Base(img))
	run(t, "cp", "--sparse=always", img, dst)
	return dst
}

// Fsck fails the test unless e2fsck -f -n finds nothing wrong with the image.
func Fsck(t testing.TB, img string) {
	t.Helper()
	out, err := exec.Command(tool("e2fsck"), "-f", "-n", img).CombinedOutput()
	if err != nil {
		t.Errorf("e2fsck -f -n %s: %v\n%s", img, err, out)
	}
}

// Debugfs runs commands of debugfs on the image, read-only, and returns what they
// print; each command's output stands behind a line "debugfs: COMMAND".
func Debugfs(t testing.TB, img string, commands ...string) string {
	t.Helper()
	return debugfs(t, nil, img, commands)
}

// DebugfsWrite is Debugfs with the image open for writing.
func DebugfsWrite(t testing.TB, img string, commands ...string) string {
	t.Helper()
	return debugfs(t, []string{"-w"}, img, commands)
}

func debugfs(t testing.TB, flags []string, img string, commands []string) string {
	t.Helper()
	cmd := exec.Command(tool("debugfs"), append(flags, "-f", "-", img)...)
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("debugfs %s: %v\n%s", img, err, out)
	}
	return string(out)
}

// Fragments is the number of pieces, apart from each other on the device, that the
// blocks of the file at path make in file order, indirect blocks included.
func Fragments(t testing.TB, img, path string) int {
	t.Helper()
	var pieces int
	last := int64(-2)
	for _, line := range strings.Split(Debugfs(t, img, fmt.Sprintf("blocks %q", path)), "\n") {
		if strings.HasPrefix(line, "debugfs") {
			continue
		}
		for _, word := range strings.Fields(line) {
			block, err := strconv.ParseInt(word, 10, 64)
			if err != nil {
				t.Fatalf("debugfs blocks %s: unexpected %q", path, line)
			}
			if block != last+1 {
				pieces++
			}
			last = block
		}
	}
	return pieces
}
