//go:build linux

package disk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	ext4 "github.com/dsoprea/go-ext4"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// image is an image file read into memory, with its superblock.
type image struct {
	testing.TB
	path string
	b    []byte
	sb   *Superblock
}

// command runs a program of e2fsprogs and gives what it prints on standard output.
func command(t testing.TB, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path = "/usr/sbin/" + name
	}
	out, err := exec.Command(path, args...).Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func load(t testing.TB, path string) *image {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sb, err := DecodeSuperblock(b[SuperblockOffset:])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sb.Check(int64(len(b)), false); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return &image{t, path, b, sb}
}

// block is a block's bytes, in place.
func (m *image) block(n uint64) []byte {
	bs := m.sb.BlockSize()
	return m.b[int(n)*bs:][:bs]
}

// desc is the descriptor of a group.
func (m *image) desc(g uint32) GroupDesc {
	per := m.sb.DescPerBlock()
	return DecodeGroupDesc(m.block(m.sb.DescBlock(g / per))[g%per*GroupDescSize:])
}

// inodeBytes is an inode's bytes, in place.
func (m *image) inodeBytes(ino uint32) []byte {
	g, i := m.sb.InodeGroup(ino)
	size := m.sb.InodeSize()
	off := int(m.desc(g).InodeTable)*m.sb.BlockSize() + int(i)*size
	return m.b[off:][:size]
}

func (m *image) inode(ino uint32) Inode { return DecodeInode(m.inodeBytes(ino), m.sb) }

// inodes gives the numbers of all inodes in use.
func (m *image) inodes() []uint32 {
	var all []uint32
	for g := range m.sb.GroupCount() {
		bitmap := m.block(uint64(m.desc(g).InodeBitmap))
		for i := range m.sb.InodesPerGroup {
			if bitmap[i/8]>>(i%8)&1 != 0 {
				all = append(all, g*m.sb.InodesPerGroup+i+1)
			}
		}
	}
	return all
}

// fileBlocks gives the blocks of a file, up to the first hole or the end of the double
// indirect block.
func (m *image) fileBlocks(in Inode) []uint64 {
	var all []uint64
	add := func(p uint32) bool {
		if p != 0 {
			all = append(all, uint64(p))
		}
		return p != 0
	}
	table := func(p uint32, f func(uint32) bool) {
		for i := 0; p != 0 && i < int(m.sb.AddrPerBlock()) && f(Ptr(m.block(uint64(p)), i)); i++ {
		}
	}
	for i := 0; i < NDirBlocks && add(in.Block[i]); i++ {
	}
	table(in.Block[IndBlock], add)
	table(in.Block[DIndBlock], func(p uint32) bool { table(p, add); return p != 0 })
	return all
}

// goldenImages are the shapes whose geometry and contents are compared.
var goldenImages = []struct {
	name string
	fill bool // with files, by mke2fs -d
	o    ext2test.Options
}{
	{"1k", true, ext2test.Options{Size: 40 << 20}},
	{"1k-128", false, ext2test.Options{InodeSize: 128, Args: []string{"-L", "a label", "-M", "/mnt/last"}}},
	{"1k-1024", false, ext2test.Options{InodeSize: 1024, Inodes: 500}},
	{"1k-rev0", true, ext2test.Options{Revision0: true, Size: 20 << 20}},
	{"1k-nosparse", false, ext2test.Options{Features: []string{"^sparse_super", "^resize_inode"}, Size: 40 << 20}},
	{"1k-small-groups", false, ext2test.Options{Size: 64 << 20, Args: []string{"-g", "256"}, Features: []string{"^resize_inode"}, Inodes: 4000}},
	{"1k-sparse2", false, ext2test.Options{Size: 40 << 20, Features: []string{"sparse_super2"}, Extended: []string{"num_backup_sb=2"}}},
	{"1k-sparse2-one", false, ext2test.Options{Size: 40 << 20, Features: []string{"sparse_super2"}, Extended: []string{"num_backup_sb=1"}}},
	{"1k-meta_bg", false, ext2test.Options{Size: 64 << 20, Args: []string{"-g", "256"}, Features: []string{"meta_bg", "^resize_inode"}, Inodes: 4000}},
	{"1k-meta_bg-nosparse", false, ext2test.Options{Size: 64 << 20, Args: []string{"-g", "256"}, Features: []string{"meta_bg", "^resize_inode", "^sparse_super"}, Inodes: 4000}},
	{"2k", true, ext2test.Options{BlockSize: 2048, InodeSize: 512, Args: []string{"-e", "panic"}}},
	{"2k-meta_bg", false, ext2test.Options{Size: 80 << 20, BlockSize: 2048, Args: []string{"-g", "512"}, Features: []string{"meta_bg", "^resize_inode"}, Inodes: 4000}},
	{"4k", true, ext2test.Options{BlockSize: 4096, Size: 160 << 20, Inodes: 3000}},
	{"4k-4096", false, ext2test.Options{BlockSize: 4096, InodeSize: 4096, Inodes: 300}},
	{"4k-ext3", false, ext2test.Options{BlockSize: 4096, Type: "ext3"}},
	{"8k", true, ext2test.Options{BlockSize: 8192, Size: 32 << 20}},
	{"64k", true, ext2test.Options{BlockSize: 65536, Size: 64 << 20, Inodes: 2000}},
}

