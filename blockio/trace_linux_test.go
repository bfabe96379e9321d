package blockio_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio"
)

// TestFioReplaysTrace: fio does what the trace says, on the image of the trace.
func TestFioReplaysTrace(t *testing.T) {
	if _, err := exec.LookPath("fio"); err != nil {
		t.Skip("fio is not installed")
	}
	image := imageFile(t, 1<<20)
	trace := filepath.Join(t.TempDir(), "trace")
	traced(t, open(t, image, blockio.OpenOptions{}), func(dev blockio.Device) (*blockio.Trace, error) {
		return blockio.TraceTo(dev, trace)
	})
	cmd := exec.Command("fio", "--name=replay", "--ioengine=psync", "--read_iolog="+trace, "--output-format=terse", "--terse-version=3")
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	text, _ := os.ReadFile(trace)
	// fio 3.33 reports a trim so and leaves it out; later ones replay it.
	out = bytes.TrimPrefix(out, []byte("bad ddir: 2\n"))
	if err != nil || strings.Contains(string(out), "bad") {
		t.Fatalf("fio: %v: %s\nthe trace:\n%s", err, out, text)
	}
	// Terse version 3: field 6 is KiB read, field 47 is KiB written.
	field := strings.Split(strings.TrimSpace(string(out)), ";")
	if len(field) < 47 {
		t.Fatalf("fio: %s", out)
	}
	if field[4] != "0" || field[5] != "5" || field[46] != "12" {
		t.Errorf("fio read %s KiB and wrote %s KiB, error %s; want 5, 12, 0\n%s", field[5], field[46], field[4], text)
	}
}

func TestTraceToImageItself(t *testing.T) {
	image := imageFile(t, 64<<10)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(image, link); err != nil {
		t.Fatal(err)
	}
	dev := open(t, image, blockio.OpenOptions{})
	if _, err := blockio.TraceTo(dev, link); err == nil || !strings.Contains(err.Error(), "the image itself") {
		t.Errorf("tracing into the image: %v", err)
	}
	if st, err := os.Stat(image); err != nil || st.Size() != 64<<10 {
		t.Error("the image was harmed")
	}
}
