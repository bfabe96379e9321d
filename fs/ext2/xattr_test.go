//go:build linux

package ext2

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

func setxattr(t testing.TB, file, name string, n int) {
	t.Helper()
	if err := unix.Lsetxattr(file, name, ext2test.Content(uint64(n), n), 0); err != nil {
		t.Fatalf("setting %s (%d bytes) on %s: %v", name, n, file, err)
	}
}

func touch(t testing.TB, file string) string {
	t.Helper()
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestXattrsLikeKernel: attributes in the inode, in a block, in both, blocks shared by
// many, values as large as a block takes, with every inode and block size. getfattr and
// getfacl show what these system calls return.
func TestXattrsLikeKernel(t *testing.T) {
	ext2test.NeedKernelMount(t)
	for _, c := range []struct{ block, inode int }{{1024, 128}, {1024, 1024}, {4096, 256}} {
		t.Run(fmt.Sprintf("%d-%d", c.block, c.inode), func(t *testing.T) {
			img := ext2test.Filled(t, ext2test.Options{BlockSize: c.block, InodeSize: c.inode}, func(dir string) {
				for n := range 40 { // one value growing from inode to block
					setxattr(t, touch(t, filepath.Join(dir, fmt.Sprint("grow-", n))), "user.v", n*8)
				}
				most := c.block - 32 - 4 - 16 - 4 // header, end mark, entry, name
				setxattr(t, touch(t, filepath.Join(dir, "largest")), "user.v", most)
				for i := range 20 {
					f := touch(t, filepath.Join(dir, fmt.Sprint("many-", i)))
					for k := range i {
						setxattr(t, f, fmt.Sprintf("%s.k%d", []string{"user", "trusted", "security"}[k%3], k*7919%100), k)
					}
				}
				for i := range 30 {
					f := touch(t, filepath.Join(dir, fmt.Sprint("shared-", i)))
					setxattr(t, f, "user.shared", 400)
				}
				acl := ext2test.ACL(ext2test.ACLEntry{Tag: ext2test.ACLUserObj, Perm: 7}, ext2test.ACLEntry{Tag: ext2test.ACLUser, Perm: 5, ID: 4294967294},
					ext2test.ACLEntry{Tag: ext2test.ACLGroupObj, Perm: 5}, ext2test.ACLEntry{Tag: ext2test.ACLMask, Perm: 5}, ext2test.ACLEntry{Tag: ext2test.ACLOther})
				sub := filepath.Join(dir, "acls")
				if err := os.Mkdir(sub, 0o755); err != nil {
					t.Fatal(err)
				}
				for _, name := range []string{"system.posix_acl_access", "system.posix_acl_default"} {
					if err := unix.Setxattr(sub, name, acl, 0); err != nil {
						t.Fatal(err)
					}
				}
				touch(t, filepath.Join(sub, "inherits"))
			})
			fs := openImage(t, img, Options{})
			compareTree(t, fs, ext2test.KernelMount(t, img, "ro", "user_xattr", "acl"), ".")
		})
	}
}

// TestXattrRules: what gives which error.
func TestXattrRules(t *testing.T) {
	src := t.TempDir()
	touch(t, filepath.Join(src, "file"))
	if err := os.Symlink("file", filepath.Join(src, "link")); err != nil {
		t.Fatal(err)
	}
	img := ext2test.Make(t, ext2test.Options{InodeSize: 256, Root: src})
	ext2test.DebugfsWrite(t, img, "ea_set file user.a one", "ea_set file security.b two", "ea_set file trusted.c three")
	for _, c := range []struct {
		o     Options
		name  string
		want  error
		value string
	}{
		{Options{}, "user.a", nil, "one"},
		{Options{}, "security.b", nil, "two"},
		{Options{}, "trusted.c", nil, "three"},
		{Options{}, "user.b", ErrNoAttr, ""},
		{Options{}, "user.", ErrNotSupported, ""},
		{Options{}, "", ErrNotSupported, ""},
		{Options{}, "a", ErrNotSupported, ""},
		{Options{}, "other.a", ErrNotSupported, ""},
		{Options{}, "system.a", ErrNotSupported, ""},
		{Options{}, "user." + strings.Repeat("x", 255), ErrNoAttr, ""},
		{Options{}, "user." + strings.Repeat("x", 256), ErrRange, ""},
		{Options{}, "system.posix_acl_access", ErrNoAttr, ""},
		{Options{NoACL: true}, "system.posix_acl_access", ErrNotSupported, ""},
		{Options{NoUserXattr: true}, "user.a", ErrNotSupported, ""},
		{Options{NoUserXattr: true}, "security.b", nil, "two"},
	} {
		fs := openImage(t, img, c.o)
		value, err := inodeAt(t, fs, "file").Getxattr(c.name)
		if !errors.Is(err, c.want) || string(value) != c.value {
			t.Errorf("%+v, %.30q: %q, %v; want %q, %v", c.o, c.name, value, err, c.value, c.want)
		}
	}
	fs := openImage(t, img, Options{NoUserXattr: true})
	if names, err := inodeAt(t, fs, "file").Listxattr(); slices.Contains(names, "user.a") || len(names) != 2 || err != nil {
		t.Errorf("nouser_xattr lists %q, %v", names, err)
	}
	if _, err := inodeAt(t, fs, "link").Getxattr("system.posix_acl_access"); !errors.Is(err, ErrNotSupported) {
		t.Errorf("the ACL of a symbolic link: %v", err)
	}
}

// TestXattrNone: asking an inode without attributes costs no I/O, no memory and no block:
// every file of an ls -l is asked.
func TestXattrNone(t *testing.T) {
	src := t.TempDir()
	touch(t, filepath.Join(src, "file"))
	for _, size := range []int{128, 256} {
		fs := openImage(t, ext2test.Make(t, ext2test.Options{InodeSize: size, Root: src}), Options{})
		in := inodeAt(t, fs, "file")
		in.Getxattr("system.posix_acl_access")
		before := fs.CacheStats()
		if n := testing.AllocsPerRun(100, func() {
			if _, err := in.Getxattr("system.posix_acl_access"); err != ErrNoAttr {
				t.Fatal(err)
			}
		}); n > 0 {
			t.Errorf("inodes of %d bytes: %v allocations", size, n)
		}
		if after := fs.CacheStats(); after != before {
			t.Errorf("inodes of %d bytes: the cache was asked", size)
		}
	}
}

// TestBadXattrs: damaged attributes, in a block and in the inode.
func TestBadXattrs(t *testing.T) {
	entries := func() []disk.XattrEntry {
		return []disk.XattrEntry{{Index: disk.XattrUser, Name: "aaaa", Value: []byte("some value")}, {Index: disk.XattrACLAccess, Value: []byte("12345678")}}
	}
	first := 32 // offset of the first entry in a block
	for _, c := range []struct {
		name   string
		damage func(b []byte)
		want   string
	}{
		{"magic", func(b []byte) { put32(b, 0, 0xEA010000) }, "h_magic is 0xea010000"},
		{"two blocks", func(b []byte) { put32(b, 8, 2) }, "h_blocks is 2"},
		{"no end", func(b []byte) { copy(b[first:], bytes.Repeat([]byte{1}, len(b)-first)) }, ""},
		{"name past the end", func(b []byte) {
			for off := first; off < len(b); off += 4 {
				put32(b, off, 0xFFFFFFFF)
			}
		}, "past the end"},
		{"value past the end", func(b []byte) { put16(b, first+2, 0xFFF0) }, "does not lie between"},
		{"value too long", func(b []byte) { put32(b, first+8, 0xFFFFFFF0) }, "does not lie between"},
		{"value in the entries", func(b []byte) { put16(b, first+2, 0) }, "does not lie between"},
		{"value in an inode", func(b []byte) { put32(b, first+4, 12) }, "e_value_inum is 12"},
		{"zero in a name", func(b []byte) { b[first+16+1] = 0 }, "zero byte"},
	} {
		t.Run(c.name, func(t *testing.T) {
			img := craft(t, 1024)
			block := make([]byte, img.blockSize)
			if err := disk.EncodeXattrBlock(block, 1, entries()); err != nil {
				t.Fatal(err)
			}
			c.damage(block)
			p := img.take()
			img.write(block, int64(p)*1024)
			img.inode(fileIno, func(in *disk.Inode) { in.FileACL = p })
			fs, log := img.logged()
			in := openInode(t, fs, fileIno)
			for range 3 {
				_, err := in.Getxattr("user.none")
				wantDamage(t, err, log, c.want)
				_, err = in.Listxattr()
				wantDamage(t, err, log, c.want)
			}
		})
	}
	t.Run("ACL", func(t *testing.T) {
		img := craft(t, 1024)
		block := make([]byte, img.blockSize)
		if err := disk.EncodeXattrBlock(block, 1, entries()); err != nil {
			t.Fatal(err)
		}
		p := img.take()
		img.write(block, int64(p)*1024)
		img.inode(fileIno, func(in *disk.Inode) { in.FileACL = p })
		fs, log := img.logged()
		in := openInode(t, fs, fileIno)
		for range 3 {
			_, err := in.Getxattr("system.posix_acl_access")
			wantDamage(t, err, log, "version is")
			if v, err := in.Getxattr("user.aaaa"); string(v) != "some value" || err != nil {
				t.Errorf("user.aaaa: %q, %v", v, err)
			}
		}
	})
	t.Run("in the inode", func(t *testing.T) {
		img := craft(t, 1024)
		fs := img.open(Options{})
		block, off := fs.inodeBlock(fileIno)
		raw := img.dev.Bytes(int64(block)*1024+int64(off), 256)
		in := disk.DecodeInode(raw, fs.sb)
		area := disk.InodeXattrArea(raw, &in)
		if err := disk.EncodeInodeXattrs(area, entries()[:1]); err != nil {
			t.Fatal(err)
		}
		put32(area, 4+8, 5000) // size of the value
		img.write(raw, int64(block)*1024+int64(off))
		fs, log := img.logged()
		file := openInode(t, fs, fileIno)
		for range 3 {
			_, err := file.Getxattr("user.none")
			wantDamage(t, err, log, "does not lie between")
		}
	})
	t.Run("block outside", func(t *testing.T) {
		img := craft(t, 1024)
		img.inode(fileIno, func(in *disk.Inode) { in.FileACL = 1 << 30 })
		fs, log := img.logged()
		for range 3 {
			_, err := fs.Inode(fileIno)
			wantDamage(t, err, log, "i_file_acl")
		}
	})
}
