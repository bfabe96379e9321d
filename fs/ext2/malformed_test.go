//go:build linux

package ext2

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

// badMap is a damaged block map and what reading the file must give: the first good
// bytes, then EIO and one log line that names the inode, the file block and the device block.
type badMap struct {
	name  string
	lay   func(c *crafted, fs *FS, b *[15]uint32) (device uint32) // gives the block that the message must name
	file  int64                                                   // file block of the fault
	says  string
	holes bool // reading the first blocks needs no fault to be met
}

var badMaps = []badMap{
	{name: "direct outside", file: 3, says: "outside of the file system",
		lay: func(c *crafted, fs *FS, b *[15]uint32) uint32 { b[3] = fs.sb.BlocksCount; return b[3] }},
	{name: "direct far outside", file: 3, says: "outside of the file system",
		lay: func(c *crafted, fs *FS, b *[15]uint32) uint32 { b[3] = 1<<32 - 1; return b[3] }},
	{name: "direct to the superblock", file: 3, says: "outside of the file system",
		lay:   func(c *crafted, fs *FS, b *[15]uint32) uint32 { b[3] = fs.sb.FirstDataBlock; return b[3] },
		holes: true},
	{name: "direct to the descriptors", file: 3, says: "superblock or descriptors of group 0",
		lay: func(c *crafted, fs *FS, b *[15]uint32) uint32 { b[3] = fs.sb.FirstDataBlock + 1; return b[3] }},
	{name: "direct to the block bitmap", file: 3, says: "block bitmap of group 0",
		lay: func(c *crafted, fs *FS, b *[15]uint32) uint32 { b[3] = fs.groups[0].blockBitmap; return b[3] }},
	{name: "direct to the inode bitmap", file: 3, says: "inode bitmap of group 0",
		lay: func(c *crafted, fs *FS, b *[15]uint32) uint32 { b[3] = fs.groups[0].inodeBitmap; return b[3] }},
	{name: "direct into the inode table", file: 3, says: "inode table of group 0",
		lay: func(c *crafted, fs *FS, b *[15]uint32) uint32 { b[3] = fs.groups[0].inodeTable; return b[3] }},
	{name: "indirect outside", file: 12, says: "outside of the file system",
		lay: func(c *crafted, fs *FS, b *[15]uint32) uint32 { b[12] = fs.sb.BlocksCount + 5; return b[12] }},
	{name: "indirect into the inode table", file: 12, says: "inode table",
		lay: func(c *crafted, fs *FS, b *[15]uint32) uint32 { b[12] = fs.groups[0].inodeTable; return b[12] }},
	{name: "pointer in the indirect block outside", file: 14, says: "outside of the file system",
		lay: func(c *crafted, fs *FS, b *[15]uint32) uint32 {
			b[12] = c.take()
			c.setPtr(b[12], 0, c.take())
			c.setPtr(b[12], 1, c.take())
			c.setPtr(b[12], 2, 1<<31)
			return 1 << 31
		}},
	{name: "indirect points to itself", file: 13, says: "a loop",
		lay: func(c *crafted, fs *FS, b *[15]uint32) uint32 {
			b[12] = c.take()
			c.setPtr(b[12], 0, c.take())
			c.setPtr(b[12], 1, b[12])
			return b[12]
		}},
	{name: "double indirect points to itself", file: -1, says: "a loop",
		lay: func(c *crafted, fs *FS, b *[15]uint32) uint32 {
			b[13] = c.take()
			c.setPtr(b[13], 0, b[13])
			return b[13]
		}},
	{name: "below the double indirect points to it", file: -1, says: "a loop",
		lay: func(c *crafted, fs *FS, b *[15]uint32) uint32 {
			b[13] = c.take()
			below := c.take()
			c.setPtr(b[13], 0, below)
			c.setPtr(below, 0, b[13])
			return b[13]
		}},
	{name: "second level of the double indirect outside", file: -1, says: "outside of the file system",
		lay: func(c *crafted, fs *FS, b *[15]uint32) uint32 {
			b[13] = c.take()
			c.setPtr(b[13], 0, fs.sb.BlocksCount)
			return fs.sb.BlocksCount
		}},
}

