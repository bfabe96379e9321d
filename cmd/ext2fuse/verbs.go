//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/ext2fuse/ext2fuse/fs/ext2"
	"github.com/ext2fuse/ext2fuse/fs/ext2/disk"
	"github.com/ext2fuse/ext2fuse/internal/shell"
)

// verb is something that ext2fuse does besides mounting: ext2fuse NAME [options] ….
// Like the words, verbs are declared once, for parsing, help, completions and manual.
type verb struct {
	name     string
	operands string // as the usage line shows them
	least    int    // operands that must be there
	most     int    // operands that may be there; negative is any number
	doc      string // what it does, a sentence or more; the first is enough for the help
	// flags declares the verb's own options; nil where it has none but -o and -h.
	flags func(*pflag.FlagSet)
	run   func(*call) error
	plain bool // takes no image: there is no -o
}

// call is one use of a verb.
type call struct {
	verb   *verb
	flags  *pflag.FlagSet
	args   []string // operands
	config *config  // what -o said
	stdout io.Writer
	stderr io.Writer
	logs   []*heldLog // of the images that are open, or were

	terminal bool // stdout is one
}

// verbs is the table of all verbs. It is filled by init, since help shows it.
var verbs []verb

func init() {
	verbs = []verb{
		infoVerb, lsVerb, catVerb, cpVerb, treeVerb, mapVerb, statsVerb, umountVerb, mknodVerb,
		helpVerb, manpageVerb, completionVerb,
	}
}

func findVerb(name string) *verb {
	for i := range verbs {
		if verbs[i].name == name {
			return &verbs[i]
		}
	}
	return nil
}

// newFlags declares the options of a verb.
func (v *verb) newFlags() (flags *pflag.FlagSet, words *[]string) {
	flags = pflag.NewFlagSet("ext2fuse "+v.name, pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	flags.SortFlags = false
	words = new([]string)
	if v.flags != nil {
		v.flags(flags)
	}
	if !v.plain {
		words = flags.StringArrayP("options", "o", nil, "where the file system is: `WORDS` as for a mount")
	}
	flags.BoolP("help", "h", false, "print this help")
	return flags, words
}

// errQuiet ends a verb that has said on standard error what went wrong.
var errQuiet = errors.New("failed")

// main runs the verb with the arguments behind its name and gives the exit code.
func (v *verb) main(args []string, stdout, stderr io.Writer) int {
	c, err := v.parse(args)
	var usage *usageError
	if err == nil && c.set("help") {
		return show(stdout, v.help())
	}
	if err == nil {
		out := bufio.NewWriter(stdout)
		c.stdout, c.stderr = out, stderr
		file, ok := stdout.(*os.File)
		c.terminal = ok && isTerminal(file)
		err = v.run(c)
		if ferr := out.Flush(); ferr != nil && err == nil {
			err = fmt.Errorf("not all could be printed: %w", ferr)
		}
		if err != nil {
			c.told(err.Error())
		}
		for _, l := range c.logs {
			l.flush()
		}
	}
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		say(stderr, "%v%s", err, seeHelp("ext2fuse "+v.name, err))
	case !errors.Is(err, errQuiet):
		say(stderr, "%s", strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; "))
	}
	return exitUsage
}

func (v *verb) parse(args []string) (*call, error) {
	flags, words := v.newFlags()
	if err := flags.Parse(args); err != nil {
		return nil, flagError(flags, err)
	}
	c := &call{verb: v, flags: flags, args: flags.Args(), config: newConfig()}
	if c.set("help") {
		return c, nil
	}
	for _, list := range *words {
		if err := c.config.applyList(list); err != nil {
			return nil, err
		}
	}
	switch n := len(c.args); {
	case n < v.least:
		return nil, usagef("usage: ext2fuse %s %s", v.name, v.operands)
	case v.most >= 0 && n > v.most:
		return nil, usagef("one operand too many: %q", c.args[v.most]).but("usage: ext2fuse %s %s", v.name, v.operands)
	}
	return c, nil
}

// set tells whether a flag that takes no value is given.
func (c *call) set(name string) bool {
	on, err := c.flags.GetBool(name)
	return err == nil && on
}

// open opens the file system of an image as -o says. Reading leaves the image as it is,
// so that a journal is not replayed. Where nothing else is said, the first damage found ends
// writing: see writeEnded.
func (c *call) open(image string, write bool) (*ext2.FS, error) {
	c.config.image = image
	c.config.writeOptions()
	o := c.config.fs
	o.MountPoint = ""
	o.ReadOnly, o.NoLoad = !write, !write
	if o.Errors == ext2.ErrorsDefault {
		o.Errors = ext2.ErrorsRemountRO
	}
	logs := newLogSink(c.stderr, "ext2fuse: "+image+": ")
	logs.shared.level.Set(slog.LevelError) // of what a mount would warn of, info has the most
	held := &heldLog{Handler: logs}
	c.logs = append(c.logs, held)
	o.Logger = slog.New(held)
	fs, err := ext2.Open(context.Background(), image, o)
	if err != nil {
		return nil, errors.New(c.config.oneLine(image, err))
	}
	if write && fs.ReadOnly() {
		return nil, errors.Join(writeEnded(image, fs), fs.Close())
	}
	logs.shared.level.Set(slog.LevelInfo)
	sb := fs.Superblock()
	if write && sb.State&disk.StateErrors != 0 {
		o.Logger.Warn("damage was found in it before; run e2fsck -f " + shell.Quote(image))
	}
	if !write && sb.HasIncompat(disk.IncompatRecover) && c.verb.name != "info" {
		o.Logger.Warn("the journal is not replayed: what is shown is older than it could be; a mount replays it")
	}
	return fs, nil
}

// writeEnded says why nothing is written to an image any more, and what to do.
func writeEnded(image string, fs *ext2.FS) error {
	switch sb := fs.Superblock(); {
	case sb.ForceReadOnly():
		return fmt.Errorf("%s: its revision, %d, is newer than those that can be written; -o ro mounts it", image, sb.RevLevel)
	case fs.Failure() == nil:
		return fmt.Errorf("%s: writing to it failed, and nothing more is written; see to what it lies on, and run e2fsck -f %s", image, shell.Quote(image))
	}
	return fmt.Errorf("%s: nothing is written to it since damage was found; run e2fsck -f %s", image, shell.Quote(image))
}

// gate is a writer that drops everything until it is opened.
type gate struct {
	w    io.Writer
	open bool
}

func (g *gate) Write(p []byte) (int, error) {
	if !g.open {
		return len(p), nil
	}
	return g.w.Write(p)
}

// printf prints a part of what was asked for. What fails is told by main, at the end.
func (c *call) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(c.stdout, format, args...)
}

// warn says what went wrong with a part of the work.
func (c *call) warn(format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	c.told(message)
	say(c.stderr, "%s", message)
}

// told keeps the logs from saying again what a message says.
func (c *call) told(message string) {
	for _, l := range c.logs {
		l.told(message)
	}
}
