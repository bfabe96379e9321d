//go:build linux

package main

import (
	"fmt"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/pflag"
)

// helpColumn is where the descriptions of the help begin.
const helpColumn = 30

// helpText is what --help prints: what can be done in short, made of the tables.
func helpText() string {
	var s strings.Builder
	s.WriteString(`Usage: ext2fuse [options] IMAGE MOUNTPOINT
       ext2fuse VERB [options] IMAGE …
Mount an ext2 file system from an image file or block device, or look into it.
Unmount it with ext2fuse -u, umount, or fusermount3 -u as a plain user.

Options, before or after the operands:
`)
	s.WriteString(flagHelp(first(newFlagSet(newConfig()))))
	s.WriteString("\nVerbs, for use without a mount (ext2fuse VERB --help tells more):\n")
	for i := range verbs {
		v := &verbs[i]
		helpLine(&s, v.name+" "+v.operands, firstSentence(v.doc))
	}
	s.WriteString("\nMount options (-o help lists them, ext2fuse manpage describes them):\n")
	for _, g := range wordGroups {
		if !g.brief {
			continue
		}
		var names []string
		for _, w := range g.words {
			if !w.isDefault() {
				names = append(names, w.spelling())
			}
		}
		wrap(&s, g.title+":", names)
	}
	s.WriteString(`
Sizes may carry k, m, g or t. The words of mount(8) are known, too.
Exit codes: 0 mounted, 1 usage, 2 system error, 8 interrupted, 32 mount failed;
of a verb: 0 done, 1 not, or not all of it.
`)
	return s.String()
}

// isDefault tells a word that only says what is so anyway, or repeats another one.
func (w *word) isDefault() bool {
	return strings.Contains(w.doc, "(the default)") || strings.HasPrefix(w.doc, "the same as")
}

// helpLine writes what is explained, and what it does in the second column.
func helpLine(s *strings.Builder, what, doc string) {
	if n := len([]rune(what)); n > helpColumn-4 {
		fmt.Fprintf(s, "  %s\n%*s%s\n", what, helpColumn, "", doc)
		return
	}
	fmt.Fprintf(s, "  %-*s%s\n", helpColumn-2, what, doc)
}

// wrap writes a list of names with a title before it, in lines of 80 characters.
func wrap(s *strings.Builder, title string, names []string) {
	const indent, width = 4, 80
	fmt.Fprintf(s, "  %s\n", title)
	at := 0
	for _, n := range names {
		switch {
		case at == 0:
			at, _ = fmt.Fprintf(s, "%*s%s", indent, "", n)
		case at+1+len(n) > width:
			s.WriteString("\n")
			at, _ = fmt.Fprintf(s, "%*s%s", indent, "", n)
		default:
			k, _ := fmt.Fprintf(s, " %s", n)
			at += k
		}
	}
	s.WriteString("\n")
}

// flagHelp lists dashed options.
func flagHelp(flags *pflag.FlagSet) string {
	var s strings.Builder
	flags.VisitAll(func(f *pflag.Flag) {
		arg, doc := pflag.UnquoteUsage(f)
		helpLine(&s, flagSpelling(f, arg), doc)
	})
	return s.String()
}

// flagSpelling is a dashed option as documentation writes it: "-o, --options WORDS".
func flagSpelling(f *pflag.Flag, arg string) string {
	text := "--" + f.Name
	if f.Shorthand != "" {
		text = "-" + f.Shorthand + ", " + text
	}
	if arg != "" {
		text += " " + arg
	}
	return text
}

// help is what "ext2fuse VERB --help" prints.
func (v *verb) help() string {
	var s strings.Builder
	fmt.Fprintf(&s, "Usage: ext2fuse %s\n", strings.TrimSpace(v.name+" [options] "+v.operands))
	for _, line := range fold(capital(v.doc), 80) {
		s.WriteString(line + "\n")
	}
	s.WriteString("\n" + flagHelp(first(v.newFlags())))
	return s.String()
}

// wordHelp is what "-o help" prints: every word, in groups.
func wordHelp() string {
	var s strings.Builder
	s.WriteString("Mount options of ext2fuse, for -o, separated by commas:\n")
	for _, g := range wordGroups {
		fmt.Fprintf(&s, "\n%s:\n", g.title)
		for i := range g.words {
			helpLine(&s, g.words[i].spelling(), firstSentence(g.words[i].doc))
		}
	}
	s.WriteString("\nWords that begin with x- or X- are for mount(8) and systemd, and accepted.\n")
	return s.String()
}

// firstSentence is what comes before the first period that ends a word and is followed by
// another one: "." and ".." are names, too.
func firstSentence(doc string) string {
	if end := sentenceEnd.FindStringIndex(doc); end != nil {
		doc = doc[:end[0]+1]
	}
	return strings.TrimSuffix(doc, ".")
}

var sentenceEnd = regexp.MustCompile(`[^ .]\. `)

// capital makes a description a sentence of its own.
func capital(doc string) string {
	doc = strings.ToUpper(doc[:1]) + doc[1:]
	if !strings.HasSuffix(doc, ".") {
		doc += "."
	}
	return doc
}

// fold breaks text into lines of at most width characters.
func fold(text string, width int) []string {
	var lines []string
	line := ""
	for _, w := range strings.Fields(text) {
		if line != "" && len([]rune(line))+1+len([]rune(w)) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += w
	}
	return append(lines, line)
}

var helpVerb = verb{
	name: "help", operands: "[VERB]", most: 1, plain: true,
	doc: "print this help, or that of a verb",
	run: func(c *call) error {
		text := helpText()
		if len(c.args) == 1 {
			v := findVerb(c.args[0])
			if v == nil {
				return usagef("unknown verb %q", c.args[0]).but("the nearest known one is %q", nearestVerb(c.args[0]))
			}
			text = v.help()
		}
		c.printf("%s", text)
		return nil
	},
}

func nearestVerb(name string) string {
	var names []string
	for i := range verbs {
		names = append(names, verbs[i].name)
	}
	return nearest(name, names)
}

// version and commit are set by the build (-ldflags "-X main.version=… -X main.commit=…");
// otherwise they are what the Go toolchain recorded.
var version, commit string

// versionText is what -V prints: the version, the commit it was built from, and the
// toolchain.
func versionText() string {
	v, c := version, commit
	if info, ok := debug.ReadBuildInfo(); ok {
		if v == "" {
			v = info.Main.Version
		}
		modified := ""
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				c = s.Value[:min(12, len(s.Value))]
			case "vcs.modified":
				if s.Value == "true" {
					modified = ", modified"
				}
			}
		}
		if c != "" {
			c += modified
		}
	}
	if v == "" {
		v = "(devel)"
	}
	if c != "" {
		c = " (commit " + c + ")"
	}
	return "ext2fuse " + v + c + " " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH + "\n"
}
