//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// commandBlocks are the blocks of ext2fuse's own commands in the README.
func commandBlocks(t *testing.T) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, para := range strings.Split(string(text), "\n\n") {
		if strings.HasPrefix(para, "    ") && strings.Contains(para, "ext2fuse") && !strings.Contains(para, "make ") {
			blocks = append(blocks, para)
		}
	}
	return blocks
}

// manualExamples are the blocks of the manual page's examples.
func manualExamples(t *testing.T) (blocks []string) {
	t.Helper()
	text, err := manualPage()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?s)\n\.EX\n(.*?)\.EE\n`).FindAllStringSubmatch(text, -1) {
		if strings.HasPrefix(m[1], ".") {
			continue // a line of fstab
		}
		blocks = append(blocks, strings.NewReplacer(`\-`, "-", `\e`, `\`).Replace(m[1]))
	}
	return blocks
}

// What README and manual page tell to type works: each block runs, line by line, where
// disk.img, whole.img and mnt are. A mount that a block leaves, it could have unmounted.
func TestDocumentedCommands(t *testing.T) {
	needRoot(t)
	ext2test.NeedFUSE(t)
	if _, err := exec.LookPath("mount.fuse3"); err != nil {
		t.Skip("needs mount.fuse3 (package fuse3)")
	}
	whole := partitioned(t)
	readme, manual := commandBlocks(t), manualExamples(t)
	if len(readme) < 2 || len(manual) < 4 {
		t.Fatalf("%d blocks in the README, %d in the manual page", len(readme), len(manual))
	}
	for _, block := range append(readme, manual...) {
		dir, _, img := forUser(t)
		copyFile(t, whole, filepath.Join(dir, "whole.img"), 0o644)
		mounted := false
		script := "set -e; mount --bind " + dir + " /usr/local/sbin; cd " + dir + "\n"
		for line := range strings.Lines(block) {
			line = strings.TrimSpace(line)
			cmd, _, _ := strings.Cut(line, "  #")
			cmd = strings.ReplaceAll(cmd, "-o part=1 disk.img", "-o part=1 whole.img")
			mounts := regexp.MustCompile(`(^ext2fuse .*| )(disk|whole)\.img mnt`).MatchString(cmd)
			if mounts && mounted {
				script += "ext2fuse -u mnt\n"
			}
			mounted = mounts || mounted && !strings.HasPrefix(cmd, "umount") && !strings.HasPrefix(cmd, "ext2fuse -u")
			script += cmd + "\n"
		}
		if mounted {
			script += "ext2fuse -u mnt\n"
		}
		script += "for image in *.img; do flock $image true; done\n" // umount without the helper does not wait
		if out, err := inNamespace(t, script, "PATH="+dir+":"+os.Getenv("PATH")); err != nil {
			t.Errorf("%v\n%s\nof\n%s", err, out, script)
		}
		ext2test.Fsck(t, img)
	}
}
