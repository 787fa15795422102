package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/postroom/postroom/internal/pgserver"
)

// audience is whom the demo tells what happens. It is safe for concurrent use.
type audience struct {
	mu sync.Mutex
	w  io.Writer

	gone context.CancelCauseFunc // called when nobody listens any more; may be nil
}

// errUnheard says that nobody listens, as behind a pipe to head.
var errUnheard = errors.New("what the demo says cannot be written")

// say writes one line. If it cannot, the demo ends: nobody would.
func (a *audience) say(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, err := fmt.Fprintf(a.w, format+"\n", args...); err != nil && a.gone != nil {
		a.gone(fmt.Errorf("%w: %w", errUnheard, err))
	}
}

// audit turns the daemon's audit lines, one for each message's outcome, into lines for a person.
type audit struct {
	*audience

	boxes   map[int64]box // by mailbox_id
	find    func(b box, octets int64) []held
	decided chan<- struct{} // takes a value after each line; never waited for

	mu  sync.Mutex
	met map[messageSize]int // how often
}

// messageSize tells the samples apart, but for those that are the same message.
type messageSize struct {
	box    box
	octets int64
}

// sample returns the one that a line is about: in a mailbox they are decided about in their order.
func (a *audit) sample(b box, octets int64) (held, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	found, key := a.find(b, octets), messageSize{b, octets}
	n := a.met[key]
	if n >= len(found) {
		return held{}, false
	}
	a.met[key]++
	return found[n], true
}

// Enabled implements slog.Handler.
func (a *audit) Enabled(context.Context, slog.Level) bool { return true }

// WithAttrs implements slog.Handler: what is the same in all lines is not told.
func (a *audit) WithAttrs([]slog.Attr) slog.Handler { return a }

// WithGroup implements slog.Handler.
func (a *audit) WithGroup(string) slog.Handler { return a }

// Handle implements slog.Handler.
func (a *audit) Handle(_ context.Context, r slog.Record) error {
	values := map[string]slog.Value{}
	r.Attrs(func(attr slog.Attr) bool { values[attr.Key] = attr.Value.Resolve(); return true })
	text := func(key string) string {
		if v, ok := values[key]; ok {
			return v.String()
		}
		return ""
	}
	var id, octets int64
	if v, ok := values["mailbox_id"]; ok && v.Kind() == slog.KindInt64 {
		id = v.Int64()
	}
	if v, ok := values["octets"]; ok && v.Kind() == slog.KindInt64 {
		octets = v.Int64()
	}
	b := a.boxes[id]
	about := ""
	if m, ok := a.sample(b, octets); ok {
		about = fmt.Sprintf("%q: %s", m.subject, m.about)
	}
	if reason := text("reason"); reason != "" {
		about += " (" + reason + ")"
	}
	a.say("%-11s  %-14s  %5.1f KB  %-10s  %s", text("outcome"), b, float64(octets)/1000, text("class"), about)
	select {
	case a.decided <- struct{}{}:
	default: // one is waiting already
	}
	return nil
}

// account tells how the mail was accounted for.
func (a *audience) account(acc *Account) {
	a.say("\n%s", acc)
	n, twice := len(acc.Activities), 0
	for i := range acc.Activities {
		if acc.Activities[i].Sightings > 1 {
			twice++
		}
	}
	a.say("%d activities: a wrapper may hold more than one original, and %d e-mails reached two people and were recorded once.", n, twice)
	for _, m := range acc.missing {
		a.say("not as it should be: %s", m)
	}
}

// guide tells how to look at what was recorded, while the demo runs.
func (a *audience) guide(f *folder, program string, server *pgserver.Server, acc *Account) {
	with := program + " %s --config " + ShellWord(f.config())
	command := func(name, what string) { a.say("  "+with+"\n      %s", name, what) }
	a.say("\nThe demo polls on until Ctrl-C. Look around from another terminal:\n")
	if psql := findPsql(); psql != "" {
		a.say("  %s %s\n      the tables: SELECT subject, sent_at FROM activity ORDER BY sent_at;", ShellWord(psql), psqlArguments(server.URL()))
	} else {
		a.say("  %s\n      the database, for any client of PostgreSQL (psql is not installed)", server.URL())
	}
	command("status", "how the mailboxes fare")
	command("activity list", "the records")
	if acc.forgery != 0 {
		command(fmt.Sprintf("explain %d", acc.forgery), "why the forgery was not let in")
	}
	command("quarantine list", "what waits for a person")
	a.say("\nThe daemon's settings, records and log: %s", f.dir)
	if f.temp {
		a.say("It goes when the demo ends; --dir PATH keeps it.")
	}
}

// findPsql returns psql, of PATH or beside PostgreSQL's other programs, or "".
func findPsql() string {
	if path, err := exec.LookPath("psql"); err == nil {
		return path
	}
	dir, err := pgserver.Find()
	if err != nil {
		return ""
	}
	path, err := exec.LookPath(filepath.Join(dir, "psql"))
	if err != nil {
		return ""
	}
	return path
}

// psqlArguments returns psql's arguments for a server that listens on a socket in a folder.
func psqlArguments(server string) string {
	u, err := url.Parse(server)
	if err != nil || u.Query().Get("host") == "" {
		return ShellWord(server)
	}
	return fmt.Sprintf("-h %s -p %s -U %s %s", ShellWord(u.Query().Get("host")), ShellWord(u.Query().Get("port")),
		ShellWord(u.User.Username()), ShellWord(strings.TrimPrefix(u.Path, "/")))
}

// ShellWord quotes s for a POSIX shell where it has to be.
func ShellWord(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+:=,@%", r)
	}
	if s != "" && strings.TrimFunc(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// writeJSON writes the account as one object on a line.
func writeJSON(w io.Writer, acc *Account) error {
	if acc.Activities == nil {
		acc.Activities = []Activity{}
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(acc); err != nil {
		return fmt.Errorf("write the account: %w", err)
	}
	return nil
}
