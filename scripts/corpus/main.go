// Command corpus keeps of what fuzzing found the few inputs that reach what no other does.
// Go's fuzzer leaves thousands of inputs in a cache of one machine; what is kept stands in
// testdata/fuzz of the package, where `go test` runs it from then on, everywhere.
//
//	make fuzz FUZZTIME=1h && go run ./scripts/corpus ./fs/ext2 FuzzWrite
//
// The inputs are run one by one, and the one that reaches most statements of the module that
// nothing kept has reached is kept, again and again.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("corpus: ")
	cache := flag.String("cache", "", "the `directory` of the fuzzer's inputs (default: where the go command has them)")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: corpus [-cache DIR] PACKAGE TARGET")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 2 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := keep(ctx, flag.Arg(0), flag.Arg(1), *cache)
	stop()
	if err != nil {
		log.Fatal(err)
	}
}

// keep puts the inputs worth it into testdata/fuzz of the package.
func keep(ctx context.Context, pkg, target, cache string) error {
	out, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}\n{{.ImportPath}}\n{{.Module.Path}}", pkg).Output()
	if err != nil {
		return fmt.Errorf("%s is no package of this module: %w", pkg, err)
	}
	about := strings.Split(strings.TrimSpace(string(out)), "\n")
	dir, path, module := about[0], about[1], about[2]
	if cache == "" {
		out, err := exec.CommandContext(ctx, "go", "env", "GOCACHE").Output()
		if err != nil {
			return fmt.Errorf("go env: %w", err)
		}
		cache = filepath.Join(strings.TrimSpace(string(out)), "fuzz", path, target)
	}
	inputs, err := filepath.Glob(filepath.Join(cache, "*"))
	if err != nil {
		return err
	}
	r, err := newRunner(ctx, dir, module+"/...", target)
	if err != nil {
		return err
	}
	defer r.close()
	reached, err := r.reached("")
	if err != nil {
		return fmt.Errorf("what is in the repository: %w", err)
	}
	before := reached.statements()
	more := map[string]coverage{}
	for _, in := range inputs {
		c, err := r.reached(in)
		if err != nil {
			return err
		}
		more[in] = c
	}
	kept := choose(reached, more)
	for _, in := range kept {
		if err := r.store(in); err != nil {
			return err
		}
	}
	fmt.Printf("%s %s: %d of %d inputs kept, %d statements were reached and %d are\n",
		pkg, target, len(kept), len(inputs), before, reached.statements())
	return nil
}
