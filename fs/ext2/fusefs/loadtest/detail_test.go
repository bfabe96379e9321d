//go:build linux && !386 && !arm && !mips && !mipsle

package loadtest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// report is what a detail saw, step by step.
type report struct{ strings.Builder }

func (r *report) add(format string, args ...any) { fmt.Fprintf(r, format+"\n", args...) }

// details each look at one thing in an empty directory; ext2fuse and the kernel's
// driver must see the same.
var details = []struct {
	name string
	f    func(t *testing.T, dir string, r *report)
}{
	{"set-id bits", setIDBits},
	{"unlinked files", unlinkedFiles},
	{"rename flags", renameFlags},
	{"nameless files", namelessFiles},
	{"ioctls that set", settingIoctls},
	{"copy_file_range", copyFileRange},
	{"immutable and append-only", protected},
	{"sync and direct", syncAndDirect},
	{"shared mappings", sharedMappings},
	{"times and sizes", timesAndSizes},
	{"statfs", freeSpace},
}

func TestDetails(t *testing.T) {
	ext2test.NeedKernelMount(t)
	unix.Umask(0o022)
	for _, o := range []ext2test.Options{{BlockSize: 1024}, {BlockSize: 4096, InodeSize: 128}} {
		o.Size = 64 << 20
		img := ext2test.Make(t, o)
		theirs := ext2test.KernelMount(t, ext2test.Copy(t, img))
		bothModes(t, func(t *testing.T, word string) {
			m := mountImage(t, ext2test.Copy(t, img), word)
			openToAll(t, m.dir)
			openToAll(t, theirs)
			for _, d := range details {
				t.Run(strings.ReplaceAll(d.name, " ", "-"), func(t *testing.T) {
					var ours, kernel report
					for dir, r := range map[string]*report{m.dir: &ours, theirs: &kernel} {
						sub := filepath.Join(dir, d.name)
						must(t, os.Mkdir(sub, 0o777))
						d.f(t, sub, r)
						run(t, sub, "find", ".", "-type", "f,d", "-exec", "chattr", "-ia", "{}", "+")
						must(t, os.RemoveAll(sub))
					}
					if ours.String() != kernel.String() {
						a, b := strings.Split(ours.String(), "\n"), strings.Split(kernel.String(), "\n")
						for i := range min(len(a), len(b)) {
							// See docs/COMPATIBILITY.md: the kernel's FUSE client keeps the time.
							kept := word == "writeback_cache" && strings.HasPrefix(a[i], "  truncate by name to the same size: d/f")
							if a[i] != b[i] && !kept {
								t.Errorf("block size %d, after %q\nours   %s\nkernel %s", o.BlockSize, a[max(i, 1)-1], a[i], b[i])
							}
						}
					}
				})
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// openToAll lets plain users walk to a directory of the test's.
func openToAll(t *testing.T, dir string) {
	t.Helper()
	for d := dir; strings.HasPrefix(d, os.TempDir()+"/"); d = filepath.Dir(d) {
		must(t, os.Chmod(d, 0o755))
	}
}

func open(t *testing.T, path string, flags int) int {
	t.Helper()
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0o644)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func mode(path string) string {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%o %d:%d %d bytes", st.Mode, st.Uid, st.Gid, st.Size)
}

// asUser runs a program as a plain user in group 100.
func asUser(t *testing.T, r *report, name string, args ...string) {
	t.Helper()
	out, err := quiet("setpriv", append([]string{"--reuid=1001", "--regid=100", "--clear-groups", name}, args...)...)
	if strings.Contains(out, "Permission denied") {
		t.Fatalf("%s: %s", name, out)
	}
	r.add("%s: %v", name, err)
}

func setIDBits(t *testing.T, dir string, r *report) {
	must(t, os.Chmod(dir, 0o777))
	for _, bits := range []uint32{0o6777, 0o6767, 0o4755, 0o2777} {
		for _, how := range []string{"write", "truncate", "chown", "grow"} {
			f := filepath.Join(dir, fmt.Sprintf("%s-%o", how, bits))
			must(t, os.WriteFile(f, []byte("data"), 0o777))
			must(t, unix.Chown(f, 1001, 100))
			must(t, unix.Chmod(f, bits))
			switch how {
			case "write":
				asUser(t, r, "sh", "-c", "echo x >>"+quote(f))
			case "truncate":
				asUser(t, r, "truncate", "-s", "1", f)
			case "grow":
				asUser(t, r, "dd", "if=/dev/zero", "of="+f, "bs=1", "count=10", "conv=notrunc", "status=none")
			case "chown":
				r.add("chown %v", unix.Chown(f, 1002, 100))
			}
			r.add("%s %o: %s", how, bits, mode(f))
		}
	}
	// Root keeps them when it writes.
	f := filepath.Join(dir, "root")
	must(t, os.WriteFile(f, nil, 0o777))
	must(t, unix.Chmod(f, 0o6777))
	_, err := unix.Write(open(t, f, unix.O_WRONLY), []byte("x"))
	r.add("root: %v %s", err, mode(f))
	// A directory's group is inherited; a file loses the bit where its maker is not in it.
	must(t, os.Mkdir(filepath.Join(dir, "g"), 0o777))
	must(t, unix.Chown(filepath.Join(dir, "g"), 0, 555))
	must(t, unix.Chmod(filepath.Join(dir, "g"), 0o2777))
	asUser(t, r, "mkdir", filepath.Join(dir, "g", "sub"))
	asUser(t, r, "touch", filepath.Join(dir, "g", "file"))
	asUser(t, r, "sh", "-c", "touch "+quote(filepath.Join(dir, "g", "x"))+"; chmod 2777 "+quote(filepath.Join(dir, "g", "x")))
	for _, n := range []string{"sub", "file", "x"} {
		r.add("%s: %s", n, mode(filepath.Join(dir, "g", n)))
	}
}

func quote(s string) string { return "'" + s + "'" }

func unlinkedFiles(t *testing.T, dir string, r *report) {
	f := filepath.Join(dir, "f")
	fd := open(t, f, unix.O_CREAT|unix.O_RDWR)
	_, err := unix.Write(fd, []byte("kept"))
	must(t, err)
	must(t, unix.Unlink(f))
	names, err := os.ReadDir(dir)
	r.add("names %v %v", names, err)
	buf := make([]byte, 8)
	n, err := unix.Pread(fd, buf, 0)
	r.add("read %q %v", buf[:n], err)
	_, err = unix.Pwrite(fd, []byte("more"), 4)
	r.add("write %v", err)
	var st unix.Stat_t
	r.add("fstat %v, %d links, %d bytes", unix.Fstat(fd, &st), st.Nlink, st.Size)
	r.add("link back %v", unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, f, unix.AT_SYMLINK_FOLLOW))
	// Renamed over, and a directory that is gone.
	must(t, os.WriteFile(filepath.Join(dir, "a"), []byte("a"), 0o644))
	a := open(t, filepath.Join(dir, "a"), unix.O_RDWR)
	must(t, os.WriteFile(filepath.Join(dir, "b"), []byte("b"), 0o644))
	must(t, os.Rename(filepath.Join(dir, "b"), filepath.Join(dir, "a")))
	n, err = unix.Pread(a, buf, 0)
	r.add("renamed over: %q %v, fstat %v, %d links", buf[:n], err, unix.Fstat(a, &st), st.Nlink)
	must(t, os.Mkdir(filepath.Join(dir, "d"), 0o755))
	d := open(t, filepath.Join(dir, "d"), unix.O_RDONLY|unix.O_DIRECTORY)
	must(t, unix.Rmdir(filepath.Join(dir, "d")))
	_, err = unix.Openat(d, "x", unix.O_CREAT|unix.O_WRONLY, 0o644)
	r.add("create in a removed directory: %v; fstat %v, %d links", err, unix.Fstat(d, &st), st.Nlink)
}

func renameFlags(t *testing.T, dir string, r *report) {
	p := func(n string) string { return filepath.Join(dir, n) }
	for _, flags := range []uint{0, unix.RENAME_NOREPLACE, unix.RENAME_EXCHANGE, unix.RENAME_WHITEOUT,
		unix.RENAME_NOREPLACE | unix.RENAME_EXCHANGE, unix.RENAME_NOREPLACE | unix.RENAME_WHITEOUT, 1 << 7} {
		for _, pair := range [][2]string{{"file", "file2"}, {"file", "none"}, {"dir", "file"}, {"file", "full"}, {"dir", "full"}, {"full", "dir"}, {"dir", "dir/sub"}, {"full/x", "file"}} {
			must(t, os.RemoveAll(p("w")))
			must(t, os.MkdirAll(p("w/dir"), 0o755))
			must(t, os.MkdirAll(p("w/full/x"), 0o755))
			must(t, os.WriteFile(p("w/file"), []byte("1"), 0o644))
			must(t, os.WriteFile(p("w/file2"), []byte("22"), 0o644))
			err := unix.Renameat2(unix.AT_FDCWD, p("w/"+pair[0]), unix.AT_FDCWD, p("w/"+pair[1]), flags)
			r.add("%d %v: %v", flags, pair, err)
			r.add("%s", listing(t, p("w")))
		}
	}
}

// listing is a tree with types, modes and link counts.
func listing(t *testing.T, dir string) string {
	return strings.Join(strings.Fields(run(t, dir, "sh", "-c", `find . -printf '%P:%y:%m:%n:%l\n' | LC_ALL=C sort`)), " ")
}

func namelessFiles(t *testing.T, dir string, r *report) {
	for i, flags := range []int{0, unix.O_EXCL} {
		fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC|flags, 0o640)
		must(t, err)
		_, err = unix.Write(fd, []byte("tmp"))
		name := filepath.Join(dir, fmt.Sprint("named", i))
		r.add("write %v, link %v, %s, %s", err, unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW), mode(name), listing(t, dir))
		unix.Close(fd)
		data, _ := os.ReadFile(name)
		r.add("holds %q", data)
	}
	run(t, "", "chattr", "+i", dir)
	_, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o640)
	r.add("in an immutable directory: %v", err)
	run(t, "", "chattr", "-i", dir)
}

func doIoctl(fd int, cmd uint, buf []byte) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(cmd), uintptr(unsafe.Pointer(unsafe.SliceData(buf))))
	if errno != 0 {
		return errno
	}
	return nil
}

