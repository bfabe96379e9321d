//go:build linux

// Command mountcompare holds a FUSE driver for ext2 against the kernel's: it mounts
// an image with both, looks at everything a user can see, and tells what differs.
// Without root, or for block sizes that the kernel does not mount, debugfs stands
// in for the kernel. The image is never written to.
//
//	go run github.com/ext2fuse/ext2fuse/scripts/mountcompare@latest -ext2fuse DRIVER IMAGE
//
// The two sides are looked at one after the other (no driver has to share the image
// with another), each into a tree of nodes whose fields are text (tree.go); walk.go
// and inspect.go look at a mount, debugfs.go at an image; compare.go tells the trees
// apart.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Exit codes.
const (
	exitSame    = 0
	exitDiffers = 1
	exitTrouble = 2
)

const usage = `mount-compare: hold ext2fuse against the kernel's ext2 driver

  mount-compare [options] IMAGE       mount IMAGE with both, compare all there is
  mount-compare [options] -dirs A B   compare two mounted file systems

Compared are, for every file: names and types in directory entries, inode numbers,
type, mode, owner, size, blocks, link count, device number, the four times to the
nanosecond, symlink targets, extended attributes with ACLs, inode flags and version,
where the holes are, and the content; and what statfs says. IMAGE is a file or a
device and is never written to.

The kernel is asked through a read-only loop mount, which takes root. Without root,
or with blocks larger than the kernel takes, debugfs is asked instead.

`

const exitCodes = `
Fields, for -ignore: %s,
statfs (or "statfs NAME"), xattr (or "xattr NAME"), name (is there at all).

Exit status: 0 both sides are the same; 1 they differ, each difference is printed
(path and field, then a line for either side); 2 there was trouble, printed in one
line, and nothing was found out. The last line of the output sums up.
`

// config is the command line.
type config struct {
	binary, mountOptions, oracle, ignore string
	dirs, full                           bool
	jobs, limit                          int
	args                                 []string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main with its surroundings as arguments.
func run(ctx context.Context, args []string, out, errs io.Writer) int {
	c, err := parse(args, out, errs)
	if err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return exitSame
		}
		fmt.Fprintln(errs, "mount-compare:", err)
		return exitTrouble
	}
	start := time.Now()
	ours, theirs, err := c.look(ctx)
	if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
		err = errors.New("interrupted; everything is unmounted")
	}
	if err != nil {
		fmt.Fprintln(errs, "mount-compare:", strings.ReplaceAll(err.Error(), "\n", " / "))
		return exitTrouble
	}
	ignore := map[string]bool{}
	for _, what := range strings.Split(c.ignore, ",") {
		ignore[strings.TrimSpace(what)] = true
	}
	diffs := compare(ours, theirs, ignore)
	summary := report(out, ours, theirs, diffs, c.limit)
	fmt.Fprintf(out, "mount-compare: %s, %.1f s\n", summary, time.Since(start).Seconds())
	if len(diffs) > 0 {
		return exitDiffers
	}
	return exitSame
}

func parse(args []string, out, errs io.Writer) (*config, error) {
	c := &config{}
	fs := flag.NewFlagSet("mount-compare", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&c.binary, "ext2fuse", "", "the FUSE `driver`; called as DRIVER -f -o ro,OPTIONS IMAGE DIR (default: bin/ext2fuse here, else from PATH)")
	fs.StringVar(&c.mountOptions, "o", "", "mount `options` for the driver, as in offset=1048576; the kernel gets those that it knows")
	fs.StringVar(&c.oracle, "oracle", "auto", "`who` is right: kernel, debugfs, or auto: the kernel where it can")
	fs.StringVar(&c.ignore, "ignore", "", "`fields` not to compare, separated by commas")
	fs.BoolVar(&c.dirs, "dirs", false, "compare two directories that are there already")
	fs.BoolVar(&c.full, "full", false, "read large holes to their last byte, not only their ends")
	fs.IntVar(&c.jobs, "j", 4, "look at so many files at once")
	fs.IntVar(&c.limit, "max", 200, "print so many differences at most; 0: all")
	err := fs.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(out, usage)
		fs.SetOutput(out)
		fs.PrintDefaults()
		fmt.Fprintf(out, exitCodes, strings.Join(fieldNames[:], ", "))
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("%w (-h explains)", err)
	}
	c.args = fs.Args()
	switch want := map[bool]int{false: 1, true: 2}[c.dirs]; {
	case len(c.args) != want && c.dirs:
		return nil, errors.New("-dirs wants two directories (-h explains)")
	case len(c.args) != want:
		return nil, errors.New("wants one image, options before it (-h explains)")
	case c.oracle != "auto" && c.oracle != "kernel" && c.oracle != "debugfs":
		return nil, fmt.Errorf("-oracle %s: want kernel, debugfs or auto", c.oracle)
	case c.jobs < 1:
		return nil, fmt.Errorf("-j %d: want 1 or more", c.jobs)
	}
	return c, nil
}

// look looks at both sides.
func (c *config) look(ctx context.Context) (ours, theirs *tree, err error) {
	if c.dirs {
		if ours, err = walk(ctx, c.args[0], c.args[0], c.jobs, c.full); err != nil {
			return nil, nil, err
		}
		theirs, err = walk(ctx, c.args[1], c.args[1], c.jobs, c.full)
		return ours, theirs, err
	}
	image := c.args[0]
	opts := splitOptions(c.mountOptions)
	win, err := opts.window(image)
	if err != nil {
		return nil, nil, err
	}
	bs, err := blockSize(image, win)
	if err != nil {
		return nil, nil, err
	}
	binary, err := c.driver()
	if err != nil {
		return nil, nil, err
	}
	m, err := mountFUSE(ctx, binary, image, opts)
	if ours, err = c.lookAt(ctx, filepath.Base(binary), m, err); err != nil {
		return nil, nil, err
	}
	if c.oracle == "debugfs" || c.oracle == "auto" && (os.Geteuid() != 0 || bs > os.Getpagesize()) {
		theirs, err = readDebugfs(ctx, image, win)
		return ours, theirs, err
	}
	m, err = mountKernel(image, win, opts)
	theirs, err = c.lookAt(ctx, "kernel", m, err)
	return ours, theirs, err
}

// lookAt walks through a mount, if it worked, and unmounts it.
func (c *config) lookAt(ctx context.Context, label string, m *mount, err error) (*tree, error) {
	if err != nil {
		return nil, err
	}
	t, err := walk(ctx, label, m.dir, c.jobs, c.full)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil && !isMount(m.dir) {
		err = fmt.Errorf("the mount by %s went away while it was looked at", label)
	}
	return t, errors.Join(err, m.unmount())
}

// driver finds the FUSE driver.
func (c *config) driver() (string, error) {
	if c.binary != "" {
		return exec.LookPath(c.binary)
	}
	if path, err := filepath.Abs("bin/ext2fuse"); err == nil {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	path, err := exec.LookPath("ext2fuse")
	if err != nil {
		return "", errors.New("no ext2fuse: neither bin/ext2fuse here nor on PATH; name it with -ext2fuse")
	}
	return path, nil
}
