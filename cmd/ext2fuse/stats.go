//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/ext2fuse/ext2fuse/fs/ext2/fusefs"
)

var statsVerb = verb{
	name: "stats", operands: "MOUNTPOINT", least: 1, most: 1, plain: true,
	doc: "tell what a mount is doing. The messages of the kernel with their latencies, the requests to the image with their sizes, the cache of metadata, and the checkpoints, all since the mount; and the memory, goroutines and descriptors that the daemon has now. For who mounted it, and root; the daemon logs the same on SIGUSR1.",
	flags: func(f *pflag.FlagSet) {
		f.Bool("json", false, "print JSON, for programs")
	},
	run: func(c *call) error {
		raw, err := readStats(c.args[0])
		if err != nil {
			return err
		}
		if c.set("json") {
			var b bytes.Buffer
			if err := json.Indent(&b, raw, "", "  "); err != nil {
				return err
			}
			c.printf("%s\n", safeJSON(b.String()))
			return nil
		}
		var s fusefs.Stats
		if err := json.Unmarshal(raw, &s); err != nil {
			return fmt.Errorf("%s: the daemon's answer is not understood: %w", c.args[0], err)
		}
		c.printStats(&s)
		return nil
	},
}

// readStats asks the daemon that serves a mount point.
func readStats(dir string) ([]byte, error) {
	buf := make([]byte, 64<<10)
	n, err := unix.Getxattr(dir, fusefs.StatsXattr, buf)
	switch {
	case err == nil:
		return buf[:n], nil
	case errors.Is(err, unix.ENODATA), errors.Is(err, unix.EOPNOTSUPP):
		return nil, fmt.Errorf("%s is not where ext2fuse has mounted something; \"findmnt -t fuse.ext2fuse\" lists what it has", dir)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return nil, fmt.Errorf("%s: this is for who mounted it, and for root where others may enter (%v)", dir, err)
	case errors.Is(err, unix.ENOTCONN):
		return nil, fmt.Errorf("%s: the daemon is gone; remove the mount with \"umount %s\" or \"fusermount3 -u %s\"", dir, dir, dir)
	}
	return nil, fmt.Errorf("%s: %w", dir, err)
}

// logStats logs what stats prints, a record for a line.
func logStats(logger *slog.Logger, s *fusefs.Stats) {
	var b bytes.Buffer
	(&call{stdout: &b}).printStats(s)
	for line := range strings.Lines(b.String()) {
		if line = strings.TrimRight(line, "\n"); line != "" {
			logger.Info(line)
		}
	}
}

// printStats is stats for people.
func (c *call) printStats(s *fusefs.Stats) {
	mode := "read-write"
	if s.ReadOnly {
		mode = "read-only"
	}
	c.printf("%s on %s, %s, for %s, by process %d\n\n", safe(orText(string(s.ImageBytes), s.Image)), safe(orText(string(s.MountPointBytes), s.MountPoint)), mode,
		(time.Duration(s.Uptime * float64(time.Second))).Round(time.Second), s.PID)
	rows := [][]string{{"MESSAGE", "COUNT", "ERRORS", "MEAN", "P50", "P99", "MAX"}}
	for _, o := range s.Operations {
		rows = append(rows, append([]string{o.Name, fmt.Sprint(o.Count), fmt.Sprint(o.Errors)}, latencyCells(o.LatencyStat)...))
	}
	c.printTable(rows, "lrrrrrr")
	rows = [][]string{{"REQUESTS", "COUNT", "BYTES", "MEAN", "P50", "P99", "MAX"}}
	rows = append(rows, append([]string{"from the kernel: read"}, sizeCells(s.ReadBytes)...), append([]string{"from the kernel: write"}, sizeCells(s.WriteBytes)...))
	for _, d := range s.Device {
		rows = append(rows, append([]string{"to the image: " + d.Name}, sizeCells(d.SizeStat)...))
	}
	c.printf("\n")
	c.printTable(rows, "lrrrrrr")
	c.printf("\nmetadata cache: %d hits, %d misses (%s), %s of %s, %s changed since the last checkpoint\n",
		s.Cache.Hits, s.Cache.Misses, percent(s.Cache.Hits, s.Cache.Hits+s.Cache.Misses), humanBytes(s.Cache.Bytes), humanBytes(s.Cache.Limit), humanBytes(s.Cache.Dirty))
	if k := s.Checkpoint; k.Count > 0 {
		last := ""
		if k.Last != nil {
			last = ", the last " + time.Since(*k.Last).Round(time.Second).String() + " ago"
		}
		w, p := latencyCells(k.Written), latencyCells(k.Stopped)
		c.printf("checkpoints: %d, %d durable, %d blocks%s; written in %s (p99 %s), operations waited %s (p99 %s)\n",
			k.Count, k.Durable, k.Blocks, last, w[0], w[2], p[0], p[2])
	}
	p := s.Process
	c.printf("process: %d goroutines, %d threads, %d descriptors; %s resident, %s at most, %s of it live\n",
		p.Goroutines, p.Threads, p.Descriptors, humanBytes(p.Resident), humanBytes(p.ResidentMost), humanBytes(p.Live))
}

func latencyCells(l fusefs.LatencyStat) []string {
	var cells []string
	for _, us := range []float64{l.Mean, l.P50, l.P99, l.Max} {
		d := time.Duration(us * float64(time.Microsecond))
		switch {
		case d >= time.Second:
			d = d.Round(10 * time.Millisecond)
		case d >= time.Millisecond:
			d = d.Round(10 * time.Microsecond)
		default:
			d = d.Round(100 * time.Nanosecond)
		}
		cells = append(cells, d.String())
	}
	return cells
}

func sizeCells(s fusefs.SizeStat) []string {
	cells := []string{fmt.Sprint(s.Count), humanBytes(int64(s.Bytes))}
	for _, n := range []uint64{s.Mean, s.P50, s.P99, s.Max} {
		cells = append(cells, humanBytes(int64(n)))
	}
	return cells
}
