//go:build linux

package ext2

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
	"golang.org/x/sys/unix"
)

// TestInheritance makes objects of every mode below directories with several default ACLs
// and set-group-ID, changes their modes, and holds modes and ACLs against the kernel's.
func TestInheritance(t *testing.T) {
	ext2test.NeedKernelMount(t)
	entry := func(tag, perm uint16, id uint32) ext2test.ACLEntry {
		return ext2test.ACLEntry{Tag: tag, Perm: perm, ID: id}
	}
	acls := [][]byte{
		nil,
		ext2test.ACL(entry(ext2test.ACLUserObj, 7, 0), entry(ext2test.ACLGroupObj, 5, 0), entry(ext2test.ACLOther, 0, 0)),
		ext2test.ACL(entry(ext2test.ACLUserObj, 6, 0), entry(ext2test.ACLUser, 7, 1000), entry(ext2test.ACLGroupObj, 7, 0),
			entry(ext2test.ACLMask, 5, 0), entry(ext2test.ACLOther, 4, 0)),
		ext2test.ACL(entry(ext2test.ACLUserObj, 7, 0), entry(ext2test.ACLGroupObj, 0, 0), entry(ext2test.ACLGroup, 3, 50),
			entry(ext2test.ACLMask, 7, 0), entry(ext2test.ACLOther, 7, 0)),
	}
	for _, size := range []int{128, 256} {
		o := ext2test.Options{Size: 16 << 20, BlockSize: 1024, InodeSize: size}
		kimg := ext2test.Make(t, o)
		kernel := ext2test.KernelMount(t, kimg)
		w := makeWritable(t, o, Options{})
		const umask = 0o027
		old := unix.Umask(umask)
		same := func(what, path string, in *Inode) {
			t.Helper()
			var st unix.Stat_t
			if err := unix.Lstat(path, &st); err != nil {
				t.Fatal(err)
			}
			if a := in.Attr(); a.Mode != st.Mode || a.GID != st.Gid {
				t.Errorf("%s: mode %o, group %d, the kernel's driver: %o, %d", what, a.Mode, a.GID, st.Mode, st.Gid)
			}
			for _, name := range []string{"system.posix_acl_access", "system.posix_acl_default"} {
				got, err := in.Getxattr(name)
				b := make([]byte, 1024)
				n, kerr := unix.Lgetxattr(path, name, b)
				if (err == nil) != (kerr == nil) || kerr == nil && string(got) != string(b[:n]) {
					t.Errorf("%s: %s is %x, %v, the kernel's driver: %x, %v", what, name, got, err, b[:max(n, 0)], kerr)
				}
			}
		}
		for i, acl := range acls {
			for _, mode := range []uint32{0o755, 0o2775} {
				name := fmt.Sprintf("d%d-%o", i, mode)
				path := filepath.Join(kernel, name)
				d := must(w.root.Create(ctx, name, CreateOptions{Mode: disk.ModeDir | mode}))(t)
				w.wantErr("chown", d.SetAttr(ctx, SetAttr{GID: ptr(uint32(77))}), nil)
				w.wantErr("chmod", d.SetAttr(ctx, SetAttr{Mode: &mode}), nil)
				for _, err := range []error{unix.Mkdir(path, 0o777), unix.Chown(path, 0, 77), unix.Chmod(path, mode)} {
					w.wantErr(path, err, nil)
				}
				if acl != nil {
					w.wantErr("acl", d.Setxattr(ctx, "system.posix_acl_default", acl, 0, Root), nil)
					w.wantErr("acl", unix.Setxattr(path, "system.posix_acl_default", acl, 0), nil)
				}
				for _, m := range []uint32{0o777, 0o644, 0o000, 0o2770, 0o4711} {
					for _, kind := range []uint32{disk.ModeReg, disk.ModeDir, disk.ModeFIFO} {
						child := fmt.Sprintf("%o-%o", kind, m)
						cpath := filepath.Join(path, child)
						what := fmt.Sprintf("inodes of %d bytes: %s/%s", size, name, child)
						if kind == disk.ModeDir {
							w.wantErr(what, unix.Mkdir(cpath, m), nil)
							m &= 0o1777 // as mkdir(2) has it
						} else {
							w.wantErr(what, unix.Mknod(cpath, kind|m, 0), nil)
						}
						in := must(d.Create(ctx, child, CreateOptions{Mode: kind | m, Umask: umask}))(t)
						same(what, cpath, in)
						w.wantErr(what, in.SetAttr(ctx, SetAttr{Mode: ptr(uint32(0o641))}), nil)
						w.wantErr(what, os.Chmod(cpath, 0o641), nil)
						same(what+" after chmod", cpath, in)
						if i > 1 {
							w.wantErr(what, in.Setxattr(ctx, "system.posix_acl_access", acl, 0, Root), nil)
							w.wantErr(what, unix.Setxattr(cpath, "system.posix_acl_access", acl, 0), nil)
							same(what+" after setfacl", cpath, in)
						}
						in.Put()
					}
				}
				d.Put()
			}
		}
		unix.Umask(old)
		w.close()
		ext2test.Unmount(t, kernel)
	}
}
