//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/fs/ext2"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

var infoVerb = verb{
	name: "info", operands: "IMAGE", least: 1, most: 1,
	doc: "tell what an image holds. The superblock as dumpe2fs -h shows it, how free space is cut up, and the partition table where there is one; also of an image that ext2fuse cannot mount, and why it cannot.",
	flags: func(f *pflag.FlagSet) {
		f.Bool("json", false, "print JSON, for programs")
		f.Bool("files", false, "count fragmented files, too (reads all inodes)")
	},
	run: runInfo,
}

// imageInfo is what info tells; the tags are its JSON.
type imageInfo struct {
	Image       string          `json:"image"`
	ImageRaw    []byte          `json:"image_bytes,omitempty"` // as rawBytes
	Partitions  []partitionInfo `json:"partitions,omitempty"`
	Superblock  *superInfo      `json:"superblock,omitempty"`
	CannotMount string          `json:"cannot_mount,omitempty"` // why
	Warnings    []string        `json:"warnings,omitempty"`     // of a mount
	Free        *freeInfo       `json:"free,omitempty"`
	Files       *filesInfo      `json:"files,omitempty"`
}

type partitionInfo struct {
	Number int    `json:"number"`
	Start  int64  `json:"start"` // bytes
	Size   int64  `json:"size"`  // bytes
	Table  string `json:"table"`
	Type   string `json:"type"`
	Name   string `json:"name,omitempty"`
	Holds  string `json:"holds,omitempty"`
}

// freeInfo is how the free space is cut up. Blocks are those of the file system.
type freeInfo struct {
	Blocks  uint64    `json:"blocks"`
	Total   uint64    `json:"total_blocks"`
	Runs    uint64    `json:"runs"`
	Largest uint64    `json:"largest_run"`
	Sizes   []runSize `json:"run_sizes"`
}

// runSize counts the runs of at least From and fewer than twice as many blocks.
type runSize struct {
	From   uint64 `json:"from"`
	Runs   uint64 `json:"runs"`
	Blocks uint64 `json:"blocks"`
}

type filesInfo struct {
	Files      uint64 `json:"files"`      // with content in blocks
	Fragmented uint64 `json:"fragmented"` // of them, in more than one piece
	Pieces     uint64 `json:"pieces"`
	Unread     uint64 `json:"unread,omitempty"` // places in the tree that cannot be read
}

func runInfo(c *call) error {
	info := imageInfo{Image: c.args[0], ImageRaw: rawBytes(c.args[0])}
	whole := c.config.fs.Part == 0 && c.config.fs.Offset == 0
	if whole {
		if err := info.readPartitions(c); err != nil {
			return err
		}
	}
	failed := false
	err := info.readSuperblock(c)
	var foreign *disk.NotExt2Error
	if err != nil && !(errors.As(err, &foreign) && len(info.Partitions) > 0) {
		return errors.New(c.config.oneLine(info.Image, err))
	}
	if err == nil {
		// What is on the disk now, not what a journal would make of it.
		fs, err := c.open(info.Image, false)
		if err != nil {
			info.CannotMount = err.Error()
			c.told(info.CannotMount)
		} else {
			info.Warnings = fs.Warnings()
			v := &view{fs: fs, image: info.Image}
			info.readUse(c, v)
			failed = v.failed
			if err := fs.Close(); err != nil {
				return fmt.Errorf("%s: %w", info.Image, err)
			}
		}
	}
	if c.set("json") {
		err = c.printJSON(&info)
	} else {
		info.print(c)
		err = nil
	}
	if err == nil && failed {
		err = errQuiet
	}
	return err
}

// printJSON prints a value as JSON for programs and people.
func (c *call) printJSON(v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return err
	}
	c.printf("%s", safeJSON(b.String()))
	return nil
}

