//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"log/syslog"
	"os"
	"slices"
	"strings"
	"sync"
)

// logSink is a slog.Handler that writes one line for a record: to standard error
// while there is somebody to read it, and to the system's log from detach on.
type logSink struct {
	shared *logTarget
	prefix string
	attrs  string // of the loggers derived with With, formatted
}

type logTarget struct {
	level  slog.LevelVar // what is below it is not logged
	mu     sync.Mutex
	out    io.Writer
	system *syslog.Writer // nil until detach, and where there is no system log
}

func newLogSink(out io.Writer, prefix string) *logSink {
	return &logSink{shared: &logTarget{out: out}, prefix: prefix}
}

// detach switches to the system's log. Where there is none, root's daemon writes to
// the kernel's log, and everybody else's is silent.
func (h *logSink) detach() {
	t := h.shared
	t.mu.Lock()
	defer t.mu.Unlock()
	t.out = io.Discard
	if w, err := syslog.New(syslog.LOG_DAEMON|syslog.LOG_NOTICE, "ext2fuse"); err == nil {
		t.system = w
	} else if kmsg, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0); err == nil {
		t.out = kmsg
	}
}

func (h *logSink) Enabled(_ context.Context, l slog.Level) bool { return l >= h.shared.level.Level() }

func (h *logSink) Handle(_ context.Context, r slog.Record) error {
	var line strings.Builder
	if r.Level < slog.LevelInfo {
		line.WriteString(r.Time.Format("15:04:05.000000 "))
	}
	if r.Level >= slog.LevelWarn && r.Level < slog.LevelError {
		line.WriteString("warning: ")
	}
	line.WriteString(r.Message)
	line.WriteString(h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		formatAttr(&line, a)
		return true
	})
	text := safe(h.prefix + strings.ReplaceAll(line.String(), "\n", " | "))
	t := h.shared
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.system == nil {
		_, err := fmt.Fprintln(t.out, text)
		return err
	}
	text = strings.TrimPrefix(text, "ext2fuse: ") // the system log puts the name there
	switch {
	case r.Level >= slog.LevelError:
		return t.system.Err(text)
	case r.Level >= slog.LevelWarn:
		return t.system.Warning(text)
	case r.Level >= slog.LevelInfo:
		return t.system.Info(text)
	}
	return t.system.Debug(text)
}

func (h *logSink) WithAttrs(attrs []slog.Attr) slog.Handler {
	var s strings.Builder
	s.WriteString(h.attrs)
	for _, a := range attrs {
		formatAttr(&s, a)
	}
	c := *h
	c.attrs = s.String()
	return &c
}

// WithGroup leaves groups out: a line has room for names only.
func (h *logSink) WithGroup(string) slog.Handler { return h }

func formatAttr(s *strings.Builder, a slog.Attr) {
	v := a.Value.Resolve().String()
	if strings.ContainsAny(v, " \t\n\"=") || v == "" {
		v = fmt.Sprintf("%q", v)
	}
	fmt.Fprintf(s, " %s=%s", a.Key, v)
}

// heldLog is the log of an image that a verb uses. Of errors the verb tells itself, with the path
// that led there, so those are kept until it is known that it did not.
type heldLog struct {
	slog.Handler
	mu   sync.Mutex
	held []slog.Record
}

// maxHeld bounds what is kept of an image that has one fault beside the other.
const maxHeld = 100

// Handle logs a record, or keeps it.
func (h *heldLog) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelError {
		return h.Handler.Handle(ctx, r)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held = append(h.held, r.Clone())
	if len(h.held) <= maxHeld {
		return nil
	}
	r, h.held = h.held[0], h.held[1:]
	return h.Handler.Handle(ctx, r)
}

// told drops what stands in a message to the user.
func (h *heldLog) told(message string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held = slices.DeleteFunc(h.held, func(r slog.Record) bool { return strings.Contains(message, r.Message) })
}

// flush logs what was not told.
func (h *heldLog) flush() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.held {
		_ = h.Handler.Handle(context.Background(), r) // as with say, there is nobody to tell
	}
	h.held = nil
}

// oneLine words an error that names an image for people: one line that says what to do, too.
func (c *config) oneLine(image string, err error) string {
	return strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ") + c.hint(image, err)
}
