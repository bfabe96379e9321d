//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/agext/levenshtein"
	"github.com/spf13/pflag"

	"github.com/ext2fuse/ext2fuse/fs/ext2"
	"github.com/ext2fuse/ext2fuse/fs/ext2/fusefs"
)

// config is what the command line asks for.
type config struct {
	image, dir string // the operands, as given

	foreground bool // -f
	debug      bool // -d: log every FUSE message; implies -f
	level      slog.Level
	version    bool // -V
	help       bool // -h
	words      bool // -o help: list the words

	fs    ext2.Options
	mount mountWords
}

// mountWords are the -o words that concern the mount rather than the file system.
type mountWords struct {
	readOnly    bool
	allowOther  bool
	noOthers    bool // allow_root: where root mounts, nobody else comes in
	owners      ownerWords
	fsname      string // source in /proc/mounts; empty is the image as given
	subtype     string // type in /proc/mounts is fuse.<subtype>
	maxRead     int64  // largest READ in bytes; 0 is the default
	readAhead   int64  // kernel read-ahead in bytes; -1 is the default
	flags       uintptr
	describe    bool // debug: log a line about the file system at mount
	writeBack   bool
	writePolicy writeWords
}

// writeWords are the -o words that only matter to a writer. They are checked on every
// mount, so that a line of fstab can switch between ro and rw.
type writeWords struct {
	groupID        bool // grpid: new files take their directory's group
	resUID, resGID int64
	oldAlloc       bool
	noReservation  bool
	discard        bool
	noBarrier      bool
	commit         time.Duration // 0 is the default
}

// usageError is a mistake on the command line.
type usageError struct {
	wrong  string
	advice string // what to do, if not just to look into the help
}

func (e *usageError) Error() string {
	if e.advice == "" {
		return e.wrong
	}
	return e.wrong + "; " + e.advice
}

func usagef(format string, args ...any) *usageError {
	return &usageError{wrong: fmt.Sprintf(format, args...)}
}

// but adds what to do.
func (e *usageError) but(format string, args ...any) *usageError {
	e.advice = fmt.Sprintf(format, args...)
	return e
}

// newConfig is what an empty command line asks for.
func newConfig() *config {
	return &config{mount: mountWords{
		subtype:     fusefs.Subtype,
		readAhead:   -1,
		writePolicy: writeWords{resUID: -1, resGID: -1},
		owners:      ownerWords{uid: -1, gid: -1},
	}}
}

// parseCommandLine reads the arguments behind the program's name.
func parseCommandLine(args []string) (*config, error) {
	c := newConfig()
	flags, words := newFlagSet(c)
	if err := flags.Parse(args); err != nil {
		return nil, flagError(flags, err)
	}
	if c.help || c.version {
		return c, nil
	}
	for _, list := range *words {
		if c.words = list == "help"; c.words {
			return c, nil
		}
		if err := c.applyList(list); err != nil {
			return nil, err
		}
	}
	rest := flags.Args()
	if v := mistypedVerb(rest); v != "" {
		return nil, usagef("there is no image %s", rest[0]).but("if a verb is meant, the nearest known one is %q", v)
	}
	switch len(rest) {
	case 2:
		c.image, c.dir = rest[0], rest[1]
	case 0:
		return nil, usagef("no image and no mount point given")
	case 1:
		return nil, usagef("no mount point given for %s", rest[0])
	default:
		return nil, usagef("one operand too many: %q (an image and a mount point are wanted)", rest[2])
	}
	if c.debug {
		c.foreground, c.level = true, slog.LevelDebug
	}
	c.fs.ReadOnly = c.mount.readOnly
	return c, nil
}

// newFlagSet declares the dashed options; everything else is a word of -o.
func newFlagSet(c *config) (*pflag.FlagSet, *[]string) {
	flags := pflag.NewFlagSet("ext2fuse", pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	flags.SortFlags = false
	words := flags.StringArrayP("options", "o", nil, "mount options, separated by commas: `WORDS`")
	flags.BoolVarP(&c.mount.readOnly, "read-only", "r", false, "the same as -o ro")
	flags.BoolVarP(&c.foreground, "foreground", "f", false, "serve in the foreground")
	flags.BoolVarP(&c.debug, "debug", "d", false, "log every FUSE message; implies -f")
	flags.TextVar(&c.level, "log", slog.LevelInfo, "log from this `LEVEL` on: debug, info, warn or error")
	flags.BoolVarP(&c.version, "version", "V", false, "print the version")
	flags.BoolVarP(&c.help, "help", "h", false, "print this help")
	return flags, words
}

// flagError words a mistake among the dashed options and names the nearest one known.
func flagError(flags *pflag.FlagSet, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return usagef("%v", err)
	}
	if unknown.GetSpecifiedShortnames() != "" {
		return usagef("unknown option -%s (known are %s)", unknown.GetSpecifiedName(), shorthands(flags))
	}
	var known []string
	flags.VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	name := unknown.GetSpecifiedName()
	return usagef("unknown option --%s", name).but("the nearest known one is --%s", nearest(name, known))
}

// shorthands lists the short options, as "-o, -f and -h".
func shorthands(flags *pflag.FlagSet) string {
	var list []string
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Shorthand != "" {
			list = append(list, "-"+f.Shorthand)
		}
	})
	last := len(list) - 1
	if last == 0 {
		return list[0]
	}
	return strings.Join(list[:last], ", ") + " and " + list[last]
}

// mistypedVerb is the verb that was meant when the first operand is nearly one, and no
// file.
func mistypedVerb(operands []string) string {
	if len(operands) == 0 {
		return ""
	}
	v := nearestVerb(operands[0])
	if levenshtein.Distance(operands[0], v, nil) > min(2, len(v)/2) {
		return ""
	}
	if _, err := os.Lstat(operands[0]); err == nil {
		return ""
	}
	return v
}

// applyList applies one argument of -o: words separated by commas, where a backslash
// takes the special meaning from a comma or a backslash.
func (c *config) applyList(list string) error {
	for _, w := range splitWords(list) {
		if w == "" {
			continue
		}
		if err := c.applyWord(w); err != nil {
			return err
		}
	}
	return nil
}

func splitWords(list string) []string {
	var words []string
	var word strings.Builder
	for i := 0; i < len(list); i++ {
		switch {
		case list[i] == '\\' && i+1 < len(list):
			i++
			word.WriteByte(list[i])
		case list[i] == ',':
			words = append(words, word.String())
			word.Reset()
		default:
			word.WriteByte(list[i])
		}
	}
	return append(words, word.String())
}
