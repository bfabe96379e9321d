//go:build linux && !386 && !arm && !mips && !mipsle

package lifetest

import (
	"bytes"
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

var (
	seed    = flag.Int64("seed", 0, "seed of the first round; 0 takes the time")
	rounds  = flag.Int("rounds", 10, "rounds of killing, and twice as many of unmounting")
	options = flag.String("options", "rw", "mount options for ext2fuse")
)

// bin is ext2fuse.
var bin string

// ownTable is set where this process has a mount table of its own. Another test that makes
// itself one takes a copy of the mounts that it finds, and keeps them in use.
const ownTable = "LIFETEST_OWN_MOUNT_TABLE"

func TestMain(m *testing.M) {
	flag.Parse()
	if os.Geteuid() == 0 && os.Getenv(ownTable) == "" {
		cmd := ext2test.OwnMounts(`exec "$@"`, os.Args...)
		cmd.Env = append(os.Environ(), ownTable+"=1")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if *seed == 0 {
		*seed = time.Now().UnixNano() % 1e9
	}
	// Not under /tmp: a plain user must get there, too.
	dir, err := os.MkdirTemp("/var/tmp", "lifetest")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		panic(err)
	}
	bin = filepath.Join(dir, "ext2fuse")
	code := 1
	if out, err := exec.Command("go", "build", "-o", bin, "github.com/ext2fuse/ext2fuse/cmd/ext2fuse").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%s", out)
	} else {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// image makes an image, and a mount point beside it, that belong to a user.
func image(t *testing.T, blockSize int, user uint32) (img, dir string) {
	t.Helper()
	ext2test.NeedFUSE(t)
	top, err := os.MkdirTemp("/var/tmp", "lifetest-image")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(top) })
	img, dir = filepath.Join(top, "disk.img"), filepath.Join(top, "mnt")
	made := ext2test.Make(t, ext2test.Options{Size: 32 << 20, BlockSize: blockSize,
		Extended: []string{fmt.Sprintf("root_owner=%d:%d", user, user)}})
	must(t, sh("cp", "--sparse=always", made, img))
	must(t, os.Mkdir(dir, 0o755))
	for _, path := range []string{top, img, dir} {
		must(t, os.Chown(path, int(user), int(user)))
	}
	must(t, os.Chmod(top, 0o755))
	t.Cleanup(func() {
		if mounted(dir) {
			_ = unix.Unmount(dir, unix.MNT_DETACH)
		}
	})
	return img, dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func sh(args ...string) error { return output(exec.Command(args[0], args[1:]...)) }

// output runs a command; its error has what the command printed.
func output(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// mounted tells whether something is mounted on dir, alive or dead.
func mounted(dir string) bool {
	table, err := os.ReadFile("/proc/self/mounts")
	return err == nil && strings.Contains(string(table), " "+dir+" ")
}

// fsck runs e2fsck and gives its exit code.
func fsck(how, img string) (int, string) {
	cmd := exec.Command("e2fsck", "-f", how, img)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		return -1, err.Error()
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

func hash(t *testing.T, img string) [32]byte {
	t.Helper()
	f, err := os.Open(img)
	must(t, err)
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	must(t, err)
	return [32]byte(h.Sum(nil))
}
