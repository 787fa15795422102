package e2e

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/mailtest"
	"github.com/postroom/postroom/internal/pgtest"
)

// stuckServer takes connections and never says a word.
func stuckServer(t *testing.T) (port int) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var conns []net.Conn
		for {
			conn, err := l.Accept()
			if err != nil {
				break
			}
			conns = append(conns, conn)
		}
		for _, conn := range conns {
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().(*net.TCPAddr).Port
}

// TestTwoDaemons: two daemons share the mailboxes. What the one holds that is killed, the other takes over; nothing is
// recorded twice.
func TestTwoDaemons(t *testing.T) {
	t.Parallel()
	s, server := newSite(t, pgtest.EmptyURL(t), ""), mailtest.StartDovecot(t)
	r := records{site: s}
	r.profileFor("imap", server, mailbox.IMAP, mailbox.ImplicitTLS)
	r.profileFor("pop3", server, mailbox.POP3, mailbox.ImplicitTLS)
	r.profile("stuck", mailbox.IMAP, stuckServer(t), mailbox.Plaintext, "timeout: 60s")
	r.profiles[2] = strings.Replace(r.profiles[2], "timeout: 20s\n    ", "", 1)
	users := []string{"one", "two", "three", "four"}
	for i, name := range users {
		server.AddUser(t, name, password)
		r.user(name, name+"@example.com", r.polled(t, []string{"imap", "pop3"}[i%2], name)...)
	}
	r.user("stuck", "stuck@example.com", r.polled(t, "stuck", "stuck")...)
	s.apply(t, r.text())
	sent := 0
	deliver := func() {
		for _, name := range users {
			for range 5 {
				sent++
				server.Append(t, name, "INBOX", letter(fmt.Sprintf("shared-%d", sent), name+"@example.com", "Text."), time.Time{})
			}
		}
	}

	daemons := map[int64]*daemon{}
	for range 2 {
		d := s.serve(t)
		daemons[int64(d.pid())] = d
	}
	deliver()
	const holder = `SELECT d.pid::bigint FROM lease l JOIN daemon d USING (daemon_id) JOIN mailbox m ON m.mailbox_id = l.target_id WHERE m.name = 'stuck'`
	eventually(t, "a daemon polls the stuck server", func() (bool, string) {
		return len(all[int64](t, s, holder)) == 1, "nobody holds it"
	})
	killed := one[int64](t, s, holder)
	daemons[killed].kill()
	delete(daemons, killed)
	deliver()
	eventually(t, "the other daemon takes the stuck server over", func() (bool, string) {
		pids := all[int64](t, s, holder)
		return len(pids) == 1 && pids[0] != killed, fmt.Sprintf("held by %v, killed was %d", pids, killed)
	})
	deliver()
	for _, name := range users {
		s.poll(t, name)
	}
	for table, sql := range map[string]string{"receipts": "receipt WHERE outcome = 'recorded'", "activities": "activity", "sightings": "sighting", "e-mails": "email"} {
		s.wants(t, int64(sent), table, "SELECT count(*) FROM "+sql)
	}
	// SIGTERM while one poll hangs: it is given its time to finish, then broken off.
	for _, d := range daemons {
		d.stop(t)
	}
	s.wants(t, 0, "leases that are held after the end", `SELECT count(*) FROM lease WHERE daemon_id IN (SELECT daemon_id FROM daemon WHERE pid <> $1)`, killed)
	s.wants(t, 0, "leases that are held after the end", `SELECT count(*) FROM lease WHERE daemon_id IS NOT NULL`)
	s.wants(t, 0, "rows of daemons that ended in good order", `SELECT count(*) FROM daemon WHERE pid <> $1`, killed)
}

// TestStopWhileReading: a daemon that is told to stop while it reads finishes its batch, and the next one goes on from there.
func TestStopWhileReading(t *testing.T) {
	t.Parallel()
	s, server := newSite(t, pgtest.EmptyURL(t), "limits:\n  batch_messages: 3\n"), mailtest.StartDovecot(t)
	r := records{site: s}
	r.profileFor("imap", server, mailbox.IMAP, mailbox.ImplicitTLS)
	server.AddUser(t, "anna", password)
	r.user("Anna", "anna@example.com", r.polled(t, "imap", "anna")...)
	s.apply(t, r.text())
	const sent = 300
	messages := make([][]byte, sent)
	for i := range messages {
		messages[i] = letter(fmt.Sprintf("stop-%d", i), "anna@example.com", strings.Repeat("Some words to read. ", 200))
	}
	server.AppendAll(t, "anna", "INBOX", messages, time.Time{})
	d := s.serve(t)
	eventually(t, "the first messages are recorded", func() (bool, string) {
		return s.count(t, `SELECT count(*) FROM activity`) > 0, "none"
	})
	d.stop(t)
	s.wants(t, 0, "leases that are held after the end", `SELECT count(*) FROM lease WHERE daemon_id IS NOT NULL`)
	s.serve(t)
	s.poll(t, "Anna")
	s.wants(t, sent, "activities", `SELECT count(*) FROM activity`)
	s.wants(t, sent, "receipts", `SELECT count(*) FROM receipt`)
}

