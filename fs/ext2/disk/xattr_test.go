//go:build linux

package disk

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// randomXattrs makes entries that may or may not fit somewhere.
func randomXattrs(r *rand.Rand, size int) []XattrEntry {
	var all []XattrEntry
	for range r.IntN(12) {
		e := XattrEntry{Index: uint8(1 + r.IntN(7)), Value: make([]byte, r.IntN(1+size/4))}
		name := make([]byte, r.IntN(20))
		for i := range name {
			name[i] = byte(1 + r.IntN(255))
		}
		for i := range e.Value {
			e.Value[i] = byte(r.Uint32())
		}
		e.Name = string(name)
		all = append(all, e)
	}
	return all
}

func sameXattrs(a, b []XattrEntry) bool {
	return slices.EqualFunc(a, b, func(x, y XattrEntry) bool {
		return x.Index == y.Index && x.Name == y.Name && bytes.Equal(x.Value, y.Value) && x.Hash == y.Hash
	})
}

// TestXattrRoundTrip: entries that fit come back, sorted and hashed in a block, as
// given in an inode; those that do not fit change nothing.
func TestXattrRoundTrip(t *testing.T) {
	const seed = 12
	r := rand.New(rand.NewPCG(seed, 0))
	for round := range 1500 {
		inInode := round%2 == 1
		size := MinBlockSize << (round % 7)
		if inInode {
			size = []int{96, 352, 96 + 768, 4, 32}[round/2%5]
		}
		entries := randomXattrs(r, size)
		b := bytes.Repeat([]byte{0xC3}, size)
		var err error
		if inInode {
			err = EncodeInodeXattrs(b, entries)
		} else {
			err = EncodeXattrBlock(b, 7, entries)
		}
		fits := XattrSize(entries, inInode) <= size || inInode && len(entries) == 0
		if fits != (err == nil) || err != nil && !errors.Is(err, ErrXattrSpace) {
			t.Fatalf("seed %d, round %d: %d bytes for %d: %v", seed, round, size, XattrSize(entries, inInode), err)
		}
		if err != nil {
			if !bytes.Equal(b, bytes.Repeat([]byte{0xC3}, size)) {
				t.Fatalf("seed %d, round %d: what did not fit left traces", seed, round)
			}
			continue
		}
		var got []XattrEntry
		if inInode {
			got, err = DecodeInodeXattrs(b)
		} else {
			var h XattrHeader
			got, h, err = DecodeXattrBlock(b)
			if want := (XattrHeader{7, 1, XattrBlockHash(entries), 0}); h != want {
				t.Fatalf("seed %d, round %d: header %+v, expected %+v", seed, round, h, want)
			}
			if !slices.IsSortedFunc(got, CompareXattr) {
				t.Fatalf("seed %d, round %d: not sorted", seed, round)
			}
		}
		if err != nil || !sameXattrs(got, entries) {
			t.Fatalf("seed %d, round %d: got %v, expected %v: %v", seed, round, got, entries, err)
		}
	}
}