func TestBadMaps(t *testing.T) {
	for _, bs := range []int{1024, 4096, 65536} {
		for _, tt := range badMaps {
			t.Run(fmt.Sprintf("%dk/%s", bs/1024, tt.name), func(t *testing.T) {
				c := craft(t, bs)
				fault := tt.file
				if fault < 0 { // the first block of the double indirect tree
					fault = borders(bs)[2]
				}
				var iblock [15]uint32
				for ib := range min(fault, 12) {
					iblock[ib] = c.take()
					c.write(bytes.Repeat([]byte{byte(ib + 1)}, bs), int64(iblock[ib])*int64(bs))
				}
				device := tt.lay(c, c.open(Options{}), &iblock)
				if tt.holes && device == 0 {
					return // block 0 is no pointer but a hole
				}
				c.inode(fileIno, func(in *disk.Inode) { in.Block, in.Size = iblock, uint64(fault+1)*uint64(bs) })
				checkBadMap(t, c, fault, device, tt.says)
			})
		}
	}
}

func checkBadMap(t *testing.T, c *crafted, fault int64, device uint32, says string) {
	t.Helper()
	var log bytes.Buffer
	fs := c.open(Options{Logger: testLogger(&log)})
	in := openInode(t, fs, fileIno)
	bs := int64(c.blockSize)
	for range 3 {
		n, err := in.Read(ctx, make([]byte, bs), fault*bs)
		var corrupt *disk.CorruptError
		if n != 0 || Errno(err) != syscall.EIO || !errors.As(err, &corrupt) {
			t.Fatalf("reading the bad block: %d, %v", n, err)
		}
		if corrupt.Inode != fileIno || corrupt.Block != uint64(device) || !strings.Contains(corrupt.Detail, says) ||
			!strings.Contains(corrupt.Detail, fmt.Sprint("file block ", fault)) {
			t.Errorf("the error is %q, expected inode %d, file block %d, block %d, %q", err, fileIno, fault, device, says)
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("%d log lines, expected one:\n%s", n, log.String())
	}
	for ib := range min(fault, 12) {
		p := make([]byte, bs)
		if n, err := in.Read(ctx, p, ib*bs); n != int(bs) || err != nil || p[0] != byte(ib+1) || p[bs-1] != byte(ib+1) {
			t.Errorf("the good file block %d: %d, %v", ib, n, err)
		}
	}
	// A read that runs into the fault must fail, and must not pass wrong bytes for good.
	p := make([]byte, min((fault+1)*bs, 4<<20))
	if int64(len(p)) == (fault+1)*bs {
		n, err := in.ReaderAt(ctx).ReadAt(p, 0)
		if err == nil || int64(n) > fault*bs {
			t.Errorf("reading all: %d, %v", n, err)
		}
	}
}

// TestRunStopsBeforeMetadata: what is contiguous with a file's block need not be the
// file's.
func TestRunStopsBeforeMetadata(t *testing.T) {
	c := craft(t, 1024)
	fs := c.open(Options{})
	var iblock [15]uint32
	for i := range uint32(12) {
		iblock[i] = fs.sb.BlocksCount - 5 + i
	}
	c.inode(fileIno, func(in *disk.Inode) { in.Block, in.Size = iblock, 12*1024 })
	in := openInode(t, c.open(Options{}), fileIno)
	r, err := (*blockMap)(in).GetBlock(0, 12, false)
	if err != nil || r.Count != 5 || r.Block != uint64(fs.sb.BlocksCount-5) {
		t.Errorf("%+v, %v; expected 5 blocks", r, err)
	}
	if n, err := in.Read(ctx, make([]byte, 5*1024), 0); n != 5*1024 || err != nil {
		t.Errorf("the good part: %d, %v", n, err)
	}
}

// TestBadInodes: damage in the inode itself.
func TestBadInodes(t *testing.T) {
	for _, tt := range []struct {
		name   string
		damage func(fs *FS, in *disk.Inode)
		says   string
		errno  syscall.Errno
	}{
		{"negative size", func(fs *FS, in *disk.Inode) { in.Size = 1 << 63 }, "i_size", syscall.EIO},
		{"attribute block outside", func(fs *FS, in *disk.Inode) { in.FileACL = fs.sb.BlocksCount }, "i_file_acl", syscall.EIO},
		{"attribute block in the inode table", func(fs *FS, in *disk.Inode) { in.FileACL = fs.groups[0].inodeTable }, "i_file_acl", syscall.EIO},
		{"no such type", func(fs *FS, in *disk.Inode) { in.Mode = 0o30644 }, "i_mode", syscall.EIO},
		{"extents", func(fs *FS, in *disk.Inode) { in.Flags |= disk.InodeExtents }, "i_flags", syscall.EIO},
		{"extra size", func(fs *FS, in *disk.Inode) { in.ExtraSize = 1000 }, "i_extra_isize", syscall.EIO},
		{"deleted", func(fs *FS, in *disk.Inode) { in.Links, in.Dtime = 0, 1 }, "", syscall.ESTALE},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := craft(t, 1024)
			clean := c.open(Options{})
			c.inode(fileIno, func(in *disk.Inode) { tt.damage(clean, in) })
			var log bytes.Buffer
			fs := c.open(Options{Logger: testLogger(&log)})
			for range 3 {
				_, err := fs.Inode(fileIno)
				if Errno(err) != tt.errno || !strings.Contains(err.Error(), tt.says) {
					t.Fatalf("got %v", err)
				}
			}
			lines := 0
			if tt.says != "" {
				lines = 1
			}
			if n := strings.Count(log.String(), "\n"); n != lines || !strings.Contains(log.String(), tt.says) {
				t.Errorf("%d log lines, expected %d:\n%s", n, lines, log.String())
			}
		})
	}
}