func settingIoctls(t *testing.T, dir string, r *report) {
	f := filepath.Join(dir, "f")
	fd := open(t, f, unix.O_CREAT|unix.O_RDWR)
	d := open(t, dir, unix.O_RDONLY|unix.O_DIRECTORY)
	get := func(fd int) uint32 {
		v, err := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS)
		must(t, err)
		return v
	}
	for _, bits := range []uint32{0, 0x8, 0x40, 0x80, 0xc8, 0x10000, 0x1, 0x2, 0x4, 0x1000, 0x8000, 0x20000, 0x10, 0x20, 0} {
		buf := binary.NativeEndian.AppendUint32(nil, bits)
		e1, e2 := doIoctl(fd, unix.FS_IOC_SETFLAGS, buf), doIoctl(d, unix.FS_IOC_SETFLAGS, buf)
		r.add("flags %#x: file %v %#x, directory %v %#x", bits, e1, get(fd), e2, get(d))
	}
	for _, x := range []uint32{0x08, 0x10, 0x20, 0x40, 0x80, 0xe0, 0} {
		buf := make([]byte, 28)
		binary.NativeEndian.PutUint32(buf, x)
		err := doIoctl(fd, 0x401c5820, buf)
		r.add("xflags %#x: %v %#x", x, err, get(fd))
	}
	buf := binary.NativeEndian.AppendUint32(nil, 12345)
	buf = append(buf, 0, 0, 0, 0)
	err := doIoctl(fd, 0x40087602, buf)
	got := make([]byte, 8)
	r.add("version: %v %v %d", err, doIoctl(fd, 0x80087601, got), binary.NativeEndian.Uint32(got))
	for _, label := range []string{"a label", "sixteen bytes ok", "seventeen is too long", ""} {
		b := make([]byte, 256)
		copy(b, label)
		err := doIoctl(fd, 0x41009432, b)
		clear(b)
		r.add("label %q: %v", label, err)
		if e := doIoctl(fd, 0x81009431, b); e == nil {
			name, _, _ := bytes.Cut(b, []byte{0})
			r.add("is %q", name)
		}
	}
}

