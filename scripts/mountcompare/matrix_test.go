//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// driverUnderTest builds ext2fuse, with the race detector if this test has it, or
// takes the one that EXT2FUSE names.
var driverUnderTest = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("EXT2FUSE"); path != "" {
		return path, nil
	}
	path := filepath.Join(buildDir, "ext2fuse")
	args := []string{"build", "-buildvcs=false", "-o", path}
	if raceEnabled {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "github.com/ext2fuse/ext2fuse/cmd/ext2fuse")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

var buildDir string

func TestMain(m *testing.M) {
	var err error
	if buildDir, err = os.MkdirTemp("", "mountcompare-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	code := m.Run()
	os.RemoveAll(buildDir)
	os.Exit(code)
}

// TestMatrix holds ext2fuse against the kernel and against debugfs over all images,
// and the kernel against debugfs: where the two oracles agree, a difference is the
// driver's. Nothing may change in an image that is only looked at.
//
// Under the race detector, which is slow, a part of the images has to do.
func TestMatrix(t *testing.T) {
	ext2test.NeedFUSE(t)
	driver, err := driverUnderTest()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range ext2test.Recipes() {
		if raceEnabled && !racing[r.Name] {
			continue
		}
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			if r.Kernel {
				ext2test.NeedKernelMount(t)
			}
			image := r.Make(t)
			before := fileSum(t, image)
			ours := lookWith(t, driver, image, r.Window)
			debugfs := lookDebugfs(t, image, r.Window)
			same(t, ours, debugfs)
			if !r.Large && ext2test.NoKernelMount() == "" {
				kernel := lookKernel(t, image, r.Window)
				same(t, ours, kernel)
				same(t, kernel, debugfs)
			}
			if fileSum(t, image) != before {
				t.Error("the image changed")
			}
		})
	}
}

// racing are the images for the race detector: together they take every path through
// the driver.
var racing = map[string]bool{
	"1k-inode128": true, "2k-no-filetype": true, "4k-inode256": true, "1k-hash-tea": true, "1k-meta_bg": true, "1k-triple-indirect": true,
	"4k-10000-names": true, "1k-mke2fs-d": true, "64k-mke2fs-d": true, "forensics-samples": true,
}

// same fails the test unless two trees are the same.
func same(t *testing.T, a, b *tree) {
	t.Helper()
	var out strings.Builder
	diffs := compare(a, b, map[string]bool{})
	if summary := report(&out, a, b, diffs, 10); len(diffs) > 0 {
		t.Errorf("%s\n%s", summary, out.String())
	} else {
		t.Log(summary)
	}
}

// fileSum sums up the image's bytes.
func fileSum(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	var n node
	newWalker(context.Background(), "", 1, false).content(&n, int(f.Fd()), st.Size())
	return n.fields[fContent]
}

func lookWith(t *testing.T, driver, image, window string) *tree {
	t.Helper()
	m, err := mountFUSE(context.Background(), driver, image, splitOptions(window))
	return look(t, filepath.Base(driver), m, err)
}

func lookKernel(t *testing.T, image, window string) *tree {
	t.Helper()
	opts := splitOptions(window)
	win, err := opts.window(image)
	if err != nil {
		t.Fatal(err)
	}
	m, err := mountKernel(image, win, opts)
	return look(t, "kernel", m, err)
}

func look(t *testing.T, label string, m *mount, err error) *tree {
	t.Helper()
	c := &config{jobs: 4}
	found, err := c.lookAt(context.Background(), label, m, err)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func lookDebugfs(t *testing.T, image, window string) *tree {
	t.Helper()
	win, err := splitOptions(window).window(image)
	if err != nil {
		t.Fatal(err)
	}
	found, err := readDebugfs(context.Background(), image, win)
	if err != nil {
		t.Fatal(err)
	}
	return found
}
