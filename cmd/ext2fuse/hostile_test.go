//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// outside is a directory of the host that a hostile image wants to get to.
type outside struct {
	t    *testing.T
	dir  string
	was  string
	file string // a host file for debugfs to copy from
}

const secret = "a file of the host"

func newOutside(t *testing.T) *outside {
	t.Helper()
	o := &outside{t: t, dir: filepath.Join(t.TempDir(), "outside")}
	o.file = filepath.Join(filepath.Dir(o.dir), "content")
	for _, err := range []error{os.MkdirAll(filepath.Join(o.dir, "sub"), 0o755), os.WriteFile(filepath.Join(o.dir, "passwd"), []byte(secret), 0o640),
		os.WriteFile(o.file, []byte("content of the image"), 0o644)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	o.was = o.state()
	return o
}

// state is all there is to see of the directory, and what lies beside it.
func (o *outside) state() string {
	var b strings.Builder
	err := filepath.WalkDir(o.dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st := statOf(o.t, path)
		content, _ := os.ReadFile(path)
		fmt.Fprintf(&b, "%s %o %d:%d %d %v %q\n", path, st.Mode, st.Uid, st.Gid, st.Nlink, st.Ctim, content)
		return nil
	})
	if err != nil {
		o.t.Fatal(err)
	}
	list, err := os.ReadDir(filepath.Dir(o.dir))
	fmt.Fprint(&b, list, err)
	return b.String()
}

// unchanged fails the test when something reached the directory.
func (o *outside) unchanged(what string) {
	o.t.Helper()
	if now := o.state(); now != o.was {
		o.t.Errorf("%s: outside of the image is now\n%s\nand was\n%s", what, now, o.was)
	}
}

// rename changes a name in the directory blocks of an image to one of the same length that
// no tool would write.
func rename(t *testing.T, img, from, to string) {
	t.Helper()
	data, err := os.ReadFile(img)
	if err != nil || len(from) != len(to) || bytes.Count(data, []byte(from)) != 1 {
		t.Fatalf("%q for %q, which is there %d times: %v", to, from, bytes.Count(data, []byte(from)), err)
	}
	if err := os.WriteFile(img, bytes.Replace(data, []byte(from), []byte(to), 1), 0o600); err != nil {
		t.Fatal(err)
	}
}

// tempters are images that want to lead whoever copies them out to another place.
func (o *outside) tempters() map[string]string {
	t := o.t
	imgs := map[string]string{}
	craft := func(name string, commands ...string) string {
		img := ext2test.Make(t, ext2test.Options{Size: 4 << 20})
		ext2test.DebugfsWrite(t, img, append([]string{"mkdir real", "write " + o.file + " real/passwd", "write " + o.file + " real/new", "mkdir real/sub"}, commands...)...)
		imgs[name] = img
		return img
	}
	up := strings.Repeat("../", 20) + strings.TrimPrefix(o.dir, "/")
	// No tool makes two entries of one name, so the second is another name first. debugfs puts
	// an entry into the first room there is, so the order is that of the commands.
	for how, target := range map[string]string{"absolute": o.dir, "upwards": up} {
		rename(t, craft("link and directory, "+how, "symlink leads "+target, "ln real Zeads"), "Zeads", "leads")
		rename(t, craft("directory and link, "+how, "ln real leads", "symlink Zeads "+target), "Zeads", "leads")
		craft("link to be written through, "+how, "symlink passwd "+target+"/passwd", "symlink new "+target+"/made")
		img := craft("link in a link, "+how, "symlink above below/sub", "symlink below "+target, "ln real Zelow", "ln real Zbove")
		rename(t, img, "Zelow", "below")
		rename(t, img, "Zbove", "above")
		rename(t, craft("hard links of a link, "+how, "symlink leads "+target+"/passwd", "ln leads b", "ln real/passwd Zeads",
			"set_inode_field b links_count 2", "set_inode_field real/passwd links_count 2"), "Zeads", "leads")
	}
	rename(t, craft("loops of links", "symlink a b", "symlink b a", "symlink looks looks", "ln real Zooks"), "Zooks", "looks")
	craft("a loop of directories", "ln real real/sub/again", "ln / real/top")
	rename(t, craft("a name with slashes", "write "+o.file+" ..QoutsideQmade"), "..QoutsideQmade", "../outside/made")
	absolute := o.dir + "/made"
	masked := strings.ReplaceAll(absolute, "/", "Q")
	rename(t, craft("an absolute name", "write "+o.file+" "+masked), masked, absolute)
	rename(t, craft("a second dot-dot", "write "+o.file+" real/QQ-2"), "QQ-2", "..\x002")
	rename(t, craft("dot-dot that is a link", "symlink real/sub/XYZ "+o.dir), "XYZ", "../")
	return imgs
}

