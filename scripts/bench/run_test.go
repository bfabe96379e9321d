//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tinySizes make an image in a moment.
var tinySizes = sizes{48 << 20, 4 << 20, 4 << 20, 1 << 20, 150, 200, 50, 20}

// tinyRun is a config for a short run in a directory of its own.
func tinyRun(t *testing.T) *config {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skipf("nothing can be mounted: %v", err)
	}
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin:/sbin")
	t.Setenv("LC_ALL", "C")
	dir := t.TempDir()
	program := filepath.Join(dir, "ext2fuse")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", program, "../../cmd/ext2fuse").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	return &config{dir: filepath.Join(dir, "bench"), ext2fuse: program, rounds: 1, sizes: tinySizes, only: "^(seq|ls)$", warmOnly: true}
}

// leftBehind fails the test if something is mounted below dir or still held by a loop
// device.
func leftBehind(t *testing.T, dir string) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), dir) {
		t.Errorf("something is still mounted below %s:\n%s", dir, text)
	}
	left, err := filepath.Glob(filepath.Join(dir, "ext2fuse-bench-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestRun(t *testing.T) {
	c := tinyRun(t)
	r, err := bench(context.Background(), c, &progress{t: t})
	if err != nil {
		t.Fatal(err)
	}
	leftBehind(t, c.dir)
	for _, want := range []struct {
		workload, driver string
		state            state
	}{{"seq", ext2fuseName, cached}, {"seq", emptyName, cached}, {"ls", ext2fuseName, cached}, {"ls", ext2fuseName, warm}} {
		if m, ok := r.median(want.workload, want.state, want.driver); !ok || m <= 0 {
			t.Errorf("%v: %v, %v", want, m, ok)
		}
	}
	if _, ok := r.median("ls", cached, emptyName); ok {
		t.Error("the empty server lists directories")
	}
	if len(r.Targets) == 0 || len(r.Method) == 0 {
		t.Error("no targets, or no method")
	}
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back report
	if err := json.Unmarshal(data, &back); err != nil || len(back.Rows) != len(r.Rows) {
		t.Errorf("the JSON holds %d rows of %d, %v", len(back.Rows), len(r.Rows), err)
	}

	// The image is kept, and the next run takes it as it is.
	image := filepath.Join(c.dir, fmt.Sprintf("seed-%d-48m.img", recipe))
	before, err := os.Stat(image)
	if err != nil {
		t.Fatal(err)
	}
	c.only, c.noVerify = "^$", true
	if _, err := bench(context.Background(), c, &progress{t: t}); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(image)
	if err != nil || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("the image was made again: %v", err)
	}
}

// A run that is interrupted leaves nothing mounted, wherever it was.
func TestInterrupt(t *testing.T) {
	c := tinyRun(t)
	for _, at := range []string{"making the seed", "reading everything with " + ext2fuseName, "sequential read"} {
		t.Run(at, func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			if _, err := bench(ctx, c, &progress{t: t, at: at, do: cancel}); err == nil {
				t.Error("it ended well")
			}
			leftBehind(t, c.dir)
		})
	}
}

// The same seed gives the same image.
func TestSeedIsDeterministic(t *testing.T) {
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin:/sbin")
	var layouts [2]string
	for i := range layouts {
		dir := t.TempDir()
		image, err := seedImage(context.Background(), dir, dir, tinySizes, t.Logf)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{sequentialFile, contiguousFile, fragmentedFile, flatDir + "/entry-number-000199.dat"} {
			out, err := command(context.Background(), "debugfs", "-R", "blocks "+file, image)
			if err != nil {
				t.Fatal(err)
			}
			layouts[i] += out
		}
	}
	if layouts[0] != layouts[1] {
		t.Error("two images of the same seed differ in where their files lie")
	}
}

// progress takes the lines of progress to the test's log, and calls do at one of them.
type progress struct {
	t  *testing.T
	at string
	do func()
}

func (p *progress) Write(line []byte) (int, error) {
	p.t.Logf("%s", strings.TrimSpace(string(line)))
	if p.do != nil && strings.Contains(string(line), p.at) {
		p.do()
	}
	return len(line), nil
}
