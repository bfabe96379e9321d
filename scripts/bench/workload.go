//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// state is what the caches hold when a run begins; method.go tells in full.
type state string

const (
	cached state = "cached" // fresh mount, the whole image in the host's page cache
	cold   state = "cold"   // fresh mount, nothing of the image in the host's page cache
	warm   state = "warm"   // the run before once more: same mount, nothing dropped
)

// workload is something a user does, timed from the start of the program to its end.
type workload struct {
	name   string
	title  string
	states []state
	data   bool  // file data only: the empty server takes part
	bytes  int64 // read by one run; 0 where that is not the point
	// command is what is run in the mount on dir.
	command func(s state, dir string) []string
}

// workloads lists what is measured, in the order of the report.
func workloads(s sizes, self string) []workload {
	file := func(dir, name string) string { return filepath.Join(dir, name) }
	dd := func(name, bs string) func(state, string) []string {
		return func(_ state, dir string) []string {
			return []string{"dd", "if=" + file(dir, name), "of=" + os.DevNull, "bs=" + bs, "status=none"}
		}
	}
	return []workload{
		{
			name: "seq", title: fmt.Sprintf("sequential read, %s", mib(s.sequential)),
			states: []state{cached, cold}, data: true, bytes: s.sequential, command: dd(sequentialFile, "1M"),
		},
		{
			name: "seq4k", title: fmt.Sprintf("the same in 4 KiB reads, %s", mib(s.sequential)),
			states: []state{cached, cold}, data: true, bytes: s.sequential, command: dd(sequentialFile, "4k"),
		},
		{
			name: "random", title: fmt.Sprintf("random 4 KiB reads, %d (cold: %d)", s.random, s.coldRandom),
			states: []state{cached, cold}, data: true,
			command: func(st state, dir string) []string {
				n := s.random
				if st == cold {
					n = s.coldRandom
				}
				return []string{self, workerWord, file(dir, sequentialFile), strconv.Itoa(n)}
			},
		},
		{
			name: "frag", title: fmt.Sprintf("fragmented file, %s in runs of 1 to 16 blocks", mib(s.fragmented)),
			states: []state{cached, cold}, data: true, bytes: s.fragmented, command: dd(fragmentedFile, "1M"),
		},
		{
			name: "find", title: "find: names of the whole tree",
			states: []state{cached, warm, cold},
			command: func(_ state, dir string) []string {
				return []string{"find", dir}
			},
		},
		{
			name: "findstat", title: "find: names, sizes and times of the whole tree",
			states: []state{cached, warm, cold},
			command: func(_ state, dir string) []string {
				return []string{"find", dir, "-printf", `%s %T@ %p\n`}
			},
		},
		{
			name: "tree", title: fmt.Sprintf("reading %d small files", s.small),
			states: []state{cached, warm, cold},
			command: func(_ state, dir string) []string {
				return []string{"find", file(dir, treeDir), "-type", "f", "-exec", "cat", "{}", "+"}
			},
		},
		{
			name: "ls", title: fmt.Sprintf("ls -l of %d names", s.names),
			states: []state{cached, warm, cold},
			command: func(_ state, dir string) []string {
				return []string{"ls", "-l", file(dir, flatDir)}
			},
		},
	}
}

// mib is a size in words; sizes are whole MiB.
func mib(n int64) string {
	if n >= 1<<30 && n%(1<<30) == 0 {
		return fmt.Sprintf("%d GiB", n>>30)
	}
	return fmt.Sprintf("%d MiB", n>>20)
}
