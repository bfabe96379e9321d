package main

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// coverage has the blocks of statements that were reached, and how many each is.
type coverage map[string]int

// parse reads what go test -coverprofile writes: file:from,to statements count.
func parse(r io.Reader) (coverage, error) {
	c := coverage{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) != 3 { // the first line is the mode
			continue
		}
		n, err := strconv.Atoi(f[1])
		if err != nil {
			return nil, fmt.Errorf("no line of a coverage profile: %q", lines.Text())
		}
		if f[2] != "0" {
			c[f[0]] = n
		}
	}
	return c, lines.Err()
}

func (c coverage) statements() (n int) {
	for _, k := range c {
		n += k
	}
	return n
}

// without counts the statements that c reaches and known does not.
func (c coverage) without(known coverage) (n int) {
	for block, k := range c {
		if known[block] == 0 {
			n += k
		}
	}
	return n
}

// choose picks, again and again, the input that reaches most of what reached has not, and
// adds that to it.
func choose(reached coverage, inputs map[string]coverage) (kept []string) {
	names := slices.Sorted(maps.Keys(inputs))
	for {
		best, most := "", 0
		for _, name := range names {
			if n := inputs[name].without(reached); n > most {
				best, most = name, n
			}
		}
		if best == "" {
			return kept
		}
		kept = append(kept, best)
		maps.Copy(reached, inputs[best])
	}
}
