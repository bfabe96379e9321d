//go:build linux && !386 && !arm && !mips && !mipsle

package modeltest

import (
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sort"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// chattr flags, as FS_IOC_SETFLAGS takes them.
const (
	flagSync      = 0x8
	flagImmutable = 0x10
	flagAppend    = 0x20
	flagNodump    = 0x40
	flagNoatime   = 0x80
	flagDirsync   = 0x10000
	flagsSeen     = flagSync | flagImmutable | flagAppend | flagNodump | flagNoatime | flagDirsync
)

// Result is what an operation gave: an errno, a count and whatever else there was
// to see, as text.
type Result struct {
	Errno syscall.Errno
	N     int64
	Data  string
}

func (r Result) String() string {
	e := "ok"
	if r.Errno != 0 {
		e = unix.ErrnoName(r.Errno)
	}
	return fmt.Sprintf("%s n=%d %s", e, r.N, short(r.Data))
}

// Side is one mounted file system and the files its worker holds open. It belongs
// to one goroutine, locked to its thread since credentials are the thread's.
type Side struct {
	Root string
	// FillHoles carries fallocate out by writing zeros into the holes, for a driver
	// that refuses it (the kernel's, on block-mapped files).
	FillHoles bool
	// SinglePages sees to it that the pages of a file are single ones before it is written by
	// way of a mapping: the kernel's driver (ext4, where it serves ext2) gives blocks to all of
	// a large folio then, and so fills holes in which nothing was written.
	SinglePages bool
	// WriteBack: of one side the kernel collects writes. Its files show no holes, so they
	// are not looked for; and a truncate(2) to the size that the file has, which does not
	// move the time of modification there, is left out.
	WriteBack bool
	fds       map[int]int
}

// NewSide readies the calling goroutine to work on the file system mounted at root.
// The goroutine stays locked to its thread, which ends with it, because the thread
// gives up its supplementary groups.
func NewSide(root string) *Side {
	runtime.LockOSThread()
	unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0)
	return &Side{Root: root, fds: map[int]int{}}
}

// Close closes every open slot.
func (s *Side) Close() {
	for slot := range s.fds {
		s.closeSlot(slot)
	}
}

func (s *Side) abs(p string) string { return s.Root + "/" + p }

func (s *Side) closeSlot(slot int) error {
	fd, ok := s.fds[slot]
	if !ok {
		return unix.EBADF
	}
	delete(s.fds, slot)
	return unix.Close(fd)
}

func (s *Side) keep(slot, fd int, err error) Result {
	if err != nil {
		return fail(err)
	}
	s.closeSlot(slot)
	s.fds[slot] = fd
	return Result{}
}

func (s *Side) fd(slot int) int {
	if fd, ok := s.fds[slot]; ok {
		return fd
	}
	return -1
}

func fail(err error) Result {
	var e syscall.Errno
	if err != nil && !errors.As(err, &e) {
		return Result{Errno: syscall.Errno(4095), Data: err.Error()}
	}
	return Result{Errno: e}
}

func count(n int, err error) Result {
	r := fail(err)
	if err == nil {
		r.N = int64(n)
	}
	return r
}

