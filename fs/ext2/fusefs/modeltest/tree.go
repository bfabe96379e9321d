//go:build linux && !386 && !arm && !mips && !mipsle

package modeltest

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// Tree describes everything below root: one line a file and attribute, sorted. Block
// counts are not in it: the kernel keeps indirect blocks that a hole left empty.
func Tree(root string) ([]string, error) {
	var lines []string
	seen := map[uint64]string{} // hard links: all names of an inode name the first
	var walk func(rel string) error
	walk = func(rel string) error {
		abs := clean(root + "/" + rel)
		var st unix.Stat_t
		if err := unix.Lstat(abs, &st); err != nil {
			return fmt.Errorf("%s: %w", abs, err)
		}
		add := func(what string, v any) { lines = append(lines, fmt.Sprintf("%s: %s %v", rel, what, v)) }
		add("stat", statText(&st))
		typ := st.Mode & unix.S_IFMT
		if typ != unix.S_IFDIR && st.Nlink > 1 {
			if first, ok := seen[st.Ino]; ok {
				add("same as", first)
				return nil
			}
			seen[st.Ino] = rel
		}
		if typ == unix.S_IFREG || typ == unix.S_IFDIR {
			if r := (&Side{Root: root}).flags(abs, Op{Kind: GetFlags}); r.Errno == 0 {
				add("flags", r.N)
			}
		}
		if err := xattrLines(abs, add); err != nil {
			return err
		}
		switch typ {
		case unix.S_IFREG:
			h, err := hashFile(abs)
			if err != nil {
				return err
			}
			add("sha256", h)
		case unix.S_IFLNK:
			t, err := os.Readlink(abs)
			if err != nil {
				return err
			}
			add("target", t)
		case unix.S_IFDIR:
			names, err := listDir(abs)
			if err != nil {
				return fmt.Errorf("%s: %w", abs, err)
			}
			for _, n := range names {
				if n == "lost+found" && rel == "" {
					continue
				}
				if err := walk(strings.TrimPrefix(rel+"/"+n, "/")); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if err := walk(""); err != nil {
		return nil, err
	}
	sort.Strings(lines)
	return lines, nil
}

func xattrLines(abs string, add func(string, any)) error {
	buf := make([]byte, 65536)
	n, err := unix.Llistxattr(abs, buf)
	if err != nil {
		return fmt.Errorf("%s: listxattr: %w", abs, err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		if name != "" {
			add("xattr "+name, getXattr(abs, name).Data)
		}
	}
	return nil
}

func hashFile(p string) (string, error) {
	f, err := os.Open(p)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", h.Sum(nil)), nil
}

// Diff shows lines that only one of two sorted descriptions has.
func Diff(a, b []string) []string {
	var out []string
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0] < b[0]:
			out = append(out, "- "+a[0])
			a = a[1:]
		case len(a) == 0 || b[0] < a[0]:
			out = append(out, "+ "+b[0])
			b = b[1:]
		default:
			a, b = a[1:], b[1:]
		}
	}
	return out
}
