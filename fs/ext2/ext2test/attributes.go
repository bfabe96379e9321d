//go:build linux

package ext2test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// xattrs: in all namespaces, of all lengths, on all that may carry them, enough of
// them to leave the inode for a block of their own, and equal sets, which share one.
func (p populator) xattrs(dir string) {
	set := func(path, name string, value []byte) bool {
		err := unix.Lsetxattr(path, name, value, 0)
		if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPERM) {
			return false
		}
		if err != nil {
			p.Fatalf("setting %s (%d bytes) on %s: %v", name, len(value), path, err)
		}
		return true
	}
	one := func(name string, attrs map[string]int) {
		path := filepath.Join(dir, name)
		p.file(path, []byte(name))
		for attr, n := range attrs {
			if !set(path, attr, Content(uint64(n), n)) {
				return
			}
		}
	}
	one("empty", map[string]int{"user.empty": 0})
	one("one", map[string]int{"user.a": 1})
	one("some", map[string]int{"user.a": 3, "user.bb": 4, "user.ccc": 5, "user.dddd": 60})
	one("block", map[string]int{"user.large": 700})
	one("long-name", map[string]int{"user." + strings.Repeat("x", 250): 10})
	one("odd-name", map[string]int{"user.a b": 1, "user.grüße": 2, "user.\xff": 3, "user.a=b": 4})
	if p.blockSize >= 4096 {
		one("larger", map[string]int{"user.large": 3500})
		many := map[string]int{}
		for i := range 60 {
			many[fmt.Sprint("user.number-", i)] = i % 7
		}
		one("many", many)
	}
	for i := range 20 {
		one(fmt.Sprint("shared-", i), map[string]int{"user.shared": 300, "user.too": 100})
	}
	if p.root {
		one("trusted", map[string]int{"trusted.a": 10, "trusted.long": 200})
		one("security", map[string]int{"security.made-up": 10})
		one("all", map[string]int{"user.a": 1, "trusted.a": 2, "security.made-up": 3})
		link := filepath.Join(dir, "symlink")
		p.check(os.Symlink("one", link))
		set(link, "trusted.on-a-link", []byte("yes"))
		fifo := filepath.Join(dir, "fifo")
		p.check(unix.Mkfifo(fifo, 0o644))
		set(fifo, "trusted.on-a-fifo", []byte("yes"))
	}
	set(dir, "user.on-a-directory", []byte("yes"))
}

// ACLEntry is one entry of a POSIX ACL: a tag of the ACL… constants, rwx bits, and
// for named users and groups the id.
type ACLEntry struct {
	Tag, Perm uint16
	ID        uint32
}

// The tags of ACL entries.
const (
	ACLUserObj  = 0x01
	ACLUser     = 0x02
	ACLGroupObj = 0x04
	ACLGroup    = 0x08
	ACLMask     = 0x10
	ACLOther    = 0x20
)

// ACL is the value of system.posix_acl_access or system.posix_acl_default: the
// form of the system calls (version 2), not the one on disk.
func ACL(entries ...ACLEntry) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range entries {
		if e.Tag != ACLUser && e.Tag != ACLGroup {
			e.ID = 0xffffffff
		}
		b = binary.LittleEndian.AppendUint16(b, e.Tag)
		b = binary.LittleEndian.AppendUint16(b, e.Perm)
		b = binary.LittleEndian.AppendUint32(b, e.ID)
	}
	return b
}

// acls: access and default ones, named users and groups, inherited ones.
func (p populator) acls(dir string) {
	access := ACL(ACLEntry{ACLUserObj, 7, 0}, ACLEntry{ACLUser, 4, 1000}, ACLEntry{ACLUser, 7, 100000}, ACLEntry{ACLGroupObj, 4, 0},
		ACLEntry{ACLGroup, 6, 50}, ACLEntry{ACLMask, 7, 0}, ACLEntry{ACLOther, 0, 0})
	inherited := ACL(ACLEntry{ACLUserObj, 7, 0}, ACLEntry{ACLGroupObj, 5, 0}, ACLEntry{ACLGroup, 7, 4000000000}, ACLEntry{ACLMask, 5, 0}, ACLEntry{ACLOther, 5, 0})
	file := filepath.Join(dir, "file")
	p.file(file, []byte("acl\n"))
	sub := filepath.Join(dir, "with-default")
	p.check(os.Mkdir(sub, 0o755))
	if err := unix.Setxattr(file, "system.posix_acl_access", access, 0); errors.Is(err, unix.EOPNOTSUPP) {
		return
	} else if err != nil {
		p.Fatal(err)
	}
	p.check(unix.Setxattr(sub, "system.posix_acl_access", access, 0))
	p.check(unix.Setxattr(sub, "system.posix_acl_default", inherited, 0))
	p.file(filepath.Join(sub, "inherits"), nil)
	p.check(os.Mkdir(filepath.Join(sub, "inherits-too"), 0o777))
	p.check(unix.Mkfifo(filepath.Join(sub, "fifo"), 0o666))
}

// Inode flags, as FS_IOC_SETFLAGS takes them and i_flags holds them.
const (
	flagSecureRemoval = 0x1
	flagUndelete      = 0x2
	flagCompress      = 0x4
	flagSync          = 0x8
	flagImmutable     = 0x10
	flagAppend        = 0x20
	flagNoDump        = 0x40
	flagNoAtime       = 0x80
	flagNoTail        = 0x8000
	flagDirSync       = 0x10000
	flagTopDir        = 0x20000
)

// flags: what chattr sets. Immutable and append-only ones come last, when their
// files are complete.
func (p populator) flags(dir string) {
	for _, f := range []struct {
		name string
		flag int
		root bool
	}{
		{"secrm", flagSecureRemoval, false}, {"unrm", flagUndelete, false}, {"compr", flagCompress, false}, {"sync", flagSync, false},
		{"nodump", flagNoDump, false}, {"noatime", flagNoAtime, false}, {"notail", flagNoTail, false},
		{"dirsync.dir", flagDirSync, false}, {"topdir.dir", flagTopDir, false},
		{"append", flagAppend, true}, {"immutable", flagImmutable, true}, {"immutable.dir", flagImmutable, true},
	} {
		if f.root && !p.root {
			continue
		}
		path := filepath.Join(dir, f.name)
		if strings.HasSuffix(f.name, ".dir") {
			p.check(os.Mkdir(path, 0o755))
		} else {
			p.file(path, []byte(f.name))
		}
		if !p.setFlag(path, f.flag) {
			return
		}
	}
}

// setFlag sets an inode flag, and tells whether the file system has such flags.
func (p populator) setFlag(path string, flag int) bool {
	f, err := os.Open(path)
	p.check(err)
	defer f.Close()
	old, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, old|flag)
	}
	if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EOPNOTSUPP) {
		return false
	}
	if err != nil {
		p.Fatalf("setting inode flag %#x on %s: %v", flag, path, err)
	}
	if flag&(flagImmutable|flagAppend) != 0 {
		// A plain directory that mke2fs -d copies has to be removed again.
		p.Cleanup(func() {
			if f, err := os.Open(path); err == nil {
				unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, old)
				f.Close()
			}
		})
	}
	return true
}
