//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// written is the state of the runs that write: a fresh image, a fresh mount, and the
// unmount is part of the time.
const written state = "written"

// writeWorkload is something a user does that writes.
type writeWorkload struct {
	name, title string
	bytes       int64
	prepare     []string // worker arguments run before the time begins; nil: none
	command     []string // program and arguments, run in the mount
	optional    bool     // only where -only names it
	inodes      int      // that the image must have; 0: what mke2fs gives
}

// Words of the worker that write; see workwrite.go.
const (
	makeWord   = "make"
	removeWord = "remove"
	fsyncWord  = "fsync"
	patchWord  = "patch"
)

// writeWorkloads lists what is written, in the order of the report. tree is an archive
// of Go's source tree.
func writeWorkloads(s writeSizes, self, tree string) []writeWorkload {
	dd := func(bs string, bytes, block int64, conv string) []string {
		return []string{"dd", "if=/dev/zero", "of=file", "bs=" + bs, "count=" + strconv.FormatInt(bytes/block, 10), "conv=" + conv, "status=none"}
	}
	worker := func(word string, n int) []string { return []string{self, workerWord, word, strconv.Itoa(n)} }
	stream := dd("1M", s.stream, 1<<20, "fsync")
	untar := []string{"tar", "xf", tree}
	list := []writeWorkload{
		{name: "write", title: "sequential write with fsync, " + mib(s.stream), bytes: s.stream, command: stream},
		{name: "overwrite", title: "overwrite with fsync, " + mib(s.stream), bytes: s.stream, prepare: stream,
			command: dd("1M", s.stream, 1<<20, "fsync,notrunc")},
		{name: "write4k", title: "4 KiB writes with fsync, " + mib(s.small), bytes: s.small, command: dd("4k", s.small, blockSize, "fsync")},
		{name: "patch", title: fmt.Sprintf("random 4 KiB overwrites, %d, then fsync", s.patches), prepare: stream, command: worker(patchWord, s.patches)},
		{name: "untar", title: "untar of Go's source tree", command: untar},
		{name: "rm", title: "rm -rf of it", prepare: untar, command: []string{"rm", "-rf", "go"}},
		{name: "create", title: fmt.Sprintf("%d creates in one directory", s.names), command: worker(makeWord, s.names)},
		{name: "unlink", title: fmt.Sprintf("%d unlinks in random order", s.names), prepare: worker(makeWord, s.names), command: worker(removeWord, s.names)},
		{name: "fsync", title: fmt.Sprintf("%d small files, each fsynced", s.fsyncs), command: worker(fsyncWord, s.fsyncs)},
	}
	for n := 1000; n <= 1_000_000; n *= 10 {
		list = append(list, writeWorkload{name: fmt.Sprintf("curve%d", n), title: fmt.Sprintf("%d creates in one directory (curve)", n),
			command: worker(makeWord, n), optional: true, inodes: n + 1000})
	}
	return list
}

// writeSizes say how much is written: bytes, and numbers of files.
type writeSizes struct {
	image, stream, small   int64
	names, fsyncs, patches int
}

var (
	fullWrites  = writeSizes{4 << 30, 768 << 20, 256 << 20, 20_000, 300, 20_000}
	quickWrites = writeSizes{1 << 30, 32 << 20, 8 << 20, 500, 20, 200}
)

