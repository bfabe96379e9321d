//go:build linux

package disk

import (
	"bytes"
	"math"
	"testing"
)

// The fuzz targets hold every decoder to the same: no panic and no endless loop on any
// bytes, no result outside the input, and what passes the checks and is encoded again
// is the same. Seeds lie in testdata/fuzz, taken from images of mke2fs and the kernel.

func FuzzSuperblock(f *testing.F) {
	f.Add(make([]byte, SuperblockSize), int64(0))
	f.Fuzz(func(t *testing.T, b []byte, deviceBytes int64) {
		sb, err := DecodeSuperblock(b)
		if err != nil {
			if len(b) >= SuperblockSize {
				t.Fatal(err)
			}
			return
		}
		out := make([]byte, SuperblockSize)
		if sb.Encode(out); !bytes.Equal(out, b[:SuperblockSize]) {
			t.Fatal("encoded again it differs")
		}
		for _, rw := range []bool{true, false} {
			_, err = sb.Check(deviceBytes, rw)
			if k := kind(err); k == "other" || k == "read-only works" && !rw {
				t.Fatalf("an error of type %T: %v", err, err)
			}
		}
		if err != nil {
			return
		}
		// Past the checks everything has its place, inside the device.
		groups := sb.GroupCount()
		total := uint64(0)
		for _, g := range []uint32{0, 1, 2, 3, 49, groups / 2, groups - 2, groups - 1} {
			if g >= groups {
				continue
			}
			first, n := sb.GroupFirstBlock(g), uint64(sb.GroupBlocks(g))
			if n == 0 || n > uint64(sb.BlocksPerGroup) || first+n > uint64(sb.BlocksCount) || int64(first+n)*int64(sb.BlockSize()) > deviceBytes {
				t.Fatalf("group %d: %d blocks from %d on", g, n, first)
			}
			sb.CheckGroupDesc(g, GroupDesc{BlockBitmap: uint32(first), InodeBitmap: uint32(first + n), InodeTable: math.MaxUint32})
			total += uint64(sb.GroupOverhead(g))
		}
		for _, i := range []uint32{0, 1, sb.DescBlocks() / 2, sb.DescBlocks() - 1} {
			if i < sb.DescBlocks() && (sb.DescBlock(i) >= uint64(sb.BlocksCount) || sb.DescBlockFrom(8193, i) == 0) {
				t.Fatalf("descriptor block %d is block %d of %d", i, sb.DescBlock(i), sb.BlocksCount)
			}
		}
		if g, i := sb.InodeGroup(sb.InodesCount); g != groups-1 || i != sb.InodesPerGroup-1 {
			t.Fatalf("the last inode is number %d of group %d", i, g)
		}
		if uint64(sb.DescBlocks())*uint64(sb.DescPerBlock()) < uint64(groups) || sb.MaxFileSize() <= 0 {
			t.Fatal("descriptor blocks too few")
		}
		if size := sb.InodeSize(); int(sb.InodesPerBlock())*size != sb.BlockSize() || uint64(sb.InodeTableBlocks())*uint64(sb.InodesPerBlock()) < uint64(sb.InodesPerGroup) {
			t.Fatalf("inodes of %d bytes", size)
		}
		_ = sb.Label()
	})
}

func FuzzGroupDesc(f *testing.F) {
	f.Add(make([]byte, GroupDescSize), uint32(0))
	f.Fuzz(func(t *testing.T, b []byte, group uint32) {
		if len(b) < GroupDescSize {
			return
		}
		d := DecodeGroupDesc(b)
		out := bytes.Clone(b)
		clear(out[:20])
		if d.Encode(out); !bytes.Equal(out, b) {
			t.Fatal("encoded again it differs")
		}
		sb := sound()
		group %= sb.GroupCount()
		if sb.CheckGroupDesc(group, d) != nil {
			return
		}
		for _, block := range []uint64{uint64(d.BlockBitmap), uint64(d.InodeBitmap), uint64(d.InodeTable), uint64(d.InodeTable) + uint64(sb.InodeTableBlocks()) - 1} {
			if block < sb.GroupFirstBlock(group) || block >= sb.GroupFirstBlock(group)+uint64(sb.GroupBlocks(group)) {
				t.Fatalf("block %d passed", block)
			}
		}
	})
}

