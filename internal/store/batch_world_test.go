package store_test

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/postroom/postroom/internal/activity"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/pgtest"
	"github.com/postroom/postroom/internal/raw"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/relate"
	"github.com/postroom/postroom/internal/source"
	"github.com/postroom/postroom/internal/store"
	"github.com/postroom/postroom/internal/trace"
)

// post is a database with three mailboxes that are polled, and what is needed to write their mail.
type post struct {
	db     *store.DB
	raws   *raw.Store
	writer *store.Writer
	ann    box // a user's on IMAP
	bob    box // a user's on IMAP
	sales  box // a queue's on POP3
	fwd    box // a forward mailbox on IMAP
}

// box is a mailbox with its folder and the lease on it.
type box struct {
	id     int64
	folder int64
	lease  mailbox.Lease
}

const validity = 77

func newPost(tb testing.TB) *post {
	tb.Helper()
	p := &post{db: pgtest.New(tb)}
	p.raws = raw.New(p.db.Pool())
	p.writer = p.db.Writer(p.raws)
	daemon := uuid.New()
	p.exec(tb, `INSERT INTO daemon (daemon_id, host, pid, version) VALUES ($1, 'test', 1, 'test')`, daemon)
	p.exec(tb, `INSERT INTO profile (name, protocol, host, port, tls) VALUES ('i', 'imap', 'imap.example.com', 993, 'implicit'),
		('p', 'pop3', 'pop.example.com', 995, 'implicit')`)
	p.exec(tb, `INSERT INTO user_account (name, address) VALUES ('ann', 'ann@example.com'), ('bob', 'bob@example.com')`)
	p.exec(tb, `INSERT INTO queue (name, address) VALUES ('sales', 'sales@example.com')`)
	p.ann = p.box(tb, daemon, "ann", "user", "i")
	p.bob = p.box(tb, daemon, "bob", "user", "i")
	p.sales = p.box(tb, daemon, "sales", "queue", "p")
	p.fwd = p.box(tb, daemon, "fwd", "forward", "i")
	return p
}

func (p *post) box(tb testing.TB, daemon uuid.UUID, name, kind, profile string) box {
	tb.Helper()
	var b box
	p.scan(tb, []any{&b.id}, `INSERT INTO mailbox (name, kind, address, user_id, queue_id, incoming, profile_id, username, secret_ref, enabled, enabled_at)
		VALUES ($1, $2, $1 || '@example.com', (SELECT user_id FROM user_account WHERE name = $1), (SELECT queue_id FROM queue WHERE name = $1),
		'server_side', (SELECT profile_id FROM profile WHERE name = $3), $1, 'file:/secret', true, now()) RETURNING mailbox_id`, name, kind, profile)
	p.scan(tb, []any{&b.folder}, `INSERT INTO folder_cursor (mailbox_id, account, name, start_at, uidvalidity, uid_next)
		VALUES ($1, 'mail.example.com/x', 'INBOX', now(), CASE WHEN $2 = 'i' THEN $3::bigint END, CASE WHEN $2 = 'i' THEN 1 END) RETURNING folder_id`, b.id, profile, validity)
	p.exec(tb, `INSERT INTO lease (kind, target_id, next_at, daemon_id, token) VALUES ('mailbox', $1, now(), $2, 1)
		ON CONFLICT (kind, target_id) DO UPDATE SET daemon_id = $2, token = 1`, b.id, daemon)
	b.lease = mailbox.Lease{MailboxID: b.id, DaemonID: daemon, Token: 1}
	return b
}

func (p *post) exec(tb testing.TB, sql string, args ...any) {
	tb.Helper()
	if _, err := p.db.Pool().Exec(tb.Context(), sql, args...); err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
}

func (p *post) scan(tb testing.TB, into []any, sql string, args ...any) {
	tb.Helper()
	if err := p.db.Pool().QueryRow(tb.Context(), sql, args...).Scan(into...); err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
}

// expect compares a query of one text column, its rows joined by blanks, with want.
func (p *post) expect(tb testing.TB, want, sql string, args ...any) {
	tb.Helper()
	rows, err := p.db.Pool().Query(tb.Context(), sql, args...)
	if err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	if joined := strings.Join(got, " "); joined != want {
		tb.Errorf("%s:\n got %s\nwant %s", sql, joined, want)
	}
}

// tables are all that a batch writes.
var tables = []string{
	"email", "receipt", "item", "activity", "party", "attachment", "sighting", "trace", "event", "raw", "raw_chunk",
}

// counts returns how many rows each table has.
func (p *post) counts(tb testing.TB) map[string]int {
	tb.Helper()
	counts := make(map[string]int, len(tables))
	for _, table := range tables {
		var n int
		p.scan(tb, []any{&n}, `SELECT count(*) FROM `+pgx.Identifier{table}.Sanitize())
		counts[table] = n
	}
	return counts
}

