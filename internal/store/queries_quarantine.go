package store

import (
	"context"
	"time"
)

// QuarantineGroup is what is in quarantine for one reason.
type QuarantineGroup struct {
	Reason   string            `json:"reason"`
	Count    int64             `json:"count"`
	OldestAt time.Time         `json:"oldest_at"`
	NewestAt time.Time         `json:"newest_at"`
	Entries  []QuarantineEntry `json:"entries"` // the newest
}

// QuarantineEntry is a message in quarantine, or one original of it.
type QuarantineEntry struct {
	ReceiptID int64     `json:"receipt_id"`
	Ordinal   int       `json:"ordinal"` // of the original; 0: the message as a whole
	Mailbox   string    `json:"mailbox"` // it was found in
	Folder    string    `json:"folder"`
	Recipient string    `json:"recipient"` // the recipient mailbox, as far as it is known
	Octets    int64     `json:"octets"`
	Kept      bool      `json:"kept"` // its octets are in the raw store
	SeenAt    time.Time `json:"seen_at"`
}

// Quarantine returns what is in quarantine by reason, the most frequent first, with up to perReason entries each. Reason
// and mailboxID limit it to one; "" and 0: all.
func (db *DB) Quarantine(ctx context.Context, reason string, mailboxID int64, perReason int) ([]QuarantineGroup, error) {
	return ask[QuarantineGroup](ctx, db, "the quarantine", `
		WITH held AS (
			SELECT i.reason, r.receipt_id, i.ordinal, r.folder_id, i.mailbox_id AS recipient_id, i.octets, true AS kept, r.seen_at
			FROM item i JOIN receipt r USING (receipt_id) WHERE i.outcome = 'quarantined'
			UNION ALL
			SELECT r.reason, r.receipt_id, 0, r.folder_id, NULL, r.octets, r.raw_id IS NOT NULL, r.seen_at
			FROM receipt r WHERE r.outcome = 'quarantined'
				AND NOT EXISTS (SELECT FROM item i WHERE i.receipt_id = r.receipt_id AND i.outcome = 'quarantined')
		), named AS (
			SELECT h.*, f.name AS folder, m.name AS mailbox, coalesce(b.name, '') AS recipient,
				row_number() OVER (PARTITION BY h.reason ORDER BY h.seen_at DESC, h.receipt_id DESC, h.ordinal) AS n
			FROM held h JOIN folder_cursor f USING (folder_id) JOIN mailbox m ON m.mailbox_id = f.mailbox_id
			LEFT JOIN mailbox b ON b.mailbox_id = h.recipient_id
			WHERE ($1 = '' OR h.reason = $1) AND ($2 = 0 OR f.mailbox_id = $2)
		)
		SELECT reason, count(*) AS count, min(seen_at), max(seen_at),
			coalesce(jsonb_agg(jsonb_build_object('receipt_id', receipt_id, 'ordinal', ordinal, 'mailbox', mailbox, 'folder', folder,
				'recipient', recipient, 'octets', octets, 'kept', kept, 'seen_at', seen_at) ORDER BY n) FILTER (WHERE n <= $3), '[]')
		FROM named GROUP BY reason ORDER BY count DESC, reason`, reason, mailboxID, perReason)
}
