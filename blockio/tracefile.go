package blockio

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// TraceLine is one bio of a trace.
type TraceLine struct {
	Path   string
	Op     Op
	Off    int64         // bytes on the image
	Len    int64         // bytes
	Time   time.Duration // since the start of the trace
	Block  int64         // first block; -1 when the line does not tell
	For    Purpose
	Cold   bool
	Failed bool
}

// ReadTrace calls fn with each bio of a trace, in order, until fn returns an error,
// which it returns. It reads iologs that fio wrote, too. A line that is none of an iolog is
// an error that gives its number.
func ReadTrace(r io.Reader, fn func(TraceLine) error) error {
	sc := bufio.NewScanner(r)
	for n := 1; sc.Scan(); n++ {
		if n == 1 {
			if sc.Text() != traceHeader {
				return fmt.Errorf("not a trace: the first line is not %q", traceHeader)
			}
			continue
		}
		line, ok, err := parseTraceLine(sc.Text())
		if err != nil {
			return fmt.Errorf("line %d of the trace: %w", n, err)
		}
		if !ok {
			continue
		}
		if err := fn(line); err != nil {
			return err
		}
	}
	if err := sc.Err(); err != nil {
		return fmt.Errorf("cannot read the trace: %w", err)
	}
	return nil
}

// parseTraceLine reads one line; ok is false for one that is no bio.
func parseTraceLine(s string) (line TraceLine, ok bool, err error) {
	field := strings.Fields(s)
	if len(field) == 0 {
		return line, false, nil
	}
	if len(field) == 2 && (field[1] == "add" || field[1] == "open" || field[1] == "close") {
		return line, false, nil
	}
	if len(field) < 4 {
		return line, false, fmt.Errorf("%q: want a file, an action, an offset and a length", s)
	}
	off, err1 := strconv.ParseInt(field[2], 10, 64)
	n, err2 := strconv.ParseInt(field[3], 10, 64)
	if err1 != nil || err2 != nil || off < 0 || n < 0 {
		return line, false, fmt.Errorf("%q: offset and length must be whole numbers", s)
	}
	line = TraceLine{Path: field[0], Off: off, Len: n, Block: -1}
	switch field[1] {
	case "wait":
		return line, false, nil
	case "sync":
		line.Op = Sync
	default:
		i := slices.Index(fioActions[:], field[1])
		if i < 0 {
			return line, false, fmt.Errorf("%q: unknown action", field[1])
		}
		line.Op = Op(i)
	}
	return line, true, line.extra(field[4:])
}

// extra reads the columns that are not fio's.
func (l *TraceLine) extra(field []string) error {
	for _, f := range field {
		key, value, _ := strings.Cut(f, "=")
		var err error
		switch key {
		case "t":
			var seconds float64
			seconds, err = strconv.ParseFloat(value, 64)
			if !(seconds >= 0 && seconds < 1e9) {
				err = strconv.ErrRange
			}
			l.Time = time.Duration(seconds * float64(time.Second))
		case "block":
			l.Block, err = strconv.ParseInt(value, 10, 64)
		case "for":
			if i := slices.Index(purposeNames[:], value); i >= 0 {
				l.For = Purpose(i)
			}
		case "cold":
			l.Cold = true
		case "err":
			l.Failed = true
		}
		if err != nil {
			return fmt.Errorf("%q: %w", f, err)
		}
	}
	return nil
}
