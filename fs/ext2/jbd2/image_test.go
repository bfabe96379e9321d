//go:build linux

package jbd2

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// ctx is the context of calls that nothing ends.
var ctx = context.Background()

// The tests in oracle_test.go and kernel_test.go work on image files, as the tools do.

// runTool runs a program that may end with one of the exit codes ok.
func runTool(t testing.TB, ok string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if cmd.Path == name || cmd.Err != nil {
		for _, dir := range []string{"/usr/sbin", "/sbin"} {
			if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
				cmd.Path, cmd.Err = filepath.Join(dir, name), nil
			}
		}
	}
	out, err := cmd.CombinedOutput()
	if code := strconv.Itoa(cmd.ProcessState.ExitCode()); !strings.Contains(ok, code) {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// roCompatMetadataCsum is the feature metadata_csum.
const roCompatMetadataCsum = 0x400

func superOf(t testing.TB, img string) *disk.Superblock {
	t.Helper()
	f, err := os.Open(img)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, disk.SuperblockSize)
	if _, err := f.ReadAt(b, disk.SuperblockOffset); err != nil {
		t.Fatal(err)
	}
	sb, err := disk.DecodeSuperblock(b)
	if err != nil {
		t.Fatal(err)
	}
	return sb
}

// setRecover sets needs_recovery, as a user of the journal does.
func setRecover(t testing.TB, img string) {
	t.Helper()
	f, err := os.OpenFile(img, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], superOf(t, img).FeatureIncompat|disk.IncompatRecover)
	if _, err := f.WriteAt(b[:], disk.SuperblockOffset+96); err != nil {
		t.Fatal(err)
	}
}

var blocksRE = regexp.MustCompile(`\(([A-Z0-9-]+)\):(\d+)(?:-(\d+))?`)

// placeOf asks debugfs where the journal is. The caller closes the device.
func placeOf(t testing.TB, img string) Place {
	t.Helper()
	sb := superOf(t, img)
	p := Place{BlockSize: sb.BlockSize(), Blocks: uint64(sb.BlocksCount)}
	for _, m := range blocksRE.FindAllStringSubmatch(ext2test.Debugfs(t, img, "stat <8>"), -1) {
		if m[1][0] < '0' || m[1][0] > '9' {
			continue // IND, DIND, ETB0
		}
		from, _ := strconv.ParseUint(m[2], 10, 64)
		to := from
		if m[3] != "" {
			to, _ = strconv.ParseUint(m[3], 10, 64)
		}
		p.Extents = append(p.Extents, Extent{from, uint32(to - from + 1)})
	}
	dev, err := blockio.Open(ctx, img, blockio.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p.Dev = dev
	return p
}

// replayImage replays the journal of an image with this package.
func replayImage(t testing.TB, img string) (Result, error) {
	t.Helper()
	p := placeOf(t, img)
	defer p.Dev.Close()
	j, err := Open(p)
	if err != nil {
		t.Fatal(err)
	}
	return j.Replay(ctx)
}

// replayKernel lets the kernel replay it, by a read-only mount.
func replayKernel(t testing.TB, img string) {
	t.Helper()
	dir := mountExt3(t, img, "ro")
	unmountExt3(t, dir)
}

// mountExt3 mounts the image with the kernel's driver of ext3.
func mountExt3(t testing.TB, img, options string) string {
	t.Helper()
	ext2test.NeedKernelMount(t)
	dir := t.TempDir()
	// A loop device of our own: with -o loop,ro it would be read-only as well. It goes away
	// when the last user does.
	dev := strings.TrimSpace(runTool(t, "0", "losetup", "-f", "--show", img))
	defer runTool(t, "0", "losetup", "-d", dev)
	kind := "ext3"
	if sb := superOf(t, img); sb.HasIncompat(disk.IncompatExtents) || sb.FeatureROCompat&roCompatMetadataCsum != 0 || strings.Contains(options, "journal_") {
		kind = "ext4" // the driver is the same, but by this name it takes more
	}
	runTool(t, "0", "mount", "-t", kind, "-o", options, dev, dir)
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

func unmountExt3(t testing.TB, dir string) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if err = exec.Command("umount", dir).Run(); err == nil {
			return
		}
	}
	t.Fatalf("umount %s: %v", dir, err)
}

