package e2e

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/mailtest"
	"github.com/postroom/postroom/internal/pgtest"
	"github.com/postroom/postroom/internal/receipt"
)

// office is a site that polls a user's mailbox, a queue and a forward mailbox on one server.
type office struct {
	*site
	server *mailtest.Dovecot
	sent   map[string][]expected // what wrappers hold, by the recipient mailbox
}

// expected is an original that must have been met.
type expected struct {
	what string
	sum  string
}

func newOffice(t *testing.T) *office {
	t.Helper()
	o := &office{site: newSite(t, pgtest.EmptyURL(t), ""), server: mailtest.StartDovecot(t), sent: map[string][]expected{}}
	for _, user := range []string{"anna", "support", "forward"} {
		o.server.AddUser(t, user, password)
	}
	r := records{site: o.site}
	r.profileFor("imap", o.server, mailbox.IMAP, mailbox.ImplicitTLS, "authserv_id: "+mx, "mx_hosts: ["+mx+"]")
	r.profileFor("pop3", o.server, mailbox.POP3, mailbox.StartTLS)
	r.user("Anna", "anna@example.com", r.polled(t, "imap", "anna")...)
	r.user("Bo", "bo@example.com", "incoming: forward_mailbox")
	r.user("Cleo", "cleo@example.com", "incoming: forward_mailbox")
	r.queue("Support", "support@example.net", r.polled(t, "pop3", "support")...)
	r.forward("Forwarded", "forward@example.com", r.polled(t, "imap", "forward")...)
	o.apply(t, r.text())
	return o
}

// TestMailBecomesRecords follows mail from three mailboxes into the tables, and compares every octet with what a plain
// socket gets from the server.
func TestMailBecomesRecords(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	o.deliver(t)
	direct := letter("direct-and-forwarded", "anna@example.com, bo@example.com", "This reached two people, one of them directly.")
	both := letter("forwarded-twice", "bo@example.com, cleo@example.com", "This reached two people, by two wrappers.")
	o.server.Append(t, "anna", "INBOX", direct, time.Time{})
	o.forwardTo(t, "Bo", exchange, "direct", direct)
	o.forwardTo(t, "Bo", gmail, "both-1", both)
	o.forwardTo(t, "Cleo", base64Part, "both-2", both)
	secret := letter("forged", "bo@example.com", "Nobody sent this.")
	tries := forgeries(secret)
	for _, octets := range tries {
		o.server.Append(t, "forward", "INBOX", octets, time.Time{})
	}

	d := o.serve(t)
	for _, name := range []string{"Anna", "Support", "Forwarded"} {
		o.poll(t, name)
	}
	messages := o.accounted(t)
	if messages < 200 {
		t.Errorf("messages on the server: got %d, want at least 200", messages)
	}
	o.met(t)
	o.oneActivity(t, direct, "Anna", "Bo")
	o.oneActivity(t, both, "Bo", "Cleo")
	o.wants(t, int64(len(tries)), "forgeries in quarantine", `
		SELECT count(*) FROM item WHERE outcome = 'quarantined' AND reason = 'untrusted'`)
	o.wants(t, 0, "records of forgeries", `SELECT count(*) FROM activity WHERE message_id LIKE '%forged@example.org%'`)
	o.explained(t)

	o.again(t, d)
}

// deliver gives half of the corpus to the user and half to the queue, and some of it to the forward mailbox. What the
// corpus lacks is written by the test.
func (o *office) deliver(t *testing.T) {
	t.Helper()
	samples := mailtest.Corpus(t)
	for i := range 200 {
		name := fmt.Sprintf("written-%03d", i)
		samples = append(samples, mailtest.Sample{
			Name: name, Label: "ordinary",
			Octets: letter(name, "anna@example.com", strings.Repeat(fmt.Sprintf("Line %d\r\n.\r\n..dots\r\n", i), i%7+1)),
		})
	}
	appended := map[string][][]byte{}
	wrapped := 0
	for i, s := range samples {
		user := []string{"anna", "support"}[i%2]
		switch {
		case len(s.Octets) == 0: // no server takes it
		case bytes.IndexByte(s.Octets, 0) >= 0: // nor with APPEND
			o.server.WriteFile(t, user, "INBOX", fmt.Sprintf("%d.corpus", i), s.Octets)
		default:
			appended[user] = append(appended[user], s.Octets)
		}
		if forwardable(&s) && i%5 == 0 {
			to := []string{"Bo", "Cleo"}[wrapped%2]
			o.forwardTo(t, to, shapes()[wrapped%len(shapes())], fmt.Sprintf("c%d", i), crlf(s.Octets))
			wrapped++
		}
	}
	if wrapped < len(shapes()) {
		t.Fatalf("wrapped messages: got %d, want each of %d shapes", wrapped, len(shapes()))
	}
	for user, messages := range appended {
		o.server.AppendAll(t, user, "INBOX", messages, time.Time{})
	}
	o.forwardTo(t, "Cleo", gmail, "two", letter("first-of-two", "cleo@example.com", "One."), letter("second-of-two", "cleo@example.com", "Two."))
}

