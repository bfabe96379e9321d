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

// randomDirBlock makes a block full of random entries and returns these.
func randomDirBlock(r *rand.Rand, size int) ([]byte, []Dirent) {
	b := make([]byte, size)
	var all []Dirent
	for off := 0; off < size; {
		left := size - off
		name := make([]byte, r.IntN(min(MaxNameLen, left-DirentHeaderBytes)+1))
		for i := range name {
			name[i] = byte(r.Uint32())
		}
		n := max(RecLen(len(name)), minRecLen)
		if room := left - n; room > 0 {
			n += r.IntN(min(room, 100)+1) &^ 3
		}
		if left-n < minRecLen || r.IntN(50) == 0 {
			n = left
		}
		d := Dirent{Inode: r.Uint32N(1000), RecLen: n, Name: name, FileType: uint8(r.IntN(8)), Off: off}
		PutDirent(b, off, d.Inode, n, name, d.FileType)
		all = append(all, d)
		off += n
	}
	return b, all
}

// listDir gives the entries of a checked block, and whether they end at its end.
func listDir(b []byte) (all []Dirent, complete bool) {
	for off := 0; ; {
		d, next, ok := NextDirent(b, off)
		if !ok {
			return all, off == len(b)
		}
		all, off = append(all, d), next
	}
}

func sameDirents(a, b []Dirent) bool {
	return slices.EqualFunc(a, b, func(x, y Dirent) bool {
		return x.Inode == y.Inode && x.RecLen == y.RecLen && bytes.Equal(x.Name, y.Name) && x.FileType == y.FileType && x.Off == y.Off
	})
}

// TestDirBlocks: what PutDirent writes, in blocks of all sizes, is sound and comes back;
// and with any byte changed, either CheckDirBlock finds a fault or the entries still
// fill the block.
func TestDirBlocks(t *testing.T) {
	const seed = 10
	r := rand.New(rand.NewPCG(seed, 0))
	for round := range 300 {
		size := MinBlockSize << (round % 7)
		b, want := randomDirBlock(r, size)
		if err := CheckDirBlock(b, 1000); err != nil {
			t.Fatalf("seed %d, round %d: %v", seed, round, err)
		}
		if got, complete := listDir(b); !complete || !sameDirents(got, want) {
			t.Fatalf("seed %d, round %d: got %v, expected %v", seed, round, got, want)
		}
		for range 50 {
			i, c := r.IntN(size), byte(r.Uint32())
			old := b[i]
			b[i] = c
			err := CheckDirBlock(b, 1000)
			if _, complete := listDir(b); err == nil && !complete {
				t.Fatalf("seed %d, round %d: byte %d set to %d: the check passed, the entries do not fill the block", seed, round, i, c)
			}
			b[i] = old
		}
	}
}

func TestCheckDirBlock(t *testing.T) {
	block := func(size int, change func(b []byte)) []byte {
		b := make([]byte, size)
		PutDirent(b, 0, 2, 12, []byte("."), TypeDir)
		PutDirent(b, 12, 2, 20, []byte(".."), TypeDir)
		PutDirent(b, 32, 12, size-32, []byte("file"), TypeReg)
		change(b)
		return b
	}
	for _, c := range []struct {
		b    []byte
		off  int
		text string
	}{
		{block(1024, func(b []byte) {}), -1, ""},
		{block(65536, func(b []byte) {}), -1, ""},
		{block(1024, func(b []byte) { b[16] = 0 }), 12, "rec_len is 0, smaller than the least, 12"},
		{block(1024, func(b []byte) { b[4] = 8 }), 0, "rec_len is 8, smaller"},
		{block(1024, func(b []byte) { b[16] = 21 }), 12, "rec_len is 21, not a multiple of 4"},
		{block(1024, func(b []byte) { b[18] = 13 }), 12, "rec_len is 20, too small for name_len 13"},
		{block(1024, func(b []byte) { b[18] = 12 }), -1, ""},
		{block(1024, func(b []byte) { b[36] += 4 }), 32, "rec_len is 996, the entry crosses the block's end at 1024"},
		{block(1024, func(b []byte) { le.PutUint16(b[36:], 0xFFFC) }), 32, "crosses"},
		{block(1024, func(b []byte) { b[36] -= 8 }), 1016, "an entry does not fit in the block's last 8 bytes"},
		{block(1024, func(b []byte) { b[35] = 1 }), 32, "inode is 16777228, expected at most s_inodes_count, 100"},
		{block(1024, func(b []byte) { b[0] = 101 }), 0, "inode is 101"},
		{block(1024, func(b []byte) { b[0] = 100 }), -1, ""},
		{make([]byte, 1024), 0, "rec_len is 0"},
		// In the largest blocks 0 and 65535 mean the whole block, and only fit at 0.
		{make([]byte, 65536), -1, ""},
		{block(65536, func(b []byte) { le.PutUint16(b[16:], 0) }), 12, "rec_len is 65536, the entry crosses"},
		{block(65536, func(b []byte) { le.PutUint16(b[16:], 0xFFFF) }), 12, "rec_len is 65536, the entry crosses"},
		{block(32768, func(b []byte) { le.PutUint16(b[4:], 0xFFFF) }), 0, "rec_len is 65535, not a multiple"},
		{block(65536, func(b []byte) { le.PutUint16(b[36:], 0x8001) }), 32, "rec_len is 98304, the entry crosses"},
	} {
		err := CheckDirBlock(c.b, 100)
		var bad *CorruptError
		if c.text == "" {
			if err != nil {
				t.Errorf("a sound block: %v", err)
			}
			if _, complete := listDir(c.b); !complete {
				t.Error("the entries of a sound block do not reach its end")
			}
			continue
		}
		if !errors.As(err, &bad) || bad.Offset != c.off || !strings.Contains(bad.Detail, c.text) {
			t.Errorf("expected offset %d: %s, got %v", c.off, c.text, err)
		}
	}
}