func copyFileRange(t *testing.T, dir string, r *report) {
	data := ext2test.Content(3, 300_000)
	must(t, os.WriteFile(filepath.Join(dir, "a"), data, 0o644))
	a, b := open(t, filepath.Join(dir, "a"), unix.O_RDWR), open(t, filepath.Join(dir, "b"), unix.O_CREAT|unix.O_RDWR)
	for _, c := range [][3]int64{{0, 0, 300_000}, {5, 7, 100_001}, {299_999, 500_000, 10}, {300_000, 0, 5}, {0, 1 << 20, 0}} {
		in, out := c[0], c[1]
		n, err := unix.CopyFileRange(a, &in, b, &out, int(c[2]), 0)
		r.add("%v: %d %v", c, n, err)
	}
	in, out := int64(0), int64(100)
	_, err := unix.CopyFileRange(a, &in, a, &out, 1000, 0)
	r.add("overlapping: %v", err)
	in, out = 0, 200_000
	n, err := unix.CopyFileRange(a, &in, a, &out, 1000, 0)
	r.add("in one file: %d %v", n, err)
	for _, name := range []string{"a", "b"} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		r.add("%s: %d bytes %x %v", name, len(got), hash(got), err)
	}
}

func protected(t *testing.T, dir string, r *report) {
	p := func(n string) string { return filepath.Join(dir, n) }
	for _, flag := range []string{"+i", "+a"} {
		must(t, os.WriteFile(p("f"+flag), []byte("data"), 0o644))
		must(t, os.Mkdir(p("d"+flag), 0o755))
		must(t, os.WriteFile(p("d"+flag+"/in"), []byte("data"), 0o644))
		run(t, "", "chattr", flag, p("f"+flag), p("d"+flag))
		f, d := p("f"+flag), p("d"+flag)
		r.add("%s truncate %v, chmod %v, chown to nobody else %v, unlink %v, rename %v, link %v, xattr %v, of no namespace %v %v", flag, unix.Truncate(f, 0), unix.Chmod(f, 0o600), unix.Chown(f, -1, -1),
			unix.Unlink(f), unix.Rename(f, p("g")), unix.Link(f, p("l")), unix.Setxattr(f, "user.a", []byte("b"), 0),
			unix.Setxattr(f, "none.a", nil, 0), unix.Removexattr(f, "none.a"))
		r.add("%s in directory: create %v, unlink %v, mkdir %v, rename in %v, too long a link %v", flag, os.WriteFile(d+"/new", nil, 0o644) != nil,
			unix.Unlink(d+"/in"), unix.Mkdir(d+"/nd", 0o755), unix.Rename(d+"/in", d+"/out"), unix.Symlink(strings.Repeat("t", 4096-1), d+"/s"))
		// Whether the kernel refuses at open or a FUSE server at the write: it is refused.
		for _, how := range []int{unix.O_WRONLY, unix.O_WRONLY | unix.O_APPEND, unix.O_RDWR} {
			fd, err := unix.Open(f, how|unix.O_CLOEXEC, 0)
			if err == nil {
				_, err = unix.Write(fd, []byte("x"))
				if e := unix.Fsync(fd); err == nil {
					err = e
				}
				unix.Close(fd)
			}
			data, _ := os.ReadFile(f)
			r.add("%s write, open flags %#x: %v, holds %q", flag, how, err, data)
		}
		run(t, "", "chattr", "-"+flag[1:], f, d)
	}
}