// TestGolden takes images of mke2fs apart: what is decoded and encoded again is the
// same bytes, what dumpe2fs says of superblock and groups and debugfs of inodes is what
// we say, and go-ext4's structures hold the same numbers.
func TestGolden(t *testing.T) {
	root := t.TempDir()
	ext2test.Populate(t, root, 1024)
	for _, g := range goldenImages {
		t.Run(g.name, func(t *testing.T) {
			if g.fill {
				g.o.Root = root
			}
			m := load(t, ext2test.Make(t, g.o))
			m.checkSuperblocks()
			m.checkHeader()
			m.checkGroups()
			m.checkInodes()
			m.checkStat()
		})
	}
}

// checkSuperblocks encodes every copy of the superblock again.
func (m *image) checkSuperblocks() {
	for g := range m.sb.GroupCount() {
		if !m.sb.HasSuper(g) {
			continue
		}
		off := int(m.sb.GroupFirstBlock(g)) * m.sb.BlockSize()
		if g == 0 {
			off = SuperblockOffset
		}
		want := m.b[off:][:SuperblockSize]
		sb, err := DecodeSuperblock(want)
		if err != nil {
			m.Fatal(err)
		}
		if sb.Magic != Magic || m.sb.RevLevel > 0 && sb.BlockGroupNr != uint16(g) {
			m.Errorf("group %d: the copy of the superblock has magic %x, group %d", g, sb.Magic, sb.BlockGroupNr)
		}
		got := bytes.Repeat([]byte{0xA5}, SuperblockSize)
		if sb.Encode(got); !bytes.Equal(got, want) {
			m.Errorf("group %d: encoded superblock differs", g)
		}
	}
}

// dumpe2fs gives what dumpe2fs prints, its header as a map.
func dumpe2fs(t testing.TB, path string) (header map[string]string, groups []string) {
	t.Helper()
	out := command(t, "dumpe2fs", path)
	header = make(map[string]string)
	parts := regexp.MustCompile(`(?m)^Group \d+: `).Split(out, -1)
	for _, line := range strings.Split(parts[0], "\n") {
		if k, v, ok := strings.Cut(line, ":"); ok {
			header[k] = strings.TrimSpace(v)
		}
	}
	return header, parts[1:]
}

