//go:build linux

package main

import (
	_ "embed"
	"fmt"
	"strings"
	"text/template"

	"github.com/spf13/pflag"
)

// manualTemplate is the manual page but for what the tables say.
//
//go:embed ext2fuse.8.tmpl
var manualTemplate string

var manpageVerb = verb{
	name: "manpage", plain: true,
	doc: "print the manual page, ext2fuse(8). To read it: ext2fuse manpage | man -l -",
	run: func(c *call) error {
		text, err := manualPage()
		if err != nil {
			return err
		}
		c.printf("%s", text)
		return nil
	},
}

// manualPage makes ext2fuse(8) of its template and the tables.
func manualPage() (string, error) {
	type section struct {
		Title   string
		Words   []offer
		Doc     string
		Options string
	}
	data := struct {
		Version, Options string
		Groups, Verbs    []section
	}{Version: version, Options: flagsRoff(first(newFlagSet(newConfig())))}
	for _, g := range wordGroups {
		sec := section{Title: g.title}
		for i := range g.words {
			sec.Words = append(sec.Words, offer{Name: g.words[i].spelling(), Doc: g.words[i].doc})
		}
		data.Groups = append(data.Groups, sec)
	}
	for i := range verbs {
		v := &verbs[i]
		data.Verbs = append(data.Verbs, section{Title: v.name + " " + v.operands, Doc: v.doc, Options: flagsRoff(first(v.newFlags()))})
	}
	t, err := template.New("ext2fuse.8").Funcs(template.FuncMap{"esc": escapeRoff, "capital": capital}).Parse(manualTemplate)
	if err != nil {
		return "", err
	}
	var s strings.Builder
	err = t.Execute(&s, data)
	return s.String(), err
}

// first drops what else a function returns.
func first[T, U any](t T, _ U) T { return t }

func flagsRoff(flags *pflag.FlagSet) string {
	var s strings.Builder
	flags.VisitAll(func(f *pflag.Flag) {
		arg, doc := pflag.UnquoteUsage(f)
		fmt.Fprintf(&s, ".TP\n.B %s\n%s\n", escapeRoff(flagSpelling(f, arg)), escapeRoff(capital(doc)))
	})
	return strings.TrimSuffix(s.String(), "\n")
}

// escapeRoff makes plain text mean itself in a manual page.
func escapeRoff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "…", `\|.\|.\|.`).Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	return text
}
