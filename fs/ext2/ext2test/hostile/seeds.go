//go:build linux

// Package hostile makes images that somebody means ill with: good images, small ones
// with one of everything in them, and changes to them that know the structures, so that
// what comes out is wrong in one place and right elsewhere.
package hostile

import (
	"bytes"
	"compress/gzip"
	"embed"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/ext2fuse/ext2fuse/blockio/blockiotest"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
)

//go:embed testdata/seed-*.img.gz
var seedFiles embed.FS

// Image is a good image, and where in it the structures are.
type Image struct {
	Name string
	dev  *blockiotest.Mem
	sb   *disk.Superblock
	bs   int64 // block size in bytes

	// Byte offsets in the image.
	inodes   []int64 // inodes in use
	tables   []int64 // indirect blocks
	dirs     []int64 // directory blocks
	roots    []int64 // first blocks of indexed directories
	entries  []int64 // directory entries
	xattrs   []int64 // attribute blocks
	groups   []int64 // group descriptors
	bitmaps  []int64
	journal  []int64  // blocks of the journal
	pointers []uint32 // numbers that mean something in this image
}

// Seeds are the good images, made by testdata/make-seeds.sh.
func Seeds() ([]*Image, error) {
	files, err := seedFiles.ReadDir("testdata")
	if err != nil {
		return nil, err
	}
	var all []*Image
	for _, f := range files {
		data, err := unpack(path.Join("testdata", f.Name()))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
		name := strings.TrimSuffix(strings.TrimPrefix(f.Name(), "seed-"), ".img.gz")
		im := &Image{Name: name, dev: blockiotest.MemOf(data)}
		if err := im.survey(); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
		all = append(all, im)
	}
	return all, nil
}

func unpack(name string) ([]byte, error) {
	packed, err := seedFiles.ReadFile(name)
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// Device is a copy of the image, to be damaged and used up.
func (im *Image) Device() *blockiotest.Mem { return im.dev.Clone() }