func TestXattrFaults(t *testing.T) {
	block := func(change func(b []byte)) []byte {
		b := make([]byte, 1024)
		if err := EncodeXattrBlock(b, 1, []XattrEntry{{Index: 1, Name: "name", Value: []byte("value")}, {Index: 4, Name: "other", Value: []byte("v")}}); err != nil {
			t.Fatal(err)
		}
		change(b)
		return b
	}
	put16 := func(off int, v uint16) func([]byte) { return func(b []byte) { le.PutUint16(b[off:], v) } }
	put32 := func(off int, v uint32) func([]byte) { return func(b []byte) { le.PutUint32(b[off:], v) } }
	// Entries lie at 32 and 52, the end mark at 76.
	for _, c := range []struct {
		b    []byte
		text string
	}{
		{block(func([]byte) {}), ""},
		{block(put16(34, 1019)), ""}, // overlaps the other value: no harm in reading
		{block(put32(0, 0xEA010000)), "h_magic is 0xea010000, expected 0xea020000"},
		{block(put32(8, 2)), "h_blocks is 2, expected 1"},
		{block(put32(36, 5)), "e_value_inum is 5, expected 0"},
		{block(put16(34, 1020)), "5 bytes at e_value_offs 1020, does not lie between the entries and the end"},
		{block(put16(34, 0xFFFF)), "e_value_offs 65535"},
		{block(put16(34, 76)), "e_value_offs 76"},
		{block(put16(34, 80)), ""},
		{block(put16(34, 0)), "e_value_offs 0"},
		{block(put32(40, 0xFFFFFFFF)), "the value, 4294967295 bytes"},
		{block(put32(40, 0x80000000)), "the value, 2147483648 bytes"},
		{block(put32(40, 9)), "the value, 9 bytes"},
		{block(func(b []byte) { // both values are most of the block
			put16(34, 80)(b)
			put16(54, 80)(b)
			put32(40, 900)(b)
			put32(60, 900)(b)
		}), "the attributes take 1880 bytes of 1024: values overlap"},
		{block(func(b []byte) { b[50] = 0 }), "the name has a zero byte at 2"},
		{block(func(b []byte) { copy(b[76:], bytes.Repeat([]byte{1}, 1024)) }), "past the end"},
		{block(func(b []byte) { copy(b[76:], bytes.Repeat([]byte{4}, 1024)); b[996] = 12 }), "the entries do not end before the end at 1024"},
		{make([]byte, 1024), "h_magic is 0x00000000"},
		{nil, "block of 0 bytes"},
	} {
		_, _, err := DecodeXattrBlock(c.b)
		if !says(err, c.text) {
			t.Errorf("expected %q, got %v", c.text, err)
		}
		if c.b == nil {
			continue
		}
		// The same bytes as an inode's: all is 28 bytes earlier, offsets count from 4.
		area := bytes.Clone(c.b[28:])
		le.PutUint32(area, xattrMagic)
		if _, err := DecodeInodeXattrs(area); err != nil && kind(err) != "corrupt" {
			t.Errorf("in the inode: %v", err)
		}
	}
	for _, area := range [][]byte{nil, {0, 0, 2, 0xEA}, make([]byte, 96)} {
		if got, err := DecodeInodeXattrs(area); got != nil || err != nil {
			t.Errorf("area %x: %v, %v", area, got, err)
		}
	}
}

func TestXattrNames(t *testing.T) {
	for full, want := range map[string]string{
		"user.a": "1 a", "user.a.b": "1 a.b", "user.": "no", "user": "no", "trusted.x": "4 x", "security.selinux": "6 selinux",
		"system.posix_acl_access": "2 ", "system.posix_acl_default": "3 ", "system.posix_acl_access.x": "no", "system.other": "no", "": "no", "lustre.x": "no",
	} {
		index, name, ok := XattrSplitName(full)
		got := fmt.Sprintf("%d %s", index, name)
		if !ok {
			got = "no"
		}
		if got != want {
			t.Errorf("%q: %q, expected %q", full, got, want)
		}
		if back, backOK := XattrFullName(index, name); backOK != ok || ok && back != full {
			t.Errorf("%q comes back as %q, %t", full, back, backOK)
		}
	}
	if full, ok := XattrFullName(XattrACLAccess, "x"); ok {
		t.Errorf("an ACL with a name is called %q", full)
	}
	for _, e := range []XattrEntry{{Index: 0, Name: "a"}, {Index: 1, Name: "a\x00b"}, {Index: 1, Name: strings.Repeat("x", 256)}} {
		if err := EncodeXattrBlock(make([]byte, 1024), 1, []XattrEntry{e}); err == nil || errors.Is(err, ErrXattrSpace) {
			t.Errorf("%d %q: %v", e.Index, e.Name, err)
		}
	}
}

