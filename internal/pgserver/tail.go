package pgserver

import (
	"bytes"
	"io"
	"strings"
	"sync"
)

// How much of a program's log is kept for errors.
const (
	tailLines  = 12
	tailOctets = 512 // of a line
)

// tail passes a log on and keeps its last lines.
type tail struct {
	next io.Writer // may be nil

	mu    sync.Mutex
	lines []string
	part  []byte // of a line without its end
}

func newTail(next io.Writer) *tail { return &tail{next: next} }

// Write implements io.Writer. It never fails: a log that cannot be written must not stop the server.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.next != nil {
		_, _ = t.next.Write(p)
	}
	rest := p
	for {
		line, after, found := bytes.Cut(rest, []byte("\n"))
		if room := tailOctets - len(t.part); room > 0 {
			t.part = append(t.part, line[:min(room, len(line))]...)
		}
		if !found {
			return len(p), nil
		}
		t.lines = append(t.lines, string(t.part))
		if len(t.lines) > tailLines {
			t.lines = t.lines[1:]
		}
		t.part, rest = t.part[:0], after
	}
}

// text returns the last lines, separated by "; ", so that they fit an error.
func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := append([]string{}, t.lines...)
	if len(t.part) > 0 {
		lines = append(lines, string(t.part))
	}
	if len(lines) == 0 {
		return "it logged nothing"
	}
	return strings.ToValidUTF8(strings.Join(lines, "; "), "\uFFFD")
}
