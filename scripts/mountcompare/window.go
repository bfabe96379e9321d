//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// window is the part of an image that holds the file system, in bytes.
type window struct{ offset, size int64 } // size 0: up to the end

// options is a list of mount options.
type options []string

// splitOptions takes what -o takes.
func splitOptions(s string) options {
	var o options
	for _, word := range strings.Split(s, ",") {
		if word = strings.TrimSpace(word); word != "" {
			o = append(o, word)
		}
	}
	return o
}

// window finds the part of the image that offset=, sizelimit= and part= name.
func (o options) window(image string) (window, error) {
	var w window
	for _, word := range o {
		key, value, _ := strings.Cut(word, "=")
		var err error
		switch key {
		case "offset":
			w.offset, err = parseSize(value)
		case "sizelimit":
			w.size, err = parseSize(value)
		case "part":
			w, err = partition(image, value)
		}
		if err != nil {
			return w, fmt.Errorf("option %s: %w", word, err)
		}
	}
	return w, nil
}

// forKernel is the options that the kernel's ext2 knows, and that change what it shows.
func (o options) forKernel() options {
	var k options
	for _, word := range o {
		key, _, _ := strings.Cut(word, "=")
		switch key {
		case "sb", "bsddf", "minixdf", "nouid32", "acl", "noacl", "user_xattr", "nouser_xattr", "grpid", "nogrpid", "bsdgroups", "sysvgroups", "noload", "norecovery":
			k = append(k, word)
		}
	}
	return k
}

// parseSize takes bytes, or KiB, MiB, GiB with a letter behind.
func parseSize(s string) (int64, error) {
	factor := int64(1)
	switch strings.ToLower(s[max(0, len(s)-1):]) {
	case "k":
		factor = 1 << 10
	case "m":
		factor = 1 << 20
	case "g":
		factor = 1 << 30
	}
	if factor > 1 {
		s = s[:len(s)-1]
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n * factor, err
}

// partition asks partx where a partition lies.
func partition(image, number string) (window, error) {
	out, err := exec.Command(findTool("partx"), "-g", "-o", "START,SECTORS", "--nr", number, image).Output()
	if err != nil {
		return window{}, fmt.Errorf("partx does not find partition %s: %w", number, err)
	}
	var start, sectors int64
	if _, err := fmt.Sscan(string(out), &start, &sectors); err != nil {
		return window{}, fmt.Errorf("partx says %q: %w", out, err)
	}
	return window{start * 512, sectors * 512}, nil
}

// blockSize reads the block size from the superblock.
func blockSize(image string, w window) (int, error) {
	f, err := os.Open(image)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var sb [1024]byte
	if _, err := f.ReadAt(sb[:], w.offset+1024); err != nil {
		return 0, fmt.Errorf("%s: no superblock at byte %d: %w", image, w.offset+1024, err)
	}
	// s_magic, s_log_block_size
	if magic := binary.LittleEndian.Uint16(sb[56:]); magic != 0xef53 {
		return 0, fmt.Errorf("%s: no ext2 file system at byte %d (magic %#04x, not 0xef53)", image, w.offset, magic)
	}
	shift := binary.LittleEndian.Uint32(sb[24:])
	if shift > 6 {
		return 0, fmt.Errorf("%s: s_log_block_size is %d", image, shift)
	}
	return 1024 << shift, nil
}

// findTool finds a program that plain users may not have on their PATH.
func findTool(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return name
}
