//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// Names of the drivers.
const (
	kernelName   = "kernel"
	fuse2fsName  = "fuse2fs"
	ext2fuseName = "ext2fuse"
	emptyName    = "empty"
)

// driver is one of those that are compared.
type driver struct {
	name    string
	version string
	path    string // the program; "" for the kernel
	// mount mounts an image read-only and returns when it serves; options are words
	// for -o.
	mount func(ctx context.Context, image, dir string, options ...string) (*mounted, error)
	// mountRW mounts one read-write; nil for the empty server.
	mountRW func(ctx context.Context, image, dir string) (*mounted, error)
	// readAhead is what its mounts are set to, in KiB; 0 leaves them alone.
	readAhead int
}

// findDrivers tells who takes part, and why others do not.
func (b *runner) findDrivers(ctx context.Context) error {
	if err := b.addKernel(ctx); err != nil {
		b.leaveOut("the kernel's driver: %v", err)
	}
	if path, err := exec.LookPath("fuse2fs"); err != nil {
		b.leaveOut("fuse2fs: it is not installed (apt-get install fuse2fs)")
	} else {
		b.add(ctx, fuse2fsDriver(ctx, path))
	}
	if _, err := os.Stat(b.program); err != nil {
		return fmt.Errorf("ext2fuse is not built (make build): %w", err)
	}
	ours := b.add(ctx, ext2fuseDriver(ctx, b.program))
	if ours == nil {
		return errors.New(b.report.LeftOut[len(b.report.LeftOut)-1])
	}
	empty, err := b.emptyDriver(ctx)
	if err != nil {
		return err
	}
	// The ceiling at the same settings as ours.
	empty.readAhead = b.report.driver(ours.name).ReadAhead
	b.add(ctx, empty)
	return nil
}

// add tries a driver and takes it in if it can mount.
func (b *runner) add(ctx context.Context, d *driver) *driver {
	if b.readAhead != 0 {
		d.readAhead = b.readAhead
	}
	m, err := b.mount(ctx, d)
	if err != nil {
		b.leaveOut("%s: %v", d.name, err)
		return nil
	}
	info := driverInfo{Name: d.name, Version: d.version, ReadAhead: m.readAhead()}
	if err := m.close(); err != nil {
		b.leaveOut("%s: %v", d.name, err)
		return nil
	}
	b.drivers = append(b.drivers, d)
	b.report.Drivers = append(b.report.Drivers, info)
	b.say("%s: %s, read-ahead %d KiB", d.name, d.version, info.ReadAhead)
	return d
}

func (b *runner) addKernel(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return errors.New("it takes root")
	}
	d := &driver{name: kernelName, version: "Linux " + release(), mount: mountKernel, mountRW: mountKernelRW}
	if b.add(ctx, d) == nil {
		return errors.New("it mounts no loop device here")
	}
	return nil
}

func fuse2fsDriver(ctx context.Context, path string) *driver {
	return daemonDriver(fuse2fsName, path, firstLine(ctx, path, "--version"))
}

func ext2fuseDriver(ctx context.Context, path string) *driver {
	return daemonDriver(ext2fuseName, path, firstLine(ctx, path, "-V"))
}

// daemonDriver is a FUSE driver that goes to the background when it serves.
func daemonDriver(name, path, version string) *driver {
	return &driver{
		name: name, path: path, version: version,
		mount: func(ctx context.Context, image, dir string, options ...string) (*mounted, error) {
			return startDaemon(ctx, image, dir, path, "-o", join("ro", options), image, dir)
		},
		mountRW: func(ctx context.Context, image, dir string) (*mounted, error) {
			options := "rw"
			if name == fuse2fsName {
				options = "rw,fakeroot" // it refuses even root much otherwise
			}
			return startDaemon(ctx, image, dir, path, "-o", options, image, dir)
		},
	}
}

// emptyDriver is the empty FUSE server with the data files of the seed image.
func (b *runner) emptyDriver(ctx context.Context) (*driver, error) {
	path := b.emptyfuse
	if path == "" {
		path = filepath.Join(b.scratch, "emptyfuse")
		if _, err := command(ctx, "go", "build", "-buildvcs=false", "-o", path, "github.com/ext2fuse/ext2fuse/scripts/emptyfuse"); err != nil {
			return nil, fmt.Errorf("building the empty FUSE server: %w", err)
		}
	}
	files := []string{
		fmt.Sprintf("%s=%d", sequentialFile, b.sizes.sequential),
		fmt.Sprintf("%s=%d", fragmentedFile, b.sizes.fragmented),
	}
	return &driver{
		name: emptyName, path: path, version: "go-fuse, answers from memory",
		mount: func(ctx context.Context, _, dir string, _ ...string) (*mounted, error) {
			return startServer(ctx, dir, append([]string{path, dir}, files...)...)
		},
	}, nil
}

// mount mounts the seed image with d on a directory of its own.
func (b *runner) mount(ctx context.Context, d *driver, options ...string) (*mounted, error) {
	return b.mountImage(ctx, d, b.image, options...)
}

func (b *runner) mountImage(ctx context.Context, d *driver, image string, options ...string) (*mounted, error) {
	dir := filepath.Join(b.scratch, "mnt-"+d.name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	m, err := d.mount(ctx, image, dir, options...)
	if err != nil {
		return nil, err
	}
	if d.readAhead > 0 && os.Geteuid() == 0 {
		if err := m.setReadAhead(d.readAhead); err != nil {
			return nil, errors.Join(err, m.close())
		}
	}
	return m, nil
}

// mountWritable mounts an image read-write with d.
func (b *runner) mountWritable(ctx context.Context, d *driver, image string) (*mounted, error) {
	dir := filepath.Join(b.scratch, "mnt-"+d.name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return d.mountRW(ctx, image, dir)
}

// join makes one -o argument.
func join(first string, rest []string) string {
	return strings.Join(append([]string{first}, rest...), ",")
}

// firstLine is the first line that a program prints on either output.
func firstLine(ctx context.Context, args ...string) string {
	out, _ := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}

// bdiFile is where the read-ahead of the file system on dir is set, in KiB.
func bdiFile(dir string) (string, error) {
	major, minor, err := deviceOf(dir)
	return fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", major, minor), err
}

func (m *mounted) setReadAhead(kib int) error {
	path, err := bdiFile(m.dir)
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(strconv.Itoa(kib)), 0)
}

// readAhead is the mount's read-ahead in KiB; 0 if it cannot be told.
func (m *mounted) readAhead() int {
	path, err := bdiFile(m.dir)
	if err != nil {
		return 0
	}
	n, _ := readNumber(path)
	return int(n)
}