func syncAndDirect(t *testing.T, dir string, r *report) {
	f := filepath.Join(dir, "f")
	const n = 64 << 10
	data := ext2test.Content(9, n)
	s := open(t, f, unix.O_CREAT|unix.O_RDWR|unix.O_SYNC)
	w, err := unix.Write(s, data)
	r.add("O_SYNC %d %v", w, err)
	mem, err := unix.Mmap(-1, 0, 2*n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	must(t, err)
	defer unix.Munmap(mem)
	direct := open(t, f, unix.O_RDWR|unix.O_DIRECT)
	got, err := unix.Pread(direct, mem[:n], 0)
	r.add("direct read behind a buffered write: %d %v %v", got, err, bytes.Equal(mem[:n], data))
	// Buffered, then direct, then buffered: each sees what went before.
	copy(mem, bytes.Repeat([]byte{7}, 8192))
	w, err = unix.Pwrite(direct, mem[:8192], 4096)
	back := make([]byte, 16384)
	g, e2 := unix.Pread(s, back, 0)
	r.add("direct write %d %v; buffered read %d %v %x", w, err, g, e2, hash(back))
	w, err = unix.Pwrite(s, []byte("buffered"), 5000)
	g, e2 = unix.Pread(direct, mem[:16384], 0)
	r.add("buffered write %d %v; direct read %d %v %x", w, err, g, e2, hash(mem[:16384]))
	// Appending directly, and reading over the end.
	w, err = unix.Pwrite(direct, mem[:4096], n)
	g, e2 = unix.Pread(direct, mem[:2*n], 0)
	r.add("grown: %d %v; %d %v; %s", w, err, g, e2, mode(f))
	r.add("fsync %v, fdatasync %v, syncfs %v", unix.Fsync(s), unix.Fdatasync(direct), unix.Syncfs(s))
	r.add("sync_file_range %v", unix.SyncFileRange(s, 0, 4096, unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER))
}

func sharedMappings(t *testing.T, dir string, r *report) {
	f := filepath.Join(dir, "f")
	fd := open(t, f, unix.O_CREAT|unix.O_RDWR)
	must(t, unix.Ftruncate(fd, 100_000))
	mem, err := unix.Mmap(fd, 0, 100_000, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(t, err)
	defer unix.Munmap(mem)
	copy(mem[50_000:], "mapped")
	back := make([]byte, 6)
	_, err = unix.Pread(fd, back, 50_000)
	r.add("read sees the mapping: %q %v", back, err)
	_, err = unix.Pwrite(fd, []byte("written"), 20)
	r.add("the mapping sees a write: %q %v", mem[20:27], err)
	r.add("msync %v", unix.Msync(mem, unix.MS_SYNC))
	must(t, unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED))
	copy(mem[99_999:], "e")
	r.add("msync %v", unix.Msync(mem, unix.MS_SYNC))
	must(t, unix.Ftruncate(fd, 99_000))
	must(t, unix.Ftruncate(fd, 120_000))
	data, err := os.ReadFile(f)
	r.add("%d bytes %x %v", len(data), hash(data), err)
}

// timesAndSizes sets times into the past and tells which of them an operation moves.
func timesAndSizes(t *testing.T, dir string, r *report) {
	p := func(n string) string { return filepath.Join(dir, n) }
	old := []unix.Timespec{{Sec: 1000}, {Sec: 1000}}
	must(t, os.Mkdir(p("d"), 0o755))
	must(t, os.Mkdir(p("e"), 0o755))
	must(t, os.WriteFile(p("d/f"), []byte("x"), 0o644))
	fd := open(t, p("d/f"), unix.O_RDWR)
	step := func(name string, do func() error) {
		for _, n := range []string{"d", "e", "d/f"} {
			_ = unix.UtimesNanoAt(unix.AT_FDCWD, p(n), old, 0)
		}
		err := do()
		r.add("%s: %v", name, err)
		for _, n := range []string{"d", "e", "d/f"} {
			var st unix.Stat_t
			if unix.Lstat(p(n), &st) == nil {
				r.add("  "+name+": %s: mtime moved %v, %d links", n, st.Mtim.Sec != 1000, st.Nlink)
				if n == "d/f" {
					r.add("  %d bytes", st.Size)
				}
			}
		}
	}
	step("write", func() error { _, err := unix.Pwrite(fd, []byte("abc"), 0); return err })
	step("write and set back", func() error {
		_, err := unix.Pwrite(fd, []byte("abc"), 10)
		_ = unix.UtimesNanoAt(unix.AT_FDCWD, p("d/f"), old, 0)
		_ = unix.Fsync(fd)
		return err
	})
	step("same size", func() error { return unix.Ftruncate(fd, 13) })
	step("truncate by name to the same size", func() error { return unix.Truncate(p("d/f"), 13) })
	step("smaller", func() error { return unix.Ftruncate(fd, 2) })
	step("chmod", func() error { return unix.Chmod(p("d/f"), 0o600) })
	step("link", func() error { return unix.Link(p("d/f"), p("e/l")) })
	step("unlink", func() error { return unix.Unlink(p("e/l")) })
	step("mkdir", func() error { return unix.Mkdir(p("e/sub"), 0o755) })
	step("rename of a directory", func() error { return unix.Rename(p("e/sub"), p("d/sub")) })
	step("rmdir", func() error { return unix.Rmdir(p("d/sub")) })
	step("symlink", func() error { return unix.Symlink("x", p("d/s")) })
	step("rename in place", func() error { return unix.Rename(p("d/s"), p("d/s2")) })
	step("mknod", func() error { return unix.Mknod(p("d/fifo"), unix.S_IFIFO|0o644, 0) })
	step("fallocate keep size, punch", func() error { return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 1) })
	step("setxattr", func() error { return unix.Setxattr(p("d"), "user.a", []byte("b"), 0) })
}

