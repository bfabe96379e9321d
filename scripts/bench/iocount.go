//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ioRequest is the request size that the ideal count of requests is made with, in bytes.
const ioRequest = 1 << 20

// Names of figures; see figures.
const (
	figureRequests   = "requests for a cold sequential read"
	figureIdeal      = "requests at 1 MiB each"
	figureMountHuge  = "mounting a sparse image of 1 TiB"
	figureMemoryHuge = "memory, 1 TiB image mounted (peak)"
	figureIdle       = "memory, idle"
	figureUsed       = "memory, after reading everything"
	figureReadPeak   = "memory, while reading everything (peak)"
)

// ioCount counts the requests that ext2fuse sends to the image while a contiguous file
// is read from its start to its end, everything cold.
func (b *runner) ioCount(ctx context.Context, d *driver) error {
	if b.noCold == "" {
		if err := evict(ctx, b.image, d.path, "dd"); err != nil {
			return err
		}
	}
	trace := filepath.Join(b.scratch, "trace")
	m, err := b.mount(ctx, d, "trace="+trace)
	if err != nil {
		return err
	}
	dd := []string{"dd", "if=" + filepath.Join(m.dir, contiguousFile), "of=" + os.DevNull, "bs=1M", "status=none"}
	if m.readAhead()<<10 < ioRequest/2 {
		// A plain user's mount reads ahead less; so the requests are made by hand.
		dd = append(dd, "iflag=direct")
	}
	before, err := os.Stat(trace)
	if err == nil {
		_, err = timed(ctx, dd)
	}
	if err := errors.Join(err, m.close()); err != nil {
		return err
	}
	text, err := os.ReadFile(trace)
	if err != nil {
		return err
	}
	requests, n, err := countReads(text[before.Size():])
	if err != nil {
		return err
	}
	if n < b.sizes.contiguous {
		return fmt.Errorf("the trace tells of %d bytes read, the file has %d", n, b.sizes.contiguous)
	}
	b.report.addFigure(figureRequests, d.name, "requests", float64(requests))
	b.report.addFigure(figureIdeal, d.name, "requests", float64(b.sizes.contiguous/ioRequest))
	return nil
}

// countReads counts the reads in lines of fio's iolog, version 2, and their bytes:
//
//	FILE read OFFSET LENGTH …
func countReads(text []byte) (requests int, n int64, err error) {
	for line := range bytes.Lines(text) {
		columns := strings.Fields(string(line))
		if len(columns) < 4 || columns[1] != "read" {
			continue
		}
		length, err := strconv.ParseInt(columns[3], 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("trace line %q: %w", line, err)
		}
		requests++
		n += length
	}
	return requests, n, nil
}
