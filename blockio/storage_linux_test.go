package blockio

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Two storages overlap where what is written to one is read from the other: partitions do with
// their disk and not among each other, mapped devices with what they are made of.
func TestStorageOverlaps(t *testing.T) {
	defer func(was string) { sysBlock = was }(sysBlock)
	sysBlock = t.TempDir()
	device := func(number, dir string, files map[string]string) {
		t.Helper()
		files["dev"] = number
		for name, text := range files {
			at := filepath.Join(sysBlock, dir, name)
			if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(at, []byte(text+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink(dir, filepath.Join(sysBlock, number)); err != nil {
			t.Fatal(err)
		}
	}
	device("8:0", "sda", map[string]string{"size": "100"})
	device("8:1", "sda/sda1", map[string]string{"partition": "1", "start": "10", "size": "20"})
	device("8:2", "sda/sda2", map[string]string{"partition": "2", "start": "30", "size": "70"})
	device("253:0", "dm-0", map[string]string{"size": "5"})
	device("253:1", "dm-1", map[string]string{"size": "5"})
	for _, dm := range []string{"dm-0", "dm-1"} {
		if err := os.Mkdir(filepath.Join(sysBlock, dm, "slaves"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("../../sda/sda2", filepath.Join(sysBlock, dm, "slaves", "sda2")); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(sysBlock, "file")
	if err := os.WriteFile(file, make([]byte, 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	device("7:250", "loop250", map[string]string{"size": "8", "loop/backing_file": file, "loop/offset": "4096"})
	device("7:251", "loop251", map[string]string{"size": "8", "loop/backing_file": file, "loop/offset": "0"})
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil {
		t.Fatal(err)
	}
	of := map[string]Storage{"file": FileStorage(uint64(st.Dev), st.Ino), "other": FileStorage(uint64(st.Dev), st.Ino+1)}
	for name, number := range map[string][2]uint32{"sda": {8, 0}, "sda1": {8, 1}, "sda2": {8, 2}, "dm-0": {253, 0}, "dm-1": {253, 1}, "loop250": {7, 250}, "loop251": {7, 251}, "none": {9, 9}} {
		of[name] = DeviceStorage(unix.Mkdev(number[0], number[1]))
	}
	overlap := map[[2]string]bool{}
	for _, pair := range [][2]string{{"sda", "sda1"}, {"sda", "sda2"}, {"sda", "dm-0"}, {"sda", "dm-1"}, {"sda2", "dm-0"}, {"sda2", "dm-1"}, {"file", "loop250"}, {"file", "loop251"}} {
		overlap[pair], overlap[[2]string{pair[1], pair[0]}] = true, true
	}
	for a := range of {
		for b := range of {
			if want := a == b || overlap[[2]string{a, b}]; of[a].Overlaps(of[b]) != want {
				t.Errorf("%s and %s: %v, want %v", a, b, !want, want)
			}
		}
	}
	dev, err := Open(t.Context(), file, OpenOptions{ReadOnly: true, Offset: 4096})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	if s := StorageOf(dev); !s.Overlaps(of["file"]) || !s.Overlaps(of["loop250"]) || s.Overlaps(of["loop251"]) {
		t.Errorf("a part of a file lies in %+v", s)
	}
}
