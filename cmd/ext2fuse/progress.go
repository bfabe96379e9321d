//go:build linux

package main

import (
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/sys/unix"
)

// progress shows how far a long copy is: how much, how fast, how long it will take. It
// is nil where nobody is to see it.
type progress struct {
	begun time.Time
	shown *gate // opened when it is worth while
	bar   *progressbar.ProgressBar
}

var (
	patience = 500 * time.Millisecond // how long a copy takes before it shows progress
	throttle = 100 * time.Millisecond // how long the progress stays as it is
)

// newProgress readies the progress of copying from places of trees, when standard error
// is a terminal.
func newProgress(k *copier, from []source, places []place) *progress {
	out, ok := k.c.stderr.(*os.File)
	if !ok || k.c.set("quiet") || !isTerminal(out) {
		return nil
	}
	total := int64(0)
	for i := range from {
		k.beginWalk(from[i])
		total += k.bytesBelow(from[i], places[i].path, !k.recursive())
	}
	p := &progress{begun: time.Now(), shown: &gate{w: out}}
	p.bar = progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(p.shown),
		progressbar.OptionShowBytes(true),
		progressbar.OptionShowCount(),
		progressbar.OptionUseIECUnits(true),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionThrottle(throttle),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionFullWidth())
	return p
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// bytesBelow is how long a file, or all files below a directory, are. What cannot be read
// is told when it is copied.
func (k *copier) bytesBelow(t source, name string, follow bool) (n int64) {
	m, err := t.meta(name, follow, false)
	if err != nil || k.ctx.Err() != nil {
		return 0
	}
	if m.is(unix.S_IFREG) {
		return m.size
	}
	if !m.is(unix.S_IFDIR) || !k.recursive() || t.enter(name, m) != nil {
		return 0
	}
	names, _ := t.list(name)
	for _, e := range names {
		n += k.bytesBelow(t, t.join(name, e), false)
	}
	return n
}

func (p *progress) add(n int64) {
	if p == nil {
		return
	}
	p.shown.open = p.shown.open || time.Since(p.begun) >= patience
	_ = p.bar.Add64(n)
}

// pause clears the line, so that a message can be printed.
func (p *progress) pause() {
	if p != nil {
		_ = p.bar.Clear()
	}
}

// end removes the progress.
func (p *progress) end() {
	if p != nil {
		_ = p.bar.Finish()
	}
}
