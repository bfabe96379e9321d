//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// hugeFile makes an image of 32 MiB with a file of 3 GiB: its double indirect block has
// the same indirect block again and again, so each 4 MiB behind the first 48 KiB are the
// same ones. content is the file's beginning.
func hugeFile(t *testing.T) (img string, content []byte) {
	t.Helper()
	root := t.TempDir()
	content = ext2test.Content(1, (12+1024)<<12)
	if err := os.WriteFile(filepath.Join(root, "huge"), content, 0o644); err != nil {
		t.Fatal(err)
	}
	img = ext2test.Make(t, ext2test.Options{Root: root, BlockSize: 4096, Size: 32 << 20})
	block := func(n int) uint32 {
		fields := strings.Fields(ext2test.Debugfs(t, img, fmt.Sprintf("bmap huge %d", n)))
		b, err := strconv.ParseUint(fields[len(fields)-1], 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		return uint32(b)
	}
	const table = 32<<20>>12 - 2 // a free block near the end
	tables := make([]byte, 4096)
	for i := 0; i < len(tables); i += 4 {
		binary.LittleEndian.PutUint32(tables[i:], block(11)+1) // the indirect block is behind block 11
	}
	if block(12) != block(11)+2 {
		t.Fatal("the indirect block is not behind block 11")
	}
	f, err := os.OpenFile(img, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(tables, table<<12); err != nil {
		t.Fatal(err)
	}
	ext2test.DebugfsWrite(t, img, fmt.Sprintf("set_inode_field huge block[DIND] %d", table), "set_inode_field huge size 3221225472")
	return img, content
}

// Reading 3 GiB, from the host's cache, through the mount's cache and past it, in large
// and small pieces, leaves the daemon as small as it was.
func TestMemoryOfReading(t *testing.T) {
	ext2test.NeedFUSE(t)
	img, content := hugeFile(t)
	dir := mountPoint(t)
	if code, stderr := finish(t, command(t, "-o", "ro", img, dir)); code != 0 {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	defer unmount(t, dir)
	pid := daemonOf(t, dir)
	const direct, cached = unix.O_RDONLY | unix.O_DIRECT, unix.O_RDONLY
	for _, c := range []struct {
		flags    int
		size     int
		from, to int64
	}{
		{direct, 512 << 10, 0, 2 << 30},
		{cached, 128 << 10, 2 << 30, 5 << 29},
		{direct, 1 << 20, 5 << 29, 3 << 30},
		{cached, 4096, 3<<30 - 8<<20, 3 << 30},
	} {
		fd, err := unix.Open(filepath.Join(dir, "huge"), c.flags, 0)
		if err != nil {
			t.Fatal(err)
		}
		buf, err := unix.Mmap(-1, 0, c.size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			t.Fatal(err)
		}
		for off := c.from; off < c.to; off += int64(c.size) {
			n, err := unix.Pread(fd, buf, off)
			if n != c.size || err != nil {
				t.Fatalf("read of %d bytes at %d: %d, %v", c.size, off, n, err)
			}
			at := off
			if off >= 48<<10 {
				at = 48<<10 + (off-48<<10)%(4<<20)
			}
			n = min(n, len(content)-int(at), 4096)
			if !bytes.Equal(buf[:n], content[at:][:n]) {
				t.Fatalf("wrong bytes at %d", off)
			}
		}
		_ = unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED)
		_ = unix.Munmap(buf)
		_ = unix.Close(fd)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, peak, _ := strings.Cut(string(status), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(peak)[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("at most %d KiB", kib)
	if kib > 128<<10 {
		t.Errorf("the daemon had %d KiB, want at most 128 MiB", kib)
	}
}
