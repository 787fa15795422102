package store

import (
	"context"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/postroom/postroom/internal/activity"
	"github.com/postroom/postroom/internal/trace"
)

// explainLimit is how many receipts one question is answered for, the first ones.
const explainLimit = 100

// ReceiptView is a receipt with all that was decided about it.
type ReceiptView struct {
	ReceiptID      int64       `json:"receipt_id"`
	Mailbox        string      `json:"mailbox"`
	Folder         string      `json:"folder"`
	UIDValidity    *int64      `json:"uidvalidity"` // IMAP
	UID            *int64      `json:"uid"`
	UniqueIDDigest *string     `json:"unique_id_digest"` // POP3
	Generation     *int        `json:"generation"`
	Octets         int64       `json:"octets"`
	SHA256         *string     `json:"sha256"` // null: the octets are not kept
	InternalDate   *time.Time  `json:"internaldate"`
	SeenAt         time.Time   `json:"seen_at"`
	State          string      `json:"state"`
	Outcome        *string     `json:"outcome"`
	Reason         *string     `json:"reason"`
	Tries          *int        `json:"tries"`
	NextTryAt      *time.Time  `json:"next_try_at"`
	Disposition    *string     `json:"disposition"`
	DisposeAt      *time.Time  `json:"dispose_at"`
	RawID          *int64      `json:"-"`
	Items          []ItemView  `json:"items"`
	Traces         []TraceView `json:"traces"`
}

// ItemView is an original of a receipt, and what was written about it.
type ItemView struct {
	Ordinal    int        `json:"ordinal"`
	Path       string     `json:"path"` // of the original in its wrapper; "": the message itself
	Octets     int64      `json:"octets"`
	Outcome    string     `json:"outcome"`
	Reason     *string    `json:"reason"`
	Mailbox    *string    `json:"mailbox"` // the recipient's, as far as it is known
	EmailID    *uuid.UUID `json:"email_id"`
	ActivityID *uuid.UUID `json:"activity_id"`
	ConflictOf *uuid.UUID `json:"conflict_of"` // another e-mail that claims the same identity
}

// TraceView is the steps of one decision. A message that was decided again has several.
type TraceView struct {
	At    time.Time   `json:"at"`
	Steps trace.Trace `json:"steps"`
}

// Receipts returns the receipts that id is about, the first 100: id is a receipt, an activity, an e-mail, a sighting, or
// a Message-ID with or without its angle brackets. A Message-ID is known of mail whose identity was made; of mail that
// was quarantined before that, only the receipt is. It fails with ErrNoRecord when there is none.
func (db *DB) Receipts(ctx context.Context, id string) ([]ReceiptView, error) {
	ids, err := db.receiptIDs(ctx, id)
	if err != nil {
		return nil, err
	}
	list, err := ask[ReceiptView](ctx, db, "the receipts", receiptSQL, ids)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, noReceipt(id)
	}
	return list, nil
}

// MailboxNames returns the names of those mailboxes of ids that are there.
func (db *DB) MailboxNames(ctx context.Context, ids []int64) (map[int64]string, error) {
	type row struct {
		MailboxID int64
		Name      string
	}
	rows, err := ask[row](ctx, db, "the mailboxes' names", `SELECT mailbox_id, name FROM mailbox WHERE mailbox_id = ANY($1)`, ids)
	names := make(map[int64]string, len(rows))
	for _, r := range rows {
		names[r.MailboxID] = r.Name
	}
	return names, err
}

const receiptSQL = `
	SELECT r.receipt_id, m.name, f.name, r.uidvalidity, r.uid, encode(r.unique_id_digest, 'hex'), r.generation, r.octets,
		(SELECT encode(sha256, 'hex') FROM raw WHERE raw.raw_id = r.raw_id), r.internaldate, r.seen_at, r.state, r.outcome,
		r.reason, r.tries, r.next_try_at, r.disposition, r.dispose_at, r.raw_id,
		(SELECT coalesce(jsonb_agg(jsonb_build_object('ordinal', i.ordinal, 'path', i.path, 'octets', i.octets,
			'outcome', i.outcome, 'reason', i.reason, 'mailbox', b.name, 'email_id', i.email_id,
			'activity_id', a.activity_id, 'conflict_of', e.conflict_of) ORDER BY i.ordinal), '[]')
			FROM item i
			LEFT JOIN mailbox b ON b.mailbox_id = i.mailbox_id
			LEFT JOIN email e ON e.email_id = i.email_id
			LEFT JOIN activity a ON a.email_id = i.email_id
			WHERE i.receipt_id = r.receipt_id),
		(SELECT coalesce(jsonb_agg(jsonb_build_object('at', t.at, 'steps', t.steps) ORDER BY t.at), '[]')
			FROM trace t WHERE t.receipt_id = r.receipt_id)
	FROM receipt r JOIN folder_cursor f USING (folder_id) JOIN mailbox m USING (mailbox_id)
	WHERE r.receipt_id = ANY($1) ORDER BY r.receipt_id`

func (db *DB) receiptIDs(ctx context.Context, id string) ([]int64, error) {
	if n, err := strconv.ParseInt(id, 10, 64); err == nil {
		return []int64{n}, nil
	}
	type row struct{ ReceiptID int64 }
	var rows []row
	var err error
	if u, parseErr := uuid.Parse(id); parseErr == nil {
		rows, err = ask[row](ctx, db, "the receipts of an id", `
			SELECT receipt_id FROM item WHERE email_id = $1 OR email_id = (SELECT email_id FROM activity WHERE activity_id = $1)
			UNION SELECT receipt_id FROM sighting WHERE sighting_id = $1
			ORDER BY receipt_id LIMIT $2`, u, explainLimit)
	} else {
		rows, err = ask[row](ctx, db, "the receipts of a Message-ID", `
			SELECT DISTINCT receipt_id FROM item JOIN email USING (email_id) WHERE message_id_digest = $1
			ORDER BY receipt_id LIMIT $2`, activity.MessageIDDigest(id), explainLimit)
	}
	if err != nil {
		return nil, err
	}
	ids := make([]int64, len(rows))
	for i, r := range rows {
		ids[i] = r.ReceiptID
	}
	return ids, nil
}
