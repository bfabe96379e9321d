//go:build linux

package disk

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// checkStat compares every inode with what debugfs stat says, and checks every
// directory block and the file types in its entries.
func (m *image) checkStat() {
	inodes := m.inodes()
	commands := make([]string, len(inodes))
	for i, ino := range inodes {
		commands[i] = fmt.Sprintf("stat <%d>", ino)
	}
	texts := strings.Split(ext2test.Debugfs(m, m.path, commands...), "debugfs: stat ")[1:]
	if len(texts) != len(inodes) {
		m.Fatalf("debugfs gave %d answers for %d inodes", len(texts), len(inodes))
	}
	for i, text := range texts {
		m.compareStat(inodes[i], text)
	}
	m.walk(func(path string, dir, ino uint32, fileType uint8) {
		want := uint8(TypeUnknown)
		if in := m.inode(ino); m.sb.HasIncompat(IncompatFiletype) {
			want = FileType(in.Mode)
		}
		if fileType != want {
			m.Errorf("%s: the entry says type %d, expected %d", path, fileType, want)
		}
	})
}

// statTypes are debugfs's words for file types.
var statTypes = map[uint16]string{
	ModeReg: "regular", ModeDir: "directory", ModeSymlink: "symlink", ModeFIFO: "FIFO", ModeSocket: "socket",
	ModeChar: "character special", ModeBlock: "block special", 0: "bad type",
}

var fastLink = regexp.MustCompile(`(?s)Fast link dest: "(.*)"\n`)

func (m *image) compareStat(ino uint32, text string) {
	in := m.inode(ino)
	time := func(t Timespec) string {
		if in.ExtraSize == 0 {
			return fmt.Sprintf("0x%08x", uint32(t.Sec))
		}
		return fmt.Sprintf("0x%08x:%08x", uint32(t.Sec), uint32((t.Sec-int64(int32(t.Sec)))>>32)|t.Nsec<<2)
	}
	lines := []string{
		fmt.Sprintf("Inode: %d   Type: %s    Mode:  0%03o   Flags: 0x%x", ino, statTypes[in.Mode&ModeFmt], in.Mode&0o7777, in.Flags),
		fmt.Sprintf("Generation: %d", in.Generation),
		fmt.Sprintf("User: %5d   Group: %5d", int32(in.UID), int32(in.GID)), fmt.Sprintf("Size: %d\n", in.Size),
		fmt.Sprintf("File ACL: %d", in.FileACL),
		fmt.Sprintf("Links: %d   Blockcount: %d\n", in.Links, in.Sectors),
		"ctime: " + time(in.Ctime) + " --", "atime: " + time(in.Atime) + " --", "mtime: " + time(in.Mtime) + " --",
	}
	if in.ExtraSize > 0 {
		lines = append(lines, "crtime: "+time(in.Btime)+" --", fmt.Sprintf("Size of extra inode fields: %d\n", in.ExtraSize))
	}
	if in.IsDevice() {
		major, minor := in.Rdev()
		lines = append(lines, fmt.Sprintf("Device major/minor number: %02d:%02d", major, minor))
	}
	if in.FastSymlink(m.sb) {
		lines = append(lines, fmt.Sprintf("Fast link dest: %q\n", in.SymlinkTarget()))
		if found := fastLink.FindStringSubmatch(text); found != nil {
			text += fmt.Sprintf("Fast link dest: %q\n", found[1]) // debugfs quotes nothing
		}
	}
	for _, line := range lines {
		if !strings.Contains(text, line) {
			m.Errorf("inode %d: we say %q, debugfs says\n%s", ino, line, text)
		}
	}
}

// walk calls f for each name of the tree but "." and "..", having checked each directory
// block and the inodes.
func (m *image) walk(f func(path string, dir, ino uint32, fileType uint8)) {
	m.walkDir("/", RootIno, f)
}

func (m *image) walkDir(path string, dir uint32, f func(path string, dir, ino uint32, fileType uint8)) {
	in := m.inode(dir)
	blocks := m.fileBlocks(in)
	if want := in.Size / uint64(m.sb.BlockSize()); uint64(len(blocks)) != want {
		m.Fatalf("%s: %d blocks found, expected %d", path, len(blocks), want)
	}
	for _, block := range blocks {
		b := m.block(block)
		if err := CheckDirBlock(b, m.sb.InodesCount); err != nil {
			m.Errorf("%s: block %d: %v", path, block, err)
			continue
		}
		for off := 0; ; {
			d, next, ok := NextDirent(b, off)
			if !ok {
				if off != len(b) {
					m.Errorf("%s: block %d: the entries end at %d", path, block, off)
				}
				break
			}
			off = next
			if name := string(d.Name); d.Inode != 0 && name != "." && name != ".." {
				f(path+name, dir, d.Inode, d.FileType)
				if child := m.inode(d.Inode); child.IsDir() {
					m.walkDir(path+name+"/", d.Inode, f)
				}
			}
		}
	}
}
