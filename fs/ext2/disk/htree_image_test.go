//go:build linux

package disk

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// dirFile gives the blocks of a directory.
func (m *image) dirFile(dir uint32) [][]byte {
	var blocks [][]byte
	for _, b := range m.fileBlocks(m.inode(dir)) {
		blocks = append(blocks, m.block(b))
	}
	return blocks
}

// find looks a name up in the root directory's subdirectory, or the root itself.
func (m *image) find(dir uint32, name string) uint32 {
	for _, b := range m.dirFile(dir) {
		for off, ok := 0, true; ok; {
			var d Dirent
			if d, off, ok = NextDirent(b, off); ok && d.Inode != 0 && string(d.Name) == name {
				return d.Inode
			}
		}
	}
	m.Fatalf("%s: not found", name)
	return 0
}

// checkTree walks an index and checks that each leaf's names have the hashes that its
// entry promises. It returns the number of names and the number of levels.
func (m *image) checkTree(dir uint32) (names int, levels uint8) {
	blocks := m.dirFile(dir)
	root, err := DecodeDxRoot(blocks[0])
	if err != nil {
		m.Fatal(err)
	}
	version := m.sb.HashVersion(root.HashVersion)
	reached := make([]bool, len(blocks))
	reached[0] = true
	var walk func(n DxNode, levels uint8, low, high uint32)
	walk = func(n DxNode, levels uint8, low, high uint32) {
		if err := n.CheckBlocks(uint64(len(blocks))); err != nil {
			m.Fatal(err)
		}
		for i := range n.Count {
			e := n.At(i)
			from, to := max(low, e.Hash), high
			if i+1 < n.Count {
				to = n.At(i + 1).Hash
			}
			if reached[e.Block] {
				m.Errorf("block %d is reached twice", e.Block)
			}
			reached[e.Block] = true
			if levels > 0 {
				inner, err := DecodeDxNode(blocks[e.Block])
				if err != nil {
					m.Fatal(err)
				}
				walk(inner, levels-1, from, to)
				continue
			}
			for off, ok := 0, true; ok; {
				var d Dirent
				if d, off, ok = NextDirent(blocks[e.Block], off); !ok || d.Inode == 0 {
					continue
				}
				names++
				// The lowest bit of an entry's hash only says that a run of equal hashes
				// goes on, so both bounds may be met.
				if hash, _ := DirHash(version, m.sb.HashSeed, d.Name); hash < from&^1 || hash > to {
					m.Errorf("block %d: %q has hash %08x, expected %08x to %08x", e.Block, d.Name, hash, from, to)
				} else if i := n.Search(hash); n.At(i).Hash > hash || i+1 < n.Count && n.At(i+1).Hash <= hash {
					m.Errorf("hash %08x: found entry %d", hash, i)
				}
			}
		}
	}
	walk(root.DxNode, root.IndirectLevels, 0, 1<<32-1)
	if i := slices.Index(reached, false); i >= 0 {
		m.Errorf("block %d of the directory is not reached", i)
	}
	return names, root.IndirectLevels
}

// TestKernelHtree checks indexes that the kernel's driver built, with all six hashes
// and one and two levels.
func TestKernelHtree(t *testing.T) {
	for _, alg := range []string{"legacy", "half_md4", "tea"} {
		for flags := range uint32(2) {
			t.Run(fmt.Sprintf("%s-%d", alg, flags), func(t *testing.T) {
				img := ext2test.Make(t, ext2test.Options{Size: 16 << 20, Inodes: 8000})
				ext2test.DebugfsWrite(t, img, fmt.Sprintf("set_super_value flags %d", flags+1), "set_super_value def_hash_version "+alg)
				dir := ext2test.KernelMount(t, img)
				count := 500
				if alg == "half_md4" {
					count = 6000
				}
				for i := range count {
					// Bytes above 127, where signed and unsigned part.
					name := fmt.Sprintf("%d-\xff%c\x80-%.*s", i, rune(0xC0+i%500), i%40, "some more to make it longer than others")
					if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
						t.Fatal(err)
					}
				}
				ext2test.Unmount(t, dir)
				m := load(t, img)
				if m.inode(RootIno).Flags&InodeIndex == 0 {
					t.Fatal("the kernel made no index")
				}
				names, levels := m.checkTree(RootIno)
				if names != count+1 || count > 5000 && levels != 1 {
					t.Errorf("%d names on %d levels", names, levels)
				}
			})
		}
	}
}