// Apply carries out one operation.
func (s *Side) Apply(o Op) Result {
	switch o.Kind {
	case Creat:
		fd, err := unix.Open(s.abs(o.Path), unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, o.Mode)
		return s.keep(o.Slot, fd, err)
	case Open:
		fd, err := unix.Open(s.abs(o.Path), o.Flags|unix.O_CLOEXEC|unix.O_NONBLOCK, o.Mode)
		return s.keep(o.Slot, fd, err)
	case OpenTrunc:
		fd, err := unix.Open(s.abs(o.Path), unix.O_WRONLY|unix.O_TRUNC|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err == nil {
			unix.Close(fd)
		}
		return fail(err)
	case Tmpfile:
		fd, err := unix.Open(s.abs(o.Path), unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, o.Mode)
		return s.keep(o.Slot, fd, err)
	case Close:
		return fail(s.closeSlot(o.Slot))
	}
	if o.usesSlot() {
		return s.applyFd(o)
	}
	return s.applyPath(o)
}

func (s *Side) applyFd(o Op) Result {
	fd := s.fd(o.Slot)
	switch o.Kind {
	case PWrite:
		return count(unix.Pwrite(fd, content(o), o.Off))
	case Append:
		if _, err := unix.Seek(fd, 0, unix.SEEK_END); err != nil {
			return fail(err)
		}
		return count(unix.Write(fd, content(o)))
	case PRead:
		buf := make([]byte, o.Len)
		n, err := unix.Pread(fd, buf, o.Off)
		r := count(n, err)
		if err == nil {
			r.Data = sum(buf[:n])
		}
		return r
	case FTruncate:
		return fail(unix.Ftruncate(fd, o.Off))
	case Fallocate:
		if s.FillHoles && o.Mode == 0 {
			return fail(fillHoles(fd, o.Off, o.Len))
		}
		return fail(unix.Fallocate(fd, o.Mode, o.Off, o.Len))
	case SeekHole:
		if s.WriteBack {
			return Result{}
		}
		// Holes of a directory are nobody's business, and drivers differ.
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
			return Result{}
		}
		n, err := unix.Seek(fd, o.Off, int(o.Mode))
		return count(int(n), err)
	case CopyRange:
		in, out := o.Off, o.Off2
		return count(unix.CopyFileRange(fd, &in, s.fd(o.Slot2), &out, int(o.Len), 0))
	case MmapWrite:
		return s.mmapWrite(fd, o)
	case Fsync:
		return fail(unix.Fsync(fd))
	case FStat:
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return fail(err)
		}
		return Result{Data: statText(&st)}
	case LinkFd:
		return fail(unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, s.abs(o.Path), unix.AT_SYMLINK_FOLLOW))
	}
	return Result{Errno: syscall.Errno(4094), Data: "unknown operation"}
}

// fillHoles does what fallocate of mode 0 does, for a driver that cannot.
func fillHoles(fd int, off, n int64) error {
	err := unix.Fallocate(fd, 0, off, n)
	if err != unix.EOPNOTSUPP {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return err
	}
	if off+n > st.Size {
		if err := unix.Ftruncate(fd, off+n); err != nil {
			return err
		}
	}
	// A pwrite(2) to a file opened O_APPEND goes to its end.
	fl, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, fl&^unix.O_APPEND)
	}
	if err != nil {
		return err
	}
	defer func() { _, _ = unix.FcntlInt(uintptr(fd), unix.F_SETFL, fl) }()
	bs := int64(st.Blksize)
	for b := off / bs * bs; b < off+n; b += bs {
		hole, err := unix.Seek(fd, b, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		if hole != b {
			continue
		}
		at := max(b, off)
		if _, err := unix.Pwrite(fd, []byte{0}, at); err != nil {
			return err
		}
	}
	return nil
}

// mmapWrite changes the part of the range that lies inside the file through a
// shared mapping.
func (s *Side) mmapWrite(fd int, o Op) Result {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fail(err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || o.Off >= st.Size || o.Len == 0 {
		return Result{}
	}
	page := o.Off &^ 4095
	n := min(o.Off+o.Len, st.Size) - page
	mem, err := unix.Mmap(fd, page, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fail(err)
	}
	defer unix.Munmap(mem)
	if s.SinglePages {
		err := errors.Join(unix.Fdatasync(fd), unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED), unix.Madvise(mem, unix.MADV_RANDOM))
		if err != nil {
			return fail(err)
		}
	}
	if !copyMapped(mem[o.Off-page:], content(o)) {
		return Result{Errno: syscall.ENOSPC, Data: "SIGBUS"}
	}
	return fail(unix.Msync(mem, unix.MS_SYNC))
}

// copyMapped copies into a mapping; false means that the file system would not
// take a page, which a process learns as SIGBUS.
func copyMapped(dst, src []byte) (ok bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() { ok = recover() == nil }()
	copy(dst, src)
	return
}

