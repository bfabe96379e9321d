//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"
)

// runner carries a run through.
type runner struct {
	*config
	progress io.Writer
	only     *regexp.Regexp
	scratch  string // removed at the end
	image    string // the seed image
	self     string // this program, which is also the worker
	program  string // ext2fuse
	drivers  []*driver
	report   *report
	noCold   string // why there are no cold runs; "" if there are
}

func (b *runner) say(format string, args ...any) {
	fmt.Fprintf(b.progress, "bench: "+format+"\n", args...)
}

// leaveOut notes that something is not measured.
func (b *runner) leaveOut(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	b.say("left out: %s", text)
	b.report.LeftOut = append(b.report.LeftOut, text)
}

// all measures everything there is to measure.
func (b *runner) all(ctx context.Context) (*report, error) {
	var err error
	if b.self, err = os.Executable(); err != nil {
		return nil, err
	}
	b.report = &report{
		Machine: thisMachine(b.image), Date: time.Now().Format(time.DateOnly),
		Quick: b.quick, Rounds: b.rounds, LeftOut: []string{},
	}
	if load := b.report.Machine.Load; load > 0.3 {
		b.say("the machine is not quiet (load %.2f): expect noise", load)
	}
	if err := b.findDrivers(ctx); err != nil {
		return nil, err
	}
	b.report.Method = b.method()
	if b.noVerify {
		b.leaveOut("the comparison of what the drivers read (-noverify)")
	} else if err := b.verify(ctx); err != nil {
		return nil, err
	}
	if b.noCold = b.coldTrouble(ctx); b.noCold != "" {
		b.leaveOut("runs with a cold image: %s", b.noCold)
	}
	// All cached runs come first: a cold one costs reading the image in again.
	for _, pass := range []state{cached, cold} {
		for _, w := range workloads(b.sizes, b.self) {
			if err := b.workload(ctx, w, pass); err != nil {
				return nil, fmt.Errorf("%s, %s: %w", w.name, pass, err)
			}
		}
	}
	if err := b.writes(ctx); err != nil {
		return nil, err
	}
	if err := b.figures(ctx); err != nil {
		return nil, err
	}
	b.report.Targets = b.report.judge()
	return b.report, nil
}

// coldTrouble tells why the image cannot be made cold, "" if it can.
func (b *runner) coldTrouble(ctx context.Context) string {
	if b.warmOnly {
		return "-nocold"
	}
	err := fill(b.image)
	if err == nil {
		err = evict(ctx, b.image)
	}
	if err == nil {
		err = isCold(b.image)
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// tooLong is the time from which on a run is not repeated.
const tooLong = 10 * time.Second

// workload times a workload in one pass: all drivers in turns, each round beginning
// with another one. The first round is not counted, but for those that take too long:
// it is their only one.
func (b *runner) workload(ctx context.Context, w workload, pass state) error {
	rows := b.rowsOf(w, pass)
	if len(rows) == 0 {
		return nil
	}
	slow := map[string]bool{}
	for round := 0; round <= b.rounds; round++ {
		for i := range b.drivers {
			d := b.drivers[(round+i)%len(b.drivers)]
			// Without an image there is nothing to be cold.
			if slow[d.name] || d.name == emptyName && (!w.data || pass == cold) {
				continue
			}
			times, err := b.turn(ctx, d, w, pass, len(rows))
			if err != nil {
				return fmt.Errorf("%s: %w", d.name, err)
			}
			slow[d.name] = round == 0 && slices.Max(times) > tooLong
			if round == 0 && !slow[d.name] {
				continue
			}
			for i, row := range rows {
				row.Seconds[d.name] = append(row.Seconds[d.name], times[i].Seconds())
			}
		}
	}
	for _, row := range rows {
		for name, series := range row.Seconds {
			row.Summary[name] = summarize(series)
		}
		b.say("%s", row.line())
		b.report.Rows = append(b.report.Rows, row)
	}
	return nil
}

// rowsOf gives the rows that a pass fills: its own, and for the cached one the row of
// the warm run that follows on the same mount.
func (b *runner) rowsOf(w workload, pass state) []*row {
	var rows []*row
	for _, s := range w.states {
		mine := s == pass || s == warm && pass == cached
		if mine && (s != cold || b.noCold == "") && b.only.MatchString(w.name) {
			rows = append(rows, &row{
				Workload: w.name, Title: w.title, State: s, Bytes: w.bytes,
				Seconds: map[string][]float64{}, Summary: map[string]summary{},
			})
		}
	}
	return rows
}

// turn is one driver's part in a round: a fresh mount, and on it the given number of
// runs one after the other.
func (b *runner) turn(ctx context.Context, d *driver, w workload, pass state, runs int) (times []time.Duration, err error) {
	program := w.command(pass, "")[0]
	if pass == cold {
		programs := []string{program}
		if d.path != "" {
			programs = append(programs, d.path)
		}
		err = evict(ctx, b.image, programs...)
	} else {
		err = fill(b.image)
	}
	if err != nil {
		return nil, err
	}
	m, err := b.mount(ctx, d)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	if pass == cold {
		if err := isCold(b.image); err != nil {
			return nil, err
		}
	}
	for range runs {
		t, err := timed(ctx, w.command(pass, m.dir))
		if err != nil {
			return nil, err
		}
		times = append(times, t)
	}
	return times, nil
}

// timed runs a program with its output thrown away and tells how long it took, from
// before it is started until it is gone.
func timed(ctx context.Context, args []string) (time.Duration, error) { return timedIn(ctx, "", args) }

// timedIn is timed in a directory of its own.
func timedIn(ctx context.Context, dir string, args []string) (time.Duration, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = dir
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	var complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = null, &complaint
	begin := time.Now()
	err = cmd.Run()
	took := time.Since(begin)
	if err != nil {
		return 0, fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, lastLines(complaint.String(), 3))
	}
	return took, nil
}
