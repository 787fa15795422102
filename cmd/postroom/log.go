package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync"

	"github.com/postroom/postroom/internal/config"
)

// newLogger returns the daemon's log as the configuration wants it; level is set, and can be changed while it is used.
func newLogger(c config.Log, level *slog.LevelVar, w io.Writer) *slog.Logger {
	level.Set(c.SlogLevel())
	opts := &slog.HandlerOptions{Level: level}
	switch c.Format {
	case config.JSON:
		return slog.New(slog.NewJSONHandler(w, opts))
	case config.Journal:
		return slog.New(newJournal(w, opts))
	case config.Text:
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// journal writes text lines without time and level, each with its priority before it (sd-daemon(3)).
type journal struct {
	slog.Handler // writes to buf
	line         *journalLine
}

type journalLine struct {
	mu  sync.Mutex
	buf bytes.Buffer
	out io.Writer
}

func newJournal(w io.Writer, opts *slog.HandlerOptions) *journal {
	o := *opts
	o.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
			return slog.Attr{}
		}
		return a
	}
	line := &journalLine{out: w}
	return &journal{Handler: slog.NewTextHandler(&line.buf, &o), line: line}
}

// Handle implements slog.Handler.
func (j *journal) Handle(ctx context.Context, r slog.Record) error {
	priority := "<7>"
	switch {
	case r.Level >= slog.LevelError:
		priority = "<3>"
	case r.Level >= slog.LevelWarn:
		priority = "<4>"
	case r.Level >= slog.LevelInfo:
		priority = "<6>"
	}
	j.line.mu.Lock()
	defer j.line.mu.Unlock()
	j.line.buf.Reset()
	j.line.buf.WriteString(priority)
	if err := j.Handler.Handle(ctx, r); err != nil {
		return err
	}
	_, err := j.line.out.Write(j.line.buf.Bytes())
	return err
}

// WithAttrs implements slog.Handler.
func (j *journal) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &journal{Handler: j.Handler.WithAttrs(attrs), line: j.line}
}

// WithGroup implements slog.Handler.
func (j *journal) WithGroup(name string) slog.Handler {
	return &journal{Handler: j.Handler.WithGroup(name), line: j.line}
}
