//go:build linux && !386 && !arm && !mips && !mipsle

package modeltest

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

var (
	seedFlag  = flag.Uint64("seed", 1, "first seed")
	duration  = flag.Duration("duration", 0, "go on with new seeds for this long")
	stepFlag  = flag.Int("steps", 2000, "operations of each worker")
	options   = flag.String("options", "", "mount options for ext2fuse")
	shrinkFor = flag.Duration("shrink", time.Minute, "how long to shrink a sequence that diverges")
	onlyFlag  = flag.String("shape", "", "only this shape")
	race      = flag.Bool("daemon-race", false, "the race detector watches ext2fuse")
)

// bin is ext2fuse, in a process of its own: a mount that this process served could wait
// for a page fault of this process.
var bin string

func TestMain(m *testing.M) {
	flag.Parse()
	dir, err := os.MkdirTemp("", "modeltest")
	if err != nil {
		panic(err)
	}
	bin = filepath.Join(dir, "ext2fuse")
	build := []string{"build", "-o", bin}
	if *race {
		build = append(build, "-race")
		// The daemon has no standard error; one that finds a race ends.
		os.Setenv("GORACE", "halt_on_error=1 log_path="+filepath.Join(dir, "race"))
	}
	if out, err := exec.Command("go", append(build, "github.com/ext2fuse/ext2fuse/cmd/ext2fuse")...).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%s", out)
		os.Exit(1)
	}
	unix.Umask(0o027)
	code := m.Run()
	if reports, _ := filepath.Glob(filepath.Join(dir, "race*")); len(reports) > 0 {
		for _, r := range reports {
			text, _ := os.ReadFile(r)
			fmt.Fprintf(os.Stderr, "%s", text)
		}
		code = 1
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// shape is a kind of image and of load.
type shape struct {
	name    string
	image   []string // mke2fs
	size    string
	block   int64
	workers int
	full    bool
}

var shapes = []shape{
	{name: "1k-256", image: []string{"-b", "1024", "-I", "256"}, size: "96M", block: 1024, workers: 1},
	{name: "4k-256", image: []string{"-b", "4096", "-I", "256"}, size: "256M", block: 4096, workers: 2},
	{name: "1k-128", image: []string{"-b", "1024", "-I", "128"}, size: "512M", block: 1024, workers: 8},
	{name: "4k-128", image: []string{"-b", "4096", "-I", "128"}, size: "96M", block: 4096, workers: 1},
	{name: "1k-full", image: []string{"-b", "1024", "-I", "256", "-N", "256"}, size: "8M", block: 1024, workers: 1, full: true},
	{name: "4k-full", image: []string{"-b", "4096", "-I", "128", "-N", "256"}, size: "16M", block: 4096, workers: 2, full: true},
}

// TestAgainstKernel applies random sequences to an ext2fuse mount and to a mount of the
// kernel's driver on an equal image.
func TestAgainstKernel(t *testing.T) {
	ext2test.NeedFUSE(t)
	ext2test.NeedKernelMount(t)
	shapes := slices.DeleteFunc(slices.Clone(shapes), func(s shape) bool { return *onlyFlag != "" && s.name != *onlyFlag })
	for _, s := range shapes {
		t.Run(s.name, func(t *testing.T) { runShape(t, &s, *seedFlag) })
	}
	for end, seed := time.Now().Add(*duration), *seedFlag+1; *duration > 0 && time.Now().Before(end) && !t.Failed(); seed++ {
		s := shapes[seed%uint64(len(shapes))]
		t.Run(fmt.Sprintf("%s-seed-%d", s.name, seed), func(t *testing.T) { runShape(t, &s, seed) })
	}
}

func runShape(t *testing.T, s *shape, seed uint64) {
	fresh := func() (*Pair, error) { return newPair(t, s) }
	p, err := fresh()
	if err != nil {
		t.Fatal(err)
	}
	seqs := Sequence(seed, s.workers, *stepFlag, Profile{BlockSize: s.block, Small: s.full,
		// Where the kernel keeps the times it does not know what inodes of 128 bytes hold.
		Times32: writeBack() && slices.Contains(s.image, "128")})
	d := Run(p, seqs, s.full)
	if d == nil {
		return
	}
	fmt.Fprintf(os.Stderr, "%s seed %d: %v\n", s.name, seed, d) // shrinking takes a while
	short, d2 := Shrink(seqs, fresh, s.full, 60, time.Now().Add(*shrinkFor))
	if d2 == nil {
		t.Fatalf("seed %d: %v\nIt did not happen again: it depends on timing", seed, d)
	}
	var b strings.Builder
	for w, ops := range short {
		if len(ops) > 60 {
			ops = ops[len(ops)-60:]
		}
		for i, o := range ops {
			fmt.Fprintf(&b, "  %d.%d %v\n", w, i, o)
		}
	}
	t.Fatalf("seed %d, shrunk: %v\nafter\n%s", seed, d2, &b)
}

// writeBack tells whether the kernel collects writes.
func writeBack() bool { return slices.Contains(strings.Split(*options, ","), "writeback_cache") }

// newPair mounts two equal images.
func newPair(t *testing.T, s *shape) (*Pair, error) {
	dir, err := os.MkdirTemp(t.TempDir(), "")
	if err != nil {
		return nil, err
	}
	ours, theirs := filepath.Join(dir, "ours.img"), filepath.Join(dir, "theirs.img")
	p := &Pair{Ours: filepath.Join(dir, "ours"), Theirs: filepath.Join(dir, "theirs"),
		// The kernel's client knows no holes of files whose writes it collects.
		WriteBack: writeBack()}
	const id = "6a3b1c1e-97a3-4c4e-8d5f-0f9b6f0c8a11"
	args := append([]string{"-q", "-F", "-t", "ext2", "-U", id, "-E", "hash_seed=" + id + ",lazy_itable_init=0"}, s.image...)
	if err := errors.Join(os.Mkdir(p.Ours, 0o755), os.Mkdir(p.Theirs, 0o755),
		sh("truncate", "-s", s.size, ours), sh("mke2fs", append(args, ours)...), sh("cp", "--sparse=always", ours, theirs)); err != nil {
		return nil, err
	}
	mount := func() error {
		o := "rw"
		if s.full {
			o += ",nojournal" // a borrowed one takes from the reserve, and full comes sooner
		}
		if *options != "" {
			o += "," + *options
		}
		return errors.Join(sh(bin, "-o", o, ours, p.Ours), sh("mount", "-t", "ext2", "-o", "loop", theirs, p.Theirs))
	}
	unmount := func() error {
		return errors.Join(sh("umount", p.Ours), ext2test.KernelUnmount(p.Theirs), waitUnlocked(ours), sh("e2fsck", "-f", "-n", ours), sh("e2fsck", "-f", "-n", theirs))
	}
	mounted := false
	t.Cleanup(func() {
		if mounted {
			unmount()
		}
	})
	if err := mount(); err != nil {
		return nil, err
	}
	mounted = true
	p.Remount = func() error { return errors.Join(unmount(), mount()) }
	p.Done = func() error {
		mounted = false
		err := unmount()
		os.RemoveAll(dir)
		return err
	}
	return p, nil
}

// waitUnlocked returns when the daemon has let go of the image.
func waitUnlocked(img string) error {
	f, err := os.Open(img)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_EX)
}

func sh(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}
