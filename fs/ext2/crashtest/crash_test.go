//go:build linux

package crashtest

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/ext2fuse/ext2fuse/fs/ext2"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
)

var (
	flagWork  = flag.String("crash.workload", "", "this workload alone")
	flagSetup = flag.String("crash.setup", "", "this setup alone")
	flagSeed  = flag.Uint64("crash.seed", 1, "seed of the operations and of what is lost")
	flagScale = flag.Int("crash.scale", 1, "how long the workloads are")
	flagAt    = flag.String("crash.at", "", "this moment alone: events/cut, as a failure prints it")
	flagKeep  = flag.String("crash.keep", "", "directory for images that failed")
	flagLong  = flag.Int("crash.states", 0, "how many moments of each workload and setup, instead of a few")
)

// setups are the kinds of images and mounts that workloads run on.
func setups() []setup {
	own := func(o ext2test.Options) ext2test.Options {
		o.Type = "ext3"
		o.Args = append(o.Args, "-J", fmt.Sprint("size=", o.BlockSize>>10)) // 1024 blocks
		return o
	}
	small := ext2test.Options{Size: 6 << 20, BlockSize: 1024, Inodes: 256, InodeSize: 256}
	large := ext2test.Options{Size: 20 << 20, BlockSize: 4096, Inodes: 256, InodeSize: 256}
	with := func(o ext2test.Options, args ...string) ext2test.Options { o.Args = append(o.Args, args...); return o }
	// Epochs close early, blocks leave the journal often, and it goes round.
	tight := ext2.Hooks{MaxDirty: 400}
	linear := small
	linear.InodeSize, linear.Features = 128, []string{"^dir_index", "^filetype"}
	return []setup{
		{name: "borrow-1k", image: small},
		{name: "borrow-4k", image: large},
		{name: "ext3-1k", image: own(small)},
		{name: "ext3-4k", image: own(large)},
		{name: "tight-1k", image: small, hooks: tight, opts: ext2.Options{CacheBytes: 256 << 10}},
		{name: "groups-1k", image: with(small, "-g", "1024")},
		{name: "linear-1k", image: linear},
		{name: "discard-4k", image: large, opts: ext2.Options{Discard: true}},
		{name: "nobarrier-1k", image: small, opts: ext2.Options{NoBarrier: true}, killed: true},
		{name: "plain-1k", image: small, opts: ext2.Options{NoJournal: true}, settled: true},
		{name: "plain-4k", image: large, opts: ext2.Options{NoJournal: true}, settled: true},
	}
}

func TestCrash(t *testing.T) {
	if *flagAt == "" {
		fmt.Print()
	}
	for _, s := range setups() {
		if *flagSetup != "" && s.name != *flagSetup {
			continue
		}
		for _, w := range workloadNamed(*flagWork) {
			s := s
			s.work, s.seed, s.scale, s.keep = w, *flagSeed, *flagScale, *flagKeep
			s.prefixes, s.cuts, s.mountEvery, s.tornEvery, s.fsckEvery = 30, 30, 5, 20, 40
			if n := *flagLong; n > 0 {
				s.prefixes, s.cuts, s.mountEvery, s.tornEvery, s.fsckEvery, s.kernelEvery = n/2, n/2, 4, 10, 100, 500
				if ext2test.NoKernelMount() != "" {
					s.kernelEvery = 0
				}
			}
			if *flagAt != "" {
				var m moment
				if _, err := fmt.Sscanf(*flagAt, "%d/%d", &m.n, &m.cut); err != nil {
					t.Fatal(err)
				}
				s.only = &m
			}
			t.Run(w.name+"/"+s.name, func(t *testing.T) {
				r := s.run(t)
				fmt.Fprint(os.Stderr, r.row)
			})
		}
	}
}
