//go:build linux

// Command bench holds ext2fuse against the kernel's ext2 driver (a loop mount), Debian's
// fuse2fs and, for file data, a FUSE server that answers from memory: side by side in
// one run on one machine, on the same image, in turns.
//
//	go run ./scripts/bench [options]
//
// What is done to whom, and when, is in method.go, which the report prints too: a
// measurement is worth what its treatment was. seed.go builds the image, workload.go
// says what is timed, measure.go times it, size.go and iocount.go measure what is not
// time, target.go holds the outcome against what the project promises, table.go and
// chart.go show it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
)

// Exit codes.
const (
	exitDone    = 0
	exitMissed  = 1
	exitTrouble = 2
)

const usage = `bench: ext2fuse beside the kernel's ext2, fuse2fs and an empty FUSE server

  go run ./scripts/bench [options]        (or: make bench)

Root measures everything; without root the kernel's driver is left out, and so is
what takes root. What is left out is said in the report.

`

const exitHelp = `
Environment: BENCH_DIR is the default of -dir.
Exit status: 0 measured; 1 with -check, a target was missed; 2 there was trouble.
`

// config is the command line.
type config struct {
	dir, ext2fuse, emptyfuse, only string
	jsonFile, markdownFile         string
	svgFile, fromJSON              string
	rounds, readAhead              int
	quick, check                   bool
	noVerify, warmOnly             bool
	sizes                          sizes
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == workerWord {
		os.Exit(workerMain(os.Args[2:], os.Stderr))
	}
	// mke2fs and its kin are not on a plain user's PATH everywhere; and all that is
	// run shall speak one language.
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin:/sbin")
	os.Setenv("LC_ALL", "C")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main with its surroundings as arguments.
func run(ctx context.Context, args []string, out, errs io.Writer) int {
	c, err := parse(args, errs)
	if errors.Is(err, flag.ErrHelp) {
		return exitDone
	}
	if err != nil {
		fmt.Fprintln(errs, "bench:", err)
		return exitTrouble
	}
	r, err := results(ctx, c, errs)
	if err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted; everything is unmounted")
		}
		fmt.Fprintln(errs, "bench:", err)
		return exitTrouble
	}
	if err := r.publish(c, out); err != nil {
		fmt.Fprintln(errs, "bench:", err)
		return exitTrouble
	}
	if c.check && r.missed() > 0 {
		return exitMissed
	}
	return exitDone
}

func parse(args []string, errs io.Writer) (*config, error) {
	c := &config{}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(errs)
	f.StringVar(&c.dir, "dir", os.Getenv("BENCH_DIR"), "`directory` that keeps the seed image from run to run; without one it is temporary")
	f.StringVar(&c.ext2fuse, "ext2fuse", "bin/ext2fuse", "the `program` to measure")
	f.StringVar(&c.emptyfuse, "emptyfuse", "", "the empty FUSE server's `program`; without one it is built")
	f.IntVar(&c.rounds, "rounds", 5, "timed `rounds` of each workload, after one that is not counted")
	f.IntVar(&c.readAhead, "readahead", 0, "as root: set every mount's read-ahead to this many `KiB`; 0 leaves each at its default")
	f.StringVar(&c.only, "only", "", "only workloads whose name matches the `regexp`")
	f.BoolVar(&c.quick, "quick", false, "a small image: shows that everything runs, the figures mean little")
	f.BoolVar(&c.noVerify, "noverify", false, "do not compare what the drivers read before measuring")
	f.BoolVar(&c.warmOnly, "nocold", false, "no runs with a cold image; as root they empty the caches of the whole machine")
	f.BoolVar(&c.check, "check", false, "exit 1 if a target is missed")
	f.StringVar(&c.jsonFile, "json", "", "write the results to this `file` (- is standard output)")
	f.StringVar(&c.markdownFile, "markdown", "", "write the tables for the README to this `file` (- is standard output)")
	f.StringVar(&c.svgFile, "svg", "", "draw the times relative to the kernel's into this `file` (- is standard output)")
	f.StringVar(&c.fromJSON, "from-json", "", "measure nothing: take the results of an earlier -json from this `file`")
	f.Usage = func() {
		fmt.Fprint(errs, usage)
		f.PrintDefaults()
		fmt.Fprint(errs, exitHelp)
	}
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	switch {
	case f.NArg() > 0:
		return nil, fmt.Errorf("unexpected %q; -h tells what there is", f.Arg(0))
	case c.rounds < 1:
		return nil, fmt.Errorf("-rounds %d: want at least 1", c.rounds)
	case c.readAhead < 0 || c.readAhead > 1<<20:
		return nil, fmt.Errorf("-readahead %d: want 0 to %d KiB", c.readAhead, 1<<20)
	}
	c.sizes = fullSizes
	if c.quick {
		c.sizes = quickSizes
	}
	if _, err := regexp.Compile(c.only); err != nil {
		return nil, fmt.Errorf("-only: %w", err)
	}
	return c, nil
}

// results measures, or reads what was measured before.
func results(ctx context.Context, c *config, progress io.Writer) (*report, error) {
	if c.fromJSON != "" {
		return readReport(c.fromJSON)
	}
	return bench(ctx, c, progress)
}

// bench measures everything.
func bench(ctx context.Context, c *config, progress io.Writer) (*report, error) {
	b := &runner{config: c, progress: progress, only: regexp.MustCompile(c.only)}
	dir := c.dir
	if dir != "" {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	scratch, err := os.MkdirTemp(dir, "ext2fuse-bench-")
	if err != nil {
		return nil, err
	}
	defer b.cleanUp()
	// Absolute, as loop devices and command lines show it.
	if b.scratch, err = filepath.Abs(scratch); err != nil {
		return nil, err
	}
	keep := filepath.Dir(b.scratch)
	if dir == "" {
		keep = b.scratch
	}
	if b.image, err = seedImage(ctx, keep, b.scratch, c.sizes, b.say); err != nil {
		return nil, fmt.Errorf("the seed image: %w", err)
	}
	if b.program, err = filepath.Abs(c.ext2fuse); err != nil {
		return nil, err
	}
	return b.all(ctx)
}

// cleanUp removes what a run leaves behind. Every mount is gone by now, unless
// unmounting failed; files are only removed when nothing is mounted among them.
func (b *runner) cleanUp() {
	dirs, _ := filepath.Glob(filepath.Join(b.scratch, "mnt-*"))
	for _, dir := range dirs {
		if err := unmount(dir); err != nil {
			b.say("%v; %s is left as it is", err, b.scratch)
			return
		}
	}
	if err := os.RemoveAll(b.scratch); err != nil {
		b.say("%v", err)
	}
}
