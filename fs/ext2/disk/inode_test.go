//go:build linux

package disk

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestInodeRoundTrip: whatever bytes an inode has, decoded and encoded again they are
// the same.
func TestInodeRoundTrip(t *testing.T) {
	const seed = 7
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range 6000 {
		size := []int{128, 256, 512, 1024}[i%4]
		sb := largeSuper(size)
		b := make([]byte, size)
		for k := range b {
			b[k] = byte(r.Uint32())
		}
		if i%3 > 0 && size > 128 {
			le.PutUint16(b[inoExtraSize:], uint16(r.IntN(12)*4))
		}
		in := DecodeInode(b, sb)
		got := bytes.Clone(b)
		if in.Encode(got, sb); !bytes.Equal(got, b) {
			t.Fatalf("seed %d, round %d: encoded\n%x, expected\n%x", seed, i, got, b)
		}
		if area := InodeXattrArea(b, &in); area != nil && len(area) != size-128-int(in.ExtraSize) {
			t.Fatalf("seed %d, round %d: i_extra_isize %d, xattr area of %d bytes", seed, i, in.ExtraSize, len(area))
		}
	}
}

// TestInodeFieldsRoundTrip: whatever an inode can hold comes back from the disk.
func TestInodeFieldsRoundTrip(t *testing.T) {
	const seed = 8
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range 6000 {
		size := []int{128, 256, 1024}[i%3]
		sb := largeSuper(size)
		first, last := sb.TimeRange()
		time := func() Timespec {
			ts := Timespec{Sec: first + r.Int64N(last-first+1)}
			if r.IntN(10) == 0 {
				ts.Sec = []int64{first, last, 0, -1, math.MaxInt32}[r.IntN(5)]
			}
			if size > 128 {
				ts.Nsec = r.Uint32N(1e9)
			}
			return ts
		}
		want := Inode{
			Mode: uint16(r.Uint32()), Links: uint16(r.Uint32()), UID: r.Uint32(), GID: r.Uint32(), Size: uint64(r.Uint32()),
			Atime: time(), Mtime: time(), Ctime: time(), Dtime: r.Uint32(), Flags: r.Uint32(), Generation: r.Uint32(),
			Version: r.Uint32(), Sectors: r.Uint32(), SectorsHi: uint16(r.Uint32()), FileACL: r.Uint32(), FragAddr: r.Uint32(),
		}
		for k := range want.Block {
			want.Block[k] = r.Uint32()
		}
		if want.IsReg() {
			want.Size |= uint64(r.Uint32()) << 32
		} else {
			want.DirACL = r.Uint32()
		}
		if size > 128 {
			want.ExtraSize, want.HasBtime, want.Btime = 32, true, time()
		}
		b := bytes.Repeat([]byte{0x5A}, size)
		want.Encode(b, sb)
		if got := DecodeInode(b, sb); got != want {
			t.Fatalf("seed %d, round %d: got\n%+v, expected\n%+v", seed, i, got, want)
		}
	}
}

func TestCheckInode(t *testing.T) {
	sb := largeSuper(256)
	file := Inode{Mode: ModeReg | 0o644, Links: 1, ExtraSize: 32}
	link := Inode{Mode: ModeSymlink | 0o777, Links: 1, Size: 5}
	link.SetSymlinkTarget([]byte("a/b/c"))
	with := func(in Inode, change func(*Inode)) Inode { change(&in); return in }
	for _, c := range []struct {
		ino  uint32
		in   Inode
		text string // of the error; "stale", or "" for none
	}{
		{12, file, ""}, {11, file, ""}, {1000, file, ""}, {2, file, ""}, {12, link, ""},
		{0, file, "number"}, {1, file, "number is not 2 and not from 11 to 1000"}, {10, file, "number"}, {1001, file, "number"}, {math.MaxUint32, file, "number"},
		{12, Inode{}, "stale"},
		{12, with(file, func(in *Inode) { in.Links, in.Dtime = 0, 5 }), "stale"},
		{12, with(file, func(in *Inode) { in.Links = 0 }), ""}, // unlinked and open when the machine went down
		{12, with(file, func(in *Inode) { in.Mode = 0o644 }), "i_mode"},
		{12, with(file, func(in *Inode) { in.Mode = 0xF000 }), "i_mode is 0170000"},
		{12, with(file, func(in *Inode) { in.ExtraSize = 129 }), "i_extra_isize is 129"},
		{12, with(file, func(in *Inode) { in.ExtraSize = 132 }), "i_extra_isize is 132, expected a multiple of 4 and at most 128"},
		{12, with(file, func(in *Inode) { in.ExtraSize = 128 }), ""},
		{12, with(file, func(in *Inode) { in.FileACL = 1000 }), "i_file_acl is block 1000, expected 1 to 999"},
		{12, with(file, func(in *Inode) { in.FileACL = 999 }), ""},
		{12, with(file, func(in *Inode) { in.Size = 1 << 63 }), "i_size is negative"},
		{12, with(file, func(in *Inode) { in.Size = 1<<63 - 1 }), ""},
		{12, with(file, func(in *Inode) { in.Flags = InodeExtents }), "i_flags is 0x80000"},
		{12, with(file, func(in *Inode) { in.Flags = InodeInlineData }), "i_flags"},
		{12, with(link, func(in *Inode) { in.Size = 0 }), "symlink's i_size is 0, expected 1 to 59 in the inode"},
		{12, with(link, func(in *Inode) { in.Size = 60 }), "symlink's i_size is 60"},
		{12, with(link, func(in *Inode) { in.Size = 1 << 40 }), "symlink's i_size"},
		{12, with(link, func(in *Inode) { in.Size = 6 }), "zero byte before its end, 6"},
		{12, with(link, func(in *Inode) { in.Sectors, in.Size = 8, 4096 }), "symlink's i_size is 4096, expected 1 to 4095 in a block"},
		{12, with(link, func(in *Inode) { in.Sectors, in.Size = 8, 4095 }), ""},
		{12, with(link, func(in *Inode) { in.FileACL, in.Sectors = 5, 8 }), ""},                 // the sectors are the attributes'
		{12, with(link, func(in *Inode) { in.FileACL, in.Sectors, in.Size = 5, 16, 4095 }), ""}, // and here a block's
	} {
		err := c.in.CheckInode(c.ino, sb)
		var bad *CorruptError
		switch {
		case c.text == "" && err == nil, c.text == "stale" && errors.Is(err, ErrStaleInode):
		case errors.As(err, &bad) && c.text != "" && strings.Contains(err.Error(), c.text) && bad.Inode == c.ino:
		default:
			t.Errorf("inode %d, %+v: expected %q, got %v", c.ino, c.in, c.text, err)
		}
	}
}

