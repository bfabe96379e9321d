//go:build linux

package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

var update = flag.Bool("update", false, "write the golden files anew")

// mistake is something that people do wrong, or that is in their way, and what helps.
type mistake struct {
	what  string
	ready string // a shell script that brings it about, in a directory with disk.img and mnt
	args  string
	plain bool // as a plain user

	// What the advice says: commands, which stand in it word for word and are typed by root,
	// and the arguments that work afterwards (the same, if empty). An option that these have
	// and the mistake had not stands in the advice, with N for a number.
	cure, again string
	// elsewhere does the same as the advice where a test cannot follow it to the letter.
	elsewhere string
	overlay   bool // it needs a host that can lay one directory over another
}

var mistakes = []mistake{
	{what: "nothing said", args: "", cure: "ext2fuse --help", again: "disk.img mnt"},
	{what: "no such image", args: "dsik.img mnt", again: "disk.img mnt"},
	{what: "a directory instead of an image", args: ". mnt", again: "disk.img mnt"},
	{what: "image and mount point the wrong way round", args: "mnt disk.img", again: "disk.img mnt"},
	{what: "a device that is none", args: "/dev/null mnt", again: "disk.img mnt"},
	{what: "an empty file", ready: ": >empty.img", args: "empty.img mnt", elsewhere: "mke2fs -q empty.img 8M"},
	{what: "an image without a file system", ready: "truncate -s 8M zeros.img", args: "zeros.img mnt", cure: "mke2fs zeros.img"},
	{what: "a text file", ready: "seq 10000 >text", args: "text mnt", cure: "file text", again: "disk.img mnt"},
	{what: "an ext4 image", ready: "mke2fs -q -F -t ext4 ext4.img 16M >/dev/null", args: "ext4.img mnt", again: "disk.img mnt"},
	{what: "an image that can only be read", ready: "mke2fs -q -F -t ext2 -O metadata_csum new.img 16M >/dev/null", args: "new.img mnt", again: "-o ro new.img mnt"},
	{what: "a gzip-compressed image", ready: "gzip disk.img", args: "disk.img.gz mnt", cure: "gunzip disk.img.gz", again: "disk.img mnt"},
	{what: "an xz-compressed image", ready: "xz disk.img", args: "disk.img.xz mnt", cure: "unxz disk.img.xz", again: "disk.img mnt"},
	{what: "a zstd-compressed image", ready: `printf '\050\265\057\375rest' >disk.img.zst; truncate -s 8k disk.img.zst`, args: "disk.img.zst mnt", again: "disk.img mnt"},
	{what: "a qcow2 image", ready: `printf 'QFI\373\000\000\000\003' >disk.qcow2; truncate -s 8k disk.qcow2`, args: "disk.qcow2 mnt", again: "disk.img mnt"},
	{what: "a tar archive", ready: "tar cf disk.tar disk.img", args: "disk.tar mnt", elsewhere: "tar xf disk.tar", again: "disk.img mnt"},
	{what: "another file system", ready: "printf XFSB >xfs.img; truncate -s 8M xfs.img", args: "xfs.img mnt", again: "disk.img mnt"},
	{what: "a partition table without part=", args: "whole.img mnt", again: "-o part=1 whole.img mnt"},
	{what: "no such partition", args: "-o part=3 whole.img mnt", cure: "ext2fuse info whole.img", again: "-o part=1 whole.img mnt"},
	{what: "part= without a partition table", args: "-o part=1 disk.img mnt", cure: "ext2fuse info disk.img", again: "disk.img mnt"},
	{what: "an offset behind the end", args: "-o offset=1g disk.img mnt", cure: "ext2fuse info disk.img", again: "disk.img mnt"},
	{what: "a damaged superblock", ready: "dd if=/dev/zero of=disk.img bs=1024 seek=1 count=1 conv=notrunc 2>/dev/null", args: "disk.img mnt", again: "-o sb=8193 disk.img mnt"},
	{what: "a truncated image", ready: "cp disk.img whole.copy; truncate -s 8M disk.img", args: "disk.img mnt", elsewhere: "cp whole.copy disk.img"},
	{what: "no such mount point", args: "disk.img mtn", cure: "mkdir mtn"},
	{what: "no such mount point, whose name the shell would take apart", args: "disk.img 'm t;n'", cure: "mkdir 'm t;n'"},
	{what: "a mount point that is no directory", args: "disk.img whole.img", again: "disk.img mnt"},
	{what: "no mount point given", args: "disk.img", cure: "ext2fuse --help", again: "disk.img mnt"},
	{what: "an operand too many", args: "disk.img mnt ro", cure: "ext2fuse --help", again: "-o ro disk.img mnt"},
	{what: "an unknown option", args: "-o readonly disk.img mnt", again: "-o ro disk.img mnt"},
	{what: "an option without its value", args: "-o offset disk.img mnt", cure: "ext2fuse --help", again: "-o offset=0 disk.img mnt"},
	{what: "an option with a bad value", args: "-o errors=ignore disk.img mnt", cure: "ext2fuse --help", again: "-o errors=continue disk.img mnt"},
	{what: "a size that is none", args: "-o cache_size=lots disk.img mnt", cure: "ext2fuse --help", again: "-o cache_size=8m disk.img mnt"},
	{what: "quotas", args: "-o usrquota disk.img mnt", cure: "ext2fuse --help", again: "disk.img mnt"},
	{what: "fakeroot for everybody", args: "-o fakeroot,allow_other disk.img mnt", again: "-o fakeroot disk.img mnt"},
	{what: "an unknown dashed option", args: "--read-olny disk.img mnt", again: "--read-only disk.img mnt"},
	{what: "a mistyped verb", args: "inof disk.img", again: "info disk.img"},
	{what: "already mounted", ready: "ext2fuse disk.img mnt2", args: "disk.img mnt", cure: "ext2fuse -u DIR/mnt2"},
	{what: "mounted by the kernel", ready: "mount -o loop disk.img mnt2", args: "disk.img mnt", cure: "umount DIR/mnt2"},
	{what: "attached to a loop device", ready: "losetup -f disk.img", args: "disk.img mnt", cure: "losetup -d /dev/loopN"},
	{what: "a mount point where another daemon died", ready: "ext2fuse -f -o subtype=other disk.img mnt & timeout 60 sh -c 'until mountpoint -q mnt; do :; done'; kill -9 $!; wait $! 2>/dev/null || true", args: "disk.img mnt", cure: "umount mnt"},
	{what: "what the image lies on is gone", ready: "mke2fs -q -F -t ext2 outer.img 32M; ext2fuse -f outer.img mnt2 & timeout 60 sh -c 'until mountpoint -q mnt2; do :; done'; cp disk.img mnt2/; kill -9 $!; wait $! 2>/dev/null || true",
		args: "mnt2/disk.img mnt", elsewhere: "umount mnt2; ext2fuse outer.img mnt2; cp disk.img mnt2/"},
	{what: "no permission to read the image", ready: "chmod 600 disk.img", args: "disk.img mnt", plain: true, cure: "setfacl -m u:65534:rw disk.img"},
	{what: "no permission to write the image", ready: "chmod 444 disk.img", args: "disk.img mnt", plain: true, again: "-o ro disk.img mnt"},
	{what: "no permission for a device", ready: "mount -t tmpfs none mnt2; mknod mnt2/sdb b 7 250; chmod 660 mnt2/sdb", args: "-o ro mnt2/sdb mnt", plain: true, cure: "setfacl -m u:65534:r mnt2/sdb", again: "-o ro disk.img mnt"},
	{what: "a mount point of somebody else's", args: "-o ro disk.img /mnt", plain: true, again: "-o ro disk.img mnt"},
	{what: "fusermount3 is missing", ready: `mount --bind /dev/null "$(readlink -f "$(command -v fusermount3)")"`, args: "-o ro disk.img mnt", plain: true, elsewhere: `umount "$(readlink -f "$(command -v fusermount3)")"`},
	{what: "allow_other without leave", ready: ": >fuse.conf; mount --bind fuse.conf /etc/fuse.conf", args: "-o ro,allow_other disk.img mnt", plain: true, cure: "echo user_allow_other >>/etc/fuse.conf"},
	{what: "allow_root", args: "-o ro,allow_root disk.img mnt", plain: true, again: "-o ro disk.img mnt"},
	{what: "/dev/fuse is missing", ready: "mount -t tmpfs none /dev; mknod -m 666 /dev/null c 1 3", args: "disk.img mnt", elsewhere: "mknod -m 666 /dev/fuse c 10 229"},
	{what: "no permission for /dev/fuse", ready: "mount -t tmpfs none /dev; mknod -m 666 /dev/null c 1 3; mknod -m 600 /dev/fuse c 10 229", args: "-o ro disk.img mnt", plain: true, cure: "chmod 666 /dev/fuse"},
	{what: "/dev/fuse is a group's", ready: "mount -t tmpfs none /dev; mknod -m 666 /dev/null c 1 3; mknod -m 660 /dev/fuse c 10 229; chgrp disk /dev/fuse", args: "-o ro disk.img mnt", plain: true, elsewhere: "chgrp 65534 /dev/fuse"},
	{what: "an image on a read-only medium", ready: "mount --bind . mnt2; mount -o remount,bind,ro mnt2", args: "mnt2/disk.img mnt", again: "-o ro mnt2/disk.img mnt"},
	{what: "unmounting a mount in use", ready: "ext2fuse disk.img mnt; exec 7<mnt", args: "-u mnt", cure: "fuser -vm DIR/mnt", elsewhere: "exec 7<&-"},
	{what: "/etc/mtab is missing", ready: "mkdir layer; mount -t tmpfs none layer; mkdir layer/upper layer/work; mount -t overlay none -o lowerdir=/etc,upperdir=layer/upper,workdir=layer/work /etc; rm -f /etc/mtab; setpriv --reuid 65534 --regid 65534 --clear-groups ext2fuse -o ro disk.img mnt",
		args: "-u mnt", plain: true, overlay: true, cure: "ln -s /proc/self/mounts /etc/mtab"},
	{what: "unmounting what is not mounted", args: "-u mnt", cure: "findmnt -t fuse.ext2fuse", elsewhere: "ext2fuse disk.img mnt"},
	{what: "copying into a full image", ready: "mke2fs -q -F -t ext2 disk.img 1M >/dev/null; head -c 2M /dev/zero | tr '\\0' x >big", args: "cp big disk.img:/", cure: "truncate -s +1G disk.img && e2fsck -f -p disk.img && resize2fs disk.img"},
	{what: "copying a directory without -r", args: "cp mnt disk.img:/", again: "cp -r mnt disk.img:/"},
	{what: "copying nothing of an image", ready: "echo text >name; ext2fuse cp name disk.img:/", args: "cp dsik.img:/name found", again: "cp disk.img:/name found"},
	{what: "looking for what is not there", args: "cat disk.img /etc/fstab", cure: "ext2fuse tree disk.img", again: "ls disk.img"},
	{what: "listing what is no image", args: "ls dsik.img", again: "ls disk.img"},
	{what: "a bad option of a verb", args: "ls --lnog disk.img", again: "ls -l disk.img"},
	{what: "statistics of what is no mount", args: "stats mnt", cure: "findmnt -t fuse.ext2fuse", elsewhere: "ext2fuse disk.img mnt"},
}

