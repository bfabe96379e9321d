//go:build linux

package docs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/text"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// block is something that a document tells to type.
type block struct {
	lang string // of a fenced block: what it says to be
	text string
}

// blocksOf are the blocks of a document in Markdown.
func blocksOf(source string) (blocks []block) {
	src := []byte(source)
	doc := goldmark.DefaultParser().Parse(text.NewReader(src))
	_ = ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if k := n.Kind(); entering && (k == ast.KindCodeBlock || k == ast.KindFencedCodeBlock) {
			b := block{text: string(n.Lines().Value(src))}
			if f, ok := n.(*ast.FencedCodeBlock); ok {
				b.lang = string(f.Language(src))
			}
			blocks = append(blocks, b)
		}
		return ast.WalkContinue, nil
	})
	return blocks
}

// manualBlocks are the blocks of the manual page's examples.
func manualBlocks(page string) (blocks []block) {
	for _, m := range regexp.MustCompile(`(?s)\n\.EX\n(.*?)\.EE\n`).FindAllStringSubmatch(page, -1) {
		blocks = append(blocks, block{text: strings.NewReplacer(`\-`, "-", `\e`, `\`).Replace(m[1])})
	}
	return blocks
}

// TestCommands types what the documents tell to type: each block, as it stands, in a shell
// that stops at the first failure, in a directory with disk.img, whole.img (partitioned) and
// mnt; where it says make, in a clone of this tree. Nothing of it reaches the host. When a
// block is through nothing may be mounted and the images are in order.
func TestCommands(t *testing.T) {
	sources := map[string][]block{"ext2fuse.8": manualBlocks(run(t, root, program(t), "manpage"))}
	for _, name := range documents(t) {
		sources[name] = blocksOf(read(t, name))
	}
	if m, r := len(sources["ext2fuse.8"]), len(sources["README.md"]); m < 5 || r < 2 {
		t.Fatalf("%d blocks in the manual page, %d in the README", m, r)
	}
	needLayers(t)
	for name, blocks := range sources {
		if blocks = slices.DeleteFunc(blocks, func(b block) bool { return drawn(t, name, b) }); len(blocks) > 0 {
			t.Run(name, func(t *testing.T) { newMachine(t).types(t, blocks, name != "README.md") })
		}
	}
}

// machine is where a document's blocks are typed.
type machine struct{ dir string }

// newMachine makes one: a directory that a plain user can reach, with a repository to clone.
// It is skipped where a command could not do what the documents say, or would do more: where
// setup.sh had to install something, or to open /dev/fuse, that would be the host's.
func newMachine(t *testing.T) *machine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, for a mount table of its own")
	}
	ext2test.NeedFUSE(t)
	if info, err := os.Stat("/dev/fuse"); err != nil || info.Mode().Perm() != 0o666 {
		t.Skipf("needs a /dev/fuse that plain users can open; scripts/setup.sh makes it one (%v)", err)
	}
	dir, err := os.MkdirTemp("/var/tmp", "ext2fuse-docs-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for _, name := range []string{"", "repository", "layer"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	m := &machine{dir}
	if out, err := m.command("true").CombinedOutput(); err != nil {
		t.Skipf("needs namespaces of its own: %v: %s", err, out)
	}
	snapshot(t, filepath.Join(dir, "repository"))
	check := exec.Command("repository/scripts/setup.sh", "--check", "--demo")
	check.Dir, check.Env = dir, []string{"PATH=" + m.path(t)}
	if out, err := check.CombinedOutput(); err != nil {
		t.Skipf("%s: %v", strings.TrimSpace(string(out)), err)
	}
	return m
}

// command is a shell script with mounts and processes of its own, which end with it.
func (m *machine) command(script string, args ...string) *exec.Cmd {
	cmd := ext2test.OwnMounts("set -euo pipefail\n"+script, args...)
	cmd.Args = slices.Insert(cmd.Args, 1, "--pid", "--fork", "--kill-child", "--mount-proc")
	cmd.Dir = m.dir
	return cmd
}

// path is what is installed, and the Go that the tests run with.
func (m *machine) path(t *testing.T) string {
	return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:" + goRoot(t) + "/bin"
}

// needLayers skips the test where the host's directories cannot be kept from changes.
func needLayers(t *testing.T) {
	t.Helper()
	m := newMachine(t)
	cmd := m.command(layers)
	cmd.Env = append(os.Environ(), "DIR="+m.dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("needs overlays on the host's directories: %v: %s", err, out)
	}
}

// fstabLine is a line for fstab(5).
var fstabLine = regexp.MustCompile(`^(/\S+)\s+(/\S+)\s+\S+\s+\S+\s+\d\s+\d\n$`)

// own are the words that begin commands for which the program alone must be installed: a
// plain user types them, too.
var own = regexp.MustCompile(`^((bin/)?ext2fuse|cp|ls|cat|mkdir|mke2fs|e2fsck|flock|#|$)`)

// types has all blocks of a document typed, one after the other.
func (m *machine) types(t *testing.T, blocks []block, installed bool) {
	script := layers + prelude
	if installed {
		script += "command make -s -C clone install >/dev/null\n"
	}
	for _, b := range blocks {
		where, body := "work", b.text
		plain := true
		for line := range strings.Lines(body) {
			plain = plain && own.MatchString(line)
		}
		switch {
		case fstabLine.MatchString(body):
			f := fstabLine.FindStringSubmatch(body)
			body = fmt.Sprintf("fstab %s %s '%s'", f[1], f[2], strings.TrimSpace(body))
		case strings.Contains(body, "git clone"):
			where = "fresh"
		case regexp.MustCompile(`(?m)^(make|bin/|scripts/)`).MatchString(body):
			where = "clone"
		}
		script += fmt.Sprintf("typed %s root <<'END'\n%sEND\n", where, strings.TrimRight(body, "\n")+"\n")
		if plain {
			script += fmt.Sprintf("typed %s plain <<'END'\n%sEND\n", where, body)
		}
	}
	cmd := m.command(script)
	cmd.Env = []string{
		"PATH=" + m.path(t), "HOME=" + m.dir + "/layer", "DIR=" + m.dir, "TMPDIR=" + os.TempDir(), "LANG=C.UTF-8",
		// Cloned from here, built with what is built already.
		"GIT_CONFIG_COUNT=2", "GIT_CONFIG_KEY_0=url." + m.dir + "/repository.insteadOf",
		"GIT_CONFIG_VALUE_0=https://github.com/ext2fuse/ext2fuse",
		"GIT_CONFIG_KEY_1=safe.directory", "GIT_CONFIG_VALUE_1=*",
	}
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPROXY", "GOSUMDB"} {
		cmd.Env = append(cmd.Env, name+"="+goEnv(t, name))
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// drawn tells a block that is a drawing, and complains of one that is called so and is none.
func drawn(t *testing.T, name string, b block) bool {
	switch b.lang {
	case "", "sh":
		return false
	case "text":
	default:
		t.Errorf("%s: a block is %q; known are sh and text", name, b.lang)
	}
	for line := range strings.Lines(b.text) {
		word, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if _, err := exec.LookPath(word); err == nil && !strings.Contains(word, "/") {
			t.Errorf("%s: a block of text has a command that is not run: %s", name, line)
		}
	}
	return true
}

// layers lays copies over those of the host's directories that commands write to.
const layers = `
export TMPDIR=/tmp
mount -t tmpfs none layer
mount -t tmpfs none /tmp
for dir in /usr /etc /srv /mnt /home /run /var/lib /var/cache; do
	mkdir -p "layer$dir/upper" "layer$dir/work"
	mount -t overlay none -o "lowerdir=$dir,upperdir=$DIR/layer$dir/upper,workdir=$DIR/layer$dir/work" "$dir"
done
`

// prelude makes the machine, with images. Of make's targets those that take minutes are looked
// at, not made: they are there, and so is all that they need.
const prelude = `
cd layer
git clone -q ../repository first
ln -s first clone
nobody=65534
mkdir images
cd images
mke2fs -q -t ext2 disk.img 16M 2>/dev/null
truncate -s 32M whole.img
printf 'label: gpt\nstart=2048, size=32768\nsize=2048\n' | sfdisk -q --no-reread --no-tell-kernel whole.img
dd if=disk.img of=whole.img bs=1M seek=1 conv=notrunc status=none
cd ..

make() {
	case ${1:-} in
	'' | build | docs | demo | install | uninstall) command make "$@" ;;
	*) command make -n "$@" ;;
	esac
}
export -f make

fstab() { # source, mount point, line
	mkdir -p "$2"
	cp disk.img "$1"
	printf '%s\n' "$3" >>/etc/fstab
	local who
	for who in "" "setpriv --reuid $nobody --regid $nobody --clear-groups"; do
		[ -z "$who" ] || chown $nobody:$nobody "$1" "$2"
		$who mount "$2"
		[ "$(findmnt -n -o SOURCE,FSTYPE "$2" | tr -s ' ')" = "$1 fuse.ext2fuse" ]
		$who umount "$2"
		e2fsck -f -n "$1" >/dev/null 2>&1
	done
}
export -f fstab
export nobody

typed() { # where, who; the block on standard input
	local block as=()
	block=$(cat)
	[ "$1" != work ] || rm -rf work
	mkdir -p "$1/mnt"
	cp images/* "$1"
	if [ "$2" = plain ]; then
		as=(setpriv --reuid $nobody --regid $nobody --clear-groups)
		chown $nobody:$nobody "$1"/{mnt,*.img}
		[ "$1" != work ] || chown $nobody:$nobody work
	fi
	printf '%s\n' "--- in $1, $2:" "$block"
	(cd "$1" && "${as[@]}" bash -euo pipefail -c "$block") </dev/null
	[ ! -d fresh/ext2fuse ] || ln -sfn fresh/ext2fuse clone # from now on
	if findmnt -n -l -o TARGET,FSTYPE | grep "^$DIR/.*fuse\.ext2fuse"; then
		echo 'the block leaves a mount'
		exit 1
	fi
	local image
	for image in "$1"/*.img; do
		[ "${image##*/}" = whole.img ] || e2fsck -f -n "$image" >fsck 2>&1 || { cat fsck; exit 1; }
	done
}
`
