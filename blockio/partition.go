package blockio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/diskfs/go-diskfs/partition/mbr"
)

// Partition is an entry of a partition table.
type Partition struct {
	Number int    // as the kernel numbers it: from 1 on, logical ones of an MBR from 5 on
	Start  int64  // first byte on the device
	Size   int64  // bytes
	Table  string // "gpt" or "mbr"
	Type   string // GPT: type GUID; MBR: type byte in hexadecimal, as 0x83
	Name   string // GPT only
}

// Partitions lists the partitions of dev in the order of their numbers. A table that
// has none gives an empty list; no table at all is ErrNoPartition. Partitions may lie
// partly or wholly past the end of dev (a truncated image).
func Partitions(dev Device) ([]Partition, error) {
	r := &tableReader{dev: dev}
	parts, err := readGPT(r)
	if errors.Is(err, ErrNoPartition) {
		parts, err = readMBR(r)
	}
	if err == nil && r.err != nil {
		err = r.err
	}
	if err != nil {
		return nil, err
	}
	slices.SortFunc(parts, func(a, b Partition) int { return a.Number - b.Number })
	return parts, nil
}

// findPartition gives one partition, or says which there are.
func findPartition(dev Device, number int) (Partition, error) {
	parts, err := Partitions(dev)
	if err != nil {
		return Partition{}, err
	}
	var there []string
	for _, p := range parts {
		if p.Number == number {
			return p, nil
		}
		there = append(there, fmt.Sprint(p.Number))
	}
	if len(parts) == 0 {
		return Partition{}, fmt.Errorf("%w: %d (the partition table is empty)", ErrNoPartition, number)
	}
	return Partition{}, fmt.Errorf("%w: %d (there are: %s)", ErrNoPartition, number, strings.Join(there, ", "))
}

// Bounds of what a GPT may ask us to read.
const (
	gptEntrySize  = 128 // what everyone writes, and the library reads
	gptMaxEntries = 4096
	gptSignature  = "EFI PART"
)

// readGPT reads a GUID partition table, or its backup at the end of the device, with
// sectors of 512 or 4096 bytes. ErrNoPartition: there is none.
func readGPT(r *tableReader) ([]Partition, error) {
	for _, sector := range []int64{512, 4096} {
		table, err := gptAt(r, sector)
		if table == nil && err == nil {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("damaged GUID partition table: %w", err)
		}
		var parts []Partition
		for _, p := range table.Partitions {
			first, last := p.Start, p.End
			if last < first || last >= uint64(1<<62)/uint64(sector) {
				return nil, fmt.Errorf("damaged GUID partition table: partition %d goes from sector %d to %d", p.Index, first, last)
			}
			parts = append(parts, Partition{
				Number: p.Index,
				Start:  int64(first) * sector,
				Size:   int64(last-first+1) * sector,
				Table:  "gpt",
				Type:   string(p.Type),
				Name:   p.Name,
			})
		}
		return parts, nil
	}
	return nil, fmt.Errorf("%w: no partition table", ErrNoPartition)
}

// gptAt gives the table for one sector size; nil if there is none. The library takes
// the table's word for how much to read, so headers are looked at here first.
func gptAt(r *tableReader, sector int64) (*gpt.Table, error) {
	last := r.dev.Size()/sector - 1
	if last < 2 {
		return nil, nil
	}
	primary, backup := gptHeader(r, sector, 1), gptHeader(r, sector, last)
	if !primary.present && !(backup.present && protectiveMBR(r)) {
		return nil, r.err
	}
	if primary.err != nil && backup.err != nil {
		return nil, primary.err
	}
	if primary.err == nil {
		if table, err := gpt.Read(r.hiding(sector*last, backup.err != nil), int(sector), int(sector)); err == nil {
			return table, nil
		} else if backup.err != nil {
			return nil, err
		}
	}
	return gpt.Read(r.hiding(sector, true), int(sector), int(sector))
}

type gptFound struct {
	present bool // there is a header with the right signature
	err     error
}

func gptHeader(r *tableReader, sector, lba int64) gptFound {
	h := make([]byte, sector)
	if _, err := r.ReadAt(h, lba*sector); err != nil {
		return gptFound{err: err}
	}
	if string(h[:8]) != gptSignature {
		return gptFound{err: errors.New("no header")}
	}
	sum := binary.LittleEndian.Uint32(h[16:])
	clear(h[16:20])
	entries := binary.LittleEndian.Uint64(h[72:])
	count := binary.LittleEndian.Uint32(h[80:])
	size := binary.LittleEndian.Uint32(h[84:])
	found := gptFound{present: true}
	switch {
	case crc32.ChecksumIEEE(h[:92]) != sum:
		found.err = errors.New("header checksum is wrong")
	case size != gptEntrySize:
		found.err = fmt.Errorf("partition entries of %d bytes, expected %d", size, gptEntrySize)
	case count > gptMaxEntries:
		found.err = fmt.Errorf("%d partition entries, expected at most %d", count, gptMaxEntries)
	case entries > uint64(r.dev.Size()/sector):
		found.err = fmt.Errorf("partition entries at sector %d, past the end of the device", entries)
	}
	return found
}

