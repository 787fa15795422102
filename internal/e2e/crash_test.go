package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/mailtest"
	"github.com/postroom/postroom/internal/pgserver"
	"github.com/postroom/postroom/internal/pgtest"
)

// crashes is how often the daemon is killed at least.
const crashes = 10

// crashSite is a site whose daemon is killed while mail comes in.
type crashSite struct {
	*site
	postgres *pgserver.Server
	server   *mailtest.Dovecot
	random   *rand.Rand
	sent     map[string]*sentMail // by file name
}

// sentMail is one delivered message.
type sentMail struct {
	user string
	sum  string
	id   string
}

// crashUsers are the accounts, by what is done to their mail.
func crashUsers() []string {
	return []string{"pop3-leave", "pop3-delete", "imap-leave", "imap-delete", "imap-move"}
}

// TestCrash kills the daemon, and now and then its database, at random moments while mail is delivered and read, and then
// reconciles: nothing lost, nothing doubled, and nothing gone from a server that was not ours before. POSTROOM_SOAK=30m
// goes on for so long.
func TestCrash(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	c := newCrashSite(t, seed)
	soak := soakTime(t)
	deadline := time.Now().Add(soak)
	rounds := 0
	for ; rounds < crashes || time.Now().Before(deadline); rounds++ {
		c.crash(t, rounds%4 == 3)
		c.nothingGoneTooEarly(t)
		if t.Failed() {
			t.Fatalf("after crash %d", rounds+1)
		}
	}
	if got := c.count(t, `SELECT count(*) FROM receipt WHERE disposition = 'done'`); got == 0 {
		t.Error("no message was read and disposed of before the last start: the crashes met no work")
	}
	d := c.serve(t)
	c.settle(t)
	c.reconcile(t)
	d.stop(t)
	t.Logf("%d crashes, %d messages", rounds, len(c.sent))
}

func soakTime(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("POSTROOM_SOAK")
	if text == "" {
		return 0
	}
	soak, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("POSTROOM_SOAK: %v", err)
	}
	return soak
}

func newCrashSite(t *testing.T, seed uint64) *crashSite {
	t.Helper()
	postgres := pgtest.Server(t)
	c := &crashSite{
		site: newSite(t, postgres.URL(), "limits:\n  batch_messages: 7\n"), postgres: postgres, server: mailtest.StartDovecot(t),
		random: rand.New(rand.NewPCG(seed, 0)), sent: map[string]*sentMail{},
	}
	r := records{site: c.site}
	r.profileFor("imap", c.server, mailbox.IMAP, mailbox.ImplicitTLS)
	r.profileFor("pop3", c.server, mailbox.POP3, mailbox.StartTLS)
	for _, user := range crashUsers() {
		c.server.AddUser(t, user, password)
		protocol, what, _ := strings.Cut(user, "-")
		keys := r.polled(t, protocol, user, "disposition: "+what)
		switch what {
		case "delete":
			keys = append(keys, "delete_after: 0s")
		case "move":
			keys = append(keys, "move_to: Recorded")
		}
		r.queue(user, user+"@example.com", keys...)
	}
	c.server.Append(t, "imap-move", "Recorded", []byte("Subject: the folder is there\r\n\r\n"), time.Time{})
	c.apply(t, r.text())
	return c
}

// crash starts a daemon and kills it after a random time, while mail comes in. With database PostgreSQL crashes first.
func (c *crashSite) crash(t *testing.T, database bool) {
	t.Helper()
	c.forgetDead(t)
	d := c.start(t)
	select {
	case <-d.log.watch(running):
	case <-time.After(waitTimeout):
		t.Fatalf("the daemon did not come up:\n%s", d.log)
	}
	kill := time.NewTimer(c.moment())
	defer kill.Stop()
	next := time.NewTicker(15 * time.Millisecond)
	defer next.Stop()
	for {
		select {
		case <-kill.C:
			if !database {
				d.kill()
				return
			}
			c.crashDatabase(t)
			database = false
			kill.Reset(c.moment())
		case <-d.exited:
			t.Fatalf("the daemon ended by itself: %v\n%s", d.err, d.log)
		case <-next.C:
			c.deliver(t)
		}
	}
}

// moment is when something is to crash.
func (c *crashSite) moment() time.Duration {
	return time.Duration(c.random.Int64N(int64(1500 * time.Millisecond)))
}

// crashDatabase ends PostgreSQL at once, in whatever transaction it is, and starts it again.
func (c *crashSite) crashDatabase(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := c.postgres.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	c.db.Reset()
}

// forgetDead makes the killed daemon's heartbeat old, which saves waiting for stale_after.
func (c *crashSite) forgetDead(t *testing.T) {
	t.Helper()
	if _, err := c.db.Exec(t.Context(), `UPDATE daemon SET heartbeat_at = now() - interval '1 minute'`); err != nil {
		t.Fatal(err)
	}
}

