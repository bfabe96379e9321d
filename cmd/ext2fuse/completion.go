//go:build linux

package main

import (
	_ "embed"
	"slices"
	"strings"
	"text/template"

	"github.com/spf13/pflag"
)

// The completions are templates in the languages of the shells; what they offer comes
// from the tables.
var (
	//go:embed completion.bash.tmpl
	bashTemplate string
	//go:embed completion.zsh.tmpl
	zshTemplate string
	//go:embed completion.fish.tmpl
	fishTemplate string
)

var completionVerb = verb{
	name: "completion", operands: "bash|zsh|fish", least: 1, most: 1, plain: true,
	doc: "print completions for a shell. To use them in bash: source <(ext2fuse completion bash)",
	run: func(c *call) error {
		text, err := completions(c.args[0])
		if err != nil {
			return err
		}
		c.printf("%s", text)
		return nil
	},
}

// offer is something to be completed.
type offer struct{ Name, Short, Doc string }

// offersOf are the dashed options of a command.
func offersOf(flags *pflag.FlagSet) []offer {
	var list []offer
	flags.VisitAll(func(f *pflag.Flag) {
		_, doc := pflag.UnquoteUsage(f)
		list = append(list, offer{f.Name, f.Shorthand, doc})
	})
	return list
}

// completions is the completion script for a shell.
func completions(shell string) (string, error) {
	text, ok := map[string]string{"bash": bashTemplate, "zsh": zshTemplate, "fish": fishTemplate}[shell]
	if !ok {
		return "", usagef("no completions for %q", shell).but("there are some for bash, zsh and fish")
	}
	type command struct {
		offer
		Flags    []offer
		Operands []string // where a few words are all there is
	}
	data := struct {
		Flags   []offer
		Words   []offer
		Choices map[string][]string
		Verbs   []command
	}{Flags: offersOf(first(newFlagSet(newConfig()))), Choices: map[string][]string{}}
	for w := range allWords {
		if w.isRefused() {
			continue
		}
		name := w.name
		if w.needsValue() {
			name += "="
		}
		data.Words = append(data.Words, offer{Name: name, Doc: firstSentence(w.doc)})
		if list := w.choices(); list != nil {
			data.Choices[w.name] = list
		}
	}
	for i := range verbs {
		v := &verbs[i]
		c := command{offer: offer{Name: v.name, Doc: firstSentence(v.doc)}, Flags: offersOf(first(v.newFlags()))}
		switch {
		case v.name == helpVerb.name:
			for j := range verbs {
				c.Operands = append(c.Operands, verbs[j].name)
			}
		case v.plain && strings.Contains(v.operands, "|"):
			c.Operands = strings.Split(v.operands, "|")
		}
		data.Verbs = append(data.Verbs, c)
	}
	slices.SortFunc(data.Words, func(a, b offer) int { return strings.Compare(a.Name, b.Name) })
	t, err := template.New(shell).Funcs(template.FuncMap{
		"join": func(list []string) string { return strings.Join(list, " ") },
		// quote is for what stands in single quotes, where a colon may end a name.
		"quote": func(s string) string { return strings.NewReplacer("'", "’", ":", ";").Replace(s) },
		"names": func(list []offer) string {
			var names []string
			for _, o := range list {
				names = append(names, o.Name)
			}
			return strings.Join(names, " ")
		},
		"dashed": func(list []offer) string {
			var names []string
			for _, o := range list {
				if o.Short != "" {
					names = append(names, "-"+o.Short)
				}
				names = append(names, "--"+o.Name)
			}
			return strings.Join(names, " ")
		},
	}).Parse(text)
	if err != nil {
		return "", err
	}
	var s strings.Builder
	err = t.Execute(&s, data)
	return s.String(), err
}
