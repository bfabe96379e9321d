package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// runner runs a package's tests, built once, on chosen inputs of a fuzz target.
type runner struct {
	ctx    context.Context
	dir    string // of the package
	target string
	tmp    string // the program, and testdata with one input
}

func newRunner(ctx context.Context, dir, cover, target string) (*runner, error) {
	tmp, err := os.MkdirTemp("", "corpus-")
	if err != nil {
		return nil, err
	}
	r := &runner{ctx, dir, target, tmp}
	build := exec.CommandContext(ctx, "go", "test", "-c", "-coverpkg="+cover, "-o", filepath.Join(tmp, "tests"), dir)
	if out, err := build.CombinedOutput(); err != nil {
		r.close()
		return nil, fmt.Errorf("building the tests: %w\n%s", err, out)
	}
	return r, nil
}

func (r *runner) close() { os.RemoveAll(r.tmp) }

// inputOf is where tests that run in dir look for an input.
func inputOf(dir, target, name string) string {
	return filepath.Join(dir, "testdata", "fuzz", target, name)
}

// reached runs an input alone; without a name, all that the package has.
func (r *runner) reached(input string) (coverage, error) {
	profile := filepath.Join(r.tmp, "profile")
	run, dir := "^"+r.target+"$", r.dir
	if name := filepath.Base(input); input != "" {
		run, dir = run+"/^"+name+"$", r.tmp
		alone := inputOf(r.tmp, r.target, name)
		if err := copyFile(input, alone); err != nil {
			return nil, err
		}
		defer os.Remove(alone)
	}
	cmd := exec.CommandContext(r.ctx, filepath.Join(r.tmp, "tests"), "-test.run="+run, "-test.coverprofile="+profile)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s fails with %s: %w\n%s", r.target, input, err, out)
	}
	f, err := os.Open(profile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parse(f)
}

// store puts an input into the package.
func (r *runner) store(input string) error {
	return copyFile(input, inputOf(r.dir, r.target, filepath.Base(input)))
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o644)
}