func TestNextDirentOutside(t *testing.T) {
	b := make([]byte, 1024)
	for _, off := range []int{-1, 1013, 1024, 5000} {
		if d, _, ok := NextDirent(b, off); ok {
			t.Errorf("offset %d: %+v", off, d)
		}
	}
	if _, _, ok := NextDirent(nil, 0); ok {
		t.Error("an entry in an empty block")
	}
}

func TestRecLen(t *testing.T) {
	for n, want := range map[int]int{0: 8, 1: 12, 4: 12, 5: 16, 255: 264} {
		if got := RecLen(n); got != want {
			t.Errorf("name of %d bytes: %d, expected %d", n, got, want)
		}
	}
	for _, n := range []int{12, 65532, 65536} {
		b := make([]byte, MaxBlockSize)
		PutDirent(b, 0, 0, n, nil, 0)
		if got := recLen(b, 0, len(b)); got != n {
			t.Errorf("rec_len %d comes back as %d", n, got)
		}
	}
}

// TestPutDirentPads: what lay in the padding of a name does not stay there.
func TestPutDirentPads(t *testing.T) {
	b := bytes.Repeat([]byte{0xAA}, 64)
	PutDirent(b, 8, 5, 40, []byte("abcde"), TypeReg)
	if want := "abcde\x00\x00\x00"; string(b[16:24]) != want || b[24] != 0xAA {
		t.Errorf("name and padding are %q, expected %q", b[16:25], want)
	}
}

// TestDxSearch compares Search with looking at each entry, over random tables with
// equal hashes.
func TestDxSearch(t *testing.T) {
	const seed = 11
	r := rand.New(rand.NewPCG(seed, 0))
	for round := range 500 {
		b := make([]byte, MinBlockSize<<(round%4))
		n := InitDxNode(b)
		n.SetCount(1 + r.IntN(n.Limit))
		hashes := make([]uint32, n.Count)
		for i := range hashes {
			hashes[i] = r.Uint32N(200)
		}
		hashes[0] = 0
		slices.Sort(hashes)
		for i, h := range hashes {
			n.Set(i, DxEntry{Hash: h, Block: uint32(i + 1)})
		}
		back, err := DecodeDxNode(b)
		if err != nil || back.Limit != n.Limit || back.Count != n.Count {
			t.Fatalf("seed %d, round %d: %+v, %v", seed, round, back, err)
		}
		if err := back.CheckOrder(); err != nil {
			t.Fatalf("seed %d, round %d: %v", seed, round, err)
		}
		if err := back.CheckBlocks(uint64(n.Count + 1)); err != nil {
			t.Fatalf("seed %d, round %d: %v", seed, round, err)
		}
		if err := back.CheckBlocks(uint64(n.Count)); err == nil {
			t.Fatalf("seed %d, round %d: a block past the directory's end was not seen", seed, round)
		}
		for range 100 {
			hash := r.Uint32N(202)
			want := 0
			for i := range hashes {
				if hashes[i] <= hash {
					want = i
				}
			}
			if got := back.Search(hash); got != want || back.At(got) != (DxEntry{hashes[got], uint32(got + 1)}) {
				t.Fatalf("seed %d, round %d: hash %d: entry %d, expected %d of %v", seed, round, hash, got, want, hashes)
			}
		}
	}
}

