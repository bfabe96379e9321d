//go:build linux

package main

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// Damage that a verb meets is told once, with the path that led there and what to do, and the
// verb fails; what else was asked for it does.
func TestDamageToldOnce(t *testing.T) {
	img := ext2test.Make(t, ext2test.Options{BlockSize: 1024})
	dir := t.TempDir()
	big, small, out := filepath.Join(dir, "big"), filepath.Join(dir, "small"), filepath.Join(dir, "out")
	writeFile(t, big, strings.Repeat("text ", 20000))
	writeFile(t, small, "content")
	ext2test.DebugfsWrite(t, img, "write "+big+" big", "write "+small+" small", "mkdir dir", "mkdir dir/in", "write "+small+" bad", "write "+small+" attr",
		"symlink link /"+strings.Repeat("x", 100), "set_inode_field bad mode 0", "set_inode_field big block[IND] 999999999",
		"set_inode_field attr file_acl 99999999", "set_inode_field link block[0] 88888888", "set_inode_field dir block[0] 77777777")
	before := readFile(t, img)
	all := []string{"attr", "bad", "dir", "link"}
	for _, tt := range []struct {
		args string
		told []string // names below the root
		want string   // of what was printed
	}{
		{"ls IMG", []string{"attr", "bad"}, "small"},
		{"ls IMG / /dir", []string{"attr", "bad", "dir"}, "small"},
		{"ls -l IMG", []string{"attr", "bad", "link"}, "small"},
		{"ls -l IMG /bad", []string{"bad"}, ""},
		{"ls IMG /dir/in", []string{"dir/in"}, ""},
		{"cat IMG /big /small", []string{"big"}, "content"},
		{"cat IMG /link", []string{"link"}, ""},
		{"tree IMG", all, "small"},
		{"tree --json IMG", all, `"small"`},
		{"map IMG /big", []string{"big"}, "inode"},
		{"map --json IMG /big", []string{"big"}, "inode"},
		{"info --files IMG", []string{"attr", "bad", "big", "dir"}, "Free runs"},
		{"cp -r IMG:/ OUT", append([]string{"big"}, all...), ""},
		{"cp IMG:/big IMG:/small OUT", []string{"big"}, ""},
		{"cp IMG:/big /dev/null", []string{"big"}, ""},
	} {
		if err := errors.Join(os.RemoveAll(out), os.Mkdir(out, 0o700)); err != nil {
			t.Fatal(err)
		}
		args := strings.Fields(strings.NewReplacer("IMG", img, "OUT", out).Replace(tt.args))
		var stdout, stderr bytes.Buffer
		code := run(args, &stdout, &stderr)
		lines := strings.Split(strings.TrimSuffix(stderr.String(), "\n"), "\n")
		if code != exitUsage || len(lines) != len(tt.told) || !strings.Contains(stdout.String(), tt.want) {
			t.Errorf("%s: exit %d, told\n%sprinted\n%s", tt.args, code, stderr.String(), stdout.String())
		}
		for _, name := range tt.told {
			begin, told := "ext2fuse: "+img+":/"+name+": ", 0
			for _, l := range lines {
				if strings.HasPrefix(l, begin) && strings.Count(l, "corrupt ") == 1 && strings.HasSuffix(l, "; run e2fsck -f "+img) {
					told++
				}
			}
			if told != 1 {
				t.Errorf("%s: /%s is told of %d times:\n%s", tt.args, name, told, stderr.String())
			}
		}
		if strings.Contains(tt.args, "OUT") && string(readFile(t, filepath.Join(out, "small"))) != "content" {
			t.Errorf("%s: what is whole was not copied", tt.args)
		}
	}
	if !bytes.Equal(readFile(t, img), before) {
		t.Error("the image was written to")
	}
}

// What a verb does not tell itself is logged, in its order and once.
func TestHeldLog(t *testing.T) {
	var out bytes.Buffer
	held := &heldLog{Handler: newLogSink(&out, "ext2fuse: disk.img: ")}
	c := &call{stderr: &out, logs: []*heldLog{held}}
	l := slog.New(held)
	l.Error("fault one")
	l.Error("fault two", "block", 2)
	l.Warn("at once")
	c.warn("disk.img:/file: reading: fault one")
	held.flush()
	held.flush()
	want := `ext2fuse: disk.img: warning: at once
ext2fuse: disk.img:/file: reading: fault one
ext2fuse: disk.img: fault two block=2
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
	out.Reset()
	for range maxHeld + 1 {
		l.Error("fault")
	}
	if got := strings.Count(out.String(), "\n"); got != 1 {
		t.Errorf("%d of %d were logged early, want 1", got, maxHeld+1)
	}
}
