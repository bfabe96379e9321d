//go:build linux

package main

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// content sums up a file's bytes, or reads a symlink's target, by the block map.
func (d *debugger) content(in *debugInode) error {
	switch in.mode & unix.S_IFMT {
	case unix.S_IFLNK:
		if in.fast {
			return nil
		}
		target, err := d.read(in, in.size)
		in.fields[fTarget] = quote(string(target))
		return err
	case unix.S_IFREG:
	default:
		return nil
	}
	sum := newSummer()
	var holes ranges
	var pages pageBuffer
	start, end := int64(0), int64(0) // the data range being gathered
	for _, r := range in.blocks {
		off, length := r.logical*d.blockSize, r.count*d.blockSize
		if off >= in.size {
			break
		}
		if length = min(length, in.size-off); off != end {
			if end > start {
				holes.add(start, end)
			}
			start = off
		}
		end = off + length
		if err := pages.fill(d, sum, off, r.physical*d.blockSize, length); err != nil {
			return err
		}
	}
	if end > start {
		holes.add(start, end)
	}
	pages.flush(sum)
	sum.store(&in.node)
	in.fields[fHoles] = holes.String()
	d.tree.bytes += sum.bytes
	return d.ctx.Err()
}

// pageBuffer gathers blocks smaller than a page into pages, and passes larger runs on.
type pageBuffer struct {
	page  [pageSize]byte
	index int64
	used  bool
}

// fill reads length bytes of the image, from offset at on, as the file's bytes from
// off on.
func (p *pageBuffer) fill(d *debugger, sum *summer, off, at, length int64) error {
	buf := make([]byte, min(length, 1<<20))
	for length > 0 {
		n := min(length, int64(len(buf)), pageSize-off%pageSize)
		if off%pageSize == 0 && length >= pageSize {
			n = min(length, int64(len(buf))) / pageSize * pageSize
		}
		if _, err := d.image.ReadAt(buf[:n], d.window.offset+at); err != nil {
			return err
		}
		if n >= pageSize {
			p.flush(sum)
			sum.add(buf[:n], off)
		} else {
			if p.used && p.index != off/pageSize {
				p.flush(sum)
			}
			copy(p.page[off%pageSize:], buf[:n])
			p.index, p.used = off/pageSize, true
		}
		off, at, length = off+n, at+n, length-n
	}
	return nil
}

// flush passes the gathered page on.
func (p *pageBuffer) flush(sum *summer) {
	if p.used {
		sum.add(p.page[:], p.index*pageSize)
		*p = pageBuffer{}
	}
}

// read returns the first length bytes of a file.
func (d *debugger) read(in *debugInode, length int64) ([]byte, error) {
	if length < 0 || length > maxDirectory {
		return nil, fmt.Errorf("%d bytes are too many here", length)
	}
	data := make([]byte, length)
	for _, r := range in.blocks {
		off, n := r.logical*d.blockSize, r.count*d.blockSize
		if off >= length {
			break
		}
		if _, err := d.image.ReadAt(data[off:min(off+n, length)], d.window.offset+r.physical*d.blockSize); err != nil {
			return nil, err
		}
	}
	return data, nil
}

// maxDirectory bounds what is read into memory at once.
const maxDirectory = 1 << 30

// directory reads the entries of a directory from its blocks.
func (d *debugger) directory(ino uint32) ([]dirent, error) {
	in := d.inodes[ino]
	data, err := d.read(in, in.size)
	if err != nil {
		return nil, err
	}
	return parseDirectory(data, int(d.blockSize), d.tree.filetype)
}

// parseDirectory decodes struct ext2_dir_entry_2: inode 4, rec_len 2, name_len 1,
// file_type 1, name.
func parseDirectory(data []byte, blockSize int, filetype bool) ([]dirent, error) {
	var all []dirent
	for off := 0; off+8 <= len(data); {
		e := data[off:]
		length := int(binary.LittleEndian.Uint16(e[4:]))
		if length == 0 || length == 65535 {
			length = 65536 // blocks of 64 KiB: does not fit 16 bits
		}
		nameLen := int(e[6])
		if length < 8+nameLen || off%blockSize+length > blockSize {
			return nil, fmt.Errorf("malformed directory entry at byte %d", off)
		}
		if ino := binary.LittleEndian.Uint32(e); ino != 0 {
			dtype := uint8(unix.DT_UNKNOWN)
			if filetype && int(e[7]) < len(dtypes) {
				dtype = dtypes[e[7]]
			}
			all = append(all, dirent{string(e[8 : 8+nameLen]), uint64(ino), dtype})
		}
		off += length
	}
	return all, nil
}

// dtypes is DT_… by the file type in a directory entry.
var dtypes = [...]uint8{unix.DT_UNKNOWN, unix.DT_REG, unix.DT_DIR, unix.DT_CHR, unix.DT_BLK, unix.DT_FIFO, unix.DT_SOCK, unix.DT_LNK}
