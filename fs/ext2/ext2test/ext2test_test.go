//go:build linux

package ext2test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRecipes makes every image, and lets e2fsck judge it.
func TestRecipes(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Recipes() {
		if seen[r.Name] {
			t.Errorf("two recipes are called %s", r.Name)
		}
		seen[r.Name] = true
		t.Run(r.Name, func(t *testing.T) {
			if r.Kernel {
				NeedKernelMount(t)
			}
			img := r.Make(t)
			if st, err := os.Stat(img); err != nil || st.Size() == 0 {
				t.Fatalf("no image: %v", err)
			}
			if r.Window == "" {
				Fsck(t, img)
			}
		})
	}
}

// TestShapes: the images hold what their names promise.
func TestShapes(t *testing.T) {
	NeedKernelMount(t)
	img := Filled(t, Options{Size: 16 << 20}, func(dir string) { Fragment(t, dir, 1024) })
	for name, least := range map[string]int{"/in-gaps": 200, "/in-turns-0": 10} {
		if n := Fragments(t, img, name); n < least {
			t.Errorf("%s is in %d pieces only", name, n)
		}
	}
	for _, bs := range []int{1024, 4096} {
		img := Filled(t, Options{BlockSize: bs}, func(dir string) { FarWrites(t, filepath.Join(dir, "far"), bs) })
		stat := Debugfs(t, img, "stat /far")
		for _, level := range []string{"(IND)", "(DIND)", "(TIND)"} {
			if !strings.Contains(stat, level) {
				t.Errorf("block size %d: no %s in:\n%s", bs, level, stat)
			}
		}
	}
	img = Filled(t, Options{InodeSize: 128, Inodes: 12000}, func(dir string) { ManyNames(t, dir, 10000) })
	if out := Debugfs(t, img, "htree_dump /"); !strings.Contains(out, "Number of entries (count)") || !strings.Contains(out, "Indirect levels: 1") {
		t.Errorf("10,000 names in blocks of 1024 are no tree of two levels:\n%.500s", out)
	}
}

// Mounts of a script's own table are seen there alone, others of tests only outside.
func TestOwnMounts(t *testing.T) {
	NeedKernelMount(t)
	theirs, own := KernelMount(t, Make(t, Options{})), t.TempDir()
	cmd := OwnMounts(`set -e
		if mountpoint -q "$1"; then echo "another test's mount is kept"; fi
		mount -t tmpfs none "$2"
		mountpoint -q "$2"
		findmnt -n -o PROPAGATION /`, theirs, own)
	out, err := cmd.CombinedOutput()
	if propagation := strings.TrimSpace(string(out)); err != nil || propagation != "private" && !strings.HasSuffix(propagation, "slave") {
		t.Errorf("%v: %s", err, out)
	}
	table, err := os.ReadFile("/proc/self/mounts")
	if err != nil || !strings.Contains(string(table), " "+theirs+" ") || strings.Contains(string(table), " "+own+" ") {
		t.Errorf("%v: outside there is\n%s", err, table)
	}
}

// There is one way to have a mount table of one's own.
func TestOneWayToOwnMounts(t *testing.T) {
	err := filepath.WalkDir("../../..", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		text, err := os.ReadFile(path)
		if strings.Contains(string(text), `"un`+`share"`) && filepath.Base(filepath.Dir(path)) != "ext2test" {
			t.Errorf("%s does not use OwnMounts", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
