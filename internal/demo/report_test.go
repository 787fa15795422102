package demo

import (
	"log/slog"
	"strings"
	"testing"
)

func TestAuditLineForAPerson(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	decided := make(chan struct{}, 1)
	m := held{sample: &sample{box: forward, about: "a forgery"}, subject: "FW: Money", octets: 1416}
	m.identity.box = forward
	s := &servers{mails: []held{m}}
	log := slog.New(&audit{
		audience: &audience{w: &out}, boxes: map[int64]box{7: forward}, find: s.find, decided: decided, met: map[messageSize]int{},
	})
	for range 2 { // that nobody waits for the second must not stop it; and it is of no sample
		log.Info("message", "outcome", "quarantined", "mailbox_id", int64(7), "octets", int64(1416), "class", "wrapper", "reason", "untrusted")
	}
	want := `quarantined  Forwarded mail    1.4 KB  wrapper     "FW: Money": a forgery (untrusted)` + "\n" +
		`quarantined  Forwarded mail    1.4 KB  wrapper      (untrusted)` + "\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	if len(decided) != 1 {
		t.Error("nobody was told")
	}
}

func TestShellWord(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"/usr/bin/postroom": "/usr/bin/postroom",
		"a b":               "'a b'",
		"it's":              `'it'\''s'`,
		"":                  "''",
		"$HOME":             "'$HOME'",
		"a&b":               "'a&b'",
	} {
		if got := ShellWord(in); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}

func TestPsqlArguments(t *testing.T) {
	t.Parallel()
	got := psqlArguments("postgres://postroom@/postroom?host=%2Ftmp%2Fa+b%2Frun&port=5432&sslmode=disable")
	if want := "-h '/tmp/a b/run' -p 5432 -U postroom postroom"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