// writes measures what writes: all drivers in turns, a new image each time, checked by
// e2fsck after the unmount.
func (b *runner) writes(ctx context.Context) error {
	sizes := fullWrites
	if b.quick {
		sizes = quickWrites
	}
	tree, err := b.goTree(ctx)
	if err != nil {
		b.leaveOut("untar and rm: %v", err)
	}
	peak := map[string]int64{}
	for _, w := range writeWorkloads(sizes, b.self, tree) {
		asked := b.only.MatchString(w.name) && (!w.optional || b.only.String() != "")
		if !asked || tree == "" && (w.name == "untar" || w.name == "rm") {
			continue
		}
		r := &row{Workload: w.name, Title: w.title, State: written, Bytes: w.bytes,
			Seconds: map[string][]float64{}, Summary: map[string]summary{}}
		slow := map[string]bool{}
		for round := 0; round <= b.rounds; round++ {
			for i := range b.drivers {
				d := b.drivers[(round+i)%len(b.drivers)]
				if d.name == emptyName || slow[d.name] {
					continue
				}
				took, mem, err := b.writeTurn(ctx, d, &w, sizes.image)
				if err != nil {
					return fmt.Errorf("%s: %s: %w", w.name, d.name, err)
				}
				peak[d.name] = max(peak[d.name], mem)
				slow[d.name] = round == 0 && took > tooLong
				if round > 0 || slow[d.name] {
					r.Seconds[d.name] = append(r.Seconds[d.name], took.Seconds())
				}
			}
		}
		for name, series := range r.Seconds {
			r.Summary[name] = summarize(series)
		}
		b.say("%s", r.line())
		b.report.Rows = append(b.report.Rows, r)
	}
	for _, d := range b.drivers {
		if mem := peak[d.name]; mem > 0 {
			b.report.addFigure(figureMemoryWrite, d.name, "bytes", float64(mem))
		}
	}
	return nil
}

// figureMemoryWrite is the most memory a server had in the workloads that write.
const figureMemoryWrite = "most memory while writing"

// writeTurn runs a workload once: new image, mount, what comes before, then the time of
// the program and the unmount, then e2fsck.
func (b *runner) writeTurn(ctx context.Context, d *driver, w *writeWorkload, size int64) (took time.Duration, mem int64, err error) {
	image := filepath.Join(b.scratch, "write.img")
	defer os.Remove(image)
	if err := newImage(ctx, image, size, w.inodes); err != nil {
		return 0, 0, err
	}
	m, err := b.mountWritable(ctx, d, image)
	if err != nil {
		return 0, 0, err
	}
	if w.prepare != nil {
		_, err = timedIn(ctx, m.dir, w.prepare)
		if err == nil {
			_, err = command(ctx, "sync", "-f", m.dir)
		}
	}
	begin := time.Now()
	if err == nil {
		_, err = timedIn(ctx, m.dir, w.command)
	}
	paused := time.Now()
	if err == nil && m.pid != 0 {
		_, mem, err = memoryOf(m.pid)
	}
	again := time.Now()
	err = errors.Join(err, m.close())
	took = time.Since(again) + paused.Sub(begin)
	if err == nil {
		err = fsck(ctx, "-f", "-n", image)
	}
	return took, mem, err
}

// newImage makes an empty ext2 file system in a sparse file.
func newImage(ctx context.Context, path string, size int64, inodes int) error {
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		return err
	}
	if err := os.Truncate(path, size); err != nil {
		return err
	}
	args := []string{"mke2fs", "-q", "-F", "-t", "ext2", "-b", strconv.Itoa(blockSize), "-I", "256",
		"-E", fmt.Sprintf("root_owner=%d:%d", os.Getuid(), os.Getgid())}
	if inodes > 0 {
		args = append(args, "-N", strconv.Itoa(inodes))
	}
	_, err := command(ctx, append(args, path)...)
	return err
}

// goTree makes an archive of the source tree of the Go that runs here, under go/; a
// quick run makes do with a package.
func (b *runner) goTree(ctx context.Context) (string, error) {
	root, err := command(ctx, "go", "env", "GOROOT")
	if err != nil {
		return "", err
	}
	part := "src"
	if b.quick {
		part = "src/fmt"
	}
	path := filepath.Join(b.scratch, "go.tar")
	_, err = command(ctx, "tar", "cf", path, "--transform", "s,^src,go,", "-C", strings.TrimSpace(root), part)
	if err != nil {
		return "", err
	}
	return path, nil
}
