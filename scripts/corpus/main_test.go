package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestChoose(t *testing.T) {
	reached := coverage{"a": 1}
	kept := choose(reached, map[string]coverage{
		"nothing": {"a": 1},
		"little":  {"a": 1, "b": 2},
		"much":    {"b": 2, "c": 3},
		"other":   {"d": 1},
	})
	if want := []string{"much", "other"}; !slices.Equal(kept, want) {
		t.Errorf("kept %v, want %v", kept, want)
	}
	if n := reached.statements(); n != 7 {
		t.Errorf("%d statements reached, want 7", n)
	}
}

func TestParse(t *testing.T) {
	c, err := parse(strings.NewReader("mode: set\nm/a.go:1.2,3.4 5 1\nm/a.go:5.6,7.8 9 0\n"))
	if err != nil || len(c) != 1 || c["m/a.go:1.2,3.4"] != 5 {
		t.Errorf("%v, %v", c, err)
	}
	if _, err := parse(strings.NewReader("m/a.go:1.2,3.4 many 1\n")); err == nil {
		t.Error("nonsense was taken")
	}
}

// TestKeep: of three inputs the one that goes where the seed does not is kept.
func TestKeep(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{
		"go.mod": "module example.org/m\n\ngo 1.24\n",
		"m.go": `package m

func Sign(n int) string {
	if n < 0 {
		return "negative"
	}
	return "positive"
}
`,
		"m_test.go": `package m

import "testing"

func FuzzSign(f *testing.F) {
	f.Add(1)
	f.Fuzz(func(t *testing.T, n int) { Sign(n) })
}
`,
		"found/one": "go test fuzz v1\nint(5)\n", "found/two": "go test fuzz v1\nint(-5)\n", "found/three": "go test fuzz v1\nint(-6)\n",
	}
	for name, text := range files {
		if err := copyText(filepath.Join(dir, name), text); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	t.Setenv("GOFLAGS", "")
	if err := keep(context.Background(), ".", "FuzzSign", filepath.Join(dir, "found")); err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadDir("testdata/fuzz/FuzzSign")
	if err != nil || len(kept) != 1 || kept[0].Name() != "three" {
		t.Errorf("kept %v, %v: want the first of those below zero, and no other", kept, err)
	}
	if err := keep(context.Background(), ".", "FuzzSign", filepath.Join(dir, "found")); err != nil {
		t.Fatal(err)
	}
	if kept, _ = os.ReadDir("testdata/fuzz/FuzzSign"); len(kept) != 1 {
		t.Errorf("once more: %v", kept)
	}
}

func copyText(name, text string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, []byte(text), 0o644)
}
