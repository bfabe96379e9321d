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

// settle is how long a server is left alone before its idle memory is looked at.
const settle = 2 * time.Second

// hugeImage is the size of the sparse image that is mounted, in bytes.
const hugeImage = 1 << 40

// figures measures what is not the time of a workload: requests, memory, mounting.
func (b *runner) figures(ctx context.Context) error {
	for _, d := range b.drivers {
		if d.name == emptyName || !b.only.MatchString("figures") {
			continue
		}
		if d.name == ext2fuseName {
			if err := b.ioCount(ctx, d); err != nil {
				return fmt.Errorf("counting requests: %w", err)
			}
		}
		if d.path != "" {
			if err := b.idle(ctx, d); err != nil {
				return fmt.Errorf("%s: idle memory: %w", d.name, err)
			}
		}
	}
	if !b.only.MatchString("figures") {
		return nil
	}
	return b.huge(ctx)
}

// idle measures a server's memory, at rest after the mount and after everything was
// read once, and the most it had meanwhile.
func (b *runner) idle(ctx context.Context, d *driver) error {
	m, err := b.mount(ctx, d)
	if err != nil {
		return err
	}
	look := func(name string) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(settle):
		}
		now, _, err := memoryOf(m.pid)
		b.report.addFigure(name, d.name, "bytes", float64(now))
		return err
	}
	err = look(figureIdle)
	if err == nil {
		_, err = digest(ctx, m.dir)
	}
	if err == nil {
		err = look(figureUsed)
	}
	if err == nil {
		var peak int64
		_, peak, err = memoryOf(m.pid)
		b.report.addFigure(figureReadPeak, d.name, "bytes", float64(peak))
	}
	return errors.Join(err, m.close())
}

// huge measures mounting a sparse image of 1 TiB, the way a user does it: the command
// returns when the mount serves.
func (b *runner) huge(ctx context.Context) error {
	image := filepath.Join(b.scratch, "huge.img")
	if err := os.WriteFile(image, nil, 0o644); err != nil {
		return err
	}
	defer os.Remove(image)
	if err := os.Truncate(image, hugeImage); err != nil {
		b.leaveOut("the 1 TiB image: %v", err)
		return nil
	}
	b.say("making a sparse image of 1 TiB")
	if _, err := command(ctx, "mke2fs", "-q", "-F", "-t", "ext2", image); err != nil {
		b.leaveOut("the 1 TiB image: %v", err)
		return nil
	}
	took, peak := map[string][]float64{}, map[string][]float64{}
	for round := 0; round <= b.rounds; round++ {
		for _, d := range b.drivers {
			if d.name == emptyName {
				continue
			}
			t, mem, err := b.hugeMount(ctx, d, image)
			if err != nil {
				return fmt.Errorf("%s: mounting 1 TiB: %w", d.name, err)
			}
			if round > 0 {
				took[d.name] = append(took[d.name], t.Seconds())
				peak[d.name] = append(peak[d.name], float64(mem))
			}
		}
	}
	for _, d := range b.drivers {
		if d.name == emptyName {
			continue
		}
		b.report.addFigure(figureMountHuge, d.name, "seconds", took[d.name]...)
		if d.path != "" {
			b.report.addFigure(figureMemoryHuge, d.name, "bytes", peak[d.name]...)
		}
	}
	return nil
}

// hugeMount mounts once and tells the time and the most memory the server has had.
func (b *runner) hugeMount(ctx context.Context, d *driver, image string) (took time.Duration, peak int64, err error) {
	m, err := b.mountImage(ctx, d, image)
	if err != nil {
		return 0, 0, err
	}
	if m.pid != 0 {
		_, peak, err = memoryOf(m.pid)
	}
	return m.took, peak, errors.Join(err, m.close())
}

// memoryOf is a process's resident memory in bytes, now and at most so far.
func memoryOf(pid int) (now, peak int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	now, err1 := statusBytes(string(text), "VmRSS")
	peak, err2 := statusBytes(string(text), "VmHWM")
	return now, peak, errors.Join(err1, err2)
}

// statusBytes reads a size out of the text of /proc/PID/status.
func statusBytes(text, key string) (int64, error) {
	number, unit, _ := strings.Cut(field(text, key, ":"), " ")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || unit != "kB" {
		return 0, fmt.Errorf("%s: want a number of kB", key)
	}
	return n << 10, nil
}
