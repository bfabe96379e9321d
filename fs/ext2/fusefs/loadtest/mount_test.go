//go:build linux && !386 && !arm && !mips && !mipsle

package loadtest

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
	"github.com/ext2fuse/ext2fuse/fs/ext2/fusefs"
)

var (
	long    = flag.Bool("long", false, "larger loads")
	options = flag.String("options", "", "mount options for ext2fuse, besides those of a test")
	race    = flag.Bool("daemon-race", false, "the race detector watches ext2fuse")
)

var bin, compareBin string // ext2fuse, mountcompare

func TestMain(m *testing.M) {
	if what, path, ok := strings.Cut(os.Getenv(helperEnv), " "); ok {
		if err := helper(what, path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	dir, err := os.MkdirTemp("", "loadtest")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	bin, compareBin = filepath.Join(dir, "ext2fuse"), filepath.Join(dir, "mountcompare")
	const module = "github.com/ext2fuse/ext2fuse/"
	code := 1
	if *race {
		// The daemon has no standard error; one that finds a race ends.
		os.Setenv("GORACE", "halt_on_error=1 log_path="+filepath.Join(dir, "race"))
		err = build("-race", "-o", bin, module+"cmd/ext2fuse")
	} else {
		err = build("-o", bin, module+"cmd/ext2fuse")
	}
	if err == nil {
		err = build("-o", compareBin, module+"scripts/mountcompare")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = m.Run()
	}
	reports, _ := filepath.Glob(filepath.Join(dir, "race*"))
	for _, r := range reports {
		text, _ := os.ReadFile(r)
		fmt.Fprintf(os.Stderr, "%s", text)
		code = 1
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

func build(args ...string) error {
	out, err := exec.Command("go", append([]string{"build"}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// mount is an image that a daemon serves.
type mount struct {
	t        *testing.T
	img, dir string
	on       bool
}

// newMount makes an image and mounts it read-write. It is unmounted and checked at the
// end of the test at the latest.
func newMount(t *testing.T, o ext2test.Options, words ...string) *mount {
	t.Helper()
	ext2test.NeedFUSE(t)
	if o.Size == 0 {
		o.Size = 256 << 20
	}
	return mountImage(t, ext2test.Make(t, o), words...)
}

func mountImage(t *testing.T, img string, words ...string) *mount {
	t.Helper()
	m := &mount{t: t, img: img, dir: t.TempDir()}
	m.mount(words...)
	t.Cleanup(m.finish)
	return m
}

// mount mounts the image, again.
func (m *mount) mount(words ...string) {
	m.t.Helper()
	o := strings.Join(append([]string{"rw", *options}, words...), ",")
	run(m.t, "", bin, "-o", o, m.img, m.dir)
	m.on = true
}

func (m *mount) path(name string) string { return filepath.Join(m.dir, name) }

// finish unmounts, waits for the daemon to let go of the image, and checks it.
func (m *mount) finish() {
	m.t.Helper()
	if m.on {
		m.release()
		ext2test.Fsck(m.t, m.img)
	}
}

// release unmounts and waits for the daemon to let go of the image.
func (m *mount) release() {
	m.t.Helper()
	m.on = false
	// fsck and the like that somebody else starts may look at the mount for a moment.
	if out, err := exec.Command("umount", m.dir).CombinedOutput(); err != nil {
		m.t.Errorf("umount: %v: %s", err, out)
		if err := unix.Unmount(m.dir, unix.MNT_DETACH); err != nil {
			m.t.Errorf("umount -l: %v", err)
		}
	}
	f, err := os.Open(m.img)
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		m.t.Fatal(err)
	}
}

// process asks the daemon what it has of the host.
func (m *mount) process() fusefs.ProcessStat {
	m.t.Helper()
	buf := make([]byte, 64<<10)
	n, err := unix.Getxattr(m.dir, fusefs.StatsXattr, buf)
	must(m.t, err)
	var s fusefs.Stats
	must(m.t, json.Unmarshal(buf[:n], &s))
	return s.Process
}

// mostMemory is what a daemon may take, in bytes, whatever it is asked to do.
const mostMemory = 128 << 20

// small checks that the daemon never took more memory than it may. The race detector's
// own does not count.
func (m *mount) small(what string) {
	m.t.Helper()
	p := m.process()
	m.t.Logf("%s: %d KiB resident at most, %d now", what, p.ResidentMost>>10, p.Resident>>10)
	if p.ResidentMost > mostMemory && !*race {
		m.t.Errorf("%s took %d KiB, at most %d are allowed", what, p.ResidentMost>>10, mostMemory>>10)
	}
}

// patience is how long something may take that is to come about by itself.
const patience = time.Minute

// eventually waits until what is the case, and fails the test where that does not come about.
func eventually(t *testing.T, what func() (state string, ok bool)) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		state, ok := what()
		if ok {
			return
		}
		if time.Now().After(end) {
			t.Errorf("after %v still %s", patience, state)
			return
		}
	}
}

// need skips the test where a program is missing.
func need(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("needs %s (scripts/setup.sh installs it)", name)
		}
	}
}

// run runs a program in dir to its end, fails the test with its output if it fails, and
// gives its standard output.
func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, &out, &errs)
	}
	return out.String()
}

// bothModes runs a test without and with the kernel's write-back cache.
func bothModes(t *testing.T, f func(t *testing.T, word string)) {
	for _, word := range []string{"nowriteback_cache", "writeback_cache"} {
		t.Run(word, func(t *testing.T) { f(t, word) })
	}
}

// quiet runs a program and gives all its output.
func quiet(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).CombinedOutput()
	return string(out), err
}

func hash(b []byte) []byte {
	h := sha256.Sum256(b)
	return h[:8]
}
