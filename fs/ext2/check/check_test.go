//go:build linux

package check_test

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/fs/ext2"
	"github.com/ext2fuse/ext2fuse/fs/ext2/check"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

var mutants = flag.Int("mutants", 100, "how many images with a random fault are shown to e2fsck and to this package")

// fsck is what e2fsck -f -n says of an image, "" when it is clean.
func fsck(t testing.TB, m *blockiotest.Mem) string {
	t.Helper()
	img := filepath.Join(t.TempDir(), "img")
	if err := os.WriteFile(img, m.Bytes(0, m.Size()), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("e2fsck", "-f", "-n", img).CombinedOutput()
	if err == nil {
		return ""
	}
	return string(out)
}

func load(t testing.TB, img string) *blockiotest.Mem {
	t.Helper()
	data, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	return blockiotest.MemOf(data)
}

// TestGoodImages: what mke2fs makes, and what the kernel made of it, is in order.
func TestGoodImages(t *testing.T) {
	kernel := map[string]bool{"1k-no-filetype": true, "1k-small-groups": true, "4k-no-dir_index": true, "1k-hash-tea": true}
	for _, r := range ext2test.Recipes() {
		if r.Window != "" || r.Large || r.Kernel && (ext2test.NoKernelMount() != "" || !kernel[r.Name]) {
			continue
		}
		t.Run(r.Name, func(t *testing.T) {
			m := load(t, r.Make(t))
			res := check.Image(m, check.Options{})
			if said := fsck(t, m); (said == "") != (len(res.Problems) == 0) {
				t.Errorf("e2fsck: %q; here: %q", said, res.Problems)
			}
		})
	}
}

// specimen is an image with one of everything, made by the driver: files with tables of
// two levels, holes, an indexed directory of two levels, attributes in inodes, in blocks
// and in shared blocks, links of all kinds.
func specimen(t testing.TB, bs int) *blockiotest.Mem {
	t.Helper()
	m := load(t, ext2test.Make(t, ext2test.Options{Size: 6 << 20, BlockSize: bs, Inodes: 512, InodeSize: 256}))
	fs, err := ext2.New(context.Background(), m.Clone(), ext2.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	keep := fs.Device().(*blockiotest.Mem)
	root, err := fs.Root()
	if err != nil {
		t.Fatal(err)
	}
	create := func(dir *ext2.Inode, name string, mode uint32) *ext2.Inode {
		in, err := dir.Create(context.Background(), name, ext2.CreateOptions{Mode: mode | 0o644, Target: strings.Repeat("t", 100), Major: 3, Minor: 4})
		if err != nil {
			t.Fatal(err)
		}
		return in
	}
	dir := create(root, "dir", disk.ModeDir)
	for i := range 200 {
		create(dir, fmt.Sprintf("name-%d-%s", i, strings.Repeat("n", 150)), disk.ModeReg).Put()
	}
	sub := create(dir, "sub", disk.ModeDir)
	for i, off := range []int64{0, 20 << 10, 400 << 10} {
		in := create(sub, fmt.Sprint("file", i), disk.ModeReg)
		_, werr := in.Write(context.Background(), ext2test.Content(uint64(i), 40<<10), off, ext2.WriteOptions{})
		err = errors.Join(werr, in.Setxattr(context.Background(), "user.small", []byte("v"), 0, ext2.Root), in.Setxattr(context.Background(), "user.large", make([]byte, 300), 0, ext2.Root),
			root.Link(context.Background(), fmt.Sprint("link", i), in, ext2.Root))
		if err != nil {
			t.Fatal(err)
		}
		in.Put()
	}
	for name, mode := range map[string]uint32{"long": disk.ModeSymlink, "fifo": disk.ModeFIFO, "dev": disk.ModeChar} {
		create(root, name, mode).Put()
	}
	dir.Put()
	sub.Put()
	root.Put()
	image := keep.Clone // the FS closes its device
	if err := fs.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := fs.Close(); err != nil {
		t.Fatal(err)
	}
	m = image()
	if said := fsck(t, m); said != "" {
		t.Fatal(said)
	}
	if res := check.Image(m, check.Options{}); len(res.Problems) > 0 {
		t.Fatalf("%q", res.Problems)
	}
	return m
}

// editor changes bytes of an image.
type editor struct {
	t  testing.TB
	m  *blockiotest.Mem
	r  *check.Result
	bs int64
}

func (e *editor) put(off int64, p []byte) {
	if _, err := e.m.WritevAt([][]byte{p}, off); err != nil {
		e.t.Fatal(err)
	}
}

func (e *editor) put16(off int64, v uint16) { e.put(off, binary.LittleEndian.AppendUint16(nil, v)) }
func (e *editor) put32(off int64, v uint32) { e.put(off, binary.LittleEndian.AppendUint32(nil, v)) }

func (e *editor) get32(off int64) uint32 { return binary.LittleEndian.Uint32(e.m.View(off, 4)) }

// inode is where the inode of a path lies, and what it is.
func (e *editor) inode(path string) (int64, *check.Node) {
	for _, n := range e.r.Nodes {
		for _, p := range n.Paths {
			if p == path {
				g, i := e.r.Super.InodeGroup(n.Ino)
				return int64(e.group(g).InodeTable)*e.bs + int64(i)*int64(e.r.Super.InodeSize()), n
			}
		}
	}
	e.t.Fatalf("no %s", path)
	return 0, nil
}

func (e *editor) group(g uint32) disk.GroupDesc {
	return disk.DecodeGroupDesc(e.m.View(int64(e.r.Super.DescBlock(0))*e.bs+int64(g)*disk.GroupDescSize, disk.GroupDescSize))
}

// at is where block i of the file at path lies.
func (e *editor) at(path string, i int) int64 {
	_, n := e.inode(path)
	return int64(n.Content[i].Block) * e.bs
}

// entry is where the entry of a name lies in its directory.
func (e *editor) entry(dir, name string) int64 {
	_, n := e.inode(dir)
	for _, m := range n.Content {
		b := e.m.View(int64(m.Block)*e.bs, e.bs)
		if d, ok := disk.FindDirent(b, name); ok {
			return int64(m.Block)*e.bs + int64(d.Off)
		}
	}
	e.t.Fatalf("no %s in %s", name, dir)
	return 0
}

func (e *editor) flip(off int64, bit int) {
	e.put(off+int64(bit/8), []byte{e.m.View(off+int64(bit/8), 1)[0] ^ 1<<(bit%8)})
}

// Offsets of fields, in bytes.
const (
	iMode, iSize, iDtime, iLinks, iBlocks, iFlags, iBlock, iFileACL = 0, 4, 20, 26, 28, 32, 40, 104
	sFreeBlocks, sFreeInodes, sLastOrphan                           = 1024 + 12, 1024 + 16, 1024 + 0xE8
)

// faults are what can be wrong with an image, each made by one edit.
var faults = []struct {
	name string
	do   func(e *editor)
	only bool // e2fsck lets it pass, or repairs it without a word
}{
	{"s_free_blocks_count", func(e *editor) { e.put32(sFreeBlocks, 7) }, true},
	{"s_free_inodes_count", func(e *editor) { e.put32(sFreeInodes, 7) }, true},
	{"s_last_orphan", func(e *editor) { _, n := e.inode("/link0"); e.put32(sLastOrphan, n.Ino) }, true},
	{"bg_free_blocks_count", func(e *editor) { e.put16(int64(e.r.Super.DescBlock(0))*e.bs+12, 7) }, false},
	{"bg_free_inodes_count", func(e *editor) { e.put16(int64(e.r.Super.DescBlock(0))*e.bs+14, 7) }, false},
	{"bg_used_dirs_count", func(e *editor) { e.put16(int64(e.r.Super.DescBlock(0))*e.bs+16, 7) }, false},
	{"block in use marked free", func(e *editor) { e.flip(int64(e.group(0).BlockBitmap)*e.bs, int(e.group(0).InodeTable)+2) }, false},
	{"free block marked in use", func(e *editor) { e.flip(int64(e.group(0).BlockBitmap)*e.bs, int(e.r.Super.BlocksCount)-5) }, false},
	{"padding of the block bitmap", func(e *editor) { e.flip(int64(e.group(0).BlockBitmap)*e.bs, int(e.bs)*8-1) }, false},
	{"inode in use marked free", func(e *editor) { _, n := e.inode("/link0"); e.flip(int64(e.group(0).InodeBitmap)*e.bs, int(n.Ino)-1) }, false},
	{"free inode marked in use", func(e *editor) { e.flip(int64(e.group(0).InodeBitmap)*e.bs, int(e.r.Super.InodesCount)-1) }, false},
	{"padding of the inode bitmap", func(e *editor) { e.flip(int64(e.group(0).InodeBitmap)*e.bs, int(e.bs)*8-1) }, false},
	{"i_links_count", func(e *editor) { off, _ := e.inode("/link0"); e.put16(off+iLinks, 3) }, false},
	{"i_links_count of a directory", func(e *editor) { off, _ := e.inode("/dir"); e.put16(off+iLinks, 2) }, false},
	{"i_links_count 0", func(e *editor) { off, _ := e.inode("/link0"); e.put16(off+iLinks, 0) }, false},
	{"deleted without i_dtime", func(e *editor) { off, _ := e.inode("/fifo"); e.put16(off+iLinks, 0); e.put32(off+iDtime, 0) }, false},
	{"in use with i_dtime", func(e *editor) { off, _ := e.inode("/link0"); e.put32(off+iDtime, 1700000000) }, false},
	{"i_blocks", func(e *editor) { off, n := e.inode("/link0"); e.put32(off+iBlocks, n.Inode.Sectors+uint32(e.bs)/512) }, false},
	{"i_size before the last block", func(e *editor) { off, _ := e.inode("/link0"); e.put32(off+iSize, 100) }, false},
	{"i_size of a directory", func(e *editor) { off, _ := e.inode("/dir"); e.put32(off+iSize, uint32(e.bs)) }, false},
	{"i_size of a fast symlink", func(e *editor) { off, _ := e.inode("/long"); e.put32(off+iSize, 50) }, false},
	{"i_mode of no type", func(e *editor) { off, _ := e.inode("/link0"); e.put16(off+iMode, 0xF1A4) }, false},
	{"file type of a name", func(e *editor) { e.put(e.entry("/", "link0")+7, []byte{disk.TypeFIFO}) }, false},
	{"pointer out of range", func(e *editor) { off, _ := e.inode("/link0"); e.put32(off+iBlock, 1<<30) }, false},
	{"pointer into the inode table", func(e *editor) { off, _ := e.inode("/link0"); e.put32(off+iBlock, e.group(0).InodeTable) }, false},
	{"two owners", func(e *editor) {
		off, _ := e.inode("/link0")
		_, other := e.inode("/link1")
		e.put32(off+iBlock, other.Content[0].Block)
	}, false},
	{"two owners, one a table", func(e *editor) {
		off, _ := e.inode("/link0")
		e.put32(off+iBlock, e.get32(off+iBlock+48))
	}, false},
	{"pointer lost", func(e *editor) { off, _ := e.inode("/link1"); e.put32(off+iBlock+48, 0) }, false},
	{"table out of range", func(e *editor) { off, _ := e.inode("/link2"); e.put32(off+iBlock+48, 1<<29) }, false},
	{"pointer in a table out of range", func(e *editor) {
		off, _ := e.inode("/link1")
		e.put32(int64(e.get32(off+iBlock+48))*e.bs+4*10, 1<<28)
	}, false},
	{"i_file_acl out of range", func(e *editor) { off, _ := e.inode("/link0"); e.put32(off+iFileACL, 1<<30) }, false},
	{"i_file_acl of no attribute block", func(e *editor) { off, n := e.inode("/link0"); e.put32(off+iFileACL, n.Content[0].Block) }, false},
	{"h_refcount", func(e *editor) { _, n := e.inode("/link0"); e.put32(int64(n.Inode.FileACL)*e.bs+4, 2) }, false},
	{"h_magic", func(e *editor) { _, n := e.inode("/link0"); e.put32(int64(n.Inode.FileACL)*e.bs, 2) }, false},
	{"e_hash", func(e *editor) { _, n := e.inode("/link0"); e.put32(int64(n.Inode.FileACL)*e.bs+32+12, 2) }, false},
	{"e_value_offs", func(e *editor) { _, n := e.inode("/link0"); e.put16(int64(n.Inode.FileACL)*e.bs+32+2, 0xFFF0) }, false},
	{"name of an inode not in use", func(e *editor) { e.put32(e.entry("/", "link0"), e.r.Super.InodesCount) }, false},
	{"name of a reserved inode", func(e *editor) { e.put32(e.entry("/", "link0"), 5) }, false},
	{"name of the root", func(e *editor) { e.put32(e.entry("/", "dir"), 2) }, false},
	{"name out of range", func(e *editor) { e.put32(e.entry("/", "link0"), e.r.Super.InodesCount+9) }, false},
	{"name with a slash", func(e *editor) { e.put(e.entry("/", "link0")+8, []byte("a/b")) }, false},
	{"name twice", func(e *editor) { e.put(e.entry("/", "link0")+8, []byte("link1")) }, false},
	{"name of length 0", func(e *editor) { e.put(e.entry("/", "link0")+6, []byte{0}) }, false},
	{"name gone", func(e *editor) { e.put32(e.entry("/", "link0"), 0) }, false},
	{"directory with two names", func(e *editor) { _, n := e.inode("/dir"); e.put32(e.entry("/", "lost+found"), n.Ino) }, false},
	{"directory without a name", func(e *editor) { e.put32(e.entry("/", "dir"), 0) }, false},
	{"dot", func(e *editor) { e.put32(e.at("/dir/sub", 0), 2) }, false},
	{"dotdot", func(e *editor) { e.put32(e.at("/dir/sub", 0)+12, 2) }, false},
	{"dot is no dot", func(e *editor) { e.put(e.at("/dir/sub", 0)+8, []byte("x")) }, false},
	{"rec_len 0", func(e *editor) { e.put16(e.entry("/", "link0")+4, 0) }, false},
	{"rec_len past the end", func(e *editor) { e.put16(e.entry("/", "link0")+4, 60000) }, false},
	{"hole in a directory", func(e *editor) { off, _ := e.inode("/dir"); e.put32(off+iBlock+4, 0) }, false},
	{"index flag on a linear directory", func(e *editor) { off, n := e.inode("/"); e.put32(off+iFlags, n.Inode.Flags|disk.InodeIndex) }, false},
	{"index hash version", func(e *editor) { e.put(e.at("/dir", 0)+24+4, []byte{9}) }, false},
	{"index points past the end", func(e *editor) { e.put32(e.at("/dir", 0)+32+4, 1000) }, false},
	{"index has a block twice", func(e *editor) { e.put32(e.at("/dir", 0)+32+8+4, e.get32(e.at("/dir", 0)+32+4)) }, false},
	{"index hash out of order", func(e *editor) { e.put32(e.at("/dir", 0)+32+16, 2) }, false},
	{"index hash moved", func(e *editor) { off := e.at("/dir", 0) + 32 + 8; e.put32(off, e.get32(off)+0x1000000) }, false},
	{"index count", func(e *editor) { e.put16(e.at("/dir", 0)+34, 60000) }, false},
	{"target of a long symlink", func(e *editor) { e.put(e.at("/long", 0)+10, []byte{0}) }, false},
	{"device with pointers", func(e *editor) { off, _ := e.inode("/dev"); e.put32(off+iBlock+28, 77) }, true},
	{"reserved inode with a mode", func(e *editor) { e.put16(int64(e.group(0).InodeTable)*e.bs+8*256, 0x81A4) }, false},
	{"journal inode in use without a journal", func(e *editor) {
		off := int64(e.group(0).InodeTable)*e.bs + 7*256
		e.put16(off, 0x8180)
		e.put16(off+iLinks, 1)
	}, false},
}

// TestFaults: every fault that e2fsck finds is found here, too.
func TestFaults(t *testing.T) {
	for _, bs := range []int{1024, 4096} {
		good := specimen(t, bs)
		for _, f := range faults {
			t.Run(fmt.Sprint(f.name, " ", bs), func(t *testing.T) {
				t.Parallel()
				e := &editor{t: t, m: good.Clone(), r: check.Image(good, check.Options{}), bs: int64(bs)}
				f.do(e)
				said, res := fsck(t, e.m), check.Image(e.m, check.Options{})
				if said == "" != f.only || len(res.Problems) == 0 {
					t.Errorf("e2fsck: %q; here: %q", said, res.Problems)
				}
			})
		}
	}
}

// TestMutants changes a few bytes anywhere in the metadata: what e2fsck complains of has
// to be found here, too, whatever it is.
func TestMutants(t *testing.T) {
	const seed = 20
	t.Logf("seed %d", seed)
	good := map[int]*blockiotest.Mem{1024: specimen(t, 1024), 4096: specimen(t, 4096)}
	found := 0
	for i := range *mutants {
		rnd := rand.New(rand.NewPCG(seed, uint64(i)))
		bs := []int{1024, 4096}[i%2]
		m := good[bs].Clone()
		r := check.Image(m, check.Options{})
		off := mutate(rnd, &editor{t: t, m: m, r: r, bs: int64(bs)})
		said, res := fsck(t, m), check.Image(m, check.Options{})
		if said != "" {
			found++
			if len(res.Problems) == 0 {
				t.Errorf("mutant %d, byte %d (block %d, %d): only e2fsck says\n%s", i, off, off/int64(bs), off%int64(bs), said)
			}
		}
	}
	t.Logf("%d mutants, e2fsck complained of %d", *mutants, found)
}

// mutate changes one to four bytes of a bitmap, an inode in use or a block that a
// directory, a table or attributes fill.
func mutate(rnd *rand.Rand, e *editor) (off int64) {
	switch n := e.r.Nodes[rnd.IntN(len(e.r.Nodes))]; rnd.IntN(5) {
	case 0:
		off = int64(e.group(0).BlockBitmap)*e.bs + rnd.Int64N(e.bs)
	case 1:
		g, i := e.r.Super.InodeGroup(n.Ino)
		off = int64(e.group(g).InodeTable)*e.bs + int64(i)*256 + rnd.Int64N(128)
	case 2:
		if n.Inode.FileACL != 0 {
			off = int64(n.Inode.FileACL)*e.bs + rnd.Int64N(100)
			break
		}
		fallthrough
	default:
		_, dir := e.inode([]string{"/", "/dir", "/dir/sub"}[rnd.IntN(3)])
		off = int64(dir.Content[rnd.IntN(len(dir.Content))].Block)*e.bs + rnd.Int64N(e.bs)
	}
	p := make([]byte, 1+rnd.IntN(4))
	for i := range p {
		p[i] = byte(rnd.Uint32() >> 3)
		if rnd.IntN(2) == 0 {
			p[i] = 0
		}
	}
	e.put(off, p)
	return off
}

func BenchmarkImage(b *testing.B) {
	for _, bs := range []int{1024, 4096} {
		b.Run(fmt.Sprint(bs), func(b *testing.B) {
			m := specimen(b, bs)
			b.ReportAllocs()
			for b.Loop() {
				check.Image(m, check.Options{})
			}
		})
	}
}