// forwardTo delivers a wrapper from a user to the forward mailbox, as our own mail exchanger would.
func (o *office) forwardTo(t *testing.T, name string, s shape, id string, originals ...[]byte) {
	t.Helper()
	from := strings.ToLower(name) + "@example.com"
	for _, octets := range originals {
		o.sent[name] = append(o.sent[name], expected{what: string(s) + " " + id, sum: sum(octets)})
	}
	o.server.Append(t, "forward", "INBOX", wrap(s, authenticated(from), from, id, originals...), time.Time{})
}

// accounted compares the receipts of the three mailboxes with the server, octet by octet, and returns how many
// messages there are.
func (o *office) accounted(t *testing.T) int {
	t.Helper()
	kept := o.keptSums(t)
	total := 0
	for name, user := range map[string]string{"Anna": "anna", "Forwarded": "forward"} {
		want := map[string]string{}
		for uid, octets := range overIMAP(t, o.server, user, "INBOX") {
			want[fmt.Sprint(uid)] = sum(octets)
		}
		o.same(t, name, kept, want, o.receipts(t, name, `uid::text`))
		total += len(want)
	}
	want := map[string]string{}
	for id, octets := range overPOP3(t, o.server, "support", password) {
		digest := receipt.UniqueIDDigest(id)
		want[hex.EncodeToString(digest[:])] = sum(octets)
	}
	o.same(t, "Support", kept, want, o.receipts(t, "Support", `encode(unique_id_digest, 'hex')`))
	return total + len(want)
}

// receipts returns the sha256 of what each finished receipt of a mailbox keeps, by the message's identity.
func (o *office) receipts(t *testing.T, name, identity string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, row := range all[string](t, o.site, `
		SELECT `+identity+` || ' ' || coalesce(encode(sha256, 'hex'), '') || ' ' || coalesce(outcome, r.state)
		FROM receipt r JOIN folder_cursor USING (folder_id) JOIN mailbox m USING (mailbox_id) LEFT JOIN raw USING (raw_id)
		WHERE m.name = $1`, name) {
		f := strings.Split(row, " ")
		if _, twice := found[f[0]]; twice {
			t.Errorf("%s: message %s has two receipts", name, f[0])
		}
		if !slices.Contains([]string{"recorded", "duplicate", "ignored", "quarantined"}, f[2]) {
			t.Errorf("%s: message %s: got %s, want an outcome", name, f[0], f[2])
		}
		found[f[0]] = f[1]
	}
	return found
}

// same compares a mailbox's receipts with its messages, and what the command shows with SQL.
func (o *office) same(t *testing.T, name string, kept map[string]bool, want, got map[string]string) {
	t.Helper()
	for id, octets := range want {
		switch {
		case got[id] == "":
			t.Errorf("%s: message %s has no receipt with octets", name, id)
		case got[id] != octets:
			t.Errorf("%s: octets of message %s: got sha256 %s, want %s as the server sends them", name, id, got[id], octets)
		case !kept[octets]:
			t.Errorf("%s: the octets of message %s are not in the store", name, id)
		}
	}
	for id := range got {
		if _, there := want[id]; !there {
			t.Errorf("%s: receipt of message %s, which is not on the server", name, id)
		}
	}
	type tally struct{ Recorded, Duplicate, Ignored, Quarantined, Stored, Baseline int64 }
	shown := decode[struct{ Receipts tally }](t, o.must(t, "mailbox", "show", name, "--output", "json")).Receipts
	count := func(outcome string) int64 {
		return o.count(t, `SELECT count(*) FROM receipt JOIN folder_cursor USING (folder_id) JOIN mailbox m USING (mailbox_id)
			WHERE m.name = $1 AND outcome = $2`, name, outcome)
	}
	bySQL := tally{Recorded: count("recorded"), Duplicate: count("duplicate"), Ignored: count("ignored"), Quarantined: count("quarantined")}
	if shown != bySQL {
		t.Errorf("mailbox show %s: got %+v, want %+v as the table has it", name, shown, bySQL)
	}
	if n := shown.Recorded + shown.Duplicate + shown.Ignored + shown.Quarantined; n != int64(len(want)) {
		t.Errorf("mailbox show %s: got %d receipts in sum, want %d, one for each message", name, n, len(want))
	}
}

