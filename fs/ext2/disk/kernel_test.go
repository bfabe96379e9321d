//go:build linux

package disk

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// seen is what the kernel shows of a file.
type seen struct {
	stat   unix.Statx_t
	xattrs map[string]string
	target string
}

// look records what the kernel shows of a tree, by path from "/" on.
func look(t *testing.T, dir string) map[string]seen {
	t.Helper()
	all := make(map[string]seen)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		s := seen{xattrs: listXattrs(t, path)}
		if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &s.stat); err != nil {
			return err
		}
		if d.Type()&fs.ModeSymlink != 0 {
			if s.target, err = os.Readlink(path); err != nil {
				return err
			}
		}
		all["/"+strings.TrimPrefix(strings.TrimPrefix(path, dir), "/")] = s
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// listXattrs gives all extended attributes of a file.
func listXattrs(t *testing.T, path string) map[string]string {
	t.Helper()
	names := make([]byte, 1<<16)
	n, err := unix.Llistxattr(path, names)
	if err != nil {
		t.Fatalf("listxattr %s: %v", path, err)
	}
	all := make(map[string]string)
	value := make([]byte, 1<<16)
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			t.Fatalf("getxattr %s %s: %v", path, name, err)
		}
		all[name] = string(value[:n])
	}
	return all
}

// TestKernelTree takes trees apart that the kernel's driver wrote: what is decoded is
// what the kernel shows of them.
func TestKernelTree(t *testing.T) {
	for _, o := range []ext2test.Options{
		{InodeSize: 128}, {InodeSize: 256}, {BlockSize: 2048, InodeSize: 1024, Inodes: 2000}, {BlockSize: 4096, Features: []string{"^filetype"}}, {BlockSize: 4096, Revision0: true},
	} {
		o.Size = 32 << 20
		t.Run(fmt.Sprintf("%d-%d%s", o.BlockSize, o.InodeSize, strings.Join(o.Features, "")), func(t *testing.T) {
			img := ext2test.Make(t, o)
			dir := ext2test.KernelMount(t, img)
			ext2test.Populate(t, dir, max(o.BlockSize, 1024))
			ext2test.Unmount(t, dir)
			dir = ext2test.KernelMount(t, img, "ro")
			all := look(t, dir)
			ext2test.Unmount(t, dir)
			m := load(t, img)
			m.compareSeen("/", RootIno, all["/"])
			count := 1
			m.walk(func(path string, dir, ino uint32, fileType uint8) {
				count++
				s, ok := all[path]
				if !ok {
					t.Errorf("%q: the kernel does not show it", path)
					return
				}
				m.compareSeen(path, ino, s)
			})
			if count != len(all) {
				t.Errorf("we see %d names, the kernel %d", count, len(all))
			}
		})
	}
}

// compareSeen compares an inode with what the kernel shows of it.
func (m *image) compareSeen(path string, ino uint32, s seen) {
	in := m.inode(ino)
	if err := in.CheckInode(ino, m.sb); err != nil {
		m.Errorf("%q: %v", path, err)
	}
	time := func(t unix.StatxTimestamp) Timespec { return Timespec{t.Sec, t.Nsec} }
	type stat struct {
		ino, sectors, size         uint64
		mode, links                uint16
		uid, gid, major, minor     uint32
		atime, mtime, ctime, btime Timespec
		hasBtime                   bool
	}
	k := &s.stat
	want := stat{k.Ino, k.Blocks, k.Size, k.Mode, uint16(k.Nlink), k.Uid, k.Gid, k.Rdev_major, k.Rdev_minor,
		time(k.Atime), time(k.Mtime), time(k.Ctime), time(k.Btime), k.Mask&unix.STATX_BTIME != 0}
	got := stat{uint64(ino), in.Sectors512(m.sb), in.Size, in.Mode, in.Links, in.UID, in.GID, 0, 0,
		in.Atime, in.Mtime, in.Ctime, in.Btime, in.HasBtime}
	if in.IsDevice() {
		got.major, got.minor = in.Rdev()
	}
	if got != want {
		m.Errorf("%q: we say\n%+v, the kernel\n%+v", path, got, want)
	}
	if in.IsSymlink() {
		target := in.SymlinkTarget()
		if !in.FastSymlink(m.sb) {
			target = m.block(uint64(in.Block[0]))[:in.Size]
		}
		if string(target) != s.target {
			m.Errorf("%q: we see target %q, the kernel %q", path, target, s.target)
		}
	}
	m.CompareXattrs(path, ino, in, s.xattrs)
}