// TestSizePastTheMap: a size that the block map cannot reach.
func TestSizePastTheMap(t *testing.T) {
	c := craft(t, 1024)
	c.inode(fileIno, func(in *disk.Inode) { in.Size = 1<<63 - 1 })
	var log bytes.Buffer
	in := openInode(t, c.open(Options{Logger: testLogger(&log)}), fileIno)
	end := borders(1024)[8] * 1024
	p := make([]byte, 4096)
	if n, err := in.Read(ctx, p, end-4096); n != 4096 || err != nil {
		t.Errorf("the last block the map reaches: %d, %v", n, err)
	}
	for _, off := range []int64{end, 1 << 50, 1<<63 - 4097} {
		if n, err := in.Read(ctx, p, off); n != 0 || Errno(err) != syscall.EIO {
			t.Errorf("past it, at %d: %d, %v", off, n, err)
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("%d log lines, expected one:\n%s", n, log.String())
	}
	if at, err := in.SeekHole(ctx, 1<<63-10); err != nil || at < 1<<63-10 {
		t.Errorf("SeekHole near the end of all numbers: %d, %v", at, err)
	}
	if at, err := in.SeekData(ctx, 0); !errors.Is(err, ErrNoData) {
		t.Errorf("SeekData in a hole: %d, %v", at, err)
	}
}

// TestFileInJournal: a file whose pointers lead into the journal in use cannot write there.
func TestFileInJournal(t *testing.T) {
	w := makeWritable(t, ext2test.Options{Type: "ext3", Args: []string{"-J", "size=1"}}, Options{})
	in := w.create("file", disk.ModeReg|0o644)
	w.write(in, []byte("content"), 0)
	ino := in.Ino()
	in.Put()
	first := w.fs.journal.extents[0].Start
	w.close()
	ext2test.DebugfsWrite(t, w.img, fmt.Sprintf("sif <%d> block[0] %d", ino, first+2))
	w.open(Options{})
	in = must(w.root.Lookup("file"))(t)
	if _, err := in.Write(ctx, []byte("scribble"), 0, WriteOptions{}); !isCorrupt(err) || !strings.Contains(err.Error(), "the journal") {
		t.Errorf("writing into the journal: %v", err)
	}
	in.Put()
	w.root.Put()
	if err := w.fs.Close(); err != nil {
		t.Error(err)
	}
}