func freeSpace(t *testing.T, dir string, r *report) {
	var before, with, after unix.Statfs_t
	must(t, unix.Statfs(dir, &before))
	must(t, os.WriteFile(filepath.Join(dir, "f"), make([]byte, 3<<20), 0o644))
	must(t, os.Mkdir(filepath.Join(dir, "d"), 0o755))
	fd := open(t, filepath.Join(dir, "f"), unix.O_RDWR)
	must(t, unix.Fsync(fd))
	must(t, unix.Statfs(dir, &with))
	r.add("used: %d blocks %d available %d inodes", before.Bfree-with.Bfree, before.Bavail-with.Bavail, before.Ffree-with.Ffree)
	var st unix.Stat_t
	must(t, unix.Fstat(fd, &st))
	r.add("file: %d sectors", st.Blocks)
	unix.Close(fd)
	must(t, os.Remove(filepath.Join(dir, "f")))
	must(t, os.Remove(filepath.Join(dir, "d")))
	for range 200 { // a file is deleted some moments after its last close
		must(t, unix.Statfs(dir, &after))
		if after.Bfree == before.Bfree && after.Ffree == before.Ffree {
			break
		}
		d := open(t, dir, unix.O_RDONLY)
		_ = unix.Fsync(d)
		unix.Close(d)
	}
	r.add("given back: %v", after.Bfree == before.Bfree && after.Ffree == before.Ffree)
}