func TestDxFaults(t *testing.T) {
	root := func(change func(b []byte)) []byte {
		b := make([]byte, 1024)
		r := InitDxRoot(b, 12, 2, true, HashTEA)
		r.SetCount(3)
		r.Set(1, DxEntry{0x1000, 2})
		r.Set(2, DxEntry{0x1001, 3})
		change(b)
		return b
	}
	node := func(change func(b []byte)) []byte {
		b := make([]byte, 1024)
		n := InitDxNode(b)
		n.Set(0, DxEntry{0, 1})
		change(b)
		return b
	}
	for _, c := range []struct {
		b    []byte
		node bool
		text string
	}{
		{root(func(b []byte) {}), false, ""},
		{root(func(b []byte) { b[32] = 123 }), false, ""}, // the last eight bytes are a checksum
		{root(func(b []byte) { b[27], b[24] = 9, 9 }), false, ""},
		{root(func(b []byte) { b[8] = 'x' }), false, `the first entry is not "."`},
		{root(func(b []byte) { b[4] = 16 }), false, `the first entry is not "."`},
		{root(func(b []byte) { b[16] = 0 }), false, `the second entry is not ".."`},
		{root(func(b []byte) { b[18] = 1 }), false, `the second entry is not ".."`},
		{root(func(b []byte) { b[28] = 3 }), false, "hash_version is 3, expected at most 2"},
		{root(func(b []byte) { b[28] = 6 }), false, "hash_version is 6"},
		{root(func(b []byte) { b[29] = 16 }), false, "info_length is 16, expected 8"},
		{root(func(b []byte) { b[30] = 1 }), false, ""},
		{root(func(b []byte) { b[30] = 2 }), false, "indirect_levels is 2, expected at most 1"},
		{root(func(b []byte) { b[31] = 1 }), false, "unused_flags is 0x1"},
		{root(func(b []byte) { b[32] = 122 }), false, "limit is 122, expected 124"},
		{root(func(b []byte) { b[33] = 0xFF }), false, "limit is 65404"},
		{root(func(b []byte) { b[34] = 0 }), false, "count is 0, expected 1 to 124"},
		{root(func(b []byte) { b[34] = 125 }), false, "count is 125"},
		{root(func(b []byte) { b[48] = 0; b[49] = 0x0F }), false, "hash 0x00000f00 comes after 0x00001000"},
		{root(func(b []byte) {})[:512], false, "block of 512 bytes"},
		{node(func(b []byte) {}), true, ""},
		{node(func(b []byte) { b[8] = 126 }), true, ""},
		{node(func(b []byte) { b[0] = 1 }), true, "does not begin with a free entry"},
		{node(func(b []byte) { b[4] = 12 }), true, "does not begin with a free entry"},
		{node(func(b []byte) { b[8] = 128 }), true, "limit is 128, expected 127"},
		{node(func(b []byte) { b[10] = 0 }), true, "count is 0"},
		{nil, true, "block of 0 bytes"},
	} {
		var err error
		var n DxNode
		if c.node {
			n, err = DecodeDxNode(c.b)
		} else {
			var r DxRoot
			r, err = DecodeDxRoot(c.b)
			n = r.DxNode
		}
		if err == nil {
			err = n.CheckOrder()
		}
		if !says(err, c.text) {
			t.Errorf("expected %q, got %v", c.text, err)
		}
	}
	r, err := DecodeDxRoot(root(func(b []byte) { le.PutUint32(b[44:], 0xF0000002) }))
	if err != nil || fmt.Sprint(r.At(0), r.At(1), r.At(2)) != "{0 1} {4096 2} {4097 3}" || r.HashVersion != HashTEA {
		t.Errorf("got %+v: %v, %v, %v: %v", r, r.At(0), r.At(1), r.At(2), err)
	}
}

// TestFind holds FindDirent and FindRoom against walks with NextDirent, on blocks of
// random entries, some of them free.
func TestFind(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for round := range 200 {
		b := make([]byte, []int{1024, 4096, 65536}[r.IntN(3)])
		for off := 0; off < len(b); {
			name := make([]byte, 1+r.IntN(MaxNameLen))
			for i := range name {
				name[i] = "ab"[r.IntN(2)]
			}
			n := min(RecLen(len(name))+4*r.IntN(20), len(b)-off)
			if len(b)-off-n < RecLen(MaxNameLen) {
				n = len(b) - off
			}
			if n < RecLen(len(name)) {
				name = name[:1]
			}
			PutDirent(b, off, uint32(r.IntN(3)), n, name, TypeReg)
			off += n
		}
		names := map[string]Dirent{}
		room := map[int]int{}
		for off, ok := 0, true; ok; {
			var d Dirent
			d, off, ok = NextDirent(b, off)
			if _, twice := names[string(d.Name)]; ok && d.Inode != 0 && !twice {
				names[string(d.Name)] = d
			}
			free := d.RecLen
			if d.Inode != 0 {
				free -= RecLen(len(d.Name))
			}
			for need := RecLen(1); ok && need <= free && need <= RecLen(MaxNameLen); need += 4 {
				if _, found := room[need]; !found {
					room[need] = d.Off
				}
			}
		}
		for name, want := range names {
			if d, ok := FindDirent(b, name); !ok || d.Off != want.Off || d.Inode != want.Inode {
				t.Fatalf("seed %d, round %d: %q found at %d (%v), not at %d", seed, round, name, d.Off, ok, want.Off)
			}
			if _, twice := names[name+"a"]; !twice && len(name) < MaxNameLen {
				if d, ok := FindDirent(b, name+"a"); ok {
					t.Fatalf("seed %d, round %d: %q, which is not there, found at %d", seed, round, name+"a", d.Off)
				}
			}
		}
		for need := RecLen(1); need <= RecLen(MaxNameLen); need += 4 {
			want, has := room[need]
			off, used, length, ok := FindRoom(b, need)
			if ok != has || ok && (off != want || length-used < need) {
				t.Fatalf("seed %d, round %d: room for %d bytes at %d (%v), expected %d (%v)", seed, round, need, off, ok, want, has)
			}
		}
	}
}