// TestFsckReadsHtree turns a linear directory into an indexed one, with none and with
// one level of inner nodes; e2fsck finds nothing wrong with it.
func TestFsckReadsHtree(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		if err := os.WriteFile(filepath.Join(root, "d", fmt.Sprintf("%d-ü-%.*s", i, i%30, "abcdefghijklmnopqrstuvwxyz abcdef")), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, levels := range []uint8{0, 1} {
		for _, o := range []ext2test.Options{{}, {BlockSize: 4096, Features: []string{"^filetype"}}, {BlockSize: 65536, Size: 64 << 20}} {
			o.Root = root
			img := ext2test.Make(t, o)
			ext2test.DebugfsWrite(t, img, "expand_dir d", "expand_dir d", "expand_dir d", "expand_dir d", "expand_dir d", "expand_dir d")
			m := load(t, img)
			dir := m.find(RootIno, "d")
			names := m.buildIndex(dir, levels)
			in := m.inode(dir)
			in.Flags |= InodeIndex
			in.Encode(m.inodeBytes(dir), m.sb)
			if got, l := m.checkTree(dir); got != names || l != levels {
				t.Errorf("%d of %d names on %d levels", got, names, l)
			}
			if err := os.WriteFile(img, m.b, 0o644); err != nil {
				t.Fatal(err)
			}
			ext2test.Fsck(t, img)
		}
	}
}

// buildIndex makes the directory's blocks an index of its names and returns their
// number.
func (m *image) buildIndex(dir uint32, levels uint8) int {
	type hashed struct {
		Dirent
		hash, minor uint32
	}
	var names []hashed
	blocks := m.dirFile(dir)
	version := uint8(HashTEA)
	for _, b := range blocks {
		b := bytes.Clone(b)
		for off, ok := 0, true; ok; {
			var d Dirent
			if d, off, ok = NextDirent(b, off); ok && d.Inode != 0 && string(d.Name) != "." && string(d.Name) != ".." {
				hash, minor := DirHash(m.sb.HashVersion(version), m.sb.HashSeed, d.Name)
				names = append(names, hashed{d, hash, minor})
			}
		}
	}
	slices.SortFunc(names, func(a, b hashed) int { return cmp.Compare(a.hash, b.hash) })
	filetype := m.sb.HasIncompat(IncompatFiletype)
	dxRoot := InitDxRoot(blocks[0], dir, RootIno, filetype, version)
	table, first := dxRoot.DxNode, 1
	if levels > 0 {
		dxRoot.SetLevels(blocks[0], 1)
		table, first = InitDxNode(blocks[1]), 2
	}
	// The leaves share the names evenly; all blocks are in use.
	leaves := len(blocks) - first
	per := (len(names) + leaves - 1) / leaves
	for i := range leaves {
		from, to := min(i*per, len(names)), min((i+1)*per, len(names))
		hash := 0xFFFFFF00 + uint32(i)*2
		if from < to {
			hash = names[from].hash
		}
		table.SetCount(i + 1)
		table.Set(i, DxEntry{Hash: hash, Block: uint32(first + i)})
		leaf := blocks[first+i]
		clear(leaf)
		off := 0
		for k := from; k < to; k++ {
			n := RecLen(len(names[k].Name))
			if k == to-1 {
				n = len(leaf) - off
			}
			PutDirent(leaf, off, names[k].Inode, n, names[k].Name, names[k].FileType)
			off += n
		}
		if from == to {
			PutDirent(leaf, 0, 0, len(leaf), nil, TypeUnknown)
		}
	}
	return len(names)
}
