//go:build linux

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestWorker(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, make([]byte, 20*blockSize), 0o644); err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	// All blocks of the file, each once: it ends only if no block is drawn twice.
	if code := workerMain([]string{path, "20"}, &errs); code != exitDone {
		t.Fatalf("exit %d: %s", code, &errs)
	}
	for _, args := range [][]string{{path, "21"}, {path, "x"}, {path + "x", "1"}, {path}} {
		if code := workerMain(args, &errs); code != exitTrouble {
			t.Errorf("%q: exit %d", args, code)
		}
	}
	if err := os.Truncate(path, 10*blockSize+1); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := readAtRandom(int(f.Fd()), 20, 20); err == nil {
		t.Error("blocks past the end are read")
	}
}

func TestResident(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, bytes.Repeat([]byte{1}, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := fill(path); err != nil {
		t.Fatal(err)
	}
	if in, size, err := resident(path); in != 1<<20 || size != 1<<20 || err != nil {
		t.Errorf("just written and read: %d bytes of %d are there, %v", in, size, err)
	}
	if err := os.Truncate(path, 1<<30); err != nil {
		t.Fatal(err)
	}
	if in, size, err := resident(path); in > 2<<20 || size != 1<<30 || err != nil {
		t.Errorf("with a hole never read: %d bytes of %d are there, %v", in, size, err)
	}
	if err := isCold(path); err != nil {
		t.Error(err)
	}
	if n := countResident([]byte{1, 0, 3, 2, 255}); n != 3 {
		t.Errorf("%d resident, want 3", n)
	}
}
