//go:build linux

package disk

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestSniff(t *testing.T) {
	at := func(off int, magic string) []byte {
		b := make([]byte, SniffBytes)
		copy(b[off:], magic)
		return b
	}
	var zipped, tarred bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write([]byte("content"))
	z.Close()
	w := tar.NewWriter(&tarred)
	w.WriteHeader(&tar.Header{Name: "file", Mode: 0o644, Format: tar.FormatPAX})
	w.Close()
	mbr := at(510, "\x55\xaa")
	copy(mbr[446:], "\x80\x00\x02\x00\x83\x00\x00\x00\x00\x08\x00\x00\x00\x10\x00\x00")
	fat := at(510, "\x55\xaa")
	copy(fat[446:], "code where a partition table would be")
	copy(fat[54:], "FAT16   ")
	boot := bytes.Clone(fat)
	clear(boot[54:62])
	for _, c := range []struct {
		b    []byte
		want string // part of the answer; "" for none
	}{
		{zipped.Bytes(), "gzip"}, {tarred.Bytes(), "tar archive"}, {at(0, "\xfd7zXZ\x00"), "xz"}, {at(0, "QFI\xfb\x00\x00\x00\x03"), "qcow2"},
		{at(0, "hsqs"), "squashfs"}, {at(512, "EFI PART"), "GPT partition table"}, {mbr, "MBR partition table"},
		{fat, "FAT"}, {boot, ""}, {at(65536+64, "_BHRfS_M"), "btrfs"}, {at(32769, "CD001"), "ISO 9660"}, {at(0, "LUKS\xba\xbe"), "LUKS"},
		{make([]byte, SniffBytes), "zeros only"}, {nil, "an empty file"}, {[]byte("short"), "too short"}, {at(5000, "text"), ""},
	} {
		got := Sniff(c.b).Name
		if !strings.Contains(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%.20q…: got %q, expected %q", c.b, got, c.want)
		}
	}
}

// TestSniffReal looks at what other programs of this machine make.
func TestSniffReal(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"mkswap"}, "swap"}, {[]string{"mkfs.minix"}, "Minix"}, {[]string{"mkfs.cramfs", "."}, "cramfs"},
		{[]string{"mkfs.vfat"}, "FAT"}, {[]string{"mkfs.xfs", "-q"}, "XFS"}, {[]string{"mkfs.btrfs", "-q"}, "btrfs"},
	} {
		dir := t.TempDir()
		img := filepath.Join(dir, "img")
		if err := os.WriteFile(img, make([]byte, 8<<20), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("/usr/sbin/"+c.args[0], append(c.args[1:], img)...)
		cmd.Dir = dir
		if cmd.Err != nil || cmd.Run() != nil {
			continue // not installed here, or it wants a larger image
		}
		b, err := os.ReadFile(img)
		if err != nil {
			t.Fatal(err)
		}
		if got := Sniff(b[:min(len(b), SniffBytes)]).Name; !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q", c.args[0], got)
		}
	}
}
