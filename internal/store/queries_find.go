package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/postroom/postroom/internal/activity"
	"github.com/postroom/postroom/internal/fault"
)

func noReceipt(id string) error {
	return fault.New(fault.Permanent, "no_record",
		"give a receipt id, an activity id, an e-mail id or a Message-ID; postroom find --address looks by address",
		fmt.Errorf("nothing is known of %q: %w", id, ErrNoRecord))
}

// Sought says what Find looks for; what is given must all be met.
type Sought struct {
	MessageID string
	Address   string // of any party
	Page
}

// FoundEmail is an e-mail that was found.
type FoundEmail struct {
	EmailID    uuid.UUID  `json:"email_id"`
	ActivityID *uuid.UUID `json:"activity_id"` // null: deleted, or never recorded
	At         time.Time  `json:"at"`          // received, or first seen if there is no activity
	MessageID  string     `json:"message_id"`
	From       string     `json:"from"`
	Subject    string     `json:"subject"`
	Mailboxes  []string   `json:"mailboxes"` // it was met in
	Receipts   []int64    `json:"receipts"`  // the first 100
}

// Find returns the newest e-mails that are sought.
func (db *DB) Find(ctx context.Context, s Sought) ([]FoundEmail, error) {
	var where []string
	args := []any{s.Limit}
	add := func(condition string, value any) {
		args = append(args, value)
		where = append(where, fmt.Sprintf(condition, len(args)))
	}
	if digest := activity.MessageIDDigest(s.MessageID); digest != nil {
		add("e.message_id_digest = $%d", digest)
	}
	if digest := activity.AddressDigest(s.Address); digest != nil {
		add("a.activity_id IN (SELECT activity_id FROM party WHERE address_digest = $%d)", digest)
	}
	if since := s.since(); since != nil {
		add("coalesce(a.received_at, e.first_seen_at) >= $%d", since)
	}
	if len(where) == 0 {
		return nil, errors.New("find: nothing is sought")
	}
	return ask[FoundEmail](ctx, db, "e-mails", `
		SELECT e.email_id, a.activity_id, coalesce(a.received_at, e.first_seen_at) AS at, coalesce(a.message_id, ''),
			coalesce((SELECT address FROM party p WHERE p.activity_id = a.activity_id AND role = 'from' ORDER BY ordinal LIMIT 1), ''),
			coalesce(a.subject, ''),
			ARRAY(SELECT DISTINCT m.name FROM sighting s JOIN mailbox m USING (mailbox_id) WHERE s.email_id = e.email_id ORDER BY 1),
			ARRAY(SELECT DISTINCT i.receipt_id FROM item i WHERE i.email_id = e.email_id ORDER BY 1 LIMIT 100)
		FROM email e LEFT JOIN activity a USING (email_id)
		WHERE `+strings.Join(where, " AND ")+`
		ORDER BY at DESC, e.email_id DESC LIMIT $1`, args...)
}
