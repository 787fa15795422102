package demo

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/store"
)

// lookTimeout bounds one look at the tables.
const lookTimeout = 10 * time.Second

// Account is what became of the sample mail, counted from the tables.
type Account struct {
	Seen        int        `json:"seen"` // receipts
	Recorded    int        `json:"recorded"`
	Duplicate   int        `json:"duplicate"`
	Ignored     int        `json:"ignored"`
	Quarantined int        `json:"quarantined"`
	Activities  []Activity `json:"activities"` // oldest first

	missing []string // what is not as the samples say
	forgery int64    // receipt of the forgery
}

// Activity is one record that the sample mail became.
type Activity struct {
	ActivityID    uuid.UUID  `json:"activity_id"`
	Mailbox       string     `json:"mailbox"`
	From          string     `json:"from"`
	Subject       string     `json:"subject"`
	SentAt        *time.Time `json:"sent_at"` // null: the message has no date
	Class         string     `json:"class"`
	Attachments   int        `json:"attachments"`
	Sightings     int        `json:"sightings"` // mailboxes that the e-mail was met in
	Parent        *uuid.UUID `json:"parent"`    // the activity that it answers
	Authenticated bool       `json:"authenticated"`
}

// String is the account in one line.
func (a *Account) String() string {
	return fmt.Sprintf("seen %d = recorded %d + duplicate %d + ignored %d + quarantined %d",
		a.Seen, a.Recorded, a.Duplicate, a.Ignored, a.Quarantined)
}

// settled reports whether every one of so many messages has its outcome, for good.
func (a *Account) settled(messages int) bool {
	return a.Seen >= messages && a.Seen == a.Recorded+a.Duplicate+a.Ignored+a.Quarantined
}

// err says what is missing, nil if nothing is.
func (a *Account) err() error {
	if len(a.missing) == 0 {
		return nil
	}
	return fault.New(fault.Permanent, "demo_unaccounted", "this is a fault of Postroom: report it with this text",
		fmt.Errorf("the sample mail is not accounted for as it should be: %s", strings.Join(a.missing, "; ")))
}

// met is a receipt's item, or a receipt without items.
type met struct {
	ReceiptID   int64
	Box         box
	ID          string
	SHA256      []byte // of the octets that are kept
	State       string
	Outcome     *receipt.Outcome
	Reason      *receipt.Reason
	Ordinal     *int
	ActivityID  *uuid.UUID
	Parent      *uuid.UUID
	Attachments *int
	Sightings   int
}

// takeAccount counts and compares with what the samples say.
func takeAccount(ctx context.Context, db *store.DB, mails []held) (*Account, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	rows, err := ask[met](ctx, db, `
		SELECT r.receipt_id, m.name, coalesce(r.uid::text, encode(r.unique_id_digest, 'hex')), raw.sha256, r.state, r.outcome, r.reason,
			i.ordinal::integer, a.activity_id, a.parent_activity_id, a.attachments,
			(SELECT count(*) FROM sighting s WHERE s.email_id = i.email_id)::integer
		FROM receipt r JOIN folder_cursor f USING (folder_id) JOIN mailbox m USING (mailbox_id)
			LEFT JOIN raw ON raw.raw_id = r.raw_id LEFT JOIN item i USING (receipt_id) LEFT JOIN activity a ON a.email_id = i.email_id
		ORDER BY r.receipt_id, i.ordinal`)
	if err != nil {
		return nil, err
	}
	c := newComparison()
	a := c.account
	c.count(rows)
	c.compare(mails)
	a.Activities, err = ask[Activity](ctx, db, `
		SELECT a.activity_id, coalesce(m.name, ''),
			coalesce((SELECT p.address FROM party p WHERE p.activity_id = a.activity_id AND p.role = 'from' ORDER BY p.ordinal LIMIT 1), ''),
			a.subject, a.sent_at, a.class, a.attachments,
			(SELECT count(*) FROM sighting s WHERE s.email_id = a.email_id)::integer, a.parent_activity_id, a.authenticated
		FROM activity a LEFT JOIN mailbox m USING (mailbox_id)
		ORDER BY a.received_at, a.activity_id`)
	if err != nil {
		return nil, err
	}
	c.activities(len(a.Activities))
	return a, nil
}

