//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/ext2fuse/ext2fuse/fs/ext2"
)

var mapVerb = verb{
	name: "map", operands: "IMAGE FILE", least: 1, most: 2,
	doc: "show where the blocks of a file lie. Extents in file order, with holes and with the indirect blocks that map them; as a picture with --svg. IMAGE:FILE is another way to say IMAGE FILE.",
	flags: func(f *pflag.FlagSet) {
		f.Bool("json", false, "print JSON, for programs")
		f.Bool("svg", false, "print a picture (SVG) of the file and of where on the disk it lies")
	},
	run: runMap,
}

// fileMap is what map shows. Blocks are of BlockSize bytes.
type fileMap struct {
	Image     string    `json:"image"`
	ImageRaw  []byte    `json:"image_bytes,omitempty"` // as rawBytes
	Path      string    `json:"path"`
	PathRaw   []byte    `json:"path_bytes,omitempty"`
	Inode     uint32    `json:"inode"`
	Size      int64     `json:"size"` // bytes
	BlockSize int64     `json:"block_size"`
	Extents   []mapLine `json:"extents"`
	Pieces    int       `json:"pieces"` // that a reader has to go to, indirect blocks included

	diskBlocks uint64
	firstBlock uint64
	perGroup   uint64
}

// mapLine is a run of blocks. A hole has no place on the disk, an indirect block none in
// the file but the first block that it maps.
type mapLine struct {
	Kind  string `json:"kind"` // data, hole, indirect, double indirect, triple indirect
	File  uint64 `json:"file_block"`
	Disk  uint64 `json:"disk_block,omitempty"`
	Count uint64 `json:"blocks"`
}

var levelNames = []string{"data", "indirect", "double indirect", "triple indirect"}

func runMap(c *call) error {
	if c.set("json") && c.set("svg") {
		return usagef("--json and --svg exclude each other")
	}
	v, names, err := c.look()
	if err != nil {
		return err
	}
	m, err := newFileMap(v, names[0])
	if err != nil {
		c.fail(v, names[0], err)
	}
	if err = v.end(); m == nil {
		return err
	}
	// Of a damaged file it is what was found up to the damage.
	switch {
	case c.set("json"):
		err = errors.Join(err, c.printJSON(m))
	case c.set("svg"):
		c.printf("%s", m.svg())
	default:
		m.print(c)
	}
	return err
}

// newFileMap maps a file. With an error it is nil, or as much as could be found.
func newFileMap(v *view, name string) (*fileMap, error) {
	in, err := v.inode(name, true)
	if err != nil {
		return nil, err
	}
	defer in.Put()
	sb := v.fs.Superblock()
	m := &fileMap{Image: v.image, ImageRaw: rawBytes(v.image), Path: shown(name), PathRaw: rawBytes(shown(name)), Inode: in.Ino(), Size: in.Attr().Size, BlockSize: int64(v.fs.BlockSize()),
		diskBlocks: uint64(sb.BlocksCount), firstBlock: uint64(sb.FirstDataBlock), perGroup: uint64(sb.BlocksPerGroup)}
	list, err := in.Extents(context.Background())
	m.fill(list, err == nil && (in.IsReg() || in.IsDir()))
	return m, err
}

// fill makes the lines of extents, with holes between them and, if complete, behind.
func (m *fileMap) fill(list []ext2.Extent, complete bool) {
	m.Extents = []mapLine{}
	hole, next := uint64(0), uint64(0) // file block, disk block
	for _, e := range list {
		if e.Level == 0 && e.File > hole {
			m.Extents = append(m.Extents, mapLine{Kind: "hole", File: hole, Count: e.File - hole})
		}
		if e.Level == 0 {
			hole = e.File + e.Count
		}
		if e.Block != next {
			m.Pieces++
		}
		next = e.Block + e.Count
		m.Extents = append(m.Extents, mapLine{levelNames[e.Level], e.File, e.Block, e.Count})
	}
	if end := uint64(m.Size+m.BlockSize-1) / uint64(m.BlockSize); complete && end > hole {
		m.Extents = append(m.Extents, mapLine{Kind: "hole", File: hole, Count: end - hole})
	}
}

// counts are the blocks of content, of tables, and in holes.
func (m *fileMap) counts() (data, tables, holes uint64) {
	for _, l := range m.Extents {
		switch l.Kind {
		case "data":
			data += l.Count
		case "hole":
			holes += l.Count
		default:
			tables += l.Count
		}
	}
	return data, tables, holes
}

// print is the map as text.
func (m *fileMap) print(c *call) {
	data, tables, holes := m.counts()
	c.printf("%s:%s: inode %d, %d bytes, blocks of %d bytes\n", safe(m.Image), safe(m.Path), m.Inode, m.Size, m.BlockSize)
	c.printf("%d blocks of data, %d indirect, %d in holes; on the disk in %s\n", data, tables, holes, plural(m.Pieces, "piece"))
	if len(m.Extents) == 0 {
		return
	}
	rows := [][]string{{"FILE BLOCKS", "DISK BLOCKS", "COUNT", "KIND"}}
	for _, l := range m.Extents {
		file, on := blockRange(l.File, l.Count), blockRange(l.Disk, l.Count)
		switch l.Kind {
		case "data":
		case "hole":
			on = ""
		default:
			file = fmt.Sprintf("from %d", l.File)
		}
		rows = append(rows, []string{file, on, fmt.Sprint(l.Count), l.Kind})
	}
	c.printf("\n")
	c.printTable(rows, "rrr")
}

func blockRange(first, n uint64) string {
	if n == 1 {
		return fmt.Sprint(first)
	}
	return fmt.Sprintf("%d-%d", first, first+n-1)
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