// Whatever the symbolic links and the names of an image are, copying it out changes nothing
// but what is in the directory that it is copied to; also when it was copied there before,
// and another image comes that has directories where that one had links.
func TestCopyOutOfHostileImages(t *testing.T) {
	o := newOutside(t)
	plain := ext2test.Make(t, ext2test.Options{Size: 4 << 20})
	commands := []string{}
	for _, dir := range []string{"a", "b", "leads", "above", "below", "looks", "passwd", "new"} {
		commands = append(commands, "mkdir "+dir, "write "+o.file+" "+dir+"/passwd", "write "+o.file+" "+dir+"/made")
	}
	ext2test.DebugfsWrite(t, plain, commands...)
	for name, img := range o.tempters() {
		t.Run(name, func(t *testing.T) {
			var said bytes.Buffer
			dir := filepath.Join(t.TempDir(), "to")
			// The source's top is the target, then in the target, then below it; twice each, and mixed.
			for _, args := range [][]string{
				{img + ":/", dir}, {img + ":/", dir}, {plain + ":/", dir}, {img + ":/", dir}, {img + ":/real", dir},
				{plain + ":/leads", plain + ":/b", plain + ":/passwd", dir}, {img + ":/", plain + ":/", dir}, {img + ":/passwd", dir + "/file"},
			} {
				run(append([]string{"cp", "-r"}, args...), &said, &said) // it may succeed, or not
				o.unchanged(strings.Join(args, " "))
			}
			if got, err := os.ReadFile(filepath.Join(dir, "real", "new")); err != nil || string(got) != "content of the image" {
				t.Errorf("what is not hostile: %q, %v\n%s", got, err, said.String())
			}
		})
	}
}

// A name of an image that leads somewhere leads to a place in the image, for every verb.
func TestHostileLinksStayInside(t *testing.T) {
	o := newOutside(t)
	img := ext2test.Make(t, ext2test.Options{Size: 4 << 20})
	up := strings.Repeat("../", 20) + strings.TrimPrefix(o.dir, "/")
	ext2test.DebugfsWrite(t, img, "symlink abs "+o.dir, "symlink up "+up, "symlink file "+o.dir+"/passwd", "symlink loop loop", "symlink etc /etc")
	host := filepath.Join(t.TempDir(), "host")
	writeFile(t, host, "new")
	for _, args := range [][]string{
		{"cat", img, "abs/passwd"}, {"cat", img, "up/passwd"}, {"cat", img, "file"}, {"cat", img, "etc/passwd"}, {"cat", img, "abs/../../etc/passwd"},
		{"cat", img, "loop"}, {"ls", img, "abs"}, {"ls", "-l", img, "up/sub"}, {"tree", img, "abs"}, {"tree", "--json", img, "up"}, {"map", img, "file"},
		{"cp", img + ":file", host + "-copy"}, {"cp", "-r", img + ":abs/sub", host + "-copy"}, {"cp", host, img + ":abs/made"}, {"cp", host, img + ":up/sub/"}, {"cp", "-r", host, img + ":etc/made"},
	} {
		var stdout, stderr bytes.Buffer
		code := run(args, &stdout, &stderr)
		if code == exitOK || strings.Contains(stdout.String(), secret) || strings.Contains(stdout.String(), "root:") {
			t.Errorf("%q: exit %d, %s", args, code, stdout.String())
		}
		o.unchanged(fmt.Sprint(args))
	}
	// The same names work where the image has something there.
	ext2test.DebugfsWrite(t, img, "mkdir etc-2", "write "+o.file+" etc-2/passwd", "symlink e /etc-2", "symlink e-up ../../../etc-2/passwd")
	for _, path := range []string{"e/passwd", "e-up"} {
		if got := output(t, "cat", img, path); got != "content of the image" {
			t.Errorf("%s: %q", path, got)
		}
	}
}

