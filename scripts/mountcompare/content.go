//go:build linux

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"hash/crc32"
)

// summer sums up a file's content page by page. Pages that are all zero are left
// out, so that a sum does not depend on who reads holes and who jumps over them.
type summer struct {
	hash  hash.Hash
	pages []pageSum
	bytes int64
}

func newSummer() *summer { return &summer{hash: sha256.New()} }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// add takes the bytes at offset off, a multiple of the page size; only the last
// piece of a file may end inside a page.
func (s *summer) add(p []byte, off int64) {
	s.bytes += int64(len(p))
	for index := uint64(off / pageSize); len(p) > 0; index++ {
		// Zeros at the end of a page say nothing: who reads to the end of the file
		// and who reads whole blocks must get the same sum.
		page := bytes.TrimRight(p[:min(pageSize, len(p))], "\x00")
		p = p[min(pageSize, len(p)):]
		if len(page) == 0 {
			continue
		}
		var head [12]byte
		binary.LittleEndian.PutUint64(head[:], index)
		binary.LittleEndian.PutUint32(head[8:], uint32(len(page)))
		s.hash.Write(head[:])
		s.hash.Write(page)
		s.pages = append(s.pages, pageSum{index, crc32.Checksum(page, castagnoli)})
	}
}

func (s *summer) store(n *node) {
	n.fields[fContent] = "sha256 " + hex.EncodeToString(s.hash.Sum(nil))
	n.pages = s.pages
}

// firstDifference is the first page in which two files differ, and how many do.
func firstDifference(a, b []pageSum) (index uint64, count int) {
	note := func(i uint64) {
		if count++; count == 1 {
			index = i
		}
	}
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].index < b[0].index:
			note(a[0].index)
			a = a[1:]
		case len(a) == 0 || b[0].index < a[0].index:
			note(b[0].index)
			b = b[1:]
		default:
			if a[0] != b[0] {
				note(a[0].index)
			}
			a, b = a[1:], b[1:]
		}
	}
	return index, count
}
