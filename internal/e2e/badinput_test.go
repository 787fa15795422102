package e2e

import (
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/mailtest"
	"github.com/postroom/postroom/internal/pgtest"
)

// TestBadConfiguration: every fault is named at once, with what to do, by every command that reads the file.
func TestBadConfiguration(t *testing.T) {
	t.Parallel()
	s := newSite(t, "", "")
	s.write(t, "postroom.yaml", "shceduler:\n  workers: 8\nlog:\n  level: loud\nlimits:\n  batch_octets: 4\n")
	for _, args := range [][]string{{"config", "check"}, {"serve"}, {"status"}} {
		r := s.run(t, args...)
		if r.code != 78 {
			t.Errorf("%v: got exit code %d, want 78", args, r.code)
		}
		for _, want := range []string{"3 faults", "postroom.yaml:1", "did you mean scheduler?", "log.level", "postroom.yaml:4", "limits.batch_octets", "postroom.yaml:6"} {
			if !strings.Contains(r.err, want) {
				t.Errorf("%v: got %q, want %q in it", args, r.err, want)
			}
		}
	}
	type report struct {
		OK     bool
		Faults []struct{ Key, Where, Problem, Mend string }
	}
	r := s.run(t, "config", "check", "--output", "json")
	got := decode[report](t, r)
	if got.OK || len(got.Faults) != 3 || r.code != 78 {
		t.Errorf("config check --output json: got %+v and exit code %d, want three faults and 78", got, r.code)
	}
	for _, f := range got.Faults {
		if f.Key == "" || f.Where == "" || f.Problem == "" || f.Mend == "" {
			t.Errorf("fault: got %+v, want all of it", f)
		}
	}
}

// TestBadRecords: what apply refuses changes nothing.
func TestBadRecords(t *testing.T) {
	t.Parallel()
	s := newSite(t, pgtest.URL(t), "")
	file := s.write(t, "records.yaml", `users:
  - name: Anna
    address: anna@example.com
    mailbox:
      profile: nowhere
      username: anna
      password: hunter2hunter2
      disposition: delete
`)
	r := s.run(t, "apply", "-f", file)
	if r.code != 78 {
		t.Errorf("apply: got exit code %d, want 78: %s", r.code, r.err)
	}
	for _, want := range []string{"records.yaml:7", "password_file", "disposition"} {
		if !strings.Contains(r.err, want) {
			t.Errorf("apply: got %q, want %q in it", r.err, want)
		}
	}
	if strings.Contains(r.out+r.err, "hunter2") {
		t.Error("apply repeats a password")
	}
	s.wants(t, 0, "records after a refused apply", `SELECT count(*) FROM user_account`)
}

// badMailbox is a mailbox that cannot be polled, and what is said about it.
type badMailbox struct {
	name        string
	class, code string
	tells       string // in the text or the hint
}

// TestBadInput: whatever is wrong with a mailbox, its server or its secret is told so that an admin can act, and does not
// keep other mailboxes.
func TestBadInput(t *testing.T) {
	t.Parallel()
	s := newSite(t, pgtest.EmptyURL(t), "")
	server := mailtest.StartDovecot(t)
	r := records{site: s}
	bad := badMailboxes(t, &r, server)
	server.AddUser(t, "good", password)
	r.user("Good", "good@example.com", r.polled(t, "imap", "good")...)
	s.apply(t, r.text())

	d := s.serve(t)
	s.awaits(t, int64(len(bad)), "mailboxes that failed", `SELECT count(*) FROM mailbox_state WHERE error_class IS NOT NULL`)
	server.Append(t, "good", "INBOX", letter("while-others-fail", "good@example.com", "Still here."), time.Time{})
	s.awaits(t, 1, "activities of the good mailbox", `SELECT count(*) FROM activity`)

	for _, want := range bad {
		s.told(t, &want)
	}
	s.overview(t, bad)
	if strings.Contains(d.log.String(), password) || strings.Contains(d.log.String(), "not the password") {
		t.Error("a password stands in the log")
	}
	d.stop(t)
}

