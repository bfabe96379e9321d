//go:build linux

package main

import (
	"bytes"
	"compress/gzip"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

var update = flag.Bool("update", false, "write the golden files anew")

// mistake is something that people do wrong, or that is in their way.
type mistake struct {
	what  string
	ready string // a shell script that brings it about, in a directory with disk.img and mnt
	args  string
	plain bool // as a plain user
}

var mistakes = []mistake{
	{what: "no such image", args: "dsik.img mnt"},
	{what: "a directory instead of an image", args: ". mnt"},
	{what: "image and mount point the wrong way round", args: "mnt disk.img"},
	{what: "an empty file", ready: ": >empty.img", args: "empty.img mnt"},
	{what: "an image without a file system", ready: "truncate -s 1M zeros.img", args: "zeros.img mnt"},
	{what: "an ext4 image", ready: "mke2fs -q -F -t ext4 ext4.img 16M >/dev/null", args: "ext4.img mnt"},
	{what: "a gzip-compressed image", args: "disk.img.gz mnt"},
	{what: "an xz-compressed image", ready: "xz -k disk.img", args: "disk.img.xz mnt"},
	{what: "a zstd-compressed image", ready: `printf '\050\265\057\375rest' >disk.img.zst; truncate -s 8k disk.img.zst`, args: "disk.img.zst mnt"},
	{what: "a qcow2 image", ready: `printf 'QFI\373\000\000\000\003' >disk.qcow2; truncate -s 8k disk.qcow2`, args: "disk.qcow2 mnt"},
	{what: "a partition table without part=", args: "whole.img mnt"},
	{what: "no such partition", args: "-o part=3 whole.img mnt"},
	{what: "part= without a partition table", args: "-o part=1 disk.img mnt"},
	{what: "an offset behind the end", args: "-o offset=1g disk.img mnt"},
	{what: "a damaged superblock", ready: "dd if=/dev/zero of=disk.img bs=1024 seek=1 count=1 conv=notrunc 2>/dev/null", args: "disk.img mnt"},
	{what: "a truncated image", ready: "truncate -s 8M disk.img", args: "disk.img mnt"},
	{what: "no such mount point", args: "disk.img mtn"},
	{what: "a mount point that is no directory", args: "disk.img disk.img.gz"},
	{what: "no mount point given", args: "disk.img"},
	{what: "an unknown option", args: "-o read-only disk.img mnt"},
	{what: "an option without its value", args: "-o offset disk.img mnt"},
	{what: "an option with a bad value", args: "-o errors=ignore disk.img mnt"},
	{what: "a size that is none", args: "-o cache_size=lots disk.img mnt"},
	{what: "quotas", args: "-o usrquota disk.img mnt"},
	{what: "an unknown dashed option", args: "--read-olny disk.img mnt"},
	{what: "a mistyped verb", args: "inof disk.img"},
	{what: "already mounted", ready: "./ext2fuse disk.img mnt", args: "disk.img mnt"},
	{what: "mounted by the kernel", ready: "mount -o loop disk.img mnt", args: "disk.img mnt"},
	{what: "a mount point where another daemon died", ready: "./ext2fuse -f -o subtype=other disk.img mnt & while ! mountpoint -q mnt; do :; done; kill -9 $!; wait $! 2>/dev/null || true", args: "disk.img mnt"},
	{what: "no permission to read the image", ready: "chmod 600 disk.img", args: "disk.img mnt", plain: true},
	{what: "no permission to write the image", ready: "chmod 444 disk.img", args: "disk.img mnt", plain: true},
	{what: "a mount point of somebody else's", args: "-o ro disk.img /mnt", plain: true},
	{what: "fusermount3 is missing", ready: `mount --bind /dev/null "$(readlink -f "$(command -v fusermount3)")"`, args: "-o ro disk.img mnt", plain: true},
	{what: "allow_other without leave", ready: "mount --bind /dev/null /etc/fuse.conf", args: "-o ro,allow_other disk.img mnt", plain: true},
	{what: "/dev/fuse is missing", ready: "mount -t tmpfs none /dev; mknod -m 666 /dev/null c 1 3", args: "disk.img mnt"},
	{what: "no permission for /dev/fuse", ready: "mount -t tmpfs none /dev; mknod -m 666 /dev/null c 1 3; mknod -m 600 /dev/fuse c 10 229", args: "-o ro disk.img mnt", plain: true},
	{what: "an image on a read-only medium", ready: "mount --bind . mnt2; mount -o remount,bind,ro mnt2", args: "mnt2/disk.img mnt"},
	{what: "copying into a full image", ready: "mke2fs -q -F -t ext2 small.img 1M >/dev/null; head -c 2M /dev/zero | tr '\\0' x >big", args: "cp big small.img:/"},
	{what: "copying a directory without -r", args: "cp mnt disk.img:/"},
	{what: "copying nothing of an image", args: "cp dsik.img:/etc/fstab fstab"},
	{what: "statistics of what is no mount", args: "stats mnt"},
}

// TestMistakes holds what mistakes are answered with against testdata/mistakes.golden. Each
// answer is one line that says what is wrong and what to do; the file is there to be read.
func TestMistakes(t *testing.T) {
	needRoot(t)
	ext2test.NeedFUSE(t)
	ext2test.NeedKernelMount(t)
	whole := partitioned(t)
	base, bin, img := forUser(t)
	var got strings.Builder
	fmt.Fprintf(&got, "# What ext2fuse says when something is wrong. Made by: go test ./cmd/ext2fuse -run Mistakes -update\n")
	for i, m := range mistakes {
		dir := filepath.Join(base, fmt.Sprint(i))
		prepare(t, dir, bin, img, whole)
		script := "exec 2>&1; PATH=$PATH:/usr/sbin:/sbin; cd " + dir + "\n" + m.ready + "\n"
		if m.plain {
			script += fmt.Sprintf("exec setpriv --reuid %d --regid %d --clear-groups ", nobody, nobody)
		}
		script += "./ext2fuse " + m.args
		cmd := exec.Command("unshare", "-m", "--propagation", "private", "sh", "-c", script)
		if m.what == "already mounted" {
			cmd = exec.Command("sh", "-c", script)
		}
		cmd.Env = append(os.Environ(), asCommand+"=1")
		out, err := cmd.CombinedOutput()
		if err == nil {
			t.Errorf("%s: it worked: %s", m.what, out)
		}
		if m.what == "already mounted" {
			pid := daemonOf(t, "mnt")
			unmount(t, filepath.Join(dir, "mnt"))
			eventually(t, "the daemon ends", func() bool { return ended(pid) })
		}
		if n := bytes.Count(out, []byte("\n")); n != 1 {
			t.Errorf("%s: %d lines", m.what, n)
		}
		text := strings.ReplaceAll(string(out), dir, "DIR")
		text = regexp.MustCompile(`(process(es)?|pid) \d+( \([^)]*\))?`).ReplaceAllString(text, "$1 PID")
		text = regexp.MustCompile(`/dev/loop\d+`).ReplaceAllString(text, "/dev/loopN")
		who := ""
		if m.plain {
			who = ", as a plain user"
		}
		fmt.Fprintf(&got, "\n# %s%s\n$ ext2fuse %s\n%s", m.what, who, m.args, text)
	}
	const golden = "testdata/mistakes.golden"
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	a, b := strings.Split(got.String(), "\n\n"), strings.Split(string(want), "\n\n")
	if len(a) != len(b) {
		t.Fatalf("%d answers, %s has %d", len(a), golden, len(b))
	}
	for i := range a {
		if a[i] != b[i] {
			t.Errorf("got\n%s\nwant\n%s", a[i], b[i])
		}
	}
}

// prepare makes a directory with what the mistakes need, of which a plain user may use all.
func prepare(t *testing.T, dir, bin, img, whole string) {
	t.Helper()
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := z.Write(ext2test.Content(1, 8<<10)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
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
	writeFile(t, filepath.Join(dir, "disk.img.gz"), zipped.String())
}