func TestRdev(t *testing.T) {
	for _, c := range []struct {
		major, minor uint32
		first, next  uint32
	}{
		{0, 0, 0, 0}, {8, 1, 0x801, 0}, {255, 255, 0xFFFF, 0}, {0, 1, 1, 0}, {1, 0, 0x100, 0},
		{256, 0, 0, 0x10000}, {0, 256, 0, 0x100000}, {259, 300, 0, 259<<8 | 44 | 1<<20}, {0xFFF, 0xFFFFF, 0, 0xFFFFFFFF},
	} {
		in := Inode{Mode: ModeBlock}
		in.Block = [NBlocks]uint32{9, 9, 0}
		in.SetRdev(c.major, c.minor)
		if in.Block[0] != c.first || in.Block[1] != c.next {
			t.Errorf("%d:%d is stored as %x, %x, expected %x, %x", c.major, c.minor, in.Block[0], in.Block[1], c.first, c.next)
		}
		if major, minor := in.Rdev(); major != c.major || minor != c.minor {
			t.Errorf("%d:%d comes back as %d:%d", c.major, c.minor, major, minor)
		}
	}
}

func TestFileType(t *testing.T) {
	for mode, want := range map[uint16]uint8{ModeReg: 1, ModeDir: 2, ModeChar: 3, ModeBlock: 4, ModeFIFO: 5, ModeSocket: 6, ModeSymlink: 7, 0: 0, 0x3000: 0} {
		in := Inode{Mode: mode | 0o7777}
		if got := FileType(in.Mode); got != want {
			t.Errorf("mode %#o: type %d, expected %d", in.Mode, got, want)
		}
		is := []bool{in.IsReg(), in.IsDir(), in.IsDevice() && mode == ModeChar, in.IsDevice() && mode == ModeBlock, in.IsFIFO(), in.IsSocket(), in.IsSymlink()}
		for i, yes := range is {
			if yes != (uint8(i+1) == want) {
				t.Errorf("mode %#o: predicate %d is %t", in.Mode, i+1, yes)
			}
		}
	}
}

func TestSectors512(t *testing.T) {
	in := Inode{Sectors: 5, SectorsHi: 2}
	sb := largeSuper(256)
	if got := in.Sectors512(sb); got != 5 {
		t.Errorf("without huge_file: %d", got)
	}
	sb.FeatureROCompat = ROCompatHugeFile
	if got := in.Sectors512(sb); got != 5+2<<32 {
		t.Errorf("with huge_file: %d", got)
	}
	in.Flags = InodeHugeFile
	if got := in.Sectors512(sb); got != (5+2<<32)*8 {
		t.Errorf("in blocks: %d", got)
	}
}

// TestPtrRun compares PtrRun with counting by hand.
func TestPtrRun(t *testing.T) {
	const seed = 9
	r := rand.New(rand.NewPCG(seed, 0))
	for round := range 2000 {
		b := make([]byte, 256)
		next := uint32(math.MaxUint32 - 20)
		for i := range 64 {
			switch r.IntN(6) {
			case 0:
				next = r.Uint32N(3)
			case 1:
				next = 0
			default:
				if next != 0 || r.IntN(4) == 0 {
					next++
				}
			}
			SetPtr(b, i, next)
		}
		i, limit := r.IntN(64), r.IntN(70)
		want := 0
		for want < limit && i+want < 64 {
			p := Ptr(b, i+want)
			if want > 0 && (Ptr(b, i) == 0 && p != 0 || Ptr(b, i) != 0 && (p == 0 || uint64(p) != uint64(Ptr(b, i))+uint64(want))) {
				break
			}
			want++
		}
		if got := PtrRun(b, i, limit); got != want {
			t.Fatalf("seed %d, round %d: from %d at most %d: got %d, expected %d of %x", seed, round, i, limit, got, want, b[4*i:])
		}
	}
}