// safeJSON is JSON with each character escaped that safe has in octal; JSON itself wants that of a
// few only.
func safeJSON(text string) string {
	var s strings.Builder
	for _, r := range text {
		if r >= 0x7f && isControl(r) {
			fmt.Fprintf(&s, "\\u%04x", r)
		} else {
			s.WriteRune(r)
		}
	}
	return s.String()
}

// readPartitions lists the partitions of the whole image, and what they seem to hold.
func (info *imageInfo) readPartitions(c *call) error {
	dev, err := blockio.Open(context.Background(), info.Image, blockio.OpenOptions{ReadOnly: true})
	if err != nil {
		return errors.New(c.config.oneLine(info.Image, err))
	}
	parts, err := blockio.Partitions(dev)
	if err != nil && !errors.Is(err, blockio.ErrNoPartition) {
		slog.Debug("no partition table", "error", err) // a boot sector of another kind
	}
	for _, p := range parts {
		info.Partitions = append(info.Partitions, partitionInfo{p.Number, p.Start, p.Size, p.Table, p.Type, p.Name, holds(dev, p.Start, p.Size)})
	}
	return dev.Close()
}

// holds says what a part of a device seems to hold.
func holds(dev blockio.Device, start, size int64) string {
	n := min(disk.SniffBytes, size, dev.Size()-start)
	if start < 0 || n <= 0 {
		return "lies behind the end of the image"
	}
	b := make([]byte, n)
	if _, err := dev.ReadvAt([][]byte{b}, start); err != nil {
		return ""
	}
	if len(b) >= disk.SuperblockOffset+disk.SuperblockSize {
		if sb, err := disk.DecodeSuperblock(b[disk.SuperblockOffset:]); err == nil && sb.Magic == disk.Magic {
			return kindOf(sb)
		}
	}
	return disk.Sniff(b).Name
}

// kindOf names the member of the family.
func kindOf(sb *disk.Superblock) string {
	const ext3Incompat = disk.IncompatFiletype | disk.IncompatRecover | disk.IncompatMetaBG
	kind := "ext2"
	switch {
	case sb.FeatureIncompat&^ext3Incompat != 0 || sb.FeatureROCompat&^(disk.ROCompatSparseSuper|disk.ROCompatLargeFile) != 0:
		kind = "ext4"
	case sb.HasCompat(disk.CompatHasJournal):
		kind = "ext3"
	}
	if label := sb.Label(); label != "" {
		kind += fmt.Sprintf(" %q", label)
	}
	return kind
}

// readSuperblock reads the superblock that -o chooses, without relying on the rest.
func (info *imageInfo) readSuperblock(c *call) error {
	o := &c.config.fs
	dev, err := blockio.Open(context.Background(), info.Image, blockio.OpenOptions{ReadOnly: true, Offset: o.Offset, SizeLimit: o.SizeLimit, Part: o.Part})
	if err != nil {
		return err
	}
	sb, err := ext2.ReadSuperblock(dev, o.Superblock)
	if err == nil {
		info.Superblock = newSuperInfo(sb)
	}
	if err = errors.Join(err, dev.Close()); err != nil {
		return fmt.Errorf("%s: %w", info.Image, err)
	}
	return nil
}

// readUse finds out how space is used. It tells what damage is in the way, goes on with the
// rest.
func (info *imageInfo) readUse(c *call, v *view) {
	if err := info.readFree(v.fs); err != nil {
		c.warn("%s: %v", v.image, reason(err))
		v.failed = true
	}
	if !c.set("files") {
		return
	}
	info.Files = &filesInfo{}
	seen := map[uint32]bool{}
	v.walk(".", func(name string, a ext2.Attr, err error) {
		if err == nil && a.Mode&unix.S_IFMT == unix.S_IFREG && !seen[a.Ino] {
			seen[a.Ino] = a.Nlink > 1
			err = info.Files.count(v.fs, a.Ino)
		}
		if err != nil {
			info.Files.Unread++
			c.fail(v, name, err)
		}
	})
}

