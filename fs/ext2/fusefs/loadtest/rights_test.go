//go:build linux && !386 && !arm && !mips && !mipsle

package loadtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// person is a user of the tests: group 5000 is alice's and bob's, 6000 is bob's alone.
type person struct {
	name   string
	uid    uint32
	groups []uint32
}

var (
	admin = person{"root", 0, []uint32{0}}
	alice = person{"alice", 4001, []uint32{4001, 5000}}
	bob   = person{"bob", 4002, []uint32{4002, 5000, 6000}}
	carol = person{"carol", 4003, []uint32{4003}}
)

// as runs a shell command in dir as somebody, and tells whether it succeeded.
func as(p person, dir, command string) (ok bool, out string) {
	cmd := exec.Command("sh", "-c", "umask 022; "+command)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: p.uid, Gid: p.groups[0], Groups: p.groups}}
	b, err := cmd.CombinedOutput()
	return err == nil, string(b)
}

// reachable lets everybody pass to a directory of the test.
func reachable(t *testing.T, dir string) string {
	t.Helper()
	for d := dir; len(d) > len(os.TempDir()); d = filepath.Dir(d) {
		if st, err := os.Stat(d); err == nil && st.Mode()&0o005 != 0o005 {
			must(t, os.Chmod(d, st.Mode()|0o055))
		}
	}
	return dir
}