func badMailboxes(t *testing.T, r *records, server *mailtest.Dovecot) []badMailbox {
	t.Helper()
	r.profileFor("imap", server, mailbox.IMAP, mailbox.ImplicitTLS)
	r.profileFor("pop3", server, mailbox.POP3, mailbox.StartTLS)
	r.profile("refused", mailbox.IMAP, closedPort(t), mailbox.Plaintext)
	r.profile("unknown-ca", mailbox.IMAP, server.Ports.IMAPS, mailbox.ImplicitTLS)
	ca := mailtest.NewCA(t)
	trusted := fmt.Sprintf("ca_file: %q", ca.File)
	r.profile("wrong-name", mailbox.IMAP, tlsPort(t, ca, mailtest.WrongName()), mailbox.ImplicitTLS, trusted)
	r.profile("expired", mailbox.POP3, tlsPort(t, ca, mailtest.Expired()), mailbox.ImplicitTLS, trusted)
	r.profile("no-tls", mailbox.IMAP, server.Ports.IMAP, mailbox.ImplicitTLS, trusted)

	add := func(name, profile string, more ...string) {
		server.AddUser(t, name, password)
		r.user(name, name+"@example.com", r.polled(t, profile, name, more...)...)
	}
	for _, name := range []string{"imap-password", "pop3-password"} {
		add(name, strings.TrimSuffix(name, "-password"))
		r.site.write(t, "secret-"+name, "not the password\n")
	}
	for _, name := range []string{"refused", "unknown-ca", "wrong-name", "expired", "no-tls"} {
		add(name+"-box", name)
	}
	add("no-folder", "imap", "folders: [INBOX, Nowhere]")
	r.user("no-secret", "no-secret@example.com", "profile: imap", "username: no-secret",
		fmt.Sprintf("password_file: %q", filepath.Join(r.site.dir, "missing-secret")))
	return []badMailbox{
		{"imap-password", "auth", "authentication_failed", "password"},
		{"pop3-password", "auth", "authentication_failed", "password"},
		{"refused-box", "transient", "connect_refused", "127.0.0.1"},
		{"unknown-ca-box", "permanent", "certificate_unknown_authority", "ca_file"},
		{"wrong-name-box", "permanent", "certificate_name_mismatch", "mail.example.net"},
		{"expired-box", "permanent", "certificate_expired", "renew"},
		{"no-tls-box", "transient", "tls_handshake", "starttls"},
		{"no-folder", "permanent", "folder_missing", "Nowhere"},
		{"no-secret", "permanent", "secret_missing", "missing-secret"},
	}
}

// TestHalfBadMailbox: what is wrong with one folder, or with where mail is to be moved, is told and keeps nothing else:
// the mailbox is read as often as ever.
func TestHalfBadMailbox(t *testing.T) {
	t.Parallel()
	s, server := newSite(t, pgtest.Server(t).URL(), ""), mailtest.StartDovecot(t)
	r := records{site: s}
	r.profileFor("imap", server, mailbox.IMAP, mailbox.ImplicitTLS)
	bad := []badMailbox{
		{"source", "permanent", "folder_missing", "Nowhere"},
		{"target", "permanent", "cannot", "No/where"},
	}
	keys := map[string][]string{"source": {"folders: [INBOX, Nowhere]"}, "target": {"disposition: move", "move_to: No/where"}}
	for _, b := range bad {
		server.AddUser(t, b.name, password)
		r.queue(b.name, b.name+"@example.com", r.polled(t, "imap", b.name, keys[b.name]...)...)
		server.Append(t, b.name, "INBOX", letter("first-"+b.name, b.name+"@example.com", "Text."), time.Time{})
	}
	s.apply(t, r.text())
	d := s.serve(t)
	s.awaits(t, int64(len(bad)), "mailboxes that failed", `SELECT count(*) FROM mailbox_state WHERE error_class IS NOT NULL`)
	for _, b := range bad {
		server.Append(t, b.name, "INBOX", letter("second-"+b.name, b.name+"@example.com", "Text."), time.Time{})
	}
	s.awaits(t, 4, "activities, without being asked to poll", `SELECT count(*) FROM activity`)
	for _, b := range bad {
		s.told(t, &b)
		if got := len(overIMAP(t, server, b.name, "INBOX")); got != 2 {
			t.Errorf("%s: got %d messages on the server, want both", b.name, got)
		}
	}
	d.stop(t)
}