func (s *Side) applyPath(o Op) Result {
	p := s.abs(o.Path)
	switch o.Kind {
	case Truncate:
		var st unix.Stat_t
		if s.WriteBack && unix.Stat(p, &st) == nil && st.Size == o.Off {
			return Result{}
		}
		return fail(unix.Truncate(p, o.Off))
	case Mkdir:
		return fail(unix.Mkdir(p, o.Mode))
	case Rmdir:
		return fail(unix.Rmdir(p))
	case Unlink:
		return fail(unix.Unlink(p))
	case Link:
		return fail(unix.Link(p, s.abs(o.Path2)))
	case Symlink:
		return fail(unix.Symlink(o.Name, p))
	case Readlink:
		buf := make([]byte, 8192)
		n, err := unix.Readlink(p, buf)
		if err != nil {
			return fail(err)
		}
		return Result{N: int64(n), Data: string(buf[:n])}
	case Rename:
		return fail(unix.Renameat2(unix.AT_FDCWD, p, unix.AT_FDCWD, s.abs(o.Path2), uint(o.Flags)))
	case Mknod:
		return fail(unix.Mknod(p, o.Mode, int(o.Off)))
	case Chmod:
		return fail(unix.Fchmodat(unix.AT_FDCWD, p, o.Mode, 0))
	case Chown:
		return fail(unix.Lchown(p, int(o.Off), int(o.Off2)))
	case Utimens:
		ts := []unix.Timespec{{Sec: o.Off, Nsec: o.Len}, {Sec: o.Off2, Nsec: o.Len}}
		return fail(unix.UtimesNanoAt(unix.AT_FDCWD, p, ts, unix.AT_SYMLINK_NOFOLLOW))
	case Stat:
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return fail(err)
		}
		return Result{Data: statText(&st)}
	case ReadDir:
		names, err := listDir(p)
		if err != nil {
			return fail(err)
		}
		return Result{N: int64(len(names)), Data: strings.Join(names, "\n")}
	case SetXattr:
		return fail(unix.Lsetxattr(p, o.Name, content(o), o.Flags))
	case GetXattr:
		return getXattr(p, o.Name)
	case ListXattr:
		buf := make([]byte, 65536)
		n, err := unix.Llistxattr(p, buf)
		if err != nil {
			return fail(err)
		}
		names := strings.Split(string(buf[:n]), "\x00")
		sort.Strings(names)
		return Result{N: int64(n), Data: strings.Join(names, " ")}
	case DelXattr:
		return fail(unix.Lremovexattr(p, o.Name))
	case SetACL:
		return fail(unix.Lsetxattr(p, "system.posix_acl_"+o.Name, randomACL(o.Seed), 0))
	case SetFlags, GetFlags:
		return s.flags(p, o)
	case AccessAs, CreatAs, UnlinkAs, WriteAs, ChmodAs:
		return s.as(p, o)
	}
	return Result{Errno: syscall.Errno(4094), Data: "unknown operation"}
}

func (s *Side) flags(p string, o Op) Result {
	fd, err := unix.Open(p, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fail(err)
	}
	defer unix.Close(fd)
	if o.Kind == SetFlags {
		old, err := unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS)
		if err != nil {
			return fail(err)
		}
		// What forbids changes of a file is refused at open by the kernel's driver, and
		// by a FUSE server, which is not asked at open, with the change itself.
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			o.Flags &^= flagImmutable | flagAppend
		}
		return fail(unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, old&^flagsSeen|o.Flags))
	}
	v, err := unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS)
	return count(v&flagsSeen, err)
}

// clearFlags takes all flags off a directory.
func clearFlags(dir string) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	old, err := unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS)
	if err != nil || old&flagsSeen == 0 {
		return err
	}
	return unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, old&^flagsSeen)
}

