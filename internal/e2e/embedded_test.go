package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/mailtest"
	"github.com/postroom/postroom/internal/pgserver"
	"github.com/postroom/postroom/internal/pgtest"
)

// TestEmbeddedPostgres: without database.url Postroom runs a PostgreSQL of its own, which goes with it.
func TestEmbeddedPostgres(t *testing.T) {
	t.Parallel()
	pgtest.URL(t) // skips where there is no PostgreSQL
	s, server := newSite(t, "", ""), mailtest.StartDovecot(t)
	r := records{site: s}
	r.profileFor("imap", server, mailbox.IMAP, mailbox.ImplicitTLS)
	server.AddUser(t, "anna", password)
	r.user("Anna", "anna@example.com", r.polled(t, "imap", "anna")...)
	s.apply(t, r.text()) // each command starts the database for itself
	if workers := postgresIn(t, s.cluster()); len(workers) > 0 {
		t.Fatalf("PostgreSQL after a command: got processes %v, want none", workers)
	}

	d := s.serve(t)
	server.Append(t, "anna", "INBOX", letter("embedded", "anna@example.com", "Text."), time.Time{})
	s.poll(t, "Anna") // on the database that the daemon runs
	s.db = connect(t, s.embeddedURL(t))
	s.wants(t, 1, "activities", `SELECT count(*) FROM activity`)
	if got := one[string](t, s, `SHOW fsync`); got != "on" {
		t.Errorf("fsync: got %s, want on", got)
	}

	second := s.run(t, "serve")
	if second.code != 1 || !strings.Contains(second.err, "another process (pid "+strconv.Itoa(d.pid())+")") || !strings.Contains(second.err, "hint") {
		t.Errorf("a second daemon on the folder: got exit code %d and %q, want 1 and who uses it", second.code, second.err)
	}
	s.poll(t, "Anna") // the first one is not harmed

	s.db.Close()
	d.stop(t)
	if workers := postgresIn(t, s.cluster()); len(workers) > 0 {
		t.Errorf("PostgreSQL after a clean stop: got processes %v, want none", workers)
	}
	if _, err := os.Stat(filepath.Join(s.cluster(), "postmaster.pid")); !os.IsNotExist(err) {
		t.Errorf("postmaster.pid after a clean stop: got %v, want that it is gone", err)
	}

	d = s.serve(t)
	s.db = connect(t, s.embeddedURL(t))
	s.wants(t, 1, "activities after a restart", `SELECT count(*) FROM activity`)
	s.poll(t, "Anna")
	s.wants(t, 1, "activities after another poll", `SELECT count(*) FROM activity`)
	s.db.Close()

	// A daemon that is killed takes its database with it, and nothing that was recorded is lost.
	d.kill()
	eventually(t, "PostgreSQL ends with its daemon", func() (bool, string) {
		return len(postgresIn(t, s.cluster())) == 0, "it runs"
	})
	d = s.serve(t)
	s.db = connect(t, s.embeddedURL(t))
	s.wants(t, 1, "activities after a crash", `SELECT count(*) FROM activity`)
	s.db.Close()
	d.stop(t)
}

// cluster is the folder of the site's own PostgreSQL.
func (s *site) cluster() string { return filepath.Join(s.dir, "data", "postgresql", "data") }

func (s *site) embeddedURL(t *testing.T) string {
	t.Helper()
	url, ok := pgserver.Running(filepath.Join(s.dir, "data", "postgresql"))
	if !ok {
		t.Fatal("no PostgreSQL runs in the data folder")
	}
	return url
}

// postgresIn returns the processes that work in a cluster's folder.
func postgresIn(t *testing.T, dir string) []string {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		t.Fatal(err)
	}
	var pids []string
	for _, link := range links {
		if cwd, err := os.Readlink(link); err == nil && cwd == dir {
			pids = append(pids, filepath.Base(filepath.Dir(link)))
		}
	}
	return pids
}