// protectiveMBR tells whether the MBR says that a GPT is there.
func protectiveMBR(r *tableReader) bool {
	table, err := mbr.Read(r, 512, 512)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(table.Partitions, func(p *mbr.Partition) bool { return p.Type == 0xee })
}

// maxLogical bounds the chain of logical partitions.
const maxLogical = 128

// readMBR reads a DOS partition table with its logical partitions.
func readMBR(r *tableReader) ([]Partition, error) {
	const sector = 512
	if r.dev.Size() < sector {
		return nil, fmt.Errorf("%w: no partition table", ErrNoPartition)
	}
	table, err := mbr.Read(r, sector, sector)
	if err != nil {
		if r.err != nil {
			return nil, r.err
		}
		return nil, fmt.Errorf("%w: no partition table", ErrNoPartition)
	}
	var parts []Partition
	for _, p := range table.Partitions {
		if p.Type == mbr.Empty || p.Size == 0 {
			continue
		}
		parts = append(parts, mbrPartition(p, p.Index, 0))
		if isExtended(p.Type) {
			logical, err := readLogical(r, int64(p.Start))
			if err != nil {
				return nil, err
			}
			parts = append(parts, logical...)
		}
	}
	return parts, nil
}

// readLogical follows the chain of an extended partition that begins at sector base:
// in each link the first entry is a partition, counted from the link, the second the
// next link, counted from base.
func readLogical(r *tableReader, base int64) ([]Partition, error) {
	const sector = 512
	var parts []Partition
	seen := make(map[int64]bool)
	for link := base; ; {
		if seen[link] || len(parts) >= maxLogical {
			return nil, fmt.Errorf("damaged partition table: the chain of logical partitions at sector %d never ends", base)
		}
		seen[link] = true
		table, err := mbr.Read(r.from(link*sector), sector, sector)
		if err != nil {
			return nil, fmt.Errorf("damaged partition table: logical partition table at sector %d: %w", link, err)
		}
		if p := table.Partitions[0]; p.Type != mbr.Empty && p.Size != 0 {
			parts = append(parts, mbrPartition(p, 5+len(parts), link))
		}
		next := table.Partitions[1]
		if next.Size == 0 || !isExtended(next.Type) {
			return parts, nil
		}
		link = base + int64(next.Start)
	}
}

func mbrPartition(p *mbr.Partition, number int, base int64) Partition {
	return Partition{
		Number: number,
		Start:  (base + int64(p.Start)) * 512,
		Size:   int64(p.Size) * 512,
		Table:  "mbr",
		Type:   fmt.Sprintf("0x%02x", byte(p.Type)),
	}
}

func isExtended(t mbr.Type) bool { return t == 0x05 || t == 0x0f || t == 0x85 }

// tableReader lets the partition table library read a Device.
type tableReader struct {
	dev  Device
	base int64 // bytes; where the reader begins on dev
	pos  int64
	err  error // the first failure of the device itself

	hidden int64 // offset of a header that reads as zeros; negative: none
	hides  bool
}

// from is the reader moved to a later start.
func (r *tableReader) from(base int64) *tableReader {
	return &tableReader{dev: r.dev, base: base}
}

// hiding is the reader with the header at off out of sight, if hide.
func (r *tableReader) hiding(off int64, hide bool) *tableReader {
	return &tableReader{dev: r.dev, hidden: off, hides: hide}
}

func (r *tableReader) ReadAt(p []byte, off int64) (int, error) {
	off += r.base
	if off < 0 || off >= r.dev.Size() {
		return 0, io.EOF
	}
	want := len(p)
	p = p[:min(int64(want), r.dev.Size()-off)]
	n, err := r.dev.ReadvAt([][]byte{p}, off)
	if err != nil {
		if r.err == nil {
			r.err = err
		}
		return n, err
	}
	if r.hides && r.hidden >= off && r.hidden < off+int64(n) {
		clear(p[r.hidden-off:][:min(int64(n)-(r.hidden-off), int64(len(gptSignature)))])
	}
	if n < want {
		return n, io.EOF
	}
	return n, nil
}

func (r *tableReader) Read(p []byte) (int, error) {
	n, err := r.ReadAt(p, r.pos)
	r.pos += int64(n)
	return n, err
}

func (r *tableReader) Seek(off int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		off += r.pos
	case io.SeekEnd:
		off += r.dev.Size() - r.base
	}
	r.pos = off
	return off, nil
}

func (r *tableReader) Close() error { return nil }

func (r *tableReader) Stat() (fs.FileInfo, error) { return nil, fs.ErrInvalid }
