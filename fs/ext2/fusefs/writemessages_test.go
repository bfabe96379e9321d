//go:build linux && !386 && !arm && !mips && !mipsle

package fusefs_test

import (
	"maps"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
	"github.com/ext2fuse/ext2fuse/fs/ext2/fusefs"
)

// What it costs, in messages, to write a small file: making it, its data, and what the
// kernel forgets of its attributes by that: it asks for the directory's again, since a name
// was added, and before each first write and truncation for security.capability, which it
// remembers only until the next answer with attributes.
func TestWriteMessages(t *testing.T) {
	m := newMount(t, fileTree(t, 5), func(o *ext2.Options, _ *fusefs.Options) { o.ReadOnly = false })
	write := func(name string) {
		t.Helper()
		if err := os.WriteFile(m.path(name), ext2test.Content(1, 3000), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	stat := func(name string) {
		t.Helper()
		var st unix.Stat_t
		if err := unix.Lstat(m.path(name), &st); err != nil || st.Size != 3000 {
			t.Fatalf("%d bytes, %v", st.Size, err)
		}
	}
	write("dir/first") // the first of everything tells the kernel what not to ask
	m.messages.take()
	for _, s := range []struct {
		name string
		do   func()
		want map[string]int
	}{
		{"create, write, close", func() { write("dir/new") }, map[string]int{"GETATTR": 1, "LOOKUP": 1, "MKNOD": 1, "GETXATTR": 1, "WRITE": 1}},
		{"stat after that", func() { stat("dir/new") }, map[string]int{"GETATTR": 2}},
		{"stat again", func() { stat("dir/new") }, map[string]int{}},
		{"overwrite", func() { write("dir/new") }, map[string]int{"GETXATTR": 2, "SETATTR": 1, "WRITE": 1}},
		{"unlink", func() { _ = unix.Unlink(m.path("dir/new")) }, map[string]int{"UNLINK": 1}},
	} {
		s.do()
		if got := m.messages.take(); !maps.Equal(got, s.want) {
			t.Errorf("%s: %v, want %v", s.name, got, s.want)
		}
	}
}
