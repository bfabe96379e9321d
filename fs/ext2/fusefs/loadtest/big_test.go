//go:build linux && !386 && !arm && !mips && !mipsle

package loadtest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// A sparse image of 100 GiB is written near its start and near its end, and stays sparse.
func TestSparse100GiB(t *testing.T) {
	const size = 100 << 30
	m := newMount(t, ext2test.Options{BlockSize: 4096, Size: size, Inodes: 100_000})
	want := map[string][]byte{}
	for i := range 300 { // directories at the top are spread over the image
		name := fmt.Sprint("dir-", i, "/f")
		want[name] = ext2test.Content(uint64(i), 20_000)
		must(t, os.Mkdir(m.path(filepath.Dir(name)), 0o755))
		must(t, os.WriteFile(m.path(name), want[name], 0o644))
	}
	m.finish()
	first, last := uint64(size), uint64(0)
	for _, word := range strings.Fields(ext2test.Debugfs(t, m.img, blocksOf(want)...)) {
		if b, err := strconv.ParseUint(word, 10, 64); err == nil {
			first, last = min(first, b), max(last, b)
		}
	}
	if total := uint64(size / 4096); first > total/10 || last < total*9/10 {
		t.Errorf("blocks from %d to %d of %d were written", first, last, total)
	}
	var st unix.Stat_t
	must(t, unix.Stat(m.img, &st))
	if st.Blocks > 1<<30/512 {
		t.Errorf("the image takes %d MiB", st.Blocks/2048)
	}
	m.mount("ro")
	for name, p := range want {
		if got, err := os.ReadFile(m.path(name)); err != nil || !bytes.Equal(got, p) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

// blocksOf are the commands of debugfs that list the blocks of the files.
func blocksOf(files map[string][]byte) (commands []string) {
	for name := range files {
		commands = append(commands, "blocks /"+name)
	}
	return commands
}

// A tree of many files (a million in the soak) is made, found again, and removed, and one of
// many directories (a hundred thousand).
func TestManyFiles(t *testing.T) {
	dirs, files := 20, 100
	o := ext2test.Options{BlockSize: 1024, Size: 64 << 20}
	if *long {
		dirs, files = 1000, 1000
		o = ext2test.Options{BlockSize: 4096, Size: 8 << 30, Inodes: 1_100_000}
	}
	many(t, o, dirs, files, func(fd int, name string) error { return unix.Mknodat(fd, name, unix.S_IFREG|0o644, 0) })
}

func TestManyDirectories(t *testing.T) {
	dirs, below := 20, 100
	o := ext2test.Options{BlockSize: 1024, Size: 64 << 20}
	if *long {
		dirs, below = 100, 1000
		o = ext2test.Options{BlockSize: 1024, Size: 1 << 30, Inodes: 120_000}
	}
	many(t, o, dirs, below, func(fd int, name string) error { return unix.Mkdirat(fd, name, 0o755) })
}

// many has so many directories with so many of what make makes in each.
func many(t *testing.T, o ext2test.Options, dirs, each int, make func(fd int, name string) error) {
	m := newMount(t, o)
	begun := time.Now()
	for i := range dirs {
		dir := m.path(fmt.Sprint("dir-", i))
		must(t, os.Mkdir(dir, 0o755))
		fd, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_RDONLY, 0)
		must(t, err)
		for k := range each {
			must(t, make(fd, fmt.Sprint("name-", k)))
		}
		must(t, unix.Close(fd))
	}
	t.Logf("%d made in %v", dirs*each, time.Since(begun))
	m.small("making them")
	m.finish()
	m.mount()
	for range 2 { // the second time from what the kernel remembers, as far as it does
		begun = time.Now()
		if n := strings.Count(run(t, m.dir, "find", ".", "-name", "name-*", "-uid", "0"), "\n"); n != dirs*each {
			t.Errorf("%d names, not %d", n, dirs*each)
		}
		t.Logf("found in %v", time.Since(begun))
	}
	m.small("finding them")
	begun = time.Now()
	run(t, m.dir, "sh", "-c", "rm -rf dir-*")
	t.Logf("removed in %v", time.Since(begun))
	m.small("removing them")
}