func FuzzInode(f *testing.F) {
	f.Add(make([]byte, 256), uint32(12))
	f.Fuzz(func(t *testing.T, b []byte, ino uint32) {
		sb := largeSuper(256)
		if len(b) < 256 {
			if len(b) < GoodOldInodeSize {
				return
			}
			b, sb = b[:GoodOldInodeSize], largeSuper(GoodOldInodeSize)
		}
		b = b[:sb.InodeSize()]
		in := DecodeInode(b, sb)
		out := bytes.Clone(b)
		if in.Encode(out, sb); !bytes.Equal(out, b) {
			t.Fatal("encoded again it differs")
		}
		in.Rdev()
		in.SymlinkTarget()
		if entries, err := DecodeInodeXattrs(InodeXattrArea(b, &in)); err != nil && (kind(err) != "corrupt" || entries != nil) {
			t.Fatal(err)
		}
		if err := in.CheckInode(ino, sb); err == nil {
			if in.FastSymlink(sb) && len(in.SymlinkTarget()) != int(in.Size) || int64(in.Size) < 0 || ino > sb.InodesCount {
				t.Fatalf("inode %d passed: %+v", ino, in)
			}
		}
	})
}

func FuzzDirBlock(f *testing.F) {
	f.Add(make([]byte, MinBlockSize), uint8(0))
	f.Fuzz(func(t *testing.T, b []byte, log uint8) {
		if size := MinBlockSize << (log % 7); len(b) < size {
			b = append(b, make([]byte, size-len(b))...)
		} else {
			b = b[:size]
		}
		err := CheckDirBlock(b, 1000)
		all, complete := listDir(b)
		if err == nil != complete && err == nil {
			t.Fatal("a sound block's entries do not fill it")
		}
		if err != nil {
			if kind(err) != "corrupt" {
				t.Fatal(err)
			}
			return
		}
		out := bytes.Clone(b)
		for _, d := range all {
			if d.Inode > 1000 || len(d.Name) > MaxNameLen || RecLen(len(d.Name)) > d.RecLen {
				t.Fatalf("%+v passed", d)
			}
			PutDirent(out, d.Off, d.Inode, d.RecLen, d.Name, d.FileType)
		}
		if again, complete := listDir(out); !complete || !sameDirents(again, all) {
			t.Fatalf("written again the entries are %v, expected %v", again, all)
		}
	})
}

func FuzzDirHash(f *testing.F) {
	f.Add(uint8(1), uint32(0), []byte("name"))
	f.Fuzz(func(t *testing.T, version uint8, seed uint32, name []byte) {
		major, _ := DirHash(version, [4]uint32{seed, seed, 1, 2}, name)
		if major&1 != 0 || major == hashEOF {
			t.Fatalf("hash %08x", major)
		}
		// Without bytes above 127 signed and unsigned are the same.
		for _, c := range name {
			if c > 127 {
				return
			}
		}
		if other, _ := DirHash(version%3+3, [4]uint32{seed, seed, 1, 2}, name); version < 3 && other != major {
			t.Fatalf("signed %08x, unsigned %08x", major, other)
		}
	})
}

func FuzzDxRoot(f *testing.F) {
	f.Add(make([]byte, MinBlockSize), uint32(0))
	f.Fuzz(func(t *testing.T, b []byte, hash uint32) {
		r, err := DecodeDxRoot(b)
		if checkDx(t, r.DxNode, err, hash, uint64(len(b))) && (r.HashVersion > HashTEA || r.IndirectLevels > MaxDxLevels) {
			t.Fatalf("%+v passed", r)
		}
	})
}