// readFree finds out how the free space is cut up.
func (info *imageInfo) readFree(fs *ext2.FS) error {
	free := &freeInfo{Total: uint64(fs.Superblock().BlocksCount)}
	var sizes [64]runSize
	err := fs.FreeRuns(context.Background(), func(_, n uint64) bool {
		free.Runs++
		free.Blocks += n
		free.Largest = max(free.Largest, n)
		s := &sizes[bits.Len64(n)-1]
		s.Runs++
		s.Blocks += n
		return true
	})
	if err != nil {
		return err
	}
	for i, s := range sizes {
		if s.Runs > 0 {
			s.From = 1 << i
			free.Sizes = append(free.Sizes, s)
		}
	}
	info.Free = free
	return nil
}

// count adds a file: pieces are what a reader has to go to, with tables between them
// read in passing.
func (f *filesInfo) count(fs *ext2.FS, ino uint32) error {
	in, err := fs.Inode(ino)
	if err != nil {
		return err
	}
	defer in.Put()
	list, err := in.Extents(context.Background())
	if err != nil {
		return err
	}
	pieces, next := uint64(0), uint64(0)
	for _, e := range list {
		if e.Block != next {
			pieces++
		}
		next = e.Block + e.Count
	}
	if pieces > 0 {
		f.Files++
		f.Pieces += pieces
	}
	if pieces > 1 {
		f.Fragmented++
	}
	return nil
}

// print is info for people.
func (info *imageInfo) print(c *call) {
	if len(info.Partitions) > 0 {
		c.printf("Partition table: %s\n\n", info.Partitions[0].Table)
		rows := [][]string{{"PART", "START", "SIZE", "TYPE", "HOLDS"}}
		for _, p := range info.Partitions {
			what := p.Holds
			if p.Name != "" {
				what += " (" + safe(p.Name) + ")"
			}
			rows = append(rows, []string{fmt.Sprint(p.Number), fmt.Sprint(p.Start), humanBytes(p.Size), safe(p.Type), what})
		}
		c.printTable(rows, "rrrl")
		if info.Superblock == nil {
			c.printf("\nTo look into one: ext2fuse info -o part=N %s\n", safe(info.Image))
			return
		}
		c.printf("\n")
	}
	for _, f := range info.Superblock.fields() {
		c.printf("%-25s %s\n", f.label+":", safe(f.value))
	}
	if info.CannotMount != "" {
		c.printf("\nCannot be mounted:        %s\n", safe(info.CannotMount))
	}
	for _, w := range info.Warnings {
		c.printf("\nWarning:                  %s\n", safe(w))
	}
	if f := info.Free; f != nil {
		size := info.Superblock.BlockSize
		c.printf("\nFree space:               %s of %s (%s)\n", humanBytes(int64(f.Blocks)*size), humanBytes(int64(f.Total)*size), percent(f.Blocks, f.Total))
		c.printf("Free runs:                %d, the largest %s\n", f.Runs, humanBytes(int64(f.Largest)*size))
		if len(f.Sizes) > 0 {
			rows := [][]string{{"RUNS OF", "NUMBER", "FREE SPACE IN THEM"}}
			for _, s := range f.Sizes {
				rows = append(rows, []string{humanBytes(int64(s.From)*size) + " and more", fmt.Sprint(s.Runs),
					humanBytes(int64(s.Blocks)*size) + " (" + percent(s.Blocks, f.Blocks) + ")"})
			}
			c.printf("\n")
			c.printTable(rows, "rrr")
		}
	}
	if f := info.Files; f != nil {
		c.printf("\nFiles with content:       %d, %d of them in more than one piece (%s), in %d pieces\n",
			f.Files, f.Fragmented, percent(f.Fragmented, f.Files), f.Pieces)
		if f.Unread > 0 {
			c.printf("Not counted:              %s that cannot be read\n", plural(int(f.Unread), "place"))
		}
	}
}
