package pop3_test

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/source"
)

// describe returns a message's octets, or "code" and "| header" of what came instead.
func describe(tb testing.TB, f source.Fetched) string {
	tb.Helper()
	octets := ""
	if f.Raw != nil {
		octets = string(f.Raw.Bytes())
		if err := f.Raw.Close(); err != nil {
			tb.Errorf("Close: %v", err)
		}
	}
	switch {
	case f.Err == nil:
		return octets
	case errors.Is(f.Err, source.ErrVanished):
		return "vanished"
	case errors.Is(f.Err, source.ErrTooLarge):
		return "too large|" + octets
	case fault.ClassOf(f.Err) == fault.Poison:
		_, code, _, _ := fault.Describe(f.Err)
		return "poison " + code
	}
	tb.Errorf("message %q: got error %v of class %s", f.Ref.UniqueID, f.Err, fault.ClassOf(f.Err))
	return "?"
}

func check(tb testing.TB, what string, err error, class fault.Class, code string) {
	tb.Helper()
	gotClass, gotCode, _, _ := fault.Describe(err)
	if gotClass != class || gotCode != code {
		tb.Errorf("%s: got %s %s (%v); want %s %s", what, gotClass, gotCode, err, class, code)
	}
}

func TestOpenAndClose(t *testing.T) {
	t.Parallel()
	srv := &script{caps: allCaps}
	s := open(t, srv.start(t))
	if err := s.Close(t.Context()); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Errorf("second Close: %v", err)
	}
	want := []string{"CAPA", "USER alice", "PASS correct horse", "QUIT"}
	if got := srv.commands(); !slices.Equal(got, want) {
		t.Errorf("commands: got %q; want %q", got, want)
	}
	if _, err := s.List(t.Context(), "INBOX", source.Since{}); err == nil {
		t.Error("List after Close: got no error")
	}
}

