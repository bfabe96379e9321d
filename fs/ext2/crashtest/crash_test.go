//go:build linux

package crashtest

import (
	"cmp"
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ext2fuse/ext2fuse/fs/ext2"
	"github.com/ext2fuse/ext2fuse/fs/ext2/ext2test"
	"github.com/ext2fuse/ext2fuse/fs/ext2/internal/testhook"
)

var (
	flagWork   = flag.String("crash.workload", "", "this workload alone")
	flagSetup  = flag.String("crash.setup", "", "this setup alone")
	flagSeed   = flag.Uint64("crash.seed", 1, "seed of the operations and of what is lost")
	flagScale  = flag.Int("crash.scale", 1, "how long the workloads are")
	flagAt     = flag.String("crash.at", "", "this moment alone: events/cut, as a failure prints it")
	flagKeep   = flag.String("crash.keep", "", "directory for images that failed")
	flagStates = flag.Int("crash.states", 12, "how many moments of each workload and setup")
	flagKernel = flag.Bool("crash.kernel", false, "the kernel has to recover some of them, too: needs root")
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
	tight := testhook.Hooks{MaxDirty: 400}
	linear := small
	linear.InodeSize, linear.Features = 128, []string{"^dir_index", "^filetype"}
	return []setup{
		{name: "borrow-1k", image: small},
		{name: "borrow-4k", image: large},
		{name: "ext3-1k", image: own(small)},
		{name: "ext3-4k", image: own(large)},
		{name: "tight-1k", image: small, hooks: tight, opts: ext2.Options{CacheBytes: 256 << 10}, scale: 3},
		{name: "groups-1k", image: with(small, "-g", "1024")},
		{name: "linear-1k", image: linear},
		{name: "second-1k", image: small, second: true},
		{name: "second-ext3", image: own(small), second: true},
		{name: "discard-4k", image: large, opts: ext2.Options{Discard: true}},
		{name: "nobarrier-1k", image: small, opts: ext2.Options{NoBarrier: true}, killed: true},
		{name: "plain-1k", image: small, opts: ext2.Options{NoJournal: true}, settled: true},
		{name: "plain-4k", image: large, opts: ext2.Options{NoJournal: true}, settled: true},
	}
}

// TestCrash carries out the workloads on all kinds of images and mounts, and looks at what
// may be left when the power fails.
func TestCrash(t *testing.T) {
	only := moment{}
	if *flagAt != "" {
		if _, err := fmt.Sscanf(*flagAt, "%d/%d", &only.n, &only.cut); err != nil {
			t.Fatalf("-crash.at %s: %v", *flagAt, err)
		}
	}
	var mu sync.Mutex
	var rows []row
	t.Run("all", func(t *testing.T) {
		for _, s := range setups() {
			for _, w := range workloads {
				if *flagSetup != "" && s.name != *flagSetup || *flagWork != "" && w.name != *flagWork {
					continue
				}
				s := s.thorough(*flagStates)
				s.work, s.seed, s.scale, s.keep = w, *flagSeed, *flagScale*max(s.scale, 1), *flagKeep
				if *flagAt != "" {
					s.only = &only
				}
				t.Run(w.name+"/"+s.name, func(t *testing.T) {
					t.Parallel()
					r := s.run(t).row
					mu.Lock()
					defer mu.Unlock()
					rows = append(rows, r)
				})
			}
		}
	})
	if len(rows) == 0 {
		t.Fatal("no such workload or setup")
	}
	if testing.Verbose() {
		fmt.Print(table(rows))
	}
}

// thorough sets how many moments are looked at, and how often in more ways than one.
func (s setup) thorough(states int) setup {
	s.prefixes, s.cuts = states/2, states-states/2
	s.mountEvery, s.tornEvery, s.fsckEvery = 5, 20, 40
	if *flagKernel {
		s.mountEvery, s.tornEvery, s.fsckEvery, s.kernelEvery = 4, 10, 100, 250
	}
	return s
}

// table lists what came of all setups, their sums, and the whole.
func table(rows []row) string {
	slices.SortStableFunc(rows, func(a, b row) int { return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.work, b.work)) })
	var b strings.Builder
	b.WriteString(header())
	var sums []row
	all := row{work: "all", name: "all"}
	for _, r := range rows {
		b.WriteString(r.String())
		if n := len(sums); n == 0 || sums[n-1].name != r.name {
			sums = append(sums, row{work: "all", name: r.name, block: r.block})
		}
		sums[len(sums)-1].add(r)
		all.add(r)
	}
	b.WriteString("\n" + header())
	for _, r := range append(sums, all) {
		b.WriteString(r.String())
	}
	fmt.Fprintf(&b, "%d states after power cuts, %d of them recovered by a whole mount, %d by e2fsck, %d by the kernel, too; %d cut again during recovery; %d violations\n",
		all.prefixes+all.cuts, all.mounts, all.fscks, all.kern, all.torn, all.violations)
	return b.String()
}