// A directory in many places, one below the other, is walked once.
func TestDirectoriesOfManyNames(t *testing.T) {
	img := ext2test.Make(t, ext2test.Options{Size: 4 << 20})
	const levels = 60 // 2^60 paths
	commands, path := []string{"mkdir d"}, "d"
	for range levels {
		commands = append(commands, "mkdir "+path+"/d", "ln "+path+"/d "+path+"/e")
		path += "/d"
	}
	ext2test.DebugfsWrite(t, img, commands...)
	dir := filepath.Join(t.TempDir(), "to")
	for _, args := range [][]string{{"tree", img}, {"tree", "--json", img}, {"info", "--files", img}, {"cp", "-r", img + ":/", dir}, {"cp", "-r", img + ":/", ext2test.Make(t, ext2test.Options{}) + ":/"}} {
		if said := complaint(t, args...); !strings.Contains(said, "under another name, which is damage; run e2fsck") {
			t.Errorf("%q: %s", args, said)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, path)); err != nil {
		t.Error(err)
	}
}

// Somebody who puts a symbolic link in the place of a directory that is being copied to
// leads nobody out of it.
func TestCopyIntoChangingDirectory(t *testing.T) {
	needRoot(t)
	o := newOutside(t)
	dir := t.TempDir()
	h, err := openHostDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	file, link := &fileMeta{mode: unix.S_IFREG | 0o777, uid: 1, xattrs: map[string][]byte{"user.a": nil}}, &fileMeta{mode: unix.S_IFLNK}
	folder := &fileMeta{mode: unix.S_IFDIR}
	for _, err := range []error{h.make("d", folder, ""), h.make("d/sub", folder, ""), h.make("passwd", link, filepath.Join(o.dir, "passwd"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if w, err := h.create("mine"); err != nil {
		t.Fatal(err)
	} else {
		w.Close()
	}
	if err := errors.Join(os.Rename(filepath.Join(dir, "d"), filepath.Join(dir, "moved")), os.Symlink(o.dir, filepath.Join(dir, "d"))); err != nil {
		t.Fatal(err)
	}
	for what, do := range map[string]func() error{
		"create":    func() error { _, err := h.create("d/made"); return err },
		"overwrite": func() error { _, err := h.create("d/passwd"); return err },
		"through":   func() error { _, err := h.create("passwd"); return err },
		"mkdir":     func() error { return h.make("d/made", folder, "") },
		"symlink":   func() error { return h.make("d/made", link, "x") },
		"mknod":     func() error { return h.make("d/made", &fileMeta{mode: unix.S_IFIFO}, "") },
		"link":      func() error { return h.link("mine", "d/made") },
		"link from": func() error { return h.link("d/passwd", "mine-too") },
		"unlink":    func() error { return h.remove("d/passwd") },
		"setMeta":   func() error { return h.setMeta("d/passwd", file) },
		"stat":      func() error { _, err := h.stat("d/passwd"); return err },
		"up":        func() error { return h.make("../made", folder, "") },
		"absolute":  func() error { return h.make("/tmp/../made", folder, "") },
	} {
		h.forget()
		if err := do(); err == nil {
			t.Errorf("%s: no error", what)
		}
		o.unchanged(what)
	}
	// The attributes of what is no link any more.
	if err := h.setMeta("passwd", file); err == nil {
		t.Error("a link got a mode")
	}
	o.unchanged("setMeta of a link")
}