// TestLargeMail: large messages pass through without being held in memory, and one over the limit is kept by its header.
func TestLargeMail(t *testing.T) {
	t.Parallel()
	s, server := newSite(t, pgtest.EmptyURL(t), ""), mailtest.StartDovecot(t)
	s.binary = binary(t, false) // the race detector needs memory of its own
	r := records{site: s}
	r.profileFor("imap", server, mailbox.IMAP, mailbox.ImplicitTLS, "max_octets: 27MiB")
	r.profileFor("pop3", server, mailbox.POP3, mailbox.ImplicitTLS, "max_octets: 27MiB")
	for _, name := range []string{"imap", "pop3"} {
		server.AddUser(t, name, password)
		r.queue(name, name+"@example.com", r.polled(t, name, name)...)
	}
	s.apply(t, r.text())
	d := s.serve(t)
	want := map[string]bool{}
	for i, user := range []string{"imap", "pop3", "imap", "pop3", "imap"} {
		octets := letterWithFile("large-"+strconv.Itoa(i), 25<<20, byte(i))
		want[sum(octets)] = true
		server.WriteFile(t, user, "INBOX", "large-"+strconv.Itoa(i), octets)
	}
	server.WriteFile(t, "imap", "INBOX", "too-large", letterWithFile("too-large", 30<<20, 9))
	server.WriteFile(t, "imap", "INBOX", "after", letter("after", "imap@example.com", "A small one after it."))
	s.awaits(t, 7, "receipts with an outcome", `SELECT count(*) FROM receipt WHERE state = 'finished'`)

	const limit = 250 << 20
	t.Logf("the daemon's memory at its peak: %d MiB", peakMemory(t, d.pid())>>20)
	if got := peakMemory(t, d.pid()); got > limit {
		t.Errorf("the daemon's memory at its peak: got %d MiB, want at most %d MiB", got>>20, limit>>20)
	}
	s.wants(t, 6, "recorded messages", `SELECT count(*) FROM receipt WHERE outcome = 'recorded'`)
	kept := s.keptSums(t)
	for octets := range want {
		if !kept[octets] {
			t.Errorf("a large message is not kept as it was sent: %s", octets)
		}
	}
	s.wants(t, 5, "attachments of 18 MiB and more", `SELECT count(*) FROM attachment WHERE octets > 18 << 20`)
	s.tooLarge(t, server)
	d.stop(t)
}

// tooLarge checks what became of the message over the limit.
func (s *site) tooLarge(t *testing.T, server *mailtest.Dovecot) {
	t.Helper()
	const held = `FROM receipt WHERE outcome = 'quarantined' AND reason = 'too_large' AND octets > 30 << 20`
	id := one[int64](t, s, `SELECT receipt_id `+held)
	header := string(s.kept(t, one[int64](t, s, `SELECT raw_id `+held)))
	if !strings.Contains(header, "Message-ID: <too-large@example.org>\r\n") || len(header) > 64<<10 {
		t.Errorf("what is kept of a message over the limit: got %d octets, want its header", len(header))
	}
	if text := s.must(t, "quarantine", "show", strconv.FormatInt(id, 10)).out; !strings.Contains(text, "Letter too-large") {
		t.Errorf("quarantine show: got %q, want its header fields", text)
	}
	w := server.Plain(t, "imap")
	defer w.Close()
	if _, got := w.Command("EXAMINE INBOX"); !strings.Contains(got, "* 5 EXISTS") {
		t.Errorf("the server's folder: got %q, want all five messages", got)
	}
}

// letterWithFile returns a message of about size octets, most of them in an attachment that does not compress to nothing.
func letterWithFile(name string, size int, salt byte) []byte {
	head := "From: Dora Dene <dora@example.org>\r\nTo: imap@example.com\r\nSubject: Letter " + name + "\r\nMessage-ID: <" + name +
		"@example.org>\r\nDate: Sat, 3 Jan 2026 10:00:00 +0000\r\nContent-Type: multipart/mixed; boundary=\"b\"\r\n\r\n" +
		"--b\r\nContent-Type: text/plain\r\n\r\nSee the file.\r\n--b\r\nContent-Type: application/octet-stream; name=\"file.bin\"\r\n" +
		"Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=\"file.bin\"\r\n\r\n"
	octets := append(make([]byte, 0, size+1024), head...)
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	state := uint32(salt) + 1
	for len(octets) < size {
		for range 76 {
			state = state*1664525 + 1013904223
			octets = append(octets, digits[state>>26])
		}
		octets = append(octets, '\r', '\n')
	}
	return append(octets, "--b--\r\n"...)
}