// deliver puts one message into one of the maildrops, as a delivery agent would.
func (c *crashSite) deliver(t *testing.T) {
	t.Helper()
	users := crashUsers()
	if len(c.sent) > 5000 { // a soak: maildrops that only grow are listed ever more slowly
		users = slices.DeleteFunc(users, func(user string) bool { return strings.HasSuffix(user, "-leave") })
	}
	user := users[c.random.IntN(len(users))]
	id := fmt.Sprintf("crash-%05d", len(c.sent))
	size := c.random.IntN(20 << 10)
	if c.random.IntN(60) == 0 {
		size = 1<<20 + c.random.IntN(1<<20) // stored ahead of its batch
	}
	text := make([]byte, size)
	for i := range text {
		text[i] = byte(c.random.Uint32())
	}
	octets := letter(id, user+"@example.com", foldBase64(text))
	name := id + ".e2e"
	c.sent[name] = &sentMail{user: user, sum: sum(octets), id: id + "@example.org"}
	c.server.WriteFile(t, user, "INBOX", name, octets)
}

func foldBase64(octets []byte) string {
	text := base64.StdEncoding.EncodeToString(octets)
	var b strings.Builder
	for len(text) > 76 {
		b.WriteString(text[:76] + "\r\n")
		text = text[76:]
	}
	b.WriteString(text)
	return b.String()
}

// there returns the names of the messages that a user's INBOX holds, from its files. They are read twice, because one
// that the server renames meanwhile may be missed.
func (c *crashSite) there(t *testing.T, user string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for _, sub := range []string{"new", "cur", "new", "cur"} {
		entries, err := os.ReadDir(filepath.Join(c.server.Maildir(user, "INBOX"), sub))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for _, e := range entries {
			name, _, _ := strings.Cut(e.Name(), ":")
			names[name] = true
		}
	}
	return names
}

// nothingGoneTooEarly checks that what is gone from the server has a committed receipt and its octets.
func (c *crashSite) nothingGoneTooEarly(t *testing.T) {
	t.Helper()
	// Looked at in this order: what the database gets later does not excuse what is gone now.
	there := map[string]map[string]bool{}
	for _, user := range crashUsers() {
		there[user] = c.there(t, user)
	}
	ours := map[string]bool{}
	for _, s := range all[string](t, c.site, `
		SELECT encode(sha256, 'hex') FROM raw JOIN receipt USING (raw_id)
		WHERE raw.state = 'stored' AND receipt.outcome = 'recorded' AND receipt.disposition IS NOT NULL`) {
		ours[s] = true
	}
	for name, m := range c.sent {
		if !there[m.user][name] && !ours[m.sum] {
			t.Errorf("%s: %s is gone from the server without a committed receipt", m.user, name)
		}
	}
}

// settle waits until everything is read and everything to be deleted or moved is.
func (c *crashSite) settle(t *testing.T) {
	t.Helper()
	c.forgetDead(t)
	c.awaits(t, int64(len(c.sent)), "receipts with an outcome", `SELECT count(*) FROM receipt WHERE state = 'finished'`)
	c.awaits(t, 0, "dispositions that are due", `SELECT count(*) FROM receipt WHERE disposition IN ('due', 'copied')`)
}

// reconcile compares what was delivered with the tables and the server.
func (c *crashSite) reconcile(t *testing.T) {
	t.Helper()
	n := int64(len(c.sent))
	if n < 50 {
		t.Errorf("messages: got %d, want enough to crash upon", n)
	}
	c.wants(t, n, "receipts", `SELECT count(*) FROM receipt`)
	c.wants(t, n, "receipts with outcome recorded", `SELECT count(*) FROM receipt WHERE outcome = 'recorded'`)
	c.wants(t, n, "e-mails", `SELECT count(*) FROM email`)
	c.wants(t, n, "activities", `SELECT count(*) FROM activity`)
	c.wants(t, n, "sightings", `SELECT count(*) FROM sighting`)
	c.wants(t, n, "events", `SELECT count(*) FROM event`)
	c.wants(t, n, "kept messages", `SELECT count(*) FROM raw WHERE state = 'stored'`)
	kept := c.keptSums(t)
	activities := map[string]bool{}
	for _, id := range all[string](t, c.site, `SELECT trim(BOTH '<>' FROM message_id) FROM activity`) {
		activities[id] = true
	}
	left := map[string]map[string]bool{}
	for _, user := range crashUsers() {
		left[user] = c.there(t, user)
	}
	for _, name := range slices.Sorted(maps.Keys(c.sent)) {
		m := c.sent[name]
		if !kept[m.sum] {
			t.Errorf("%s: the octets of %s are not kept", m.user, name)
		}
		if !activities[m.id] {
			t.Errorf("%s: %s has no activity", m.user, name)
		}
		if want := strings.HasSuffix(m.user, "-leave"); left[m.user][name] != want {
			t.Errorf("%s: %s is on the server: got %t, want %t", m.user, name, left[m.user][name], want)
		}
	}
	c.moved(t)
}

// moved checks that the target folder holds every message once, octet by octet.
func (c *crashSite) moved(t *testing.T) {
	t.Helper()
	got := map[string]int{}
	for _, octets := range overIMAP(t, c.server, "imap-move", "Recorded") {
		if !bytes.Contains(octets, []byte("the folder is there")) {
			got[sum(octets)]++
		}
	}
	want := map[string]int{}
	for _, m := range c.sent {
		if m.user == "imap-move" {
			want[m.sum] = 1
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("messages in the folder that mail is moved to: got %d, want %d, each once", len(got), len(want))
	}
}
