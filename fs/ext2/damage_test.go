//go:build linux

package ext2

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test/hostile"
	"github.com/ext2fuse/ext2fuse/fs/ext2/internal/testhook"
)

var updateDamage = flag.Bool("update-damage", false, "write what was found into testdata/damage.txt and docs/DAMAGE.md")

// The kinds of answers to damage.
const (
	answerRefused  = "refused"  // the mount is refused, with an error that has the text
	answerEIO      = "EIO"      // access to one path fails, and the log has the text
	answerLog      = "log"      // everything works, and the log has the text
	answerHarmless = "harmless" // everything works, and the log has nothing
)

// damageCase is a class of damage that e2fsck knows, made by debugfs, and the answer to
// it. The table is testdata/damage.txt.
type damageCase struct {
	problem  string // its name in e2fsck/problem.h
	code     string // its number
	base     string // the seed image
	commands []string
	answer   string
	path     string // of answerEIO
	says     string
	why      string
}

const (
	damageTable = "testdata/damage.txt"
	damageDoc   = "../../docs/DAMAGE.md"
)

// readDamage reads the table. A case is a line with problem, code and seed, then, indented,
// the commands of debugfs, the answer behind "=>", and what is to be said about it.
func readDamage(t testing.TB) (title string, all []*damageCase) {
	t.Helper()
	text, err := os.ReadFile(damageTable)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(text), "\n") {
		switch {
		case line == "" || line[0] == '#':
			if len(all) == 0 {
				title += line + "\n"
			}
		case line[0] != '\t':
			c := &damageCase{}
			if n, err := fmt.Sscan(line, &c.problem, &c.code, &c.base); n != 3 {
				t.Fatalf("%q: %v", line, err)
			}
			all = append(all, c)
		default:
			all[len(all)-1].parse(strings.TrimSpace(line))
		}
	}
	return title, all
}

func (c *damageCase) parse(line string) {
	answer, ok := strings.CutPrefix(line, "=> ")
	switch {
	case ok:
		c.answer, c.says, _ = strings.Cut(answer, " ")
		if c.answer == answerEIO {
			c.path, c.says, _ = strings.Cut(c.says, " ")
		}
	case c.answer == "":
		c.commands = append(c.commands, line)
	default:
		c.why = line
	}
}

func (c *damageCase) given() string {
	return strings.TrimSpace(strings.Join(strings.Fields(c.answer+" "+c.path), " ") + " " + c.says)
}

// TestDamage makes each kind of damage, has e2fsck confirm that it is what it says, and
// looks at the answer. Then it works in the image, and what e2fsck makes of it is whole.
func TestDamage(t *testing.T) {
	seeds := map[string]*hostile.Image{}
	for _, im := range seedImages(t) {
		seeds[im.Name] = im
	}
	title, all := readDamage(t)
	t.Run("cases", func(t *testing.T) {
		for i, c := range all {
			t.Run(fmt.Sprintf("%d-%s", i, c.problem), func(t *testing.T) {
				t.Parallel()
				c.run(t, seeds[c.base])
			})
		}
	})
	if *updateDamage {
		writeDamage(t, title, all)
	}
	doc, err := os.ReadFile(damageDoc)
	if err != nil || string(doc) != damageMarkdown(all) {
		t.Errorf("%s is not what testdata/damage.txt says (%v): run this test with -update-damage", damageDoc, err)
	}
}

func (c *damageCase) run(t *testing.T, im *hostile.Image) {
	defer hangs(c.problem)()
	img := filepath.Join(t.TempDir(), "img")
	dev := im.Device()
	if err := os.WriteFile(img, dev.Bytes(0, dev.Size()), 0o600); err != nil {
		t.Fatal(err)
	}
	ext2test.DebugfsWrite(t, img, c.commands...)
	data, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	found, before := problems(t, img)
	if !slices.Contains(found, strings.ToLower(c.code)) {
		t.Fatalf("e2fsck does not find %s, %s, but %v", c.problem, c.code, found)
	}
	dev = blockiotest.MemOf(data)
	got := c.use(t, dev)
	if *updateDamage {
		return
	}
	if want := c.given(); got != want && !(c.says != "" && strings.HasPrefix(got, strings.TrimSuffix(want, c.says)) && strings.Contains(got, c.says)) {
		t.Errorf("the answer is %q, expected %q", got, want)
	}
	if c.answer == answerRefused {
		return
	}
	if code, out := fsck(t, dev, "-f", "-y"); code > max(before, 2) {
		t.Errorf("e2fsck -y ends with %d, %d before:\n%s", code, before, out)
	}
}