func TestLogInAsOffered(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("long", 60)
	plain := func(password string) string {
		return base64.StdEncoding.EncodeToString([]byte("\x00alice\x00" + password))
	}
	for name, tc := range map[string]struct {
		caps     []string
		password string
		want     []string
	}{
		"no CAPA":               {nil, password, []string{"CAPA", "USER alice", "PASS correct horse"}},
		"CAPA again":            {[]string{"USER"}, password, []string{"CAPA", "USER alice", "PASS correct horse", "CAPA"}},
		"USER beside SASL":      {append(allCaps, "SASL PLAIN"), password, []string{"CAPA", "USER alice", "PASS correct horse"}},
		"SASL PLAIN":            {append(allCaps[1:5:5], "SASL LOGIN plain"), password, []string{"CAPA", "AUTH PLAIN " + plain(password)}},
		"SASL PLAIN, long":      {append(allCaps[1:5:5], "SASL PLAIN"), long, []string{"CAPA", "AUTH PLAIN", plain(long)}},
		"neither: USER all the": {allCaps[1:5:5], password, []string{"CAPA", "USER alice", "PASS correct horse"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := &script{caps: tc.caps, answers: map[string]string{"AUTH PLAIN": "+ \r\n"}}
			s, err := opener(t).Open(t.Context(), srv.start(t), user, tc.password)
			if err != nil {
				t.Fatalf("Open: %v", err)
			}
			if got := srv.commands(); !slices.Equal(got, tc.want) {
				t.Errorf("commands: got %q; want %q", got, tc.want)
			}
			if err := s.Close(t.Context()); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
}

func TestOpenRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		greeting string
		answers  map[string]string
		class    fault.Class
		code     string
	}{
		"wrong password":            {"", map[string]string{"PASS": "-ERR wrong\r\n"}, fault.Auth, "authentication_failed"},
		"wrong user":                {"", map[string]string{"USER": "-ERR who?\r\n"}, fault.Auth, "authentication_failed"},
		"[AUTH]":                    {"", map[string]string{"PASS": "-ERR [AUTH] no\r\n"}, fault.Auth, "authentication_failed"},
		"[IN-USE]":                  {"", map[string]string{"PASS": "-ERR [IN-USE] x\r\n"}, fault.Transient, "in_use"},
		"[LOGIN-DELAY]":             {"", map[string]string{"PASS": "-ERR [LOGIN-DELAY] x\r\n"}, fault.Transient, "login_delay"},
		"[SYS/TEMP]":                {"", map[string]string{"PASS": "-ERR [SYS/TEMP] x\r\n"}, fault.Transient, "unavailable"},
		"[SYS/PERM]":                {"", map[string]string{"PASS": "-ERR [SYS/PERM] x\r\n"}, fault.Permanent, "contact_admin"},
		"locked, in words":          {"", map[string]string{"PASS": "-ERR unable to lock maildrop\r\n"}, fault.Transient, "in_use"},
		"account locked":            {"", map[string]string{"PASS": "-ERR account locked\r\n"}, fault.Auth, "authentication_failed"},
		"empty answer":              {"", map[string]string{"PASS": "\r\n"}, fault.Transient, "protocol_error"},
		"+OK run together":          {"", map[string]string{"PASS": "+OKfoo\r\n"}, fault.Transient, "protocol_error"},
		"challenge to PASS":         {"", map[string]string{"PASS": "+ \r\n"}, fault.Transient, "protocol_error"},
		"bare LF":                   {"", map[string]string{"PASS": "+OK\n+OK\r\n"}, fault.Transient, "protocol_error"},
		"hang-up":                   {"", map[string]string{"PASS": hangUp}, fault.Transient, "closed_by_server"},
		"hang-up in the line":       {"", map[string]string{"PASS": "+O" + hangUp}, fault.Transient, "closed_by_server"},
		"greeting of refusal":       {"-ERR too many connections\r\n", nil, fault.Transient, "greeting_refused"},
		"greeting [SYS/PERM]":       {"-ERR [SYS/PERM] moved\r\n", nil, fault.Permanent, "contact_admin"},
		"greeting of another":       {"* OK IMAP4rev1\r\n", nil, fault.Transient, "protocol_error"},
		"no greeting":               {hangUp, nil, fault.Transient, "closed_by_server"},
		"CAPA without an end":       {"", map[string]string{"CAPA": "+OK\r\n" + strings.Repeat("X\r\n", 2000)}, fault.Transient, "reply_too_long"},
		"CAPA of too many octets":   {"", map[string]string{"CAPA": "+OK\r\n" + strings.Repeat("X", 1<<18)}, fault.Transient, "octet_budget"},
		"password echoed":           {"", map[string]string{"PASS": "-ERR no such password: " + password + "\r\n"}, fault.Auth, "authentication_failed"},
		"password echoed as a code": {"", map[string]string{"PASS": "-ERR [" + password + "] x\r\n"}, fault.Auth, "authentication_failed"},
		"password echoed badly":     {"", map[string]string{"PASS": password + "\r\n"}, fault.Transient, "protocol_error"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := &script{greeting: tc.greeting, answers: tc.answers}
			s, err := opener(t).Open(t.Context(), srv.start(t), user, password)
			if err == nil {
				t.Fatalf("Open: got %v; want an error", s)
			}
			check(t, "Open", err, tc.class, tc.code)
			_, _, text, hint := fault.Describe(err)
			if strings.Contains(text+hint, password) {
				t.Errorf("Open: the error holds the password: %s", text)
			}
			if len(text) > 500 {
				t.Errorf("Open: the error has %d octets", len(text))
			}
		})
	}
}

// TestLongReplies: go-pop3's buffer is smaller than a status line may be, and must be empty all the same when our reader
// takes over.
func TestLongReplies(t *testing.T) {
	t.Parallel()
	long := "+OK " + strings.Repeat("x", 7000) + "\r\n"
	srv := &script{
		greeting: long, caps: allCaps, messages: mails(3),
		answers: map[string]string{"USER": long, "PASS": long, "QUIT": long, "STAT": "+OK 3 1 " + strings.Repeat("x", 7000) + "\r\n"},
	}
	if err := everything(t.Context(), t, srv.start(t)); err != nil {
		t.Errorf("session: %v", err)
	}
	if got := len(srv.gone()); got != 3 {
		t.Errorf("deleted on the server: got %d messages; want 3", got)
	}
}

