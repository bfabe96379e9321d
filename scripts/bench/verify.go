//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// verify makes sure that all drivers show the same tree before they are timed: a fast
// wrong answer is worth nothing.
func (b *runner) verify(ctx context.Context) error {
	first, firstName := "", ""
	for _, d := range b.drivers {
		if d.name == emptyName {
			continue
		}
		b.say("reading everything with %s", d.name)
		m, err := b.mount(ctx, d)
		if err != nil {
			return err
		}
		sum, err := digest(ctx, m.dir)
		if closeErr := m.close(); err == nil {
			err = closeErr
		}
		if err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
		if firstName == "" {
			first, firstName = sum, d.name
		}
		if sum != first {
			return fmt.Errorf("%s and %s do not show the same files; scripts/mount-compare tells the difference", firstName, d.name)
		}
	}
	return nil
}

// digest sums up the names, types, sizes and contents of a tree.
func digest(ctx context.Context, dir string) (string, error) {
	h := sha256.New()
	buf := make([]byte, 1<<20)
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%q %v %d\n", name, info.Mode(), info.Size())
		if !info.Mode().IsRegular() {
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		// Plain reads and writes: nothing shall take a short cut.
		_, err = io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{f}, buf)
		return err
	})
	return fmt.Sprintf("%x", h.Sum(nil)), err
}
