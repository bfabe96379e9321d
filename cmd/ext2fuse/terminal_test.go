//go:build linux

package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// onTerminal is what a command line shows on a terminal, standard error included.
func onTerminal(t *testing.T, args ...string) string {
	t.Helper()
	master, slave := terminal(t)
	shown := make(chan string)
	go func() {
		text, _ := io.ReadAll(master) // EIO when the slave is closed
		shown <- string(text)
	}()
	if cmd := command(t, args...); findVerb(args[0]) == nil {
		cmd.Stdout, cmd.Stderr = slave, slave
		_ = cmd.Run() // it fails or not
	} else {
		run(args, slave, slave)
	}
	slave.Close()
	return strings.ReplaceAll(<-shown, "\r\n", "\n") // as terminals have the ends of lines
}

// hostile is a name that sets a terminal's title, goes back to the beginning of the line, begins
// sequences in all ways, rings, is no UTF-8 and has letters from right to left; inOctal is the same
// in octal.
const (
	hostile = "e\x1b]0;t\x07\r\nl\u009b31m\x9b\xff\x7f\u202ev"
	inOctal = `e\033]0;t\007\015\012l\302\23331m\233\377\177\342\200\256v`
)

// Nothing of an image, and no name of an image, reaches the terminal but as text, whichever verb
// shows it.
func TestNamesOnTerminal(t *testing.T) {
	ext2test.NeedFUSE(t)
	dir := t.TempDir()
	img, out, mnt := filepath.Join(dir, hostile+".img"), filepath.Join(dir, hostile+"-out"), mountPoint(t)
	copyFile(t, ext2test.Make(t, ext2test.Options{Args: []string{"-L", hostile[:16], "-M", "/" + hostile}}), img, 0o600)
	tree := filepath.Join(dir, "tree")
	for _, err := range []error{os.MkdirAll(filepath.Join(tree, hostile), 0o755), os.Symlink(hostile, filepath.Join(tree, hostile+"-link")), os.Mkdir(out, 0o755)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, filepath.Join(tree, hostile+"-file"), "x")
	output(t, "cp", "-r", tree+"/.", img+":/")
	ext2test.Fsck(t, img)
	damaged := filepath.Join(dir, hostile+"-damaged.img")
	copyFile(t, img, damaged, 0o600)
	ext2test.DebugfsWrite(t, damaged, "set_inode_field <12> mode 0")
	none := img + ":/" + hostile + "-none"
	lines := map[string][][]string{
		"info":       {{"info", img}, {"info", "--files", damaged}, {"info", "--json", img}, {"info", "-o", "part=1", img}, {"info", none}},
		"ls":         {{"ls", img}, {"ls", "-il", img}, {"ls", "-d", img, hostile}, {"ls", img, "/", hostile}, {"ls", none}, {"ls", damaged}},
		"cat":        {{"cat", none}, {"cat", img, hostile}},
		"cp":         {{"cp", "-q", "-v", "-r", img + ":/", out}, {"cp", "-q", "-r", damaged + ":/", out}, {"cp", none, out}, {"cp", img, img + ":/"}},
		"tree":       {{"tree", img}, {"tree", "--json", img}, {"tree", damaged}, {"tree", none}},
		"map":        {{"map", img, hostile + "-file"}, {"map", "--json", img, hostile + "-file"}, {"map", "--svg", img, hostile + "-file"}, {"map", none}},
		"stats":      {{"stats", mnt}, {"stats", "--json", mnt}, {"stats", out}},
		"umount":     {{"umount", out}, {"umount", none}},
		"mknod":      {{"mknod", img + ":/" + hostile, "c", "1", "3"}, {"mknod", img, "c", "1", "3"}},
		"help":       {{"help", hostile}},
		"manpage":    {{"manpage", hostile}},
		"completion": {{"completion", hostile}},
		"":           {{img, out + "-none"}, {"-f", none, out}, {"-o", hostile, img, out}, {"-o", "part=7", img, out}, {"--" + hostile}},
	}
	if code, stderr := finish(t, command(t, "-o", "ro", img, mnt)); code != exitOK {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	defer unmount(t, mnt)
	for i := range verbs {
		if lines[verbs[i].name] == nil {
			t.Errorf("nothing shows what %s does", verbs[i].name)
		}
	}
	for _, list := range lines {
		for _, args := range list {
			text := onTerminal(t, args...)
			bad := func(r rune) bool {
				return r != '\n' && unicode.In(r, unicode.Cc, unicode.Bidi_Control) || r == unicode.ReplacementChar && !slices.Contains(args, "--json")
			}
			if !utf8.ValidString(text) || strings.ContainsFunc(text, bad) {
				t.Errorf("%q shows %q", args, text)
			}
			if !slices.Contains(args, "--json") && !strings.Contains(text, `e\033]0;t\007`) && !strings.Contains(text, `e\x1b]0;t\a`) {
				t.Errorf("%q shows nothing of the name: %q", args, text)
			}
		}
	}
}

// What ls prints for a program are the names themselves, as with GNU ls; on a terminal no two
// look the same.
func TestListedNames(t *testing.T) {
	img, tree := ext2test.Make(t, ext2test.Options{}), t.TempDir()
	writeFile(t, filepath.Join(tree, hostile), "x")
	writeFile(t, filepath.Join(tree, inOctal), "x")
	output(t, "cp", "-r", tree+"/.", img+":/")
	ext2test.Fsck(t, img)
	if got, want := output(t, "ls", img), inOctal+"\n"+hostile+"\nlost+found\n"; sortedLines(got) != sortedLines(want) {
		t.Errorf("for a program: %q, want %q", got, want)
	}
	if got, want := onTerminal(t, "ls", img), strings.ReplaceAll(inOctal, `\`, `\\`)+"\n"+inOctal+"\nlost+found\n"; sortedLines(got) != sortedLines(want) {
		t.Errorf("on a terminal: %q, want %q", got, want)
	}
	if got := output(t, "tree", img); strings.Count(got, inOctal) != 2 {
		t.Errorf("tree, for people: %q", got)
	}
}

func sortedLines(text string) string {
	lines := strings.Split(text, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
