package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/mailtest"
	"github.com/postroom/postroom/internal/pgtest"
)

// pair is a site with one user on IMAP and one on POP3.
func pair(t *testing.T, url string, more ...string) (*site, *mailtest.Dovecot) {
	t.Helper()
	s, server := newSite(t, url, ""), mailtest.StartDovecot(t)
	r := records{site: s}
	r.profileFor("imap", server, mailbox.IMAP, mailbox.ImplicitTLS)
	r.profileFor("pop3", server, mailbox.POP3, mailbox.ImplicitTLS)
	for _, name := range pairUsers() {
		server.AddUser(t, name, password)
		keys := r.polled(t, name, name)
		if len(more) > 0 {
			keys = append(keys[:3:3], more...)
		}
		r.user(name, name+"@example.com", keys...)
	}
	s.write(t, "records.yaml", r.text())
	s.must(t, "migrate")
	return s, server
}

func pairUsers() []string { return []string{"imap", "pop3"} }

// fill appends n letters to both mailboxes.
func fill(t *testing.T, server *mailtest.Dovecot, name string, n int) {
	t.Helper()
	for _, user := range pairUsers() {
		for i := range n {
			server.Append(t, user, "INBOX", letter(fmt.Sprintf("%s-%s-%d", name, user, i), user+"@example.com", "Text."), time.Time{})
		}
	}
}

func (s *site) pollPair(t *testing.T) {
	t.Helper()
	for _, user := range pairUsers() {
		s.poll(t, user)
	}
}

// TestOutages: the daemon outlives its database and its mail server, and goes on where it was.
func TestOutages(t *testing.T) {
	t.Parallel()
	postgres := pgtest.Server(t)
	s, server := pair(t, postgres.URL())
	s.must(t, "apply", "-f", filepath.Join(s.dir, "records.yaml"))
	d := s.serve(t)
	fill(t, server, "before", 5)
	s.pollPair(t)

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	fill(t, server, "database", 5)
	if err := postgres.Restart(ctx); err != nil { // as a crash
		t.Fatal(err)
	}
	s.db.Reset()
	s.awaits(t, 1, "daemons that live", `SELECT count(*) FROM daemon WHERE heartbeat_at > now() - interval '3 seconds'`)
	s.pollPair(t)
	s.wants(t, 20, "activities after the database crashed", `SELECT count(*) FROM activity`)

	server.Kill(t)
	for _, user := range pairUsers() {
		if got := s.run(t, "mailbox", "poll", user, "--wait"); got.code != 1 || !strings.Contains(got.err, "connect_refused") {
			t.Errorf("poll of %s without a mail server: got exit code %d and %q, want 1 and connect_refused", user, got.code, got.err)
		}
	}
	server.Restart(t)
	fill(t, server, "server", 5)
	s.pollPair(t)
	s.wants(t, 30, "activities after the mail server crashed", `SELECT count(*) FROM activity`)
	s.wants(t, 30, "receipts", `SELECT count(*) FROM receipt WHERE outcome = 'recorded'`)
	s.wants(t, 0, "mailboxes that still fail", `SELECT count(*) FROM mailbox_state WHERE error_class IS NOT NULL`)
	d.stop(t)
}

// TestStartPoint: with start: now mail from before is never read, and all that comes after is. A maildrop's start is its
// first listing, since POP3 does not tell when mail came in.
func TestStartPoint(t *testing.T) {
	t.Parallel()
	s, server := pair(t, pgtest.EmptyURL(t), "start: now", "poll_interval: 1s")
	old := time.Now().Add(-time.Hour)
	for _, user := range pairUsers() {
		for i := range 2 {
			server.Append(t, user, "INBOX", letterAt(old, fmt.Sprintf("old-%d-%s", i, user), user+"@example.com", "Old."), old)
		}
	}
	s.must(t, "apply", "-f", filepath.Join(s.dir, "records.yaml"))
	fill(t, server, "between", 1) // after the mailbox was enabled, before it was first listed
	d := s.serve(t)
	s.pollPair(t)
	s.wants(t, 1, "activities", `SELECT count(*) FROM activity`)
	fill(t, server, "new", 3)
	s.pollPair(t)
	s.wants(t, 7, "activities", `SELECT count(*) FROM activity`)
	s.wants(t, 0, "records of mail from before the start point", `SELECT count(*) FROM activity WHERE message_id LIKE '%old-%'`)
	s.wants(t, 3, "mail of the maildrop that is noted as older", `SELECT count(*) FROM receipt WHERE state = 'baseline' AND raw_id IS NULL`)
	d.stop(t)
}

// TestRenumbered: a server that gives all its messages new names has brought no new mail.
func TestRenumbered(t *testing.T) {
	t.Parallel()
	s, server := pair(t, pgtest.EmptyURL(t))
	s.must(t, "apply", "-f", filepath.Join(s.dir, "records.yaml"))
	fill(t, server, "kept", 12)
	d := s.serve(t)
	s.pollPair(t)
	s.wants(t, 24, "activities", `SELECT count(*) FROM activity`)
	before := s.count(t, `SELECT uidvalidity FROM folder_cursor WHERE uidvalidity IS NOT NULL`)

	server.Stop(t)
	for _, user := range pairUsers() {
		files, err := filepath.Glob(filepath.Join(server.Maildir(user, "INBOX"), "dovecot*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}
	}
	server.Restart(t)
	fill(t, server, "new", 1)
	s.pollPair(t)
	if after := s.count(t, `SELECT uidvalidity FROM folder_cursor WHERE uidvalidity IS NOT NULL`); after == before {
		t.Fatalf("UIDVALIDITY: got %d again, want that the server has renumbered", after)
	}
	s.wants(t, 26, "activities after all was renumbered", `SELECT count(*) FROM activity`)
	s.wants(t, 26, "sightings after all was renumbered", `SELECT count(*) FROM sighting`)
	s.wants(t, 26, "kept messages after all was renumbered", `SELECT count(*) FROM raw`)
	s.wants(t, 24, "receipts that are linked to what was recorded", `SELECT count(*) FROM receipt WHERE outcome = 'duplicate'`)
	d.stop(t)
}
