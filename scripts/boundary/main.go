//go:build linux

// Command boundary draws docs/boundary.svg: what reaches the device when the first 17
// blocks of a classic ext2 file are read, without the boundary rule, with it, and
// with the indirect block riding along. The image comes from mke2fs, the reads are
// the engine's own, and what is drawn is blockio's trace of them.
//
//	go run ./scripts/boundary -o docs/boundary.svg
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/ext2fuse/ext2fuse/blockio"
	"github.com/ext2fuse/ext2fuse/cache"
	"github.com/ext2fuse/ext2fuse/mpage"
)

const (
	blockSize  = 4096
	fileBlocks = 17
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("boundary: ")
	out := flag.String("o", "docs/boundary.svg", "the `file` to draw")
	flag.Parse()
	dir, err := os.MkdirTemp("", "boundary-")
	if err != nil {
		log.Fatal(err)
	}
	err = draw(dir, *out)
	os.RemoveAll(dir)
	if err != nil {
		log.Fatal(err)
	}
}

// draw makes the image in dir, reads it in the three ways, and writes the picture.
func draw(dir, out string) error {
	img, content, err := makeImage(dir)
	if err != nil {
		return err
	}
	pointers, err := filePointers(img)
	if err != nil {
		return err
	}
	panels := []panel{
		{title: "without the boundary rule"},
		{title: "with the rule", rule: true},
		{title: "with the indirect block riding along", rule: true, ride: true},
	}
	for i := range panels {
		if err := panels[i].read(img, pointers, content); err != nil {
			return fmt.Errorf("%s: %w", panels[i].title, err)
		}
	}
	return os.WriteFile(out, picture(panels, int64(pointers[0]), int64(pointers[direct])), 0o644)
}

// makeImage makes an image with one file of 17 blocks, laid out as ext2 always has:
// twelve data blocks, the indirect block, the rest.
func makeImage(dir string) (img string, content []byte, err error) {
	root := filepath.Join(dir, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		return "", nil, err
	}
	content = make([]byte, fileBlocks*blockSize)
	rand.NewChaCha8([32]byte{17}).Read(content)
	if err := os.WriteFile(filepath.Join(root, "file"), content, 0o644); err != nil {
		return "", nil, err
	}
	img = filepath.Join(dir, "image")
	// mke2fs is not on a plain user's PATH everywhere.
	if err := os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin"); err != nil {
		return "", nil, err
	}
	cmd := exec.Command("mke2fs", "-q", "-t", "ext2", "-b", fmt.Sprint(blockSize), "-d", root, img, "8M")
	if msg, err := cmd.CombinedOutput(); err != nil {
		return "", nil, fmt.Errorf("mke2fs: %w: %s", err, msg)
	}
	return img, content, nil
}

// panel is one way to read the file, and what the device saw of it.
type panel struct {
	title      string
	rule, ride bool
	seen       []blockio.TraceLine
}

// read reads the file through a traced device and keeps the trace.
func (p *panel) read(img string, pointers [15]uint32, content []byte) error {
	dev, err := blockio.Open(context.Background(), img, blockio.OpenOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	var log bytes.Buffer
	trace := blockio.NewTrace(dev, &log)
	metadata := cache.New(trace, blockSize, 1<<20)
	var buffers mpage.Buffers
	if p.ride {
		buffers = metadata
	}
	engine := mpage.New(trace, blockSize, buffers)
	got := make([]byte, len(content))
	m := &mapper{pointers: pointers, cache: metadata, rule: p.rule}
	_, _, err = engine.Read(m, got, 0, int64(len(got)))
	if err := errors.Join(err, trace.Close()); err != nil {
		return err
	}
	if !bytes.Equal(got, content) {
		return errors.New("read other bytes than were written")
	}
	return blockio.ReadTrace(&log, func(l blockio.TraceLine) error {
		p.seen = append(p.seen, l)
		return nil
	})
}