// use opens the damaged image, walks it, changes it and closes it. It returns the answer.
func (c *damageCase) use(t *testing.T, dev *blockiotest.Mem) (answer string) {
	var log bytes.Buffer
	g := &guard{t: t, boot: dev.Bytes(0, disk.SuperblockOffset)}
	fault := blockiotest.NewFault(dev)
	fault.Fail(blockiotest.Rule{AnyOp: true, Match: g.look})
	fs, err := New(ctx, fault, Options{Logger: testLogger(&log), Errors: ErrorsContinue, testing: testhook.Hooks{Wrap: g.wrap}})
	if err != nil {
		return c.found(answerRefused, "", err.Error())
	}
	g.mounted(fs)
	faults := map[string]error{}
	if root, err := fs.Root(); err == nil {
		seen := map[uint32]bool{}
		probe(faults, seen, root, "/")
		root.Put()
	}
	said := logged(log.String())
	for i, path := range slices.Sorted(maps.Keys(faults)) {
		if err := faults[path]; Errno(err) != syscall.EIO {
			t.Errorf("%s: %v", path, err)
		}
		if i == 0 { // of several names of a file
			answer = c.found(answerEIO, path, faults[path].Error())
		}
		var damage *disk.CorruptError
		if !errors.As(faults[path], &damage) || !strings.Contains(log.String(), strings.ReplaceAll(damage.Error(), `"`, `\"`)) {
			t.Errorf("%s: %v is not in the log:\n%s", path, faults[path], log.String())
		}
	}
	switch {
	case answer != "":
	case said != "":
		answer = c.found(answerLog, "", said)
	default:
		answer = c.found(answerHarmless, "", "")
	}
	c.work(t, fs)
	if err := fs.Close(); err != nil && !isCorrupt(err) {
		t.Errorf("closing: %v", err)
	}
	g.unmounted(dev)
	return answer
}

// work changes some of what is there, and leaves room for what e2fsck has to do.
func (c *damageCase) work(t *testing.T, fs *FS) {
	root, err := fs.Root()
	if err != nil {
		return
	}
	defer root.Put()
	m := newMixer(t, fs, 1)
	m.damaged = true
	defer m.close()
	for _, path := range []string{"a/plain", "a/hello", "a/b/sparse", "a/b/far"} {
		in, err := fs.InodeByPath(path, false)
		m.check(path, err)
		if err != nil || !in.IsReg() {
			continue
		}
		_, err = in.Write(ctx, content(in, 3000), 5000, WriteOptions{})
		m.check(path, err)
		size := int64(500)
		m.check(path, in.SetAttr(ctx, SetAttr{Size: &size}))
		m.check(path, in.Setxattr(ctx, "user.new", []byte("value"), 0, Root))
		in.Put()
	}
	for i := range 10 {
		in, err := root.Create(ctx, fmt.Sprint("new-", i), CreateOptions{Mode: disk.ModeDir | 0o755})
		m.check("mkdir", err)
		if err == nil {
			in.Put()
		}
	}
	m.check("rename", root.Rename(ctx, "new-1", root, "renamed", 0, Root))
	m.check("rmdir", root.Rmdir(ctx, "new-2"))
	m.check("rename", root.Rename(ctx, "a", root, "moved", 0, Root))
	if dir, err := root.Lookup("indexed"); err == nil {
		for i := range 20 {
			m.check("unlink", dir.Unlink(ctx, fmt.Sprint("a-name-of-some-length-", i)))
		}
		dir.Put()
	}
}

func (c *damageCase) found(answer, path, says string) string {
	if *updateDamage && (c.answer != answer || c.path != path || !strings.Contains(says, c.says) || c.says == "x") {
		c.answer, c.path, c.says = answer, path, says
	}
	return strings.TrimSpace(strings.Join(strings.Fields(answer+" "+path), " ") + " " + says)
}

var logMsg = regexp.MustCompile(`level=(?:WARN|ERROR) msg=("(?:[^"\\]|\\.)*"|\S+)`)

// logged is the first line of the log that no image of the kind is without.
func logged(log string) string {
	for _, m := range logMsg.FindAllStringSubmatch(log, -1) {
		if msg := strings.Trim(m[1], `"`); !strings.Contains(msg, "mounting an ext3 file system as ext2") {
			return msg
		}
	}
	return ""
}

// probe notes, for each path, the first thing that does not work there.
func probe(faults map[string]error, seen map[uint32]bool, in *Inode, path string) {
	note := func(err error) {
		if err != nil && faults[path] == nil {
			faults[path] = err
		}
	}
	names, err := in.Listxattr()
	note(err)
	for _, name := range names {
		_, err := in.Getxattr(name)
		note(err)
	}
	switch {
	case in.IsReg():
		p := make([]byte, 64<<10)
		for off := int64(0); off < in.Attr().Size; off += int64(len(p)) {
			_, err := in.Read(ctx, p, off)
			note(err)
		}
	case in.IsSymlink():
		_, err := in.Readlink()
		note(err)
	case in.IsDir() && !seen[in.Ino()]:
		seen[in.Ino()] = true
		var list []string
		note(in.ReadDir(ctx, 0, func(e DirEntry) bool {
			list = append(list, string(e.Name))
			return true
		}))
		for _, name := range list {
			if name == "." || name == ".." {
				continue
			}
			below := filepath.Join(path, name)
			child, err := in.Lookup(name)
			if err != nil {
				faults[below] = err
				continue
			}
			probe(faults, seen, child, below)
			child.Put()
		}
		if _, err := in.Lookup("not-there"); !errors.Is(err, ErrNotExist) {
			note(err)
		}
	}
}

