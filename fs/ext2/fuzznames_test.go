//go:build linux

package ext2

import (
	"errors"
	"os"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// fuzzSize is the block size of the fuzzed structures.
const fuzzSize = 1024

// fuzzBase is a small image that fuzzed structures are put into. Making one from scratch
// each time would take longer than the test itself.
type fuzzBase struct {
	image *blockiotest.Mem
	inode int64  // offset of inode badIno, of which attributes and directory are made
	size  int64  // of an inode
	free  uint32 // first of the blocks that are free
}

func newFuzzBase(f *testing.F) *fuzzBase {
	img := ext2test.Make(f, ext2test.Options{Size: 256 << 10, BlockSize: fuzzSize, Inodes: 32})
	image, err := os.ReadFile(img)
	if err != nil {
		f.Fatal(err)
	}
	fs := openImage(f, img, Options{})
	block, off := fs.inodeBlock(badIno)
	return &fuzzBase{blockiotest.MemOf(image), int64(block)*fuzzSize + int64(off), int64(fs.sb.InodeSize()), uint32(block) + 40}
}

// open opens the image with inode badIno as given, area behind its fields, and the blocks
// from free on.
func (b *fuzzBase) open(t *testing.T, in disk.Inode, area, blocks []byte) *FS {
	t.Helper()
	dev := b.image.Clone()
	raw := dev.Bytes(b.inode, b.size)
	in.Links, in.ExtraSize = 1, 32
	in.Encode(raw, superOf(t, dev))
	copy(disk.InodeXattrArea(raw, &in), area)
	must(dev.WritevAt([][]byte{raw}, b.inode))(t)
	if len(blocks) > 0 {
		must(dev.WritevAt([][]byte{blocks}, int64(b.free)*fuzzSize))(t)
	}
	fs, err := New(ctx, dev, Options{ReadOnly: true, Logger: quiet, CacheBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fs.Close() })
	return fs
}

// FuzzDir makes a directory of the input, whatever it is, and looks names up in it and
// lists it: at once, in pieces, from anywhere. It must end, not depend on how the listing
// is divided, and a linear directory must find what it lists.
func FuzzDir(f *testing.F) {
	seed := craft(f, fuzzSize)
	seed.dir(badIno, names(0, 150)...)
	f.Add(false, dirBytes(seed, badIno))
	seed.htree(badIno, 15, names(0, 150)...)
	f.Add(true, dirBytes(seed, badIno))
	node := dirBytes(seed, badIno)
	node[30] = 1 // a level more, and the first leaf a node of it
	n := disk.InitDxNode(node[fuzzSize : 2*fuzzSize])
	for i := range 5 {
		n.Set(i, disk.DxEntry{Hash: uint32(i) << 29, Block: uint32(i + 2)})
	}
	n.SetCount(5)
	f.Add(true, node)
	seed.dir(badIno, namedIno{"a/b", 12}, namedIno{"twin", 12}, namedIno{"twin", 12}, namedIno{".", 12})
	f.Add(true, dirBytes(seed, badIno))
	f.Add(false, []byte{})

	base := newFuzzBase(f)
	f.Fuzz(func(t *testing.T, indexed bool, data []byte) {
		data = data[:min(len(data), 40*fuzzSize)]
		blocks := (len(data) + fuzzSize - 1) / fuzzSize
		dir := disk.Inode{Mode: disk.ModeDir, Size: uint64(blocks * fuzzSize)}
		content := make([]byte, (blocks+1)*fuzzSize)
		copy(content, data)
		for i := range blocks { // the last is the indirect block
			if i < disk.NDirBlocks {
				dir.Block[i] = base.free + uint32(i)
			} else {
				dir.Block[disk.IndBlock] = base.free + uint32(blocks)
				disk.SetPtr(content[blocks*fuzzSize:], i-disk.NDirBlocks, base.free+uint32(i))
			}
		}
		if indexed {
			dir.Flags = disk.InodeIndex
		}
		fs := base.open(t, dir, nil, content)
		in := openInode(t, fs, badIno)
		most := blocks*fuzzSize/12 + 2

		all, cookies, err := listFrom(t, in, 0, 1<<30)
		if len(all) > most {
			t.Fatalf("%d entries in %d blocks", len(all), blocks)
		}
		again, _, err2 := listFrom(t, in, 0, 3)
		if !indexed {
			checkSame(t, "listed by 3", again, all)
			if (err == nil) != (err2 == nil) {
				t.Fatalf("the listing ends with %v at once, with %v by 3", err, err2)
			}
		}
		for i := 0; i < len(cookies); i += 1 + len(cookies)/5 {
			if rest, _, _ := listFrom(t, in, cookies[i], 50); len(rest) > most {
				t.Fatalf("%d entries in %d blocks", len(rest), blocks)
			}
		}
		known := map[string]bool{}
		for _, e := range all {
			known[e.name] = true
		}
		for round := range 2 { // linearly, then by name index
			for name := range known {
				if ino, err := in.lookupIno(name); !indexed && (err != nil || ino == 0) {
					t.Fatalf("round %d: %q is listed, but: inode %d, %v", round, name, ino, err)
				}
			}
			if _, err := in.lookupIno("not there"); err == nil && !known["not there"] {
				t.Fatal("a name that is not there was found")
			}
			for name := range known {
				if child, err := in.Lookup(name); err == nil {
					child.Put()
				}
			}
		}
	})
}

// dirBytes is the content of a directory.
func dirBytes(c *crafted, ino uint32) []byte {
	fs := c.open(Options{})
	in := openInode(c.t, fs, ino)
	r := in.openDirLocked()
	var all []byte
	for n := range r.full {
		buf, err := r.read(n)
		if err != nil {
			c.t.Fatal(err)
		}
		all = append(all, buf.Data()...)
		buf.Release()
	}
	return all
}

// FuzzXattr makes the attribute block, and the attributes in the inode, of the input. What
// is listed must be there.
func FuzzXattr(f *testing.F) {
	entries := []disk.XattrEntry{{Index: disk.XattrUser, Name: "a", Value: []byte("some value")}, {Index: disk.XattrSecurity, Name: "b"},
		{Index: disk.XattrACLAccess, Value: []byte("\x01\x00\x00\x00\x01\x00\x07\x00\x04\x00\x05\x00\x20\x00\x05\x00")}}
	block := make([]byte, fuzzSize)
	if err := disk.EncodeXattrBlock(block, 1, entries); err != nil {
		f.Fatal(err)
	}
	area := make([]byte, 256-disk.GoodOldInodeSize-32)
	if err := disk.EncodeInodeXattrs(area, entries[:2]); err != nil {
		f.Fatal(err)
	}
	f.Add(block, area)
	f.Add(block, []byte{})
	f.Add([]byte{}, area)

	base := newFuzzBase(f)
	f.Fuzz(func(t *testing.T, block, area []byte) {
		block = block[:min(len(block), fuzzSize)]
		file := disk.Inode{Mode: disk.ModeReg, FileACL: base.free}
		in := openInode(t, base.open(t, file, area, block), badIno)
		all, err := in.Listxattr()
		for _, name := range all {
			value, err := in.Getxattr(name)
			if len(value) > fuzzSize {
				t.Fatalf("%q has %d bytes", name, len(value))
			}
			if index, _, ok := disk.XattrSplitName(name); err != nil && ok && !isACL(index) {
				t.Fatalf("%q is listed, but: %v", name, err)
			}
		}
		if _, err2 := in.Getxattr("user.not there"); (err2 == nil || errors.Is(err2, ErrNoAttr)) != (err == nil) {
			t.Fatalf("listing gives %v, asking for one %v", err, err2)
		}
	})
}
