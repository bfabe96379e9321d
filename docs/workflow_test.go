//go:build linux

package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
	"golang.org/x/mod/zip"
)

// workflow is as much of a CI workflow as the example may use.
type workflow struct {
	Name string
	On   any
	Jobs map[string]struct {
		RunsOn string `yaml:"runs-on"`
		Steps  []struct {
			Name, Uses, Run string
			With            map[string]string
		}
	}
}

// The steps of the example's job run as they stand, one after the other, as a plain user
// where mounting is possible, and leave no mount. go install gets this tree, from a module
// proxy made of it.
func TestWorkflow(t *testing.T) {
	m := newMachine(t)
	var w workflow
	dec := yaml.NewDecoder(strings.NewReader(read(t, "examples/ci.yml")))
	dec.KnownFields(true)
	if err := dec.Decode(&w); err != nil {
		t.Fatal(err)
	}
	job, ok := w.Jobs["image"]
	if !ok || len(w.Jobs) != 1 {
		t.Fatalf("the jobs are %v", w.Jobs)
	}
	const version = "v0.1.0"
	proxy := moduleProxy(t, filepath.Join(m.dir, "repository"), version)
	home := filepath.Join(m.dir, "home")
	checkout := filepath.Join(m.dir, "checkout")
	if err := os.MkdirAll(home, 0o755); err != nil {
		t.Fatal(err)
	}
	var steps []string
	for i, s := range job.Steps {
		name, _, _ := strings.Cut(s.Uses, "@")
		switch {
		case name == "actions/checkout" && s.Run == "":
			makeTree(t, filepath.Join(checkout, "rootfs"))
			run(t, m.dir, "chown", "-R", "65534:65534", checkout)
		case name == "actions/setup-go" && s.Run == "":
			if want := goDirective(t); semver.Compare("v"+s.With["go-version"], want) < 0 {
				t.Errorf("Go %s is set up, go.mod wants %s", s.With["go-version"], want)
			}
		case s.Uses != "":
			t.Fatalf("step %d uses %s, which is not known here", i, s.Uses)
		default:
			steps = append(steps, s.Run)
		}
	}
	cmd := m.command(`
cd checkout
for step; do
	printf -- '--- %s\n' "$step"
	case $step in
	'go install '*) bash -e -c "$step" ;;
	*) env -i PATH="$PATH" HOME="$HOME" setpriv --reuid 65534 --regid 65534 --clear-groups bash -e -c "$step" ;;
	esac
done </dev/null
if grep "$PWD" /proc/self/mounts; then
	echo 'the steps leave a mount'
	exit 1
fi`, steps...)
	cmd.Env = append(os.Environ(), "PATH="+home+"/go/bin:"+m.path(t), "HOME="+home, "GOPATH="+home+"/go",
		"GOFLAGS=-modcacherw -trimpath", "CGO_ENABLED=0", "GOCACHE="+goEnv(t, "GOCACHE"), "GOSUMDB=off",
		"GOPROXY=file://"+proxy+",file://"+goEnv(t, "GOMODCACHE")+"/cache/download,"+goEnv(t, "GOPROXY"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// What a step would not do where it cannot, it has done here.
	out := run(t, checkout, filepath.Join(home, "go/bin/ext2fuse"), "-V")
	if !strings.Contains(out, version) {
		t.Errorf("%q was installed, not %s", out, version)
	}
	for _, name := range []string{"copy/hosts", "mnt"} {
		if _, err := os.Stat(filepath.Join(checkout, name)); err != nil {
			t.Error(err)
		}
	}
	run(t, checkout, "e2fsck", "-f", "-n", "disk.img")
}

// makeTree makes what the job's project has built.
func makeTree(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, "deep/er"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"hosts": "127.0.0.1 localhost\n", "deep/er/program": "#!/bin/sh\n", "empty": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("deep/er/program", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
}

// moduleProxy makes a module proxy that has one version of this module.
func moduleProxy(t *testing.T, source, version string) string {
	t.Helper()
	proxy := t.TempDir()
	m := module.Version{Path: "github.com/ext2fuse/ext2fuse", Version: version}
	dir := filepath.Join(proxy, m.Path, "@v")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, version+".zip"))
	if err == nil {
		err = zip.CreateFromDir(f, m, source)
		f.Close()
	}
	for name, text := range map[string]string{
		"list": version + "\n", version + ".mod": read(t, "go.mod"),
		version + ".info": fmt.Sprintf(`{"Version":%q,"Time":"2026-01-01T00:00:00Z"}`, version),
	} {
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return proxy
}

func goEnv(t *testing.T, name string) string {
	return strings.TrimSpace(run(t, root, "go", "env", name))
}

func goRoot(t *testing.T) string { return goEnv(t, "GOROOT") }

// goDirective is the version of Go that go.mod asks for.
func goDirective(t *testing.T) string {
	for line := range strings.Lines(read(t, "go.mod")) {
		if v, ok := strings.CutPrefix(line, "go "); ok {
			return "v" + strings.TrimSpace(v)
		}
	}
	t.Fatal("go.mod has no go directive")
	return ""
}
