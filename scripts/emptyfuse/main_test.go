//go:build linux && !386 && !arm && !mips && !mipsle

package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestParseFile(t *testing.T) {
	if f, err := parseFile("a.bin=4096"); err != nil || f != (file{"a.bin", 4096}) {
		t.Errorf("%v, %v", f, err)
	}
	for _, spec := range []string{"", "a", "a=", "=1", "a/b=1", "a=-1", "a=1k", "a=9223372036854775808"} {
		if f, err := parseFile(spec); err == nil {
			t.Errorf("%q is %v", spec, f)
		}
	}
}

// The files have the sizes asked for, are read to their end, and the mount goes away.
func TestServe(t *testing.T) {
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skipf("nothing can be mounted: %v", err)
	}
	dir := t.TempDir()
	done := make(chan error, 1)
	go func() { done <- serve(dir, 128<<10, []string{"big=1000001", "none=0"}) }()
	big := filepath.Join(dir, "big")
	deadline := time.Now().Add(10 * time.Second)
	for {
		if _, err := os.Stat(big); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no mount after 10 s")
		}
		time.Sleep(time.Millisecond)
	}
	data, err := os.ReadFile(big)
	if err != nil || len(data) != 1000001 {
		t.Errorf("big: %d bytes, %v", len(data), err)
	}
	if info, err := os.Stat(filepath.Join(dir, "none")); err != nil || info.Size() != 0 {
		t.Errorf("none: %v, %v", info, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("entries: %v, %v", entries, err)
	}
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