// sameImages compares two images block by block, but for the superblocks of the file
// system and of the journal, in which times and states are.
func sameImages(t testing.TB, what, a, b string) {
	t.Helper()
	x, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := os.ReadFile(b)
	if err != nil {
		t.Fatal(err)
	}
	if len(x) != len(y) {
		t.Fatalf("%s: %d and %d bytes", what, len(x), len(y))
	}
	p := placeOf(t, a)
	p.Dev.Close()
	size := p.BlockSize
	journal := int(p.Extents[0].Start)
	for i := 0; i*size < len(x); i++ {
		bx, by := x[i*size:(i+1)*size], y[i*size:(i+1)*size]
		if i*size <= disk.SuperblockOffset && (i+1)*size > disk.SuperblockOffset {
			at := disk.SuperblockOffset - i*size
			clear(bx[at : at+disk.SuperblockSize])
			clear(by[at : at+disk.SuperblockSize])
		}
		if i != journal && !bytes.Equal(bx, by) {
			at := 0
			for bx[at] == by[at] {
				at++
			}
			t.Errorf("%s: block %d differs from byte %d on: % x and % x", what, i, at, bx[at:min(at+16, size)], by[at:min(at+16, size)])
			return
		}
	}
}

// copies is n copies of an image.
func copies(t testing.TB, img string, n int) []string {
	t.Helper()
	all := make([]string, n)
	for i := range all {
		all[i] = ext2test.Copy(t, img)
	}
	return all
}

// replayAll replays copies of the image with e2fsprogs (debugfs, which does just that),
// with the kernel, with e2fsck -p and with this package, and compares: the first three
// results must be the same as ours, the last image is checked.
func replayAll(t testing.TB, img string) Result {
	t.Helper()
	c := copies(t, img, 4)
	res, err := replayImage(t, c[0])
	if err != nil {
		t.Fatal(err)
	}
	ext2test.DebugfsWrite(t, c[1], "journal_run")
	sameImages(t, "debugfs's journal_run", c[0], c[1])
	if ext2test.NoKernelMount() == "" && superOf(t, img).BlockSize() <= ext2test.MaxKernelBlock {
		replayKernel(t, c[2])
		sameImages(t, "the kernel", c[0], c[2])
	}
	runTool(t, "01", "e2fsck", "-p", c[3])
	sameImages(t, "e2fsck -p", c[0], c[3])
	// What e2fsck makes of ours: a journal with nothing in it, and no damage.
	out := runTool(t, "01", "e2fsck", "-f", "-p", c[0])
	if strings.Contains(out, "recovering journal") && res.Transactions > 0 && placeDirty(t, c[0]) {
		t.Errorf("e2fsck found something to recover after our replay:\n%s", out)
	}
	ext2test.Fsck(t, c[0])
	return res
}

func placeDirty(t testing.TB, img string) bool {
	p := placeOf(t, img)
	defer p.Dev.Close()
	j, err := Open(p)
	if err != nil {
		t.Fatal(err)
	}
	return j.Dirty()
}

// freeBlocks are n free blocks from the end of the image on.
func freeBlocks(t testing.TB, img string, n int) []uint64 {
	t.Helper()
	out := ext2test.Debugfs(t, img, fmt.Sprintf("ffb %d 5000", n))
	_, list, ok := strings.Cut(out, "found:")
	if !ok {
		t.Fatalf("ffb: %s", out)
	}
	var all []uint64
	for _, w := range strings.Fields(list) {
		if v, err := strconv.ParseUint(w, 10, 64); err == nil {
			all = append(all, v)
		}
	}
	if len(all) != n {
		t.Fatalf("%d free blocks, expected %d: %s", len(all), n, out)
	}
	return all
}