func TestSASLRefused(t *testing.T) {
	t.Parallel()
	response := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
	for answer, want := range map[string]fault.Class{
		"-ERR [AUTH] " + response + "\r\n": fault.Auth,
		"-ERR no " + password + "\r\n":     fault.Auth,
		"-ERR [SYS/TEMP] LDAP is away\r\n": fault.Transient,
		"+ " + response + "\r\n":           fault.Transient,
		"+ \r\n":                           fault.Transient,
		"what is " + response + "?\r\n":    fault.Transient,
	} {
		srv := &script{caps: []string{"SASL PLAIN"}, answers: map[string]string{"AUTH": answer}}
		_, err := opener(t).Open(t.Context(), srv.start(t), user, password)
		if got := fault.ClassOf(err); got != want {
			t.Errorf("Open, AUTH answered with %q: got %s (%v); want %s", answer, got, err, want)
		}
		if err != nil && (strings.Contains(err.Error(), response) || strings.Contains(err.Error(), password)) {
			t.Errorf("Open: the error holds the password: %v", err)
		}
	}
}

func TestCredentialsThatCannotBeSent(t *testing.T) {
	t.Parallel()
	srv := &script{}
	p := srv.start(t)
	for _, tc := range [][2]string{{"", "x"}, {"alice\r\nDELE 1", "x"}, {"alice", "x\nDELE 1"}, {"alice", "x\x00"}} {
		_, err := opener(t).Open(t.Context(), p, tc[0], tc[1])
		check(t, "Open", err, fault.Permanent, "credentials_invalid")
	}
	if got := srv.commands(); len(got) > 0 {
		t.Errorf("commands: got %q; want none", got)
	}
}

// TestNothingLastsForEver: a server that says nothing is given up after the profile's time-out, wherever it falls silent.
func TestNothingLastsForEver(t *testing.T) {
	t.Parallel()
	for name, srv := range map[string]*script{
		"greeting": {greeting: silent},
		"CAPA":     {answers: map[string]string{"CAPA": "+OK\r\nUIDL\r\n" + silent}},
		"PASS":     {answers: map[string]string{"PASS": silent}},
		"STAT":     {answers: map[string]string{"STAT": "+OK 1" + silent}},
		"UIDL":     {messages: mails(1), answers: map[string]string{"UIDL": "+OK\r\n1 a\r\n" + silent}},
		"RETR":     {messages: mails(1), answers: map[string]string{"RETR": "+OK\r\nabc\r\n" + silent}},
		"DELE":     {messages: mails(1), answers: map[string]string{"DELE": silent}},
		"QUIT":     {messages: mails(1), answers: map[string]string{"QUIT": silent}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := srv.start(t)
			p.Timeout = 150 * time.Millisecond
			check(t, "session", everything(t.Context(), t, p), fault.Transient, "deadline")
		})
	}
}

// everything runs a whole session and returns its first error.
func everything(ctx context.Context, tb testing.TB, p *mailbox.Profile) error {
	tb.Helper()
	s, err := opener(tb).Open(ctx, p, user, password)
	if err != nil {
		return err
	}
	defer s.Close(ctx) //nolint:errcheck // after the first error
	l, err := s.List(ctx, "INBOX", source.Since{})
	if err != nil {
		return err
	}
	if err := s.Fetch(ctx, l.Refs, maxTotal, func(f source.Fetched) error { describe(tb, f); return nil }); err != nil {
		return err
	}
	_, err = s.Dispose(ctx, deleteAll(l.Refs))
	return err
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"PASS", "UIDL", "RETR", "DELE", "QUIT"} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			srv := &script{messages: mails(2), answers: map[string]string{verb: silent}, on: map[string]func(){verb: cancel}}
			if err := everything(ctx, t, srv.start(t)); fault.ClassOf(err) != fault.Stopping {
				t.Errorf("cancelled at %s: got %s (%v); want stopping", verb, fault.ClassOf(err), err)
			}
		})
	}
}
