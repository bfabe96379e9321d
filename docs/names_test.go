//go:build linux

package docs

import (
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/yuin/goldmark"
	md "github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"
)

// foreign are the names of the kernel's, libc's, the format's, Go's and tools' that nothing here has.
var foreign = map[string]bool{"max_ratio": true, "strict_limit": true, "fs.protected_hardlinks": true, "fuseblk": true,
	"data=ordered": true, "data=journal": true, "data=writeback": true, "posix_fallocate": true, "f_bfree": true, "s_error_count": true,
	"GOMAXPROCS=1": true, "--verify": true}

// TestNames looks up what the documents set as code: paths are in the tree, Go's names are
// declared, make's targets, options, verbs and flags of tests exist, commands can be found.
func TestNames(t *testing.T) {
	ix := newIndex(t)
	known := features(t)
	checked, unused := 0, maps.Clone(foreign)
	for _, name := range documents(t) {
		source := read(t, name)
		for _, span := range spans(source) {
			checked++
			delete(unused, span)
			if known[span] == "" && !ix.knows(span) {
				t.Errorf("%s: `%s`: there is no such thing", name, span)
			}
		}
		for _, p := range regexp.MustCompile(`[\w./-]+/[\w.-]+\.(?:go|txt|sh|golden|mod)\b`).FindAllString(source, -1) {
			if checked++; !ix.hasPath(p) {
				t.Errorf("%s: there is no file %s", name, p)
			}
		}
	}
	for _, wrong := range []string{"nowhere.go", "cache.Nothing", "Inode.Nothing", "make nothing", "-o nothing", "TestNothingAtAll",
		"go test ./fs/ext2 -run TestNothingAtAll", "go test ./fs/ext2 -no-such-flag", "nosuchprogram -x", "ext2fuse nothing", "fs/nothing"} {
		if ix.knows(wrong) {
			t.Errorf("%q is taken for something that there is", wrong)
		}
	}
	if len(unused) > 0 {
		t.Errorf("no document has %v", unused)
	}
	if checked < 250 {
		t.Errorf("only %d names were found", checked)
	}
}

// spans are the pieces of a document that are set as code.
func spans(source string) (found []string) {
	src := []byte(source)
	doc := goldmark.New(goldmark.WithExtensions(extension.Table)).Parser().Parse(text.NewReader(src))
	_ = md.Walk(doc, func(n md.Node, entering bool) (md.WalkStatus, error) {
		if n.Kind() != md.KindCodeSpan || !entering {
			return md.WalkContinue, nil
		}
		var s strings.Builder
		for c := n.FirstChild(); c != nil; c = c.NextSibling() {
			s.Write(c.(*md.Text).Segment.Value(src))
		}
		found = append(found, strings.Join(strings.Fields(s.String()), " "))
		return md.WalkSkipChildren, nil
	})
	return found
}

// index is what there is.
type index struct {
	t        *testing.T
	declared map[string]bool // "Name", "Type.Method", and both with their package before them
	tops     map[string]bool // packages and types
	words    map[string]bool // every word of the tree's files that are no documents
	options  map[string]bool // of -o
	helps    string
}

func newIndex(t *testing.T) *index {
	ix := &index{t: t, declared: map[string]bool{}, tops: map[string]bool{}, words: map[string]bool{}, options: map[string]bool{}}
	for _, name := range tracked(t) {
		if strings.HasSuffix(name, ".md") || strings.HasPrefix(name, "docs/") {
			continue
		}
		text := read(t, name)
		for _, w := range regexp.MustCompile(`[\w.-]+\w`).FindAllString(text, -1) {
			ix.words[w] = true
		}
		if strings.HasSuffix(name, ".go") {
			ix.declare(name, text)
		}
	}
	for line := range strings.Lines(run(t, root, program(t), "-o", "help")) {
		if word := regexp.MustCompile(`^  (\w+)`).FindStringSubmatch(line); word != nil {
			ix.options[word[1]] = true
		}
	}
	ix.helps = run(t, root, program(t), "--help")
	return ix
}

// declare adds what a file of Go declares.
func (ix *index) declare(name, source string) {
	file, err := parser.ParseFile(token.NewFileSet(), name, source, 0)
	if err != nil {
		ix.t.Fatal(err)
	}
	pkg := strings.TrimSuffix(file.Name.Name, "_test")
	ix.tops[pkg] = true
	add := func(name string) { ix.declared[name], ix.declared[pkg+"."+name] = true, true }
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil {
				add(d.Name.Name)
				continue
			}
			of := d.Recv.List[0].Type
			if star, ok := of.(*ast.StarExpr); ok {
				of = star.X
			}
			if id, ok := of.(*ast.Ident); ok {
				add(id.Name + "." + d.Name.Name)
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					add(s.Name.Name)
					ix.tops[s.Name.Name] = true
				case *ast.ValueSpec:
					for _, n := range s.Names {
						add(n.Name)
					}
				}
			}
		}
	}
}

// hasPath tells whether the tree has a file or directory whose path ends so.
func (ix *index) hasPath(p string) bool {
	p = "/" + strings.Trim(path.Clean(p), "/")
	return slices.ContainsFunc(tracked(ix.t), func(f string) bool {
		f = "/" + f
		return strings.HasSuffix(f, p) || strings.Contains(f, p+"/")
	})
}

var (
	dotted = regexp.MustCompile(`^(\w+)(\.\w+)+$`)
	// A plain name, which may be that of a field, an attribute, a setting of the kernel.
	plain = regexp.MustCompile(`^\w[\w.*-]*$`)
	call  = regexp.MustCompile(`^(\w+)\(2\)$`)
)

