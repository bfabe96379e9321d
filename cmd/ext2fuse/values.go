//go:build linux

package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/agext/levenshtein"
)

// applyWord looks a word of -o up in the table and carries it out.
func (c *config) applyWord(w string) error {
	name, value, hasValue := strings.Cut(w, "=")
	for _, p := range prefixes {
		if strings.HasPrefix(name, p) && len(name) > len(p) {
			return nil
		}
	}
	known := findWord(name)
	switch {
	case known == nil:
		var names []string
		for w := range allWords {
			names = append(names, w.name)
		}
		near := nearest(name, names)
		if short, ok := spelledOut[strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(name))]; ok {
			near = short
		}
		return usagef("unknown mount option %q", w).but("the nearest known one is %q", near)
	case known.needsValue() && (!hasValue || value == ""):
		return usagef("mount option %q has no value", name).but("it is %s", known.spelling())
	case known.arg == "" && hasValue:
		return usagef("mount option %q takes no value, but %q was given", name, w)
	case known.apply == nil:
		return nil
	}
	var usage *usageError
	switch err := known.apply(c, value); {
	case errors.As(err, &usage):
		return usagef("mount option %q: %s", w, usage.wrong).but("%s", usage.advice)
	case errors.Is(err, errRefused):
		return usagef("mount option %q is refused: %s", w, known.doc)
	case err != nil:
		return usagef("mount option %q: %v", w, err)
	}
	return nil
}

// spelledOut are words that people write out.
var spelledOut = map[string]string{"readonly": "ro", "readwrite": "rw"}

func findWord(name string) *word {
	for w := range allWords {
		if w.name == name {
			return w
		}
	}
	return nil
}

// nearest is the candidate with the smallest edit distance to name; of several, the
// one that shares the longest beginning with it.
func nearest(name string, candidates []string) string {
	name = strings.ToLower(name)
	best, bestDistance, bestPrefix := "", math.MaxInt, -1
	for _, c := range candidates {
		d, p := levenshtein.Distance(name, c, nil), commonPrefix(name, c)
		if d < bestDistance || d == bestDistance && p > bestPrefix {
			best, bestDistance, bestPrefix = c, d, p
		}
	}
	return best
}

func commonPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// parseSize reads a number of bytes with an optional suffix k, m, g or t (powers of
// 1024), as mount(8) takes them.
func parseSize(s string) (int64, bool) {
	shift := 0
	digits := strings.TrimSuffix(strings.ToLower(s), "ib")
	if n := len(digits); n > 0 {
		if i := strings.IndexByte("kmgt", digits[n-1]); i >= 0 {
			shift, digits = 10*(i+1), digits[:n-1]
		} else if digits != strings.ToLower(s) {
			return 0, false // "ib" without a k, m, g or t before it
		}
	}
	if digits == "" || digits[0] == '+' {
		return 0, false
	}
	v, err := strconv.ParseInt(digits, 0, 64)
	if err != nil || v < 0 || v > math.MaxInt64>>shift {
		return 0, false
	}
	return v << shift, true
}

// setSize is for words that take a size of at least least bytes.
func setSize(field func(*config) *int64, least int64) func(*config, string) error {
	return func(c *config, v string) error {
		n, ok := parseSize(v)
		if !ok {
			return errors.New("expected a number of bytes, or one with k, m, g or t behind it")
		}
		if n < least {
			return fmt.Errorf("at least %d bytes are wanted", least)
		}
		*field(c) = n
		return nil
	}
}

// setID is for words that take a user or group id.
func setID(field func(*config) *int64) func(*config, string) error {
	return func(c *config, v string) error {
		n, err := strconv.ParseUint(v, 10, 32)
		if err != nil || n == math.MaxUint32 {
			return fmt.Errorf("expected a number from 0 to %d", uint32(math.MaxUint32-1))
		}
		*field(c) = int64(n)
		return nil
	}
}

// setSuperblock reads sb=, which counts in units of 1 KiB.
func setSuperblock(c *config, v string) error {
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 1 || n > math.MaxInt64>>10 {
		return errors.New("expected where the superblock is, in units of 1 KiB (the first backup is at 8193 with 1 KiB blocks, at 131072 with 4 KiB)")
	}
	c.fs.Superblock = n
	return nil
}

func setPart(c *config, v string) error {
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		return errors.New("expected the number of a partition, from 1 on")
	}
	c.fs.Part = n
	return nil
}