func FuzzDxNode(f *testing.F) {
	f.Add(make([]byte, MinBlockSize), uint32(0))
	f.Fuzz(func(t *testing.T, b []byte, hash uint32) {
		n, err := DecodeDxNode(b)
		checkDx(t, n, err, hash, uint64(len(b)))
	})
}

// checkDx holds a node that was decoded to what its reader relies on, and tells
// whether it was.
func checkDx(t *testing.T, n DxNode, err error, hash uint32, size uint64) bool {
	if err != nil {
		if kind(err) != "corrupt" {
			t.Fatal(err)
		}
		return false
	}
	if n.Count < 1 || n.Count > n.Limit || uint64(n.Limit*dxEntrySize) > size {
		t.Fatalf("%d of %d entries in %d bytes", n.Count, n.Limit, size)
	}
	i := n.Search(hash)
	if i < 0 || i >= n.Count || n.At(i).Hash > hash || i+1 < n.Count && n.At(i+1).Hash <= hash {
		t.Fatalf("hash %08x: entry %d of %d", hash, i, n.Count)
	}
	if n.CheckBlocks(1000) == nil && n.At(i).Block >= 1000 {
		t.Fatal("a block past the end passed")
	}
	return true
}

// checkXattrEntries encodes entries again, where they must fit, and decodes them.
func checkXattrEntries(t *testing.T, entries []XattrEntry) {
	for _, e := range entries {
		XattrFullName(e.Index, e.Name)
		if e.Index == XattrACLAccess {
			if acl, err := DecodeACL(e.Value); err == nil && !bytes.Equal(EncodeACL(acl), e.Value) {
				t.Fatalf("ACL %x becomes %x", e.Value, EncodeACL(acl))
			}
		}
	}
	b := make([]byte, MaxBlockSize)
	if err := EncodeXattrBlock(b, 1, entries); err != nil {
		return // a name index of 0, or values that overlap and fit no more
	}
	again, _, err := DecodeXattrBlock(b)
	if err != nil || !sameXattrs(again, entries) {
		t.Fatalf("encoded again they are %v, expected %v: %v", again, entries, err)
	}
}

func FuzzXattrBlock(f *testing.F) {
	f.Add(make([]byte, MinBlockSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, _, err := DecodeXattrBlock(b)
		if err != nil {
			if kind(err) != "corrupt" || entries != nil {
				t.Fatal(err)
			}
			return
		}
		checkXattrEntries(t, entries)
	})
}

func FuzzInodeXattrs(f *testing.F) {
	f.Add([]byte{0, 0, 2, 0xEA, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := DecodeInodeXattrs(b)
		if err != nil {
			if kind(err) != "corrupt" || entries != nil {
				t.Fatal(err)
			}
			return
		}
		checkXattrEntries(t, entries)
	})
}

func FuzzACL(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if acl, err := DecodeACL(b); err == nil {
			if out := EncodeACL(acl); !bytes.Equal(out, b) {
				t.Fatalf("stored %x becomes %x", b, out)
			}
			if back, err := ParsePosixACL(PosixACL(acl)); err != nil || len(back) != len(acl) {
				t.Fatalf("as POSIX ACL: %v", err)
			}
		}
		stored, err := ACLFromPosix(b)
		if err != nil {
			return
		}
		if posix, err := ACLToPosix(stored); err != nil || len(posix) != len(b) {
			t.Fatalf("%x becomes %x: %v", b, posix, err)
		}
	})
}

func FuzzSniff(f *testing.F) {
	f.Add([]byte("\x1f\x8b"))
	f.Fuzz(func(t *testing.T, b []byte) { Sniff(b) })
}

func FuzzPtrRun(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 2, 0, 0, 0}, 0, 2)
	f.Fuzz(func(t *testing.T, b []byte, i, limit int) {
		if i < 0 {
			return
		}
		n := PtrRun(b, i, limit)
		if n < 0 || n > max(limit, 0) || n > max(0, len(b)/4-i) {
			t.Fatalf("a run of %d from %d on, at most %d, in %d bytes", n, i, limit, len(b))
		}
	})
}