func (ix *index) knows(span string) bool {
	first, rest, several := strings.Cut(span, " ")
	switch {
	case foreign[span]:
		return true
	case several && first == "make":
		return strings.Contains(read(ix.t, "Makefile"), "\n"+rest+": ")
	case strings.HasPrefix(span, "go test "):
		return ix.test(strings.Fields(rest)[1:])
	case first == "-o":
		return !slices.ContainsFunc(strings.Split(rest, ","), func(w string) bool { return !ix.option(w) })
	case several && first == "ext2fuse":
		verb, _, _ := strings.Cut(rest, " ")
		return regexp.MustCompile(`(ext2fuse |\n  )` + regexp.QuoteMeta(verb) + `[ ,]`).MatchString(ix.helps)
	case strings.HasPrefix(span, "-"): // flags of tests, and what they are
		return ix.flags(strings.Fields(span), "")
	case several:
		return ix.hasPath(first) || found(first)
	case strings.Contains(span, "/") || regexp.MustCompile(`\.(go|md|sh|svg|yml|service)$`).MatchString(span):
		return ix.hasPath(span) || exists(span) || standard(span)
	case dotted.MatchString(span) && ix.tops[dotted.FindStringSubmatch(span)[1]] && !found(span):
		return ix.declared[span]
	case strings.Contains(span, "="):
		return ix.option(span) || ix.words[span] || strings.Contains(read(ix.t, "cmd/ext2fuse/words.go"), span)
	case call.MatchString(span):
		return ix.words[call.FindStringSubmatch(span)[1]] || systemCall(ix.t, call.FindStringSubmatch(span)[1])
	case plain.MatchString(span):
		return ix.declared[span] || ix.words[strings.Trim(span, ".*")] || ix.options[span] || found(span) || systemCall(ix.t, span)
	}
	return false
}

func (ix *index) option(w string) bool {
	name, _, _ := strings.Cut(w, "=")
	return ix.options[name]
}

// test tells whether a package has the tests and flags that "go test" is given.
func (ix *index) test(args []string) bool {
	dir := strings.TrimPrefix(args[0], "./")
	return ix.hasPath(dir) && ix.flags(args[1:], dir)
}

// flags tells whether tests and flags are there: in a directory, or anywhere.
func (ix *index) flags(args []string, dir string) bool {
	for i := 0; i < len(args); i++ {
		name := strings.TrimLeft(args[i], "-")
		switch {
		case !strings.HasPrefix(args[i], "-") || name == "v" || name == "h":
			continue // a value
		case name == "run" && i+1 < len(args):
			for _, test := range strings.Split(strings.Trim(args[i+1], "'"), "|") {
				if test != "…" && !ix.source(dir, regexp.MustCompile(`\nfunc Test\w*`+regexp.QuoteMeta(strings.TrimPrefix(test, "Test")))) {
					return false
				}
			}
		case !ix.source(dir, regexp.MustCompile(`flag\.\w+\(([^"\n]*, )?"`+regexp.QuoteMeta(name)+`"`)):
			return false
		}
	}
	return true
}

// source tells whether a test of a directory, or of any, has a text.
func (ix *index) source(dir string, re *regexp.Regexp) bool {
	return slices.ContainsFunc(tracked(ix.t), func(name string) bool {
		return strings.HasSuffix(name, "_test.go") && (dir == "" || path.Dir(name) == dir) && re.MatchString(read(ix.t, name))
	})
}

// found tells a program.
func found(name string) bool {
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if exists(filepath.Join(dir, name)) {
			return true
		}
	}
	_, err := exec.LookPath(name)
	return err == nil
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil && strings.HasPrefix(name, "/")
}

// standard tells a package of Go's library, or something in one.
func standard(name string) bool {
	p, err := build.Import(regexp.MustCompile(`\.\w+$`).ReplaceAllString(name, ""), "", build.FindOnly)
	return err == nil && p.Goroot
}

// systemCall tells a name of the kernel's: a call, or a constant for one.
func systemCall(t *testing.T, name string) bool {
	dir := strings.TrimSpace(run(t, root, "go", "list", "-f", "{{.Dir}}", "golang.org/x/sys/unix"))
	for _, file := range []string{"zsysnum_linux_amd64.go", "zerrors_linux.go", "zerrors_linux_amd64.go"} {
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		if regexp.MustCompile(`\b(SYS_)?` + strings.ToUpper(name) + `\b`).Match(text) {
			return true
		}
	}
	return false
}

// TestLinks follows the links of the documents, to files and to headings in them.
func TestLinks(t *testing.T) {
	links := 0
	for _, name := range documents(t) {
		for _, m := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(read(t, name), -1) {
			links++
			file, anchor, _ := strings.Cut(m[1], "#")
			if file = path.Join(path.Dir(name), file); strings.HasPrefix(m[1], "#") {
				file = name
			}
			if !slices.Contains(tracked(t), file) {
				t.Errorf("%s: there is no %s", name, m[1])
			} else if anchor != "" && !slices.Contains(anchors(read(t, file)), anchor) {
				t.Errorf("%s: %s has no heading %q", name, file, anchor)
			}
		}
	}
	if links < 15 {
		t.Errorf("only %d links were found", links)
	}
}

// anchors are the headings of a document in the form that links to them have.
func anchors(source string) (all []string) {
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(source, -1) {
		text := regexp.MustCompile(`[^\w -]`).ReplaceAllString(strings.ToLower(m[1]), "")
		all = append(all, strings.ReplaceAll(text, " ", "-"))
	}
	return all
}