// CompareXattrs decodes the attributes in inode and block, checks their hashes and
// compares them with those the kernel shows.
func (m *image) CompareXattrs(path string, ino uint32, in Inode, want map[string]string) {
	entries, err := DecodeInodeXattrs(InodeXattrArea(m.inodeBytes(ino), &in))
	if err != nil {
		m.Errorf("%q: %v", path, err)
	}
	for _, e := range entries {
		if e.Hash != 0 {
			m.Errorf("%q: %q: the hash in the inode is %08x, expected 0", path, e.Name, e.Hash)
		}
	}
	if in.FileACL != 0 {
		inBlock, header, err := DecodeXattrBlock(m.block(uint64(in.FileACL)))
		if err != nil || header.Refcount == 0 || header.Refcount > XattrMaxRefcount {
			m.Errorf("%q: refcount %d: %v", path, header.Refcount, err)
		}
		if h := XattrBlockHash(inBlock); h != header.Hash {
			m.Errorf("%q: the block's hash is %08x, we say %08x", path, header.Hash, h)
		}
		if !slices.IsSortedFunc(inBlock, CompareXattr) {
			m.Errorf("%q: the kernel's order of attributes is not ours: %v", path, inBlock)
		}
		for _, e := range inBlock {
			// Linux before 6.2 hashed names as signed bytes on many machines.
			if e.Hash != XattrEntryHash(e.Name, e.Value) && e.Hash != XattrEntryHashSigned(e.Name, e.Value) {
				m.Errorf("%q: %q: the hash is %08x, we say %08x", path, e.Name, e.Hash, XattrEntryHash(e.Name, e.Value))
			}
		}
		entries = append(entries, inBlock...)
	}
	got := make(map[string]string)
	for _, e := range entries {
		full, ok := XattrFullName(e.Index, e.Name)
		if !ok {
			m.Errorf("%q: attribute %d %q has no name", path, e.Index, e.Name)
		}
		if index, name, ok := XattrSplitName(full); !ok || index != e.Index || name != e.Name {
			m.Errorf("%q: %q splits into %d %q", path, full, index, name)
		}
		value := e.Value
		if e.Index == XattrACLAccess || e.Index == XattrACLDefault {
			if value, err = ACLToPosix(e.Value); err != nil {
				m.Errorf("%q: %v", path, err)
			}
			if back, err := ACLFromPosix(value); err != nil || !bytes.Equal(back, e.Value) {
				m.Errorf("%q: ACL %x becomes %x: %v", path, e.Value, back, err)
			}
		}
		got[full] = string(value)
	}
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		m.Errorf("%q: we see attributes\n%q, the kernel\n%q", path, got, want)
	}
}

// TestKernelReadsXattrs encodes attributes into block and inode of images; e2fsck finds
// nothing wrong with them and the kernel shows them.
func TestKernelReadsXattrs(t *testing.T) {
	for _, o := range []ext2test.Options{{InodeSize: 256}, {BlockSize: 4096, InodeSize: 512}} {
		img := ext2test.Make(t, o)
		dir := ext2test.KernelMount(t, img)
		path := filepath.Join(dir, "file")
		if err := os.WriteFile(path, nil, 0o640); err != nil {
			t.Fatal(err)
		}
		// Too large for the inode: the kernel gives the file an attribute block.
		if err := unix.Setxattr(path, "user.large", bytes.Repeat([]byte("x"), 600), 0); err != nil {
			t.Fatal(err)
		}
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			t.Fatal(err)
		}
		ext2test.Unmount(t, dir)

		acl := EncodeACL([]ACLEntry{{ACLUserObj, 6, 0}, {ACLUser, 5, 70000}, {ACLGroupObj, 4, 0}, {ACLGroup, 7, 3}, {ACLMask, 4, 0}, {ACLOther, 0, 0}})
		inBlock := []XattrEntry{
			{Index: XattrUser, Name: "z", Value: []byte("1")}, {Index: XattrUser, Name: "aa", Value: []byte("22")},
			{Index: XattrUser, Name: "\xc3\xbc\xff", Value: []byte("333")}, {Index: XattrTrusted, Name: "t", Value: []byte("4444")},
			{Index: XattrUser, Name: strings.Repeat("n", 250), Value: bytes.Repeat([]byte("5"), 301)}, {Index: XattrACLAccess, Value: acl},
		}
		inInode := []XattrEntry{{Index: XattrUser, Name: "i", Value: []byte("in the inode")}, {Index: XattrSecurity, Name: "empty"}}
		m := load(t, img)
		ino := uint32(st.Ino)
		in := m.inode(ino)
		if err := EncodeXattrBlock(m.block(uint64(in.FileACL)), 1, inBlock); err != nil {
			t.Fatal(err)
		}
		if err := EncodeInodeXattrs(InodeXattrArea(m.inodeBytes(ino), &in), inInode); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(img, m.b, 0o644); err != nil {
			t.Fatal(err)
		}
		ext2test.Fsck(t, img)
		want := listXattrs(t, filepath.Join(ext2test.KernelMount(t, img, "ro"), "file"))
		if len(want) != len(inBlock)+len(inInode) {
			t.Errorf("the kernel shows %d attributes: %q", len(want), want)
		}
		m.CompareXattrs("/file", ino, in, want)
	}
}

// TestKernelExtraSize: what the kernel shows of the times of inodes whose extra space
// is in use only in part, or not at all, is what we decode.
func TestKernelExtraSize(t *testing.T) {
	img := ext2test.Make(t, ext2test.Options{})
	sizes := []int{0, 4, 8, 12, 16, 20, 24, 28, 32, 64, 128}
	var commands []string
	for _, n := range sizes {
		commands = append(commands, fmt.Sprintf("symlink size-%d x", n))
	}
	ext2test.DebugfsWrite(t, img, commands...)
	m := load(t, img)
	for i, n := range sizes {
		b := m.inodeBytes(m.find(RootIno, fmt.Sprintf("size-%d", n)))
		le.PutUint16(b[inoExtraSize:], uint16(n))
		for k, off := range []int{inoCtimeExtra, inoMtimeExtra, inoAtimeExtra, inoBtime, inoBtimeExtra} {
			le.PutUint32(b[off:], uint32(100*i+10*k+1)<<2|uint32(k)&3)
		}
		clear(b[inoExtraEnd:]) // no attributes
	}
	if err := os.WriteFile(img, m.b, 0o644); err != nil {
		t.Fatal(err)
	}
	all := look(t, ext2test.KernelMount(t, img, "ro", "noatime"))
	for _, n := range sizes {
		name := fmt.Sprintf("size-%d", n)
		s, ok := all["/"+name]
		if !ok {
			t.Errorf("the kernel does not show %s", name)
			continue
		}
		m.compareSeen(name, m.find(RootIno, name), s)
	}
}
