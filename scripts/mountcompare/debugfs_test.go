//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
)

// statSample is what debugfs shows of an inode; holes, indirect blocks and odd
// attribute names included.
const statSample = `Inode: 19   Type: regular    Mode:  4755   Flags: 0x40
Generation: 496869159    Version: 0x00000000:00000003
User:    -2   Group: 70000   Project:     0   Size: 3221225472
File ACL: 0
Links: 2   Blockcount: 8
Fragment:  Address: 0    Number: 0    Size: 0
 ctime: 0x6b03a301:6d328708 -- Mon Nov 23 02:20:49 2026
 atime: 0xffffffff:00000000 -- Wed Dec 31 23:59:59 1969
 mtime: 0x00000001:00000005 -- Mon Feb  7 06:28:17 2106
crtime: 0x6b03a301:6c3e6308 -- Mon Nov 23 02:20:49 2026
Size of extra inode fields: 32
Extended attributes:
  user.a b (3) = "(1)"
  75 73 65 72 2e ff  (2) = 0a 00
  user.empty (0)
BLOCKS:
(0-11):1025-1036, (IND):660, (12):1037, (TIND):663, (DIND):664, (IND):1709, (2441406):2239
TOTAL: 17

`

func TestParseStat(t *testing.T) {
	var in debugInode
	in.ino = 19
	if err := in.parse(statSample); err != nil {
		t.Fatal(err)
	}
	for f, want := range map[field]string{
		fType: "file", fMode: "4755", fUID: "4294967294", fGID: "70000", fSize: "3221225472", fLinks: "2", fBlocks: "8",
		fFlags: "0x40 d", fVersion: "496869159", fAtime: "1969-12-31T23:59:59.000000000Z", fMtime: "2106-02-07T06:28:17.000000001Z",
	} {
		if got := in.fields[f]; got != want {
			t.Errorf("%s is %q, want %q", f, got, want)
		}
	}
	if got := strings.Join(in.eas, "|"); got != "user.a b|user.\xff|user.empty" {
		t.Errorf("attributes %q", got)
	}
	want := []blockRun{{0, 1025, 12}, {12, 1037, 1}, {2441406, 2239, 1}}
	if len(in.blocks) != len(want) {
		t.Fatalf("blocks %v, want %v", in.blocks, want)
	}
	for i := range want {
		if in.blocks[i] != want[i] {
			t.Errorf("blocks %v, want %v", in.blocks, want)
		}
	}
	if err := new(debugInode).parse("stat: no such inode\n"); err == nil {
		t.Error("no error for what is no inode")
	}
}

func TestHexDump(t *testing.T) {
	got, err := parseHexDump("0000  6e65 770a 0000 0000 0000 0000 0000 0000  new.............\n" +
		"0020  0000 0000 0000 0000 0000 0000 0000 0000  ................\n*\n\n")
	if err != nil || !bytes.HasPrefix(got, []byte("new\n\x00")) || len(got) < 60 {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := parseHexDump("zero  0000\n"); err == nil {
		t.Error("no error for a line that is none")
	}
}

func TestSplitOutput(t *testing.T) {
	got, err := splitOutput("debugfs: stat <1>\none\ndebugfs: stat <2>\ntwo\n", []string{"stat <1>", "stat <2>"})
	if err != nil || len(got) != 2 || got[0] != "one\n" || got[1] != "two\n" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := splitOutput("debugfs: stat <1>\none\n", []string{"stat <1>", "stat <2>"}); err == nil {
		t.Error("no error although an echo is missing")
	}
}

// TestParseDirectory: entries, unused ones, and records that run wild.
func TestParseDirectory(t *testing.T) {
	entry := func(ino uint32, length int, name string, kind byte) []byte {
		b := make([]byte, length)
		binary.LittleEndian.PutUint32(b, ino)
		binary.LittleEndian.PutUint16(b[4:], uint16(length))
		b[6], b[7] = byte(len(name)), kind
		copy(b[8:], name)
		return b
	}
	block := append(append(entry(12, 16, "a\nb", 7), entry(0, 12, "x", 1)...), entry(13, 1024-28, "rest", 1)...)
	got, err := parseDirectory(block, 1024, true)
	if err != nil || len(got) != 2 || got[0] != (dirent{"a\nb", 12, 10}) || got[1] != (dirent{"rest", 13, 8}) {
		t.Errorf("%v, %v", got, err)
	}
	for _, length := range []uint16{0, 4, 8, 2000} {
		binary.LittleEndian.PutUint16(block[4:], length)
		if got, err := parseDirectory(block, 1024, true); err == nil {
			t.Errorf("record length %d: %v", length, got)
		}
	}
}

// TestSum: a sum does not depend on how the bytes come, nor on zeros.
func TestSum(t *testing.T) {
	data := make([]byte, 5*pageSize+100)
	copy(data[pageSize+7:], "one")
	copy(data[5*pageSize:], "two")
	whole, pieces, other := newSummer(), newSummer(), newSummer()
	whole.add(data, 0)
	pieces.add(data[pageSize:2*pageSize], pageSize)
	pieces.add(append(data[5*pageSize:], make([]byte, 1000)...), 5*pageSize)
	data[pageSize+8] ^= 1
	other.add(data, 0)
	var a, b, c node
	whole.store(&a)
	pieces.store(&b)
	other.store(&c)
	if a.fields[fContent] != b.fields[fContent] {
		t.Error("the same bytes in other pieces sum up differently")
	}
	if a.fields[fContent] == c.fields[fContent] {
		t.Error("other bytes sum up the same")
	}
	if index, count := firstDifference(a.pages, c.pages); index != 1 || count != 1 {
		t.Errorf("difference at page %d, %d pages; want page 1, 1 page", index, count)
	}
	if index, count := firstDifference(a.pages, nil); index != 1 || count != 2 {
		t.Errorf("difference at page %d, %d pages; want page 1, 2 pages", index, count)
	}
}