// closedPort returns a port that nobody listens on.
func closedPort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return port
}

// tlsPort returns the port of a server that shows a certificate and says no more.
func tlsPort(t *testing.T, ca *mailtest.CA, c mailtest.Certificate) int {
	t.Helper()
	l, err := tls.Listen("tcp4", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{ca.Issue(t, c)}, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second)) // a dead connection says so itself
			_ = conn.(*tls.Conn).Handshake()                       // the client refuses
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().(*net.TCPAddr).Port
}

// told checks what mailbox show says about a mailbox that fails.
func (s *site) told(t *testing.T, want *badMailbox) {
	t.Helper()
	type detail struct {
		State      string
		ErrorClass string `json:"error_class"`
		ErrorCode  string `json:"error_code"`
		ErrorText  string `json:"error_text"`
		ErrorHint  string `json:"error_hint"`
	}
	got := decode[detail](t, s.must(t, "mailbox", "show", want.name, "--output", "json"))
	if got.State != "failing" || got.ErrorClass != want.class || got.ErrorCode != want.code {
		t.Errorf("mailbox show %s: got %s, %s, %s, want failing, %s, %s (%s)",
			want.name, got.State, got.ErrorClass, got.ErrorCode, want.class, want.code, got.ErrorText)
	}
	if got.ErrorHint == "" || !strings.Contains(got.ErrorText+got.ErrorHint, want.tells) {
		t.Errorf("mailbox show %s: got text %q and hint %q, want %q in them", want.name, got.ErrorText, got.ErrorHint, want.tells)
	}
	text := s.must(t, "mailbox", "show", want.name).out
	for _, part := range []string{want.class, want.code, "hint"} {
		if !strings.Contains(text, part) {
			t.Errorf("mailbox show %s: got %q, want %q in it", want.name, text, part)
		}
	}
}

// overview checks that status names what a person is needed for, and says so by its exit code.
func (s *site) overview(t *testing.T, bad []badMailbox) {
	t.Helper()
	type status struct {
		OK        bool
		Problems  []struct{ Code, Mailbox, Text, Hint string }
		Mailboxes struct{ OK, Failing int }
	}
	r := s.run(t, "status", "--output", "json")
	got := decode[status](t, r)
	if r.code != 1 || got.OK {
		t.Errorf("status: got exit code %d and ok %t, want 1 and false", r.code, got.OK)
	}
	if got.Mailboxes.Failing != len(bad) || got.Mailboxes.OK != 1 {
		t.Errorf("status: got %+v, want %d failing and 1 ok", got.Mailboxes, len(bad))
	}
	codes := map[string]string{}
	for _, p := range got.Problems {
		codes[p.Mailbox] = p.Code
		if p.Text == "" || p.Hint == "" {
			t.Errorf("status: problem of %s: got %+v, want a text and a hint", p.Mailbox, p)
		}
	}
	text := s.run(t, "status").out
	for _, want := range bad {
		if want.class == "transient" {
			want.code = "" // it may go away by itself
		} else if !strings.Contains(text, want.code) || !strings.Contains(text, want.name) {
			t.Errorf("status: got %q, want %s and %s in it", text, want.name, want.code)
		}
		if codes[want.name] != want.code {
			t.Errorf("status: problem of %s: got %q, want %q", want.name, codes[want.name], want.code)
		}
	}
}