// TestChangesWhileRunning: what apply changes is picked up by the daemon that runs.
func TestChangesWhileRunning(t *testing.T) {
	t.Parallel()
	s, server := newSite(t, pgtest.EmptyURL(t), ""), mailtest.StartDovecot(t)
	for _, name := range []string{"anna", "bo"} {
		server.AddUser(t, name, password)
		server.Append(t, name, "INBOX", letter("for-"+name, name+"@example.com", "Text."), time.Time{})
	}
	r := records{site: s}
	r.profile("imap", mailbox.IMAP, closedPort(t), mailbox.ImplicitTLS, fmt.Sprintf("ca_file: %q", server.CA.File))
	r.user("Anna", "anna@example.com", r.polled(t, "imap", "anna")...)
	s.apply(t, r.text())
	secret := s.write(t, "secret-anna", "not it\n")
	d := s.serve(t)
	state := func(want, name string) {
		t.Helper()
		s.awaits(t, 1, name+" is "+want, `SELECT count(*) FROM mailbox_state JOIN mailbox USING (mailbox_id)
			WHERE name = $1 AND coalesce(error_code, 'ok') = $2 AND last_poll_at IS NOT NULL`, name, want)
	}
	state("connect_refused", "Anna")

	// The profile is corrected: the password is the next that is wrong.
	r.profiles = nil
	r.profileFor("imap", server, mailbox.IMAP, mailbox.ImplicitTLS)
	s.apply(t, r.text())
	if got := s.run(t, "mailbox", "poll", "Anna", "--wait"); got.code != 1 || !strings.Contains(got.err, "authentication_failed") {
		t.Errorf("poll with a wrong password: got exit code %d and %q, want 1 and authentication_failed", got.code, got.err)
	}
	state("authentication_failed", "Anna")

	// The password is corrected in its file: nothing needs to be told.
	s.write(t, strings.TrimPrefix(secret, s.dir+"/"), password+"\n")
	s.poll(t, "Anna")
	state("ok", "Anna")
	s.wants(t, 1, "activities", `SELECT count(*) FROM activity`)

	// A new mailbox is polled without being asked for.
	r.user("Bo", "bo@example.com", r.polled(t, "imap", "bo")...)
	s.apply(t, r.text())
	s.awaits(t, 2, "activities with a new mailbox", `SELECT count(*) FROM activity`)

	d.hangUp(t)
	select {
	case <-d.log.watch("records are read again"):
	case <-time.After(waitTimeout):
		t.Error("SIGHUP: the log does not say that records are read again")
	}
	s.poll(t, "Bo")

	// A mailbox that is switched off is left alone.
	before := s.count(t, `SELECT token FROM lease JOIN mailbox m ON m.mailbox_id = target_id WHERE name = 'Bo'`)
	r.users[1] = strings.Replace(r.users[1], "profile: imap", "profile: imap\n      enabled: false", 1)
	s.apply(t, r.text())
	server.Append(t, "bo", "INBOX", letter("too-late", "bo@example.com", "Text."), time.Time{})
	if got := s.run(t, "mailbox", "poll", "Bo"); got.code != 1 || !strings.Contains(got.err, "not polled") {
		t.Errorf("poll of a disabled mailbox: got exit code %d and %q, want 1 and that it is not polled", got.code, got.err)
	}
	for range 2 {
		s.poll(t, "Anna")
	}
	s.wants(t, 2, "activities after a mailbox was switched off", `SELECT count(*) FROM activity`)
	if after := s.count(t, `SELECT token FROM lease JOIN mailbox m ON m.mailbox_id = target_id WHERE name = 'Bo'`); after > before+1 {
		t.Errorf("polls of a disabled mailbox: got %d, want at most the one that was under way", after-before)
	}
	if !d.alive() {
		t.Error("the daemon has ended")
	}
	d.stop(t)
}