// as does one thing with another user's file system credentials.
func (s *Side) as(p string, o Op) Result {
	if o.Off != 0 {
		unix.Setfsgid(int(o.Off))
		unix.Setfsuid(int(o.Off))
		defer func() {
			unix.Setfsuid(0)
			unix.Setfsgid(0)
		}()
	}
	switch o.Kind {
	case AccessAs: // faccessat asks for the real uid; opening asks for the fsuid
		fl := []int{unix.O_RDONLY, unix.O_RDONLY, unix.O_WRONLY, unix.O_RDWR}[o.Mode&3]
		fd, err := unix.Open(p, fl|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err == nil {
			unix.Close(fd)
		}
		return fail(err)
	case CreatAs:
		fd, err := unix.Open(p, unix.O_CREAT|unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, o.Mode)
		if err == nil {
			unix.Close(fd)
		}
		return fail(err)
	case UnlinkAs:
		return fail(unix.Unlink(p))
	case WriteAs:
		fd, err := unix.Open(p, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return fail(err)
		}
		defer unix.Close(fd)
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
			return Result{}
		}
		return count(unix.Write(fd, content(o)))
	}
	return fail(unix.Fchmodat(unix.AT_FDCWD, p, o.Mode, 0))
}

func getXattr(p, name string) Result {
	buf := make([]byte, 65536)
	n, err := unix.Lgetxattr(p, name, buf)
	if err != nil {
		return fail(err)
	}
	return Result{N: int64(n), Data: hex.EncodeToString(buf[:n])}
}

// content is the operation's data: a function of its seed, offset and length.
func content(o Op) []byte {
	b := make([]byte, o.Len)
	r := rand.New(rand.NewPCG(o.Seed, uint64(o.Off)))
	for i := 0; i < len(b); i += 8 {
		v := r.Uint64()
		for j := i; j < min(i+8, len(b)); j++ {
			b[j] = byte(v)
			v >>= 8
		}
	}
	return b
}

func sum(b []byte) string {
	h := fnv.New64a()
	h.Write(b)
	return hex.EncodeToString(h.Sum(nil))
}

func listDir(p string) ([]string, error) {
	fd, err := unix.Open(p, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var names []string
	buf := make([]byte, 32768)
	for {
		n, err := unix.Getdents(fd, buf)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			break
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
	sort.Strings(names)
	return names, nil
}

// statText shows what of a stat does not depend on when or where things happened. The
// time of last access is not in it: reads from the page cache do not reach a FUSE
// server, which therefore cannot note them.
func statText(st *unix.Stat_t) string {
	s := fmt.Sprintf("mode=%o nlink=%d uid=%d gid=%d rdev=%x", st.Mode, st.Nlink, st.Uid, st.Gid, st.Rdev)
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		s += fmt.Sprintf(" size=%d", st.Size)
	}
	for _, t := range []struct {
		name string
		ts   unix.Timespec
	}{{"mtime", st.Mtim}} {
		if set := pastSet(t.ts.Sec); set { // a time that only utimens can have put there
			s += fmt.Sprintf(" %s=%d.%09d", t.name, t.ts.Sec, t.ts.Nsec)
		} else {
			s += " " + t.name + "=now"
		}
	}
	return s
}

// pastSet tells times that the utimens operation sets from the wall clock's.
func pastSet(sec int64) bool { return sec <= 1_100_000_000 || sec >= 1<<31 }

// randomACL makes a valid POSIX ACL in xattr form (version 2).
func randomACL(seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 7))
	b := []byte{2, 0, 0, 0}
	entry := func(tag, perm uint16, id uint32) {
		b = append(b, byte(tag), byte(tag>>8), byte(perm), byte(perm>>8), byte(id), byte(id>>8), byte(id>>16), byte(id>>24))
	}
	const none = 0xffffffff
	perm := func() uint16 { return uint16(r.IntN(8)) }
	named := false
	entry(1, perm(), none) // ACL_USER_OBJ
	for id := uint32(1001); id < 1001+uint32(r.IntN(3)); id++ {
		entry(2, perm(), id) // ACL_USER
		named = true
	}
	entry(4, perm(), none) // ACL_GROUP_OBJ
	if r.IntN(2) == 0 {
		entry(8, perm(), 1002) // ACL_GROUP
		named = true
	}
	if named {
		entry(16, perm(), none) // ACL_MASK
	}
	entry(32, perm(), none) // ACL_OTHER
	return b
}

// clean makes a path for messages.
func clean(p string) string { return filepath.Clean(p) }