// TestMistakes makes each mistake, and holds the answer against testdata/mistakes.golden: one
// line, which names what of the command is wrong, and behind a semicolon says what to do. That
// is then done, and helps. The golden file is there to be read.
func TestMistakes(t *testing.T) {
	needRoot(t)
	ext2test.NeedFUSE(t)
	ext2test.NeedKernelMount(t)
	whole := partitioned(t)
	base, bin, img := forUser(t)
	got := []string{"# What ext2fuse says when something is wrong. Made by: go test ./cmd/ext2fuse -run Mistakes -update"}
	overlay := canOverlay(t)
	for i, m := range mistakes {
		if m.overlay && !overlay {
			t.Logf("%s: left out, as no overlay can be mounted here", m.what)
			got = append(got, "")
			continue
		}
		dir := filepath.Join(base, fmt.Sprint(i))
		prepare(t, dir, bin, img, whole)
		said := m.make(t, dir)
		who := ""
		if m.plain {
			who = ", as a plain user"
		}
		got = append(got, fmt.Sprintf("# %s%s\n$ ext2fuse %s\n%s", m.what, who, m.args, strings.TrimSuffix(said, "\n")))
		m.checkShape(t, said)
	}
	const golden = "testdata/mistakes.golden"
	if *update && overlay {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(strings.Join(got, "\n\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	answers := strings.Split(strings.TrimSuffix(string(want), "\n"), "\n\n")
	if len(got) != len(answers) {
		t.Fatalf("%d answers, %s has %d", len(got), golden, len(answers))
	}
	for i := range got {
		if got[i] != "" && got[i] != answers[i] {
			t.Errorf("got\n%s\nwant\n%s", got[i], answers[i])
		}
	}
}

// canOverlay tells whether one directory can be laid over another.
func canOverlay(t *testing.T) bool {
	t.Helper()
	_, err := inNamespace(t, "cd "+t.TempDir()+`
		mount -t tmpfs none .
		cd .
		mkdir upper work
		mount -t overlay none -o lowerdir=/etc,upperdir=upper,workdir=work /etc`)
	return err == nil
}

// make makes the mistake, does what helps, and tries again. It returns the answer to the
// mistake, without what differs from run to run.
func (m *mistake) make(t *testing.T, dir string) string {
	t.Helper()
	as := ""
	if m.plain {
		as = fmt.Sprintf("setpriv --reuid %d --regid %d --clear-groups ", nobody, nobody)
	}
	again := m.again
	if again == "" {
		again = m.args
	}
	var cure strings.Builder
	for line := range strings.Lines(m.cure) {
		line = strings.TrimSpace(line)
		line = strings.ReplaceAll(line, "DIR", dir)
		line = strings.ReplaceAll(line, "/dev/loopN", "$(losetup -n -O NAME -j disk.img)")
		program, _, _ := strings.Cut(line, " ")
		fmt.Fprintf(&cure, "command -v %s >/dev/null || exit 1\n%s\n", program, line)
	}
	// From the first line on what fails ends it: without the mounts of its own, that what follows
	// changes is the host's.
	script := fmt.Sprintf(`set -e
		trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
		cd %s
		PATH=$PWD:$PATH:/usr/sbin:/sbin
		%s
		if %s ext2fuse %s >said 2>&1 7<&-; then
			echo 'it worked'
			exit 1
		fi
		%s
		%s
		%s ext2fuse %s
		cd /
		for d in mnt mtn mnt2 'm t;n'; do
			d=%s/$d
			if mountpoint -q "$d"; then %s ext2fuse -u "$d" || umount "$d"; fi
		done
		`, dir, m.ready, as, m.args, cure.String(), m.elsewhere, as, again, dir, as)
	cmd := ext2test.OwnMounts(script)
	cmd.Env = append(os.Environ(), asCommand+"=1")
	cmd.WaitDelay = waitDelay
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %v: what the advice says does not help: %s", m.what, err, out)
	}
	said, err := os.ReadFile(filepath.Join(dir, "said"))
	if err != nil {
		t.Errorf("%s: %v", m.what, err)
	}
	text := strings.ReplaceAll(string(said), dir, "DIR")
	text = regexp.MustCompile(`(process(es)?|pid) \d+( \([^)]*\))?`).ReplaceAllString(text, "$1 PID")
	text = regexp.MustCompile(`s_magic is 0x....`).ReplaceAllString(text, "s_magic is 0xNNNN") // it depends on the compressor
	return regexp.MustCompile(`/dev/loop\d+`).ReplaceAllString(text, "/dev/loopN")
}

// shape is what every message is: what is wrong, and what to do.
var shape = regexp.MustCompile(`^ext2fuse: ([^\n]+?); ((?:[^;\n]|;[^ \n])+)\n$`)

// checkShape complains of an answer that does not name what is wrong, or not what helps.
func (m *mistake) checkShape(t *testing.T, said string) {
	t.Helper()
	parts := shape.FindStringSubmatch(said)
	if parts == nil {
		t.Errorf("%s: not of the form “what is wrong; what to do”: %s", m.what, said)
		return
	}
	problem, advice := parts[1], parts[2]
	if named := strings.FieldsFunc(m.args, func(r rune) bool { return r == ' ' || r == ',' || r == ':' }); len(named) > 0 &&
		!slices.ContainsFunc(named, func(w string) bool { return strings.Contains(problem, strings.Trim(strings.TrimPrefix(w, "-"), "'")) }) {
		t.Errorf("%s: nothing of %q is named: %s", m.what, m.args, problem)
	}
	for line := range strings.Lines(m.cure) {
		if !strings.Contains(advice, strings.TrimSpace(line)) {
			t.Errorf("%s: %q is not what the advice says: %s", m.what, line, advice)
		}
	}
	for _, w := range strings.FieldsFunc(m.again, func(r rune) bool { return r == ' ' || r == ',' }) {
		if w = regexp.MustCompile(`=\d+$`).ReplaceAllString(w, "=N"); m.cure == "" && !strings.Contains(w, ".img") && w != "mnt" && w != "-o" &&
			!strings.Contains(m.args, w) && !strings.Contains(regexp.MustCompile(`=\d+`).ReplaceAllString(advice, "=N"), w) {
			t.Errorf("%s: the advice has no %s: %s", m.what, w, advice)
		}
	}
}

// prepare makes a directory with what the mistakes need, of which a plain user may use all.
func prepare(t *testing.T, dir, bin, img, whole string) {
	t.Helper()
	for _, name := range []string{"", "mnt", "mnt2"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(filepath.Join(dir, name), nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(bin, filepath.Join(dir, "ext2fuse")); err != nil {
		t.Fatal(err)
	}
	copyFile(t, img, filepath.Join(dir, "disk.img"), 0o644)
	copyFile(t, whole, filepath.Join(dir, "whole.img"), 0o644)
}