// checkHeader compares the superblock's fields with dumpe2fs's.
func (m *image) checkHeader() {
	header, _ := dumpe2fs(m, m.path)
	sb := m.sb
	or := func(s, none string) string {
		if s == "" {
			return none
		}
		return s
	}
	uuid := func(b [16]byte) string { return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]) }
	var seed [16]byte
	for i, w := range sb.HashSeed {
		binary.LittleEndian.PutUint32(seed[4*i:], w)
	}
	want := map[string]string{
		"Filesystem volume name": or(sb.Label(), "<none>"), "Last mounted on": or(cString(sb.LastMounted[:]), "<not available>"),
		"Filesystem UUID": uuid(sb.UUID), "Filesystem magic number": fmt.Sprintf("0x%X", sb.Magic),
		"Filesystem features": or(strings.Join(FeatureNames(sb.FeatureCompat, sb.FeatureIncompat, sb.FeatureROCompat), " "), "(none)"),
		"Filesystem state":    "clean", "Errors behavior": []string{1: "Continue", 2: "Remount read-only", 3: "Panic"}[sb.Errors],
		"Inode count": num(sb.InodesCount), "Block count": num(sb.BlocksCount), "Reserved block count": num(sb.RBlocksCount),
		"Free blocks": num(sb.FreeBlocksCount), "Free inodes": num(sb.FreeInodesCount), "First block": num(sb.FirstDataBlock),
		"Block size": num(sb.BlockSize()), "Fragment size": num(MinBlockSize << sb.LogFragSize),
		"Blocks per group": num(sb.BlocksPerGroup), "Fragments per group": num(sb.FragsPerGroup),
		"Inodes per group": num(sb.InodesPerGroup), "Inode blocks per group": num(sb.InodeTableBlocks()),
		"Mount count": num(sb.MntCount), "Maximum mount count": num(int16(sb.MaxMntCount)),
	}
	if sb.RevLevel > 0 {
		want["First inode"], want["Inode size"] = num(sb.FirstIno()), num(sb.InodeSize())
		want["Directory Hash Seed"] = uuid(seed)
		if sb.ReservedGDT > 0 {
			want["Reserved GDT blocks"] = num(sb.ReservedGDT)
		}
		if sb.InodeSize() > 128 {
			want["Required extra isize"], want["Desired extra isize"] = num(sb.MinExtraIsize), num(sb.WantExtraIsize)
		}
		if sb.DefHashVersion > 0 {
			want["Default directory hash"] = []string{"legacy", "half_md4", "tea"}[sb.DefHashVersion]
		}
		if sb.FirstMetaBG > 0 {
			want["First meta block group"] = num(sb.FirstMetaBG)
		}
		if sb.HasCompat(CompatHasJournal) {
			want["Journal inode"] = num(sb.JournalInum)
		}
	}
	for k, v := range want {
		if header[k] != v {
			m.Errorf("%s: we say %q, dumpe2fs %q", k, v, header[k])
		}
	}
}

func num[T ~int | ~int16 | ~uint16 | ~uint32 | ~uint64](n T) string { return fmt.Sprint(n) }

var (
	groupSuper  = regexp.MustCompile(`(?:Primary|Backup) superblock at (\d+)`)
	groupDescs  = regexp.MustCompile(`Group descriptors? at (\d+)(?:-(\d+))?`)
	groupBlock  = regexp.MustCompile(`Block bitmap at (\d+)`)
	groupInode  = regexp.MustCompile(`Inode bitmap at (\d+)`)
	groupTable  = regexp.MustCompile(`Inode table at (\d+)-(\d+)`)
	groupRange  = regexp.MustCompile(`^\(Blocks (\d+)-(\d+)\)`)
	groupCounts = regexp.MustCompile(`(\d+) free blocks, (\d+) free inodes, (\d+) directories`)
)

// numbers gives the submatches of re in s as numbers; missing ones are -1.
func numbers(re *regexp.Regexp, s string) []int64 {
	found := re.FindStringSubmatch(s)
	all := make([]int64, re.NumSubexp())
	for i := range all {
		all[i] = -1
		if i+1 < len(found) {
			if n, err := strconv.ParseInt(found[i+1], 10, 64); err == nil {
				all[i] = n
			}
		}
	}
	return all
}