func ask[T any](ctx context.Context, db *store.DB, sql string) ([]T, error) {
	rows, err := db.Pool().Query(ctx, sql)
	if err != nil {
		return nil, fmt.Errorf("count what was recorded: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[T])
	if err != nil {
		return nil, fmt.Errorf("count what was recorded: %w", err)
	}
	return list, nil
}

// comparison is of the tables with the samples.
type comparison struct {
	account  *Account
	byID     map[identity][]met
	byFile   map[string][]met // the first of a file's samples
	recorded map[string]int   // by sample.copies
	expected int              // activities
}

func newComparison() *comparison {
	return &comparison{
		account: &Account{}, byID: map[identity][]met{}, byFile: map[string][]met{}, recorded: map[string]int{},
	}
}

func (c *comparison) missing(format string, args ...any) {
	c.account.missing = append(c.account.missing, fmt.Sprintf(format, args...))
}

// count sums the receipts up.
func (c *comparison) count(rows []met) {
	seen := map[int64]bool{}
	for _, r := range rows {
		id := identity{r.Box, r.ID}
		c.byID[id] = append(c.byID[id], r)
		if seen[r.ReceiptID] {
			continue // another item of the same receipt
		}
		seen[r.ReceiptID] = true
		c.account.Seen++
		if r.Outcome == nil {
			continue
		}
		switch *r.Outcome {
		case receipt.Recorded:
			c.account.Recorded++
		case receipt.Duplicate:
			c.account.Duplicate++
		case receipt.Ignored:
			c.account.Ignored++
		case receipt.Quarantined:
			c.account.Quarantined++
		}
	}
}

// compare looks at every message that the servers held.
func (c *comparison) compare(mails []held) {
	for i := range mails {
		m := &mails[i]
		rows := c.byID[m.identity]
		delete(c.byID, m.identity)
		if _, again := c.byFile[m.file]; !again {
			c.byFile[m.file] = rows
		}
		if len(rows) == 0 {
			c.missing("%s: no receipt", m.file)
			continue
		}
		c.message(m, rows)
	}
	for id := range c.byID {
		c.missing("%s: a receipt of a message that was never there (%s)", id.box, id.id)
	}
	for name, n := range c.recorded {
		if n != 1 {
			c.missing("%s: recorded %d times, want once", name, n)
		}
	}
	a := c.account
	if sum := a.Recorded + a.Duplicate + a.Ignored + a.Quarantined; a.Seen != sum || a.Seen != len(mails) {
		c.missing("%d messages were there, %d were seen, %d have an outcome", len(mails), a.Seen, sum)
	}
}

// message compares one message with its receipt.
func (c *comparison) message(m *held, rows []met) {
	first := rows[0]
	if first.Outcome == nil {
		c.missing("%s: its receipt is %s and has no outcome", m.file, first.State)
		return
	}
	if !bytes.Equal(first.SHA256, m.sha256[:]) {
		c.missing("%s: the octets that are kept are not those of the message", m.file)
	}
	got, want := *first.Outcome, m.outcome
	if m.copies != "" {
		c.recorded[m.copies] += 0 // also if all are duplicates
		want = receipt.Duplicate
		if got == receipt.Recorded {
			c.recorded[m.copies]++
			want = receipt.Recorded
		}
	}
	switch {
	case got != want:
		c.missing("%s: %s, want %s", m.file, got, want)
		return
	case m.reason != "" && (first.Reason == nil || *first.Reason != m.reason):
		c.missing("%s: not %s because of %s", m.file, got, m.reason)
	}
	if m.file == forgery {
		c.account.forgery = first.ReceiptID
	}
	if got != receipt.Recorded && got != receipt.Duplicate {
		return
	}
	if got == receipt.Recorded {
		c.expected += max(m.originals, 1)
	}
	if len(rows) != max(m.originals, 1) {
		c.missing("%s: %d originals, want %d", m.file, len(rows), max(m.originals, 1))
	}
	c.record(m, rows)
}

// record compares the activity of a message.
func (c *comparison) record(m *held, rows []met) {
	for _, r := range rows {
		if r.ActivityID == nil {
			c.missing("%s: no activity", m.file)
			return
		}
		if r.Sightings != max(m.sightings, 1) {
			c.missing("%s: %d sightings, want %d", m.file, r.Sightings, max(m.sightings, 1))
		}
	}
	first := rows[0]
	if *first.Outcome == receipt.Recorded && *first.Attachments != m.attachments {
		c.missing("%s: %d attachments, want %d", m.file, *first.Attachments, m.attachments)
	}
	if m.answers == "" {
		return
	}
	parent := c.byFile[m.answers]
	if len(parent) == 0 || parent[0].ActivityID == nil || first.Parent == nil || *first.Parent != *parent[0].ActivityID {
		c.missing("%s: does not answer %s", m.file, m.answers)
	}
}

func (c *comparison) activities(got int) {
	if len(c.account.missing) == 0 && got != c.expected {
		c.missing("%d activities, want %d", got, c.expected)
	}
}