// sameCounts fails the test when a table has not as many rows as before.
func (p *post) sameCounts(tb testing.TB, before map[string]int) {
	tb.Helper()
	if diff := cmp.Diff(before, p.counts(tb)); diff != "" {
		tb.Errorf("rows before - after +:\n%s", diff)
	}
}

func (p *post) write(tb testing.TB, b box, batch *receipt.Batch) []receipt.Result {
	tb.Helper()
	results, err := p.writer.Write(tb.Context(), b.lease, batch)
	if err != nil {
		tb.Fatalf("write: %v", err)
	}
	if len(results) != len(batch.Receipts) {
		tb.Fatalf("got %d results, want %d", len(results), len(batch.Receipts))
	}
	return results
}

// letter is an e-mail as a test writes it. The zero value of a field takes a default.
type letter struct {
	id          string // Message-ID
	from        string
	subject     string
	text        string
	footer      string // what a gateway added to this copy
	received    string // makes the octets differ
	attachments []string
	doubtful    bool // not authenticated
	inReplyTo   []string
	references  []string
	to          []string
}

var sent = time.Date(2026, 5, 4, 3, 2, 1, 0, time.FixedZone("", 7200))

// item makes an item of the letter for a recipient mailbox.
func (l letter) item(ordinal int, recipient box) receipt.Item {
	if l.from == "" {
		l.from = "Eve@Example.net"
	}
	text := l.text + l.footer
	octets := fmt.Sprintf("Received: %s\r\nMessage-ID: <%s>\r\nSubject: %s\r\n\r\n%s\r\n%q", l.received, l.id, l.subject, text, l.attachments)
	r := source.RawOf([]byte(octets))
	act := &activity.Activity{
		Direction: "incoming", Class: "ordinary", MailboxID: recipient.id, OwnerID: fmt.Sprint(recipient.id), Subject: l.subject,
		MessageID: l.id, InReplyTo: l.inReplyTo, References: l.references, SentAt: sent, SentOffset: 120, SentRaw: "raw date",
		SentSource: activity.SentDate, ReceivedAt: sent.Add(time.Minute), Text: text, HTML: "<p>" + text,
		Defects:      []string{"bad_base64"},
		Correlations: relate.Correlations(l.inReplyTo, l.references),
		Parties: []activity.Party{
			{Role: activity.RoleFrom, Name: "Eve", Address: l.from, Resolved: true},
			{Role: activity.RoleRecipientMailbox, Address: "x@example.com", Type: "mailbox", ID: fmt.Sprint(recipient.id)},
		},
	}
	for _, to := range l.to {
		act.Parties = append(act.Parties, activity.Party{Role: activity.RoleTo, Address: to})
	}
	for i, a := range l.attachments {
		act.Attachments = append(act.Attachments, activity.Attachment{
			Path: fmt.Sprint(i + 2), Filename: a, MediaType: "application/pdf", Octets: int64(len(a)), SHA256: sha256.Sum256([]byte(a)),
			Offset: 10, Length: 4, Encoding: "base64",
		})
	}
	return receipt.Item{
		Ordinal: ordinal, Raw: r, Octets: r.Octets(), Plan: receipt.Recorded, MailboxID: recipient.id,
		Email:    activity.IdentityOf(l.id, l.from, sent, l.subject, text),
		Content:  activity.ContentOf(r.SHA256(), text, act.Attachments, !l.doubtful, "direct"),
		Activity: act,
	}
}

// arrive makes the receipt of a letter that came to b as a message of its own.
func (l letter) arrive(b box, uid uint32) receipt.Receipt {
	return arrive(uid, l.item(1, b))
}

// arrive makes the receipt of a message with these originals.
func arrive(uid uint32, items ...receipt.Item) receipt.Receipt {
	r := receipt.Receipt{
		Ref: source.Ref{Folder: "INBOX", UIDValidity: validity, UID: uid, Octets: 1000, InternalDate: sent}, SeenAt: sent,
		Raw: items[0].Raw, Items: items,
	}
	r.Trace.Add(trace.Fetch, "fetched", "octets", "1000", "folder", "INBOX")
	return r
}

// batch makes a batch of letters that came to b, one a message, with UIDs from uid on.
func (b box) batch(uid uint32, letters ...letter) *receipt.Batch {
	batch := &receipt.Batch{FolderID: b.folder}
	for i, l := range letters {
		batch.Receipts = append(batch.Receipts, l.arrive(b, uid+uint32(i)))
	}
	return batch
}

// outcomes returns the outcomes of results and their items: "recorded", "duplicate+" (upgraded), "recorded!" (conflict).
func outcomes(results []receipt.Result) string {
	var out []string
	for _, r := range results {
		s := string(r.Outcome)
		if r.Reason != "" {
			s += ":" + string(r.Reason)
		}
		for _, it := range r.Items {
			if it.Upgraded {
				s += "+"
			}
			if it.Conflict {
				s += "!"
			}
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func expectOutcomes(tb testing.TB, results []receipt.Result, want string) {
	tb.Helper()
	if got := outcomes(results); got != want {
		tb.Errorf("outcomes: got %s, want %s", got, want)
	}
}