// checkGroups compares geometry and descriptors with dumpe2fs's, group by group.
func (m *image) checkGroups() {
	sb := m.sb
	_, groups := dumpe2fs(m, m.path)
	if len(groups) != int(sb.GroupCount()) {
		m.Fatalf("we count %d groups, dumpe2fs %d", sb.GroupCount(), len(groups))
	}
	for g, text := range groups {
		g := uint32(g)
		same := func(what string, got, want []int64) {
			if fmt.Sprint(got) != fmt.Sprint(want) {
				m.Errorf("group %d, %s: we say %d, dumpe2fs %d", g, what, got, want)
			}
		}
		first := int64(sb.GroupFirstBlock(g))
		same("range", []int64{first, first + int64(sb.GroupBlocks(g)) - 1}, numbers(groupRange, text))
		super := int64(-1)
		if sb.HasSuper(g) {
			super = first
		}
		same("superblock", []int64{super}, numbers(groupSuper, text))
		d := m.desc(g)
		same("block bitmap", []int64{int64(d.BlockBitmap)}, numbers(groupBlock, text))
		same("inode bitmap", []int64{int64(d.InodeBitmap)}, numbers(groupInode, text))
		same("inode table", []int64{int64(d.InodeTable), int64(d.InodeTable+sb.InodeTableBlocks()) - 1}, numbers(groupTable, text))
		same("counts", []int64{int64(d.FreeBlocks), int64(d.FreeInodes), int64(d.UsedDirs)}, numbers(groupCounts, text))
		descs := numbers(groupDescs, text)
		count := int64(0)
		if descs[0] >= 0 {
			count = 1
			if descs[1] >= 0 {
				count = descs[1] - descs[0] + 1
			}
		}
		same("number of descriptor blocks", []int64{int64(sb.GroupDescBlocks(g))}, []int64{count})
		if err := sb.CheckGroupDesc(g, d); err != nil {
			m.Error(err)
		}
		m.checkDesc(g, d)
	}
	m.checkDescPlaces(groups)
}

// checkDesc encodes a descriptor again, and compares it with go-ext4's.
func (m *image) checkDesc(g uint32, d GroupDesc) {
	per := m.sb.DescPerBlock()
	raw := m.block(m.sb.DescBlock(g / per))[g%per*GroupDescSize:][:GroupDescSize]
	b := bytes.Clone(raw)
	clear(b[:20])
	if d.Encode(b); !bytes.Equal(b, raw) {
		m.Errorf("group %d: encoded descriptor differs", g)
	}
	var lib ext4.BlockGroupDescriptorData
	if err := binary.Read(bytes.NewReader(append(bytes.Clone(raw), make([]byte, 32)...)), binary.LittleEndian, &lib); err != nil {
		m.Fatal(err)
	}
	same := GroupDesc{lib.BgBlockBitmapLo, lib.BgInodeBitmapLo, lib.BgInodeTableLo, lib.BgFreeBlocksCountLo, lib.BgFreeInodesCountLo, lib.BgUsedDirsCountLo, lib.BgFlags}
	if same != d {
		m.Errorf("group %d: we say %+v, go-ext4 %+v", g, d, same)
	}
}

// checkDescPlaces compares the places of descriptor blocks, primary and copies, with
// what dumpe2fs says of the groups they lie in.
func (m *image) checkDescPlaces(groups []string) {
	sb := m.sb
	per := sb.DescPerBlock()
	for i := range sb.DescBlocks() {
		meta := sb.HasIncompat(IncompatMetaBG) && i >= sb.FirstMetaBG
		home, want := uint32(0), uint64(i)
		if meta {
			home, want = i*per, 0
		}
		want += uint64(numbers(groupDescs, groups[home])[0])
		if got := sb.DescBlock(i); got != want {
			m.Errorf("descriptor block %d: we say block %d, dumpe2fs %d", i, got, want)
		}
		// A copy: next to a superblock's copy, or in the second group of the meta group.
		copyAt, super := uint32(0), uint64(0)
		for g := uint32(1); g < sb.GroupCount() && copyAt == 0; g++ {
			if sb.HasSuper(g) {
				copyAt, super = g, sb.GroupFirstBlock(g)
			}
		}
		if copyAt == 0 {
			continue
		}
		want = uint64(i)
		if meta {
			copyAt, want = home, 0
			if home+1 < sb.GroupCount() {
				copyAt++
			}
		}
		want += uint64(numbers(groupDescs, groups[copyAt])[0])
		got := sb.DescBlockFrom(super, i)
		if got != want {
			m.Errorf("copy of descriptor block %d: we say block %d, dumpe2fs %d", i, got, want)
		}
		if a, b := DecodeGroupDesc(m.block(got)), DecodeGroupDesc(m.block(sb.DescBlock(i))); a.InodeTable != b.InodeTable {
			m.Errorf("copy of descriptor block %d: inode table %d, the primary says %d", i, a.InodeTable, b.InodeTable)
		}
	}
}

