//go:build linux

package docs

import (
	"debug/elf"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// What the README says of the program is so: its size, that it is static, what is in it, and
// what it is built for. And it fits on a screen.
func TestReadme(t *testing.T) {
	readme := read(t, "README.md")
	if n := strings.Count(readme, "\n"); n > 60 {
		t.Errorf("%d lines", n)
	}
	f, err := elf.Open(program(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("the program is not static")
		}
	}
	info, err := os.Stat(program(t))
	if err != nil {
		t.Fatal(err)
	}
	said := regexp.MustCompile(`static file of (\d+) MB`).FindStringSubmatch(readme)
	if said == nil {
		t.Fatal("no size")
	}
	// Other machines' programs differ.
	if mb, _ := strconv.ParseInt(said[1], 10, 64); runtime.GOARCH == "amd64" && (info.Size()+500_000)/1_000_000 != mb {
		t.Errorf("the program has %d bytes, not %s MB", info.Size(), said[1])
	}

	// Who is in the program and asked for by name in go.mod.
	linked := run(t, root, "go", "list", "-deps", "-f", "{{with .Module}}{{if not (or .Main .Indirect)}}{{.Path}}{{end}}{{end}}", "./cmd/ext2fuse")
	for p := range strings.FieldsSeq(linked) {
		name := regexp.MustCompile(`/v\d+$`).ReplaceAllString(p, "")
		if !strings.HasPrefix(name, "golang.org/") {
			name = name[strings.LastIndex(name, "/")+1:]
		}
		if !strings.Contains(readme, name) {
			t.Errorf("the README does not name %s", p)
		}
	}
	if n := strings.Count(linked, "go-fuse"); n == 0 {
		t.Errorf("linked are %s", linked)
	}

	arches := regexp.MustCompile(`for arch in (amd64 .*);`).FindStringSubmatch(read(t, "scripts/portable.sh"))
	if arches == nil {
		t.Fatal("scripts/portable.sh builds nothing")
	}
	for arch := range strings.FieldsSeq(arches[1]) {
		if !strings.Contains(readme, arch) {
			t.Errorf("the README does not name %s", arch)
		}
	}
	if ci := read(t, ".ci/run"); !strings.HasSuffix(ci, "\nexec make test\n") {
		t.Errorf("CI does not call what CONTRIBUTING.md says: %s", ci)
	}
}