var problemCode = regexp.MustCompile(`<problem code="(0x[0-9a-f]+)"`)

// problems are the numbers of what e2fsck finds in an image, when it only looks and when
// it repairs a copy, and how that ends.
func problems(t *testing.T, img string) (codes []string, exit int) {
	t.Helper()
	dir := t.TempDir()
	conf := filepath.Join(dir, "e2fsck.conf")
	copied := ext2test.Copy(t, img)
	for i, args := range [][]string{{"-f", "-n", img}, {"-f", "-y", copied}} {
		text := fmt.Sprintf("[options]\n\tproblem_log_filename = problems-%d.xml\n\tlog_dir = %s\n", i, dir)
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("e2fsck", args...)
		cmd.Env = append(os.Environ(), "E2FSCK_CONFIG="+conf)
		_ = cmd.Run() // it finds something, and says so
		exit = cmd.ProcessState.ExitCode()
		log, _ := os.ReadFile(filepath.Join(dir, fmt.Sprintf("problems-%d.xml", i)))
		for _, m := range problemCode.FindAllSubmatch(log, -1) {
			codes = append(codes, string(m[1]))
		}
	}
	return codes, exit
}

// writeDamage writes the table and its documentation anew.
func writeDamage(t *testing.T, title string, all []*damageCase) {
	var b strings.Builder
	b.WriteString(title)
	for _, c := range all {
		fmt.Fprintf(&b, "%s %s %s\n", c.problem, c.code, c.base)
		for _, cmd := range c.commands {
			fmt.Fprintf(&b, "\t%s\n", cmd)
		}
		fmt.Fprintf(&b, "\t=> %s\n", c.given())
		if c.why != "" {
			fmt.Fprintf(&b, "\t%s\n", c.why)
		}
	}
	for name, text := range map[string]string{damageTable: b.String(), damageDoc: damageMarkdown(all)} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Error(err)
		}
	}
}

// damageMarkdown is the documentation of the table.
func damageMarkdown(all []*damageCase) string {
	var b strings.Builder
	b.WriteString(`# Damaged images: what ext2fuse answers

One image of each kind of damage that e2fsck has a name for and an ext2 or ext3 image can
have. The table is written by the test TestDamage of fs/ext2 from
fs/ext2/testdata/damage.txt, which has the commands of debugfs that make each image; the
test has e2fsck confirm that the image has this damage, holds the answer against the table,
works in the image, and has e2fsck repair what comes out.

- **refused**: the mount fails with a line that has the text.
- **EIO**: access to that path fails with EIO, and the log gets one line with the text. All
  other paths work.
- **log**: everything works, and the log gets a line with the text.
- **harmless**: everything works, and nothing is logged.

| e2fsck's problem | answer | |
|---|---|---|
`)
	for _, c := range all {
		says := c.answer
		if c.path != "" {
			says += " at " + c.path
		}
		if c.says != "" {
			says += ": “" + strings.ReplaceAll(c.says, "|", `\|`) + "”"
		}
		fmt.Fprintf(&b, "| %s %s | %s | %s |\n", c.problem, c.code, says, c.why)
	}
	return b.String()
}

// TestInodeBitmapLies: the bitmap has an inode free that a file has. The file is kept, and
// so is the one that should have got its inode.
func TestInodeBitmapLies(t *testing.T) {
	w := makeWritable(t, ext2test.Options{}, Options{})
	kept := w.create("kept", disk.ModeReg|0o644)
	w.write(kept, []byte("content"), 0)
	ino := kept.Ino()
	kept.Put()
	w.close()
	ext2test.DebugfsWrite(t, w.img, fmt.Sprintf("freei <%d>", ino))
	var log bytes.Buffer
	w.open(Options{Logger: testLogger(&log), Errors: ErrorsContinue})
	if _, err := w.root.Create(ctx, "new", CreateOptions{Mode: disk.ModeReg | 0o644}); !isCorrupt(err) {
		t.Errorf("the inode was given away: %v", err)
	}
	w.create("new", disk.ModeReg|0o644).Put()
	kept = must(w.root.Lookup("kept"))(t)
	p := make([]byte, 7)
	if _, err := kept.Read(ctx, p, 0); err != nil || string(p) != "content" {
		t.Errorf("the file has %q, %v", p, err)
	}
	kept.Put()
	if n := strings.Count(log.String(), "has an inode free that is in use"); n != 1 {
		t.Errorf("the log says it %d times", n)
	}
	w.root.Put()
	if err := w.fs.Close(); err != nil {
		t.Error(err)
	}
	if out, err := exec.Command("e2fsck", "-f", "-p", w.img).CombinedOutput(); err != nil && err.(*exec.ExitError).ExitCode() != 1 { // the count
		t.Errorf("e2fsck -p: %v\n%s", err, out)
	}
}
