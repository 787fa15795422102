package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/mailtest"
	"github.com/postroom/postroom/internal/pgtest"
)

// dispositionSite has a mailbox for each thing that is done to the server's copies, with three messages in each.
func dispositionSite(t *testing.T, url string) (*site, *mailtest.Dovecot) {
	t.Helper()
	s, server := newSite(t, url, ""), mailtest.StartDovecot(t)
	r := records{site: s}
	r.profileFor("imap", server, mailbox.IMAP, mailbox.StartTLS, "authserv_id: "+mx, "mx_hosts: ["+mx+"]")
	r.profileFor("pop3", server, mailbox.POP3, mailbox.ImplicitTLS)
	queue := func(name, profile string, more ...string) {
		server.AddUser(t, name, password)
		r.queue(name, name+"@example.com", r.polled(t, profile, name, more...)...)
		for i := range 3 {
			server.Append(t, name, "INBOX", letter(fmt.Sprintf("%s-%d", name, i), name+"@example.com", "Text."), time.Time{})
		}
	}
	queue("pop3-delete", "pop3", "disposition: delete", "delete_after: 0s")
	queue("pop3-leave", "pop3")
	queue("pop3-later", "pop3", "disposition: delete", "delete_after: 1h")
	queue("imap-delete", "imap", "disposition: delete", "delete_after: 0s")
	queue("imap-move", "imap", "disposition: move", "move_to: Recorded/2026")
	queue("ignored-stays", "imap", "disposition: delete", "delete_after: 0s", "accept: none")
	queue("ignored-goes", "imap", "disposition: delete", "delete_after: 0s", "accept: none", "delete_ignored: true")

	for _, name := range []string{"user", "forward"} {
		server.AddUser(t, name, password)
	}
	r.user("user", "user@example.com", r.polled(t, "imap", "user")...)
	r.user("Bo", "bo@example.com", "incoming: forward_mailbox")
	r.forward("forward", "forward@example.com", r.polled(t, "imap", "forward",
		"disposition: delete", "delete_after: 0s", "undeliverable_folder: Undeliverable")...)
	server.Append(t, "user", "INBOX", letter("user-0", "user@example.com", "Mine."), time.Time{})
	server.Append(t, "forward", "INBOX", wrap(exchange, authenticated("bo@example.com"), "bo@example.com", "w", letter("wrapped", "bo@example.com", "Text.")), time.Time{})
	server.Append(t, "forward", "INBOX", letter("no-wrapper", "forward@example.com", "Not forwarded."), time.Time{})
	for user, folder := range map[string]string{"imap-move": "Recorded.2026", "forward": "Undeliverable"} {
		w := server.Plain(t, user)
		if reply, _ := w.Command(fmt.Sprintf("CREATE %q", folder)); !strings.HasPrefix(reply, "OK") {
			t.Fatalf("CREATE %s: got %q, want OK", folder, reply)
		}
		w.Close()
	}
	s.apply(t, strings.ReplaceAll(r.text(), "Recorded/2026", "Recorded.2026"))
	return s, server
}

func dispositionBoxes() []string {
	return []string{"pop3-delete", "pop3-leave", "pop3-later", "imap-delete", "imap-move", "ignored-stays", "ignored-goes", "user", "forward"}
}

// TestDispositions: what is done to the server's copies, once the records are durable.
func TestDispositions(t *testing.T) {
	t.Parallel()
	s, server := dispositionSite(t, pgtest.Server(t).URL())
	d := s.serve(t)
	s.awaits(t, 24, "receipts with an outcome", `SELECT count(*) FROM receipt WHERE state = 'finished'`)
	s.awaits(t, 0, "dispositions that are due now", `SELECT count(*) FROM receipt WHERE disposition IN ('due', 'copied') AND dispose_at <= now()`)
	for _, name := range dispositionBoxes() { // whatever else a poll would do
		s.poll(t, name)
	}
	for _, want := range []struct {
		user, folder string
		messages     int
	}{
		{"pop3-delete", "INBOX", 0},
		{"pop3-leave", "INBOX", 3},
		{"pop3-later", "INBOX", 3},
		{"imap-delete", "INBOX", 0},
		{"imap-move", "INBOX", 0},
		{"imap-move", "Recorded.2026", 3},
		{"ignored-stays", "INBOX", 3},
		{"ignored-goes", "INBOX", 0},
		{"user", "INBOX", 1},
		{"forward", "INBOX", 0},
		{"forward", "Undeliverable", 1},
	} {
		if got := len(overIMAP(t, server, want.user, want.folder)); got != want.messages {
			t.Errorf("%s, folder %s: got %d messages, want %d", want.user, want.folder, got, want.messages)
		}
	}
	s.wants(t, 3, "copies to be deleted later", `SELECT count(*) FROM receipt WHERE disposition = 'due'`)
	s.wants(t, 6, "ignored messages", `SELECT count(*) FROM receipt WHERE outcome = 'ignored' AND reason = 'not_accepted'`)
	s.wants(t, 1, "quarantined messages", `SELECT count(*) FROM receipt WHERE outcome = 'quarantined' AND reason = 'no_original'`)
	s.wants(t, 24, "kept messages and originals of wrappers", `SELECT count(*) FROM raw`)
	d.stop(t)
}

// TestNothingIsDeletedWithoutDurability: a database that may lose a commit must not be the only place where mail is.
func TestNothingIsDeletedWithoutDurability(t *testing.T) {
	t.Parallel()
	s, server := dispositionSite(t, pgtest.EmptyURL(t)) // on a server without fsync
	d := s.serve(t)
	s.awaits(t, 24, "receipts with an outcome", `SELECT count(*) FROM receipt WHERE state = 'finished'`)
	for _, name := range dispositionBoxes() {
		s.poll(t, name)
		s.poll(t, name)
	}
	for _, name := range dispositionBoxes() {
		want := 3
		switch name {
		case "user":
			want = 1
		case "forward":
			want = 2
		}
		if got := len(overIMAP(t, server, name, "INBOX")); got != want {
			t.Errorf("%s: got %d messages, want all %d left", name, got, want)
		}
	}
	type status struct {
		Durable    bool
		DurableWhy string `json:"durable_why"`
	}
	if got := decode[status](t, s.run(t, "status", "--output", "json")); got.Durable || !strings.Contains(got.DurableWhy, "fsync") {
		t.Errorf("status: got %+v, want that it is not durable because of fsync", got)
	}
	if !strings.Contains(d.log.String(), "no mail is deleted or moved") {
		t.Error("the log does not say that nothing is deleted")
	}
	d.stop(t)
}