// checkInodes encodes every inode again and compares it with go-ext4's.
func (m *image) checkInodes() {
	for _, ino := range m.inodes() {
		raw := m.inodeBytes(ino)
		in := DecodeInode(raw, m.sb)
		b := bytes.Clone(raw)
		clear(b[:inoUIDHigh+4])
		if len(b) > GoodOldInodeSize {
			clear(b[inoExtraSize:][:2])
		}
		if in.ExtraSize == 32 {
			clear(b[inoCtimeExtra : inoBtimeExtra+4])
		}
		copy(b[inoFileACLHigh:][:2], raw[inoFileACLHigh:])
		if in.Encode(b, m.sb); !bytes.Equal(b, raw) {
			m.Errorf("inode %d: encoded again\n%x, expected\n%x", ino, b, raw)
		}
		m.compareLibrary(ino, in, raw)
		if ino != RootIno && ino < m.sb.FirstIno() {
			continue
		}
		if err := in.CheckInode(ino, m.sb); err != nil {
			m.Errorf("inode %d: %v", ino, err)
		}
	}
}

// compareLibrary compares an inode with go-ext4's structure for the same bytes.
func (m *image) compareLibrary(ino uint32, in Inode, raw []byte) {
	var lib ext4.InodeData
	padded := make([]byte, max(len(raw), binary.Size(lib)))
	copy(padded, raw)
	if err := binary.Read(bytes.NewReader(padded), binary.LittleEndian, &lib); err != nil {
		m.Fatal(err)
	}
	size := uint64(lib.ISizeLo)
	if lib.IMode&ModeFmt == ModeReg {
		size |= uint64(lib.ISizeHigh) << 32
	}
	type common struct {
		Mode, Links                                  uint16
		Size                                         uint64
		Dtime, Flags, Generation, FileACL, Sectors   uint32
		Atime, Ctime, Mtime, Btime                   int64
		Ansec, Cnsec, Mnsec, Bnsec, UIDLow, UIDGroup uint32
	}
	sec := func(s, extra uint32) int64 { return int64(int32(s)) + int64(extra&3)<<32 }
	want := common{lib.IMode, lib.ILinksCount, size, lib.IDtime, lib.IFlags, lib.IGeneration, lib.IFileAclLo, lib.IBlocksLo,
		sec(lib.IAtime, lib.IAtimeExtra), sec(lib.ICtime, lib.ICtimeExtra), sec(lib.IMtime, lib.IMtimeExtra), sec(lib.ICrtime, lib.ICrtimeExtra),
		lib.IAtimeExtra >> 2, lib.ICtimeExtra >> 2, lib.IMtimeExtra >> 2, lib.ICrtimeExtra >> 2, uint32(lib.IUid), uint32(lib.IGid)}
	got := common{in.Mode, in.Links, in.Size, in.Dtime, in.Flags, in.Generation, in.FileACL, in.Sectors,
		in.Atime.Sec, in.Ctime.Sec, in.Mtime.Sec, in.Btime.Sec,
		in.Atime.Nsec, in.Ctime.Nsec, in.Mtime.Nsec, in.Btime.Nsec, in.UID & math.MaxUint16, in.GID & math.MaxUint16}
	if got != want {
		m.Errorf("inode %d: we say\n%+v, go-ext4\n%+v", ino, got, want)
	}
}