// rights are who may do what; each command follows the ones before.
var rights = []struct {
	who  person
	what string
	ok   bool
}{
	{admin, "mkdir -m 1777 tmp; mkdir -m 0777 open; mkdir -m 02775 shared; chgrp 5000 shared; mkdir -m 0755 closed", true},
	// Owner, group, others.
	{alice, "echo a >open/a; chmod 640 open/a; chgrp 5000 open/a", true},
	{bob, "cat open/a", true},
	{bob, "echo b >>open/a", false},
	{carol, "cat open/a", false},
	{bob, "chmod 666 open/a", false},
	{bob, "chown 4002 open/a", false},
	{alice, "chown 4002 open/a", false},
	{alice, "chgrp 6000 open/a", false}, // not a member
	{bob, "touch -d 2001-01-01 open/a", false},
	{alice, "touch -d 2001-01-01 open/a", true},
	{carol, "echo c >closed/c", false},
	{carol, "mkdir closed/c", false},
	{carol, "rm -f open/a && ! test -e open/a", true}, // the directory's writers may
	// A sticky directory.
	{alice, "echo a >tmp/a; chmod 666 tmp/a; mkdir tmp/d", true},
	{bob, "echo b | dd of=tmp/a oflag=append conv=notrunc,nocreat status=none", true},
	{bob, "rm -f tmp/a", false},
	{bob, "mv tmp/a tmp/b", false},
	{bob, "rmdir tmp/d", false},
	{bob, "echo b >tmp/mine; mv tmp/mine tmp/a", false},
	{alice, "mv tmp/a tmp/c; rm tmp/c", true},
	{admin, "rmdir tmp/d", true},
	// A directory with set-group-ID hands its group and the bit on.
	{alice, "echo a >shared/a; mkdir shared/d; test $(stat -c %g shared/a) = 5000; test $(stat -c %a:%g shared/d) = 2755:5000", true},
	{bob, "echo b >>shared/a", false},
	{bob, "echo b >shared/b", true},
	{carol, "echo c >shared/c", false},
	{alice, "mv shared/b shared/bb", true},
	// Set-id bits: who may set them, what drops them.
	{alice, "cp /bin/true open/suid; chmod 4755 open/suid; test $(stat -c %a open/suid) = 4755", true},
	{alice, "chmod 666 open/suid; chmod u+s open/suid", true},
	{bob, "echo more >>open/suid && test $(stat -c %a open/suid) = 666", true},
	{alice, "touch open/sgid; chgrp 5000 open/sgid; chmod 2775 open/sgid; test $(stat -c %a open/sgid) = 2775", true},
	{admin, "chown 4002 open/sgid; test $(stat -c %a open/sgid) = 775", true},
	{admin, "touch open/foreign; chown 4001:6000 open/foreign", true},
	{alice, "chmod 2755 open/foreign; test $(stat -c %a open/foreign) = 755", true}, // not of the group
	// ACLs.
	{alice, "echo s >open/acl; chmod 600 open/acl; setfacl -m u:4003:rw open/acl", true},
	{carol, "echo c >>open/acl", true},
	{bob, "cat open/acl", false},
	{alice, "setfacl -m m::r open/acl", true},
	{carol, "cat open/acl && ! sh -c 'echo c >>open/acl' 2>/dev/null", true},
	{carol, "setfacl -m u:4003:rwx open/acl", false},
	{alice, "mkdir open/def; setfacl -d -m g:6000:rwx open/def; mkdir open/def/in; chmod 777 open/def; touch open/def/f", true},
	{bob, "echo b >open/def/in/x", true},
	{carol, "echo c >open/def/in/y", false},
	// Attributes.
	{alice, "setfattr -n user.a -v 1 open/acl && getfattr -n user.a open/acl", true},
	{bob, "getfattr -n user.a open/acl", false},
	{bob, "setfattr -n user.b -v 1 shared/a", false},
	{alice, "setfattr -n trusted.a -v 1 open/acl", false},
	{alice, "setfattr -n security.capability -v 0x0100000200000000000000000000000000000000 open/acl", false},
	{admin, "setfattr -n trusted.a -v 1 open/acl; getfattr -n trusted.a open/acl", true},
	{alice, "getfattr -n trusted.a open/acl", false},
	{alice, "getfattr -m - -d open/acl | grep trusted", false},
	// Device nodes and inode flags.
	{alice, "mknod open/null c 1 3", false},
	{alice, "mkfifo open/fifo", true},
	{admin, "mknod -m 666 open/null c 1 3; echo x >open/null", true},
	{alice, "chattr +i open/acl", false},
	{admin, "chattr +i open/acl", true},
	{alice, "rm -f open/acl", false},
	{admin, "chattr -i open/acl; chattr +a open/acl; echo more >>open/acl; ! sh -c 'echo x >open/acl' 2>/dev/null; chattr -a open/acl", true},
	// Symbolic and hard links.
	{alice, "ln -s /etc/shadow open/shadow", true},
	{carol, "cat open/shadow", false},
	{alice, "ln open/acl open/hard; test $(stat -c %h open/acl) = 2", true},
	// Nobody searches a directory without x.
	{alice, "mkdir -m 744 open/nox; echo a >open/nox/f", true},
	{bob, "ls open/nox", true},
	{bob, "cat open/nox/f", false},
}

// Who may do what on a mount with allow_other is the same as on the kernel's own.
func TestRights(t *testing.T) {
	ext2test.NeedKernelMount(t)
	need(t, "setfacl", "setfattr", "chattr")
	o := ext2test.Options{Size: 32 << 20}
	ours := newMount(t, o)
	kernel := reachable(t, ext2test.KernelMount(t, ext2test.Make(t, o), "acl,user_xattr"))
	reachable(t, ours.dir)
	for _, r := range rights {
		got, out := as(r.who, ours.dir, r.what)
		want, kout := as(r.who, kernel, r.what)
		if got != want || got != r.ok {
			t.Errorf("%s: %s\nsucceeds: %v, the kernel's: %v, expected: %v\n%s--\n%s", r.who.name, r.what, got, want, r.ok, out, kout)
		}
	}
	list := "find . ! -path './lost+found*' -printf '%p %M %U %G %n %s\\n' | sort"
	_, got := as(admin, ours.dir, list)
	_, want := as(admin, kernel, list)
	if got != want {
		t.Errorf("the trees differ:\n%s--\n%s", got, want)
	}
}