func TestXattrBlockHash(t *testing.T) {
	if h := XattrBlockHash([]XattrEntry{{Hash: 1}, {Hash: 0}}); h != 0 {
		t.Errorf("a block with an entry without hash has hash %x", h)
	}
	if s, u := XattrEntryHashSigned("\xff", nil), XattrEntryHash("\xff", nil); s != 0xFFFFFFFF || u != 0xFF {
		t.Errorf("the hashes of byte 255 are %x signed, %x unsigned", s, u)
	}
}

func TestACL(t *testing.T) {
	entries := func(b ...uint32) []byte { // triples of tag, perm, id
		p := le.AppendUint32(nil, 2)
		for i := 0; i < len(b); i += 3 {
			p = le.AppendUint32(p, b[i]|b[i+1]<<16)
			p = le.AppendUint32(p, b[i+2])
		}
		return p
	}
	const no = aclNoID
	for _, c := range []struct {
		posix []byte
		disk  int // bytes stored; 0: refused
	}{
		{entries(1, 6, no, 4, 4, no, 0x20, 4, no), 16},
		{entries(1, 6, no, 2, 7, 1000, 4, 4, no, 0x10, 7, no, 0x20, 4, no), 28},
		{entries(1, 6, no, 2, 7, 1000, 2, 7, 999, 4, 4, no, 8, 1, 0, 8, 1, 5, 0x10, 7, no, 0x20, 4, no), 52},
		{entries(1, 6, no, 4, 4, no, 0x10, 7, no, 0x20, 4, no), 20},
		{entries(1, 6, 5, 4, 4, 5, 0x20, 4, 5), 16},                          // ids that count for nothing
		{entries(1, 6, no, 2, 7, 1000, 4, 4, no, 0x20, 4, no), 0},            // no mask
		{entries(1, 6, no, 4, 4, no), 0},                                     // no others
		{entries(4, 4, no, 1, 6, no, 0x20, 4, no), 0},                        // order
		{entries(1, 6, no, 1, 6, no, 4, 4, no, 0x20, 4, no), 0},              // twice
		{entries(1, 6, no, 4, 4, no, 0x20, 8, no), 0},                        // permissions
		{entries(1, 6, no, 2, 7, no, 4, 4, no, 0x10, 7, no, 0x20, 4, no), 0}, // nobody
		{entries(1, 6, no, 4, 4, no, 0x20, 4, no, 0x40, 4, no), 0},           // tag
		{entries(), 0}, // empty
		{entries(1, 6, no, 4, 4, no, 0x20, 4, no)[:20], 0}, // cut
		{nil, 0}, {[]byte{1, 0, 0, 0}, 0}, {[]byte{1, 0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0}, 0}, // version
	} {
		stored, err := ACLFromPosix(c.posix)
		if len(stored) != c.disk || (err == nil) != (c.disk > 0) || err != nil && !errors.Is(err, ErrACL) {
			t.Errorf("%x is stored as %x: %v", c.posix, stored, err)
			continue
		}
		if err != nil {
			continue
		}
		back, err := ACLToPosix(stored)
		again, err2 := ACLFromPosix(back)
		if err != nil || err2 != nil || !bytes.Equal(again, stored) || len(back) != len(c.posix) {
			t.Errorf("%x comes back as %x: %v, %v", c.posix, back, err, err2)
		}
	}
	for _, c := range []struct {
		stored string
		text   string
	}{
		{"\x01\x00\x00\x00", ""}, // empty, as Linux reads it
		{"", "0 bytes"}, {"\x01\x00\x00", "3 bytes"}, {"\x02\x00\x00\x00", "version is 2, expected 1"},
		{"\x01\x00\x00\x00\x01\x00", "2 bytes are left, expected an entry of 4"},
		{"\x01\x00\x00\x00\x02\x00\x07\x00", "4 bytes are left, expected an entry of 8"},
		{"\x01\x00\x00\x00\x03\x00\x07\x00", "tag is 0x3"},
	} {
		_, err := ACLToPosix([]byte(c.stored))
		if !says(err, c.text) {
			t.Errorf("%x: expected %q, got %v", c.stored, c.text, err)
		}
	}
}
