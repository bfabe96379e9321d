//go:build linux

package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// blockRun is a run of blocks, both ends included.
type blockRun struct{ first, last int64 }

// freeRuns reads the free blocks out of what dumpe2fs prints, in ascending order:
//
//	Group 0: (Blocks 0-32767)
//	  …
//	  Free blocks: 521-8192, 9000
func freeRuns(text string) []blockRun {
	var runs []blockRun
	for line := range strings.Lines(text) {
		list, ok := strings.CutPrefix(strings.TrimSpace(line), "Free blocks: ")
		if !ok || !strings.HasPrefix(line, " ") {
			continue // the header's "Free blocks:" is a count, at the line's start
		}
		for item := range strings.SplitSeq(list, ",") {
			from, to, isRun := strings.Cut(strings.TrimSpace(item), "-")
			first, err := strconv.ParseInt(from, 10, 64)
			if err != nil {
				continue
			}
			last := first
			if isRun {
				if last, err = strconv.ParseInt(to, 10, 64); err != nil {
					continue
				}
			}
			runs = append(runs, blockRun{first, last})
		}
	}
	return runs
}

// usedInodes reads the number of inodes in use out of what dumpe2fs -h prints.
func usedInodes(text string) (int64, error) {
	total, err1 := headerCount(text, "Inode count")
	free, err2 := headerCount(text, "Free inodes")
	return total - free, errors.Join(err1, err2)
}

func headerCount(text, field string) (int64, error) {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		}
	}
	return 0, fmt.Errorf("dumpe2fs tells no %q", field)
}
