//go:build linux

package main

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestFreeRuns(t *testing.T) {
	const text = `Free blocks:              7766
Free inodes:              2037

Group 0: (Blocks 1-8192)
  Primary superblock at 1, Group descriptors at 2-2
  1 free blocks, 2 free inodes, 2 directories
  Free blocks: 8000
  Free inodes: 13-2048
Group 1: (Blocks 8193-16383)
  Free blocks: 8500-8600, 9000, 9100-9101
Group 2: (Blocks 16384-20000)
  Free blocks: 
`
	want := []blockRun{{8000, 8000}, {8500, 8600}, {9000, 9000}, {9100, 9101}}
	if got := freeRuns(text); !reflect.DeepEqual(got, want) {
		t.Errorf("freeRuns: %v, want %v", got, want)
	}
}

// What dumpe2fs itself counts as free is what freeRuns finds.
func TestFreeRunsOfAnImage(t *testing.T) {
	t.Setenv("PATH", t.TempDir()+":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin")
	image := filepath.Join(t.TempDir(), "image")
	if out, err := exec.Command("mke2fs", "-q", "-F", "-t", "ext2", "-b", "1024", image, "30m").CombinedOutput(); err != nil {
		t.Fatalf("mke2fs: %v: %s", err, out)
	}
	text, err := command(context.Background(), "dumpe2fs", image)
	if err != nil {
		t.Fatal(err)
	}
	want, err := headerCount(text, "Free blocks")
	if err != nil {
		t.Fatal(err)
	}
	var got int64
	for _, r := range freeRuns(text) {
		got += r.last - r.first + 1
	}
	if got != want || got == 0 {
		t.Errorf("%d free blocks, dumpe2fs counts %d", got, want)
	}
	if used, err := usedInodes(text); err != nil || used != 11 {
		t.Errorf("%d inodes in use, %v; a new file system has 11", used, err)
	}
}

func TestHeaderCountMissing(t *testing.T) {
	if n, err := headerCount("Inode count: 3\n", "Free inodes"); err == nil {
		t.Errorf("a missing field is %d", n)
	}
}

func TestCountReads(t *testing.T) {
	const text = `/tmp/a.img read 4096 1048576 t=0.1 block=1 for=data cold
/tmp/a.img read 1052672 4096 t=0.2 for=indirect
/tmp/a.img datasync 0 0 t=0.3
/tmp/a.img write 0 512
/tmp/a.img close
`
	requests, n, err := countReads([]byte(text))
	if requests != 2 || n != 1048576+4096 || err != nil {
		t.Errorf("%d requests, %d bytes, %v", requests, n, err)
	}
	if _, _, err := countReads([]byte("a read 0 x\n")); err == nil {
		t.Error("a length of x is taken")
	}
}

func TestStatusBytes(t *testing.T) {
	const text = "Name:\text2fuse\nVmHWM:\t   14000 kB\nVmRSS:\t    12345 kB\n"
	if n, err := statusBytes(text, "VmRSS"); n != 12345<<10 || err != nil {
		t.Errorf("VmRSS is %d, %v", n, err)
	}
	if n, err := statusBytes(text, "VmSwap"); err == nil {
		t.Errorf("a missing VmSwap is %d", n)
	}
	if now, peak, err := memoryOf(1); err == nil && (now == 0 || peak < now) {
		t.Errorf("process 1 has %d bytes, at most %d", now, peak)
	}
}

func TestField(t *testing.T) {
	const text = "processor\t: 0\nmodel name\t: A: B\nmodel\t: 3\n"
	if got := field(text, "model name", ":"); got != "A: B" {
		t.Errorf("model name is %q", got)
	}
	if got := field(text, "name", ":"); got != "" {
		t.Errorf("name is %q", got)
	}
}

func TestStorageOf(t *testing.T) {
	const text = `22 28 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw
28 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
`
	if got := storageOf(text, "254:1"); got != "ext4 (/dev/vda1)" {
		t.Errorf("254:1 is %q", got)
	}
	if got := storageOf(text, "9:9"); got != "unknown" {
		t.Errorf("9:9 is %q", got)
	}
}

func TestDuration(t *testing.T) {
	for seconds, want := range map[float64]string{
		0.000456: "0.46 ms", 0.00994: "9.94 ms", 0.0123: "12.3 ms", 0.0996: "100 ms", 0.412: "412 ms",
		0.9994: "999 ms", 0.9996: "1.00 s", 3.456: "3.46 s", 9.996: "10.0 s", 61.23: "61.2 s",
	} {
		if got := duration(seconds); got != want {
			t.Errorf("duration(%v) = %q, want %q", seconds, got, want)
		}
	}
}

func TestSpread(t *testing.T) {
	w := &row{Summary: map[string]summary{"a": {0.5, 0.4, 0.6}, "b": {1.2, 0.9, 1.3}, "c": {2, 1, 3}}}
	for name, want := range map[string]string{
		"a": "500 ms (400–600 ms)", "b": "1.20 s (900 ms–1.30 s)", "c": "2.00 s (1.00–3.00 s)", "d": "–",
	} {
		if got := spread(w, name); got != want {
			t.Errorf("spread of %s = %q, want %q", name, got, want)
		}
	}
}

func TestParse(t *testing.T) {
	c, err := parse([]string{"-quick", "-rounds", "3", "-only", "^seq"}, &bytes.Buffer{})
	if err != nil || c.rounds != 3 || c.sizes != quickSizes {
		t.Errorf("%+v, %v", c, err)
	}
	for _, args := range [][]string{{"-rounds", "0"}, {"-only", "("}, {"x"}, {"-readahead", "-1"}, {"-nonsense"}} {
		if _, err := parse(args, &bytes.Buffer{}); err == nil {
			t.Errorf("%s: no error", strings.Join(args, " "))
		}
	}
}