// met holds the originals of the wrappers against what was met in their recipients' mailboxes.
func (o *office) met(t *testing.T) {
	t.Helper()
	for name, originals := range o.sent {
		for _, e := range originals {
			got := all[int64](t, o.site, `
				SELECT i.raw_id FROM item i JOIN mailbox m USING (mailbox_id) JOIN sighting s USING (receipt_id, ordinal)
				WHERE m.name = $1 AND s.sha256 = decode($2, 'hex') AND s.mailbox_id = m.mailbox_id
				AND i.outcome IN ('recorded', 'duplicate') AND s.authenticated`, name, e.sum)
			if len(got) == 0 && o.count(t, `
				SELECT count(*) FROM sighting s JOIN mailbox m USING (mailbox_id) WHERE m.name = $1 AND s.sha256 = decode($2, 'hex')`, name, e.sum) == 0 {
				t.Errorf("%s: the original of wrapper %s was not met", name, e.what)
			}
		}
	}
	// The spans that items name are the octets that were met.
	rows := all[string](t, o.site, `
		SELECT i.raw_id || ' ' || i.raw_offset || ' ' || i.octets || ' ' || encode(s.sha256, 'hex')
		FROM item i JOIN sighting s USING (receipt_id, ordinal)`)
	octets := map[int64][]byte{}
	for _, row := range rows {
		var id, offset, length int64
		var want string
		if _, err := fmt.Sscan(row, &id, &offset, &length, &want); err != nil {
			t.Fatal(err)
		}
		if octets[id] == nil {
			octets[id] = o.kept(t, id)
		}
		if got := sum(octets[id][offset : offset+length]); got != want {
			t.Errorf("item in raw %d at %d, %d octets: got sha256 %s, want %s", id, offset, length, got, want)
		}
	}
	o.wants(t, o.count(t, `SELECT count(*) FROM activity`), "originals with outcome recorded", `SELECT count(*) FROM item WHERE outcome = 'recorded'`)
}

// oneActivity checks that a message which reached several people is one activity, met in the mailbox of each.
func (o *office) oneActivity(t *testing.T, octets []byte, names ...string) {
	t.Helper()
	got := all[string](t, o.site, `
		SELECT m.name FROM sighting s JOIN mailbox m USING (mailbox_id) WHERE s.sha256 = decode($1, 'hex') ORDER BY 1`, sum(octets))
	if !slices.Equal(got, names) {
		t.Errorf("sightings: got %v, want %v", got, names)
	}
	o.wants(t, 1, "activities of a message that reached two people", `
		SELECT count(DISTINCT activity_id) FROM sighting JOIN activity USING (email_id) WHERE sha256 = decode($1, 'hex')`, sum(octets))
}

// explained checks that a decision can be shown by the command.
func (o *office) explained(t *testing.T) {
	t.Helper()
	id := o.count(t, `SELECT min(receipt_id) FROM item WHERE reason = 'untrusted'`)
	text := o.must(t, "explain", fmt.Sprint(id)).out
	for _, want := range []string{"quarantined, untrusted", "trust"} {
		if !strings.Contains(text, want) {
			t.Errorf("explain: got %q, want %q in it", text, want)
		}
	}
}

// again restarts the daemon and polls everything once more: nothing may be added.
func (o *office) again(t *testing.T, d *daemon) {
	t.Helper()
	before := o.snapshot(t)
	d.stop(t)
	o.serve(t)
	for range 2 {
		for _, name := range []string{"Anna", "Support", "Forwarded"} {
			o.poll(t, name)
		}
	}
	after := o.snapshot(t)
	for _, table := range slices.Sorted(maps.Keys(before)) {
		if before[table] != after[table] {
			t.Errorf("table %s after all was polled again: got %s, want %s", table, after[table], before[table])
		}
	}
}

// snapshot returns the number of rows of every table and a digest of them, but for what polls write each time.
func (s *site) snapshot(t *testing.T) map[string]string {
	t.Helper()
	tables := all[string](t, s, `
		SELECT relname::text FROM pg_class WHERE relnamespace = 'postroom'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition`)
	digests := map[string]string{}
	for _, table := range tables {
		switch table {
		case "trace", "daemon", "lease", "mailbox_state":
			continue
		case "folder_cursor": // when a folder was last listed changes
			digests[table] = one[string](t, s, `SELECT string_agg(concat_ws(' ', folder_id, uidvalidity, uid_next, missed, messages), ', ' ORDER BY folder_id) FROM folder_cursor`)
			continue
		}
		digests[table] = one[string](t, s, fmt.Sprintf(
			`SELECT count(*) || ' rows, ' || coalesce(md5(string_agg(md5(t::text), '' ORDER BY md5(t::text))), '') FROM %q t`, table))
	}
	if len(digests) < 15 {
		t.Errorf("tables: got %d, want at least 15: %v", len(digests), cmp.Or(strings.Join(slices.Sorted(maps.Keys(digests)), " "), "none"))
	}
	return digests
}
