package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/source"
)

// dispositionsTimeout bounds a question about dispositions or stored receipts, and an answer.
const dispositionsTimeout = 30 * time.Second

// DueDispositions returns up to limit orders for the server's copies of a folder's mail that are due, the longest due
// first. What is done follows from the mailbox as it is configured now and the receipt's outcome, by the rule of
// mailbox.DispositionOf; where that says to leave the copy, there is no order.
//
// On IMAP only orders under the cursor's UIDVALIDITY are returned: others are void until matched again. On POP3 shown is
// this session's listing: an order is returned for a unique-id that it shows with the size that the receipt has. On
// IMAP shown is nil.
func (db *DB) DueDispositions(ctx context.Context, folderID int64, shown []source.Ref, limit int) ([]source.Order, error) {
	ctx, cancel := context.WithTimeout(ctx, dispositionsTimeout)
	defer cancel()
	var digests [][]byte
	var octets []int64
	uniqueIDs := make(map[[16]byte]string, len(shown))
	for i := range shown {
		if id := shown[i].UniqueID; id != "" {
			digest := receipt.UniqueIDDigest(id)
			uniqueIDs[digest] = id
			digests, octets = append(digests, digest[:]), append(octets, shown[i].Octets)
		}
	}
	rows, err := db.pool.Query(ctx, `
		SELECT r.receipt_id, c.name, coalesce(r.uidvalidity, 0), coalesce(r.uid, 0), r.unique_id_digest, r.octets,
			r.disposition = 'copied', o.action, CASE WHEN o.action = 'move' THEN o.target ELSE '' END
		FROM receipt r JOIN folder_cursor c USING (folder_id) JOIN mailbox m USING (mailbox_id)
			LEFT JOIN profile p USING (profile_id)
			CROSS JOIN LATERAL (SELECT
				CASE WHEN r.outcome IN ('recorded', 'duplicate') OR (r.outcome = 'ignored' AND
					(m.kind = 'forward' OR (m.kind = 'queue' AND m.delete_ignored))) THEN m.disposition
				WHEN r.outcome = 'quarantined' AND m.undeliverable_folder <> '' AND p.protocol = 'imap' THEN 'move'
				ELSE 'leave' END AS action,
				CASE WHEN r.outcome = 'quarantined' THEN m.undeliverable_folder ELSE m.move_to END AS target) AS o
		WHERE r.folder_id = $1 AND r.disposition IN ('due', 'copied') AND r.dispose_at <= now() AND r.is_open
			AND o.action <> 'leave'
			AND (r.uidvalidity = c.uidvalidity OR (r.unique_id_digest, r.octets) IN
				(SELECT d.digest, d.octets FROM unnest($2::bytea[], $3::bigint[]) AS d (digest, octets)))
		ORDER BY r.dispose_at, r.receipt_id LIMIT $4`, folderID, digests, octets, limit)
	if err != nil {
		return nil, fmt.Errorf("read the dispositions of folder %d: %w", folderID, Classify(err))
	}
	orders, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (source.Order, error) {
		var o source.Order
		var digest []byte
		var action mailbox.Disposition
		err := row.Scan(&o.ReceiptID, &o.Ref.Folder, &o.Ref.UIDValidity, &o.Ref.UID, &digest, &o.Ref.Octets, &o.Copied, &action, &o.Target)
		if len(digest) == 16 {
			o.Ref.UniqueID = uniqueIDs[[16]byte(digest)]
		}
		o.Action = source.Action(action)
		return o, err
	})
	if err != nil {
		return nil, fmt.Errorf("read the dispositions of folder %d: %w", folderID, Classify(err))
	}
	return orders, nil
}

// MarkDisposed writes how far orders have come: copied, or over, because the server confirmed or the message is no longer
// there. DoneNot is left to be tried again. It may be repeated. Nothing is written without the lease.
func (db *DB) MarkDisposed(ctx context.Context, lease mailbox.Lease, disposed []source.Disposed) error {
	var ids []int64
	var copied []bool
	for i := range disposed {
		switch disposed[i].Done {
		case source.DoneCopied, source.DoneYes, source.DoneGone:
			ids = append(ids, disposed[i].ReceiptID)
			copied = append(copied, disposed[i].Done == source.DoneCopied)
		case source.DoneNot:
		}
	}
	if len(ids) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, dispositionsTimeout)
	defer cancel()
	err := db.InTx(ctx, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		if err := CheckLease(ctx, tx, lease); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `
			UPDATE receipt r SET disposition = CASE WHEN r.disposition NOT IN ('due', 'copied') THEN r.disposition
				WHEN t.copied THEN 'copied' ELSE 'done' END
			FROM unnest($2::bigint[], $3::boolean[]) AS t (receipt_id, copied), folder_cursor c
			WHERE r.receipt_id = t.receipt_id AND c.folder_id = r.folder_id AND c.mailbox_id = $1
				AND r.disposition IS NOT NULL`, lease.MailboxID, ids, copied)
		if err != nil {
			return err
		}
		if got, want := int(tag.RowsAffected()), len(distinct(ids)); got != want {
			return fault.New(fault.Permanent, "disposition_unknown", "",
				fmt.Errorf("%d receipts of mailbox %d have a disposition, %d expected", got, lease.MailboxID, want))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write %d dispositions: %w", len(ids), Classify(err))
	}
	return nil
}

// VoidDispositions ends the dispositions of a folder that were ordered under another UIDVALIDITY: the UIDs mean other
// messages now. It returns how many there were. Nothing is written without the lease.
func (db *DB) VoidDispositions(ctx context.Context, lease mailbox.Lease, folderID int64, uidValidity uint32) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, dispositionsTimeout)
	defer cancel()
	var n int
	err := db.InTx(ctx, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		if err := CheckLease(ctx, tx, lease); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `
			UPDATE receipt r SET disposition = 'void' FROM folder_cursor c
			WHERE r.folder_id = $1 AND c.folder_id = r.folder_id AND c.mailbox_id = $2 AND r.disposition IN ('due', 'copied')
				AND r.uidvalidity <> $3`, folderID, lease.MailboxID, int64(uidValidity))
		n = int(tag.RowsAffected())
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("void the dispositions of folder %d: %w", folderID, Classify(err))
	}
	return n, nil
}

// StoredDue returns up to limit receipts of a folder whose octets are kept and whose decision is due to be made again,
// the longest due first.
func (db *DB) StoredDue(ctx context.Context, folderID int64, limit int) ([]receipt.Stored, error) {
	ctx, cancel := context.WithTimeout(ctx, dispositionsTimeout)
	defer cancel()
	rows, err := db.pool.Query(ctx, `
		SELECT r.receipt_id, c.name, coalesce(r.uidvalidity, 0), coalesce(r.uid, 0), r.octets, r.internaldate,
			coalesce(r.generation, 0), coalesce(r.ordinal, 0), r.raw_id, raw.octets, r.seen_at, r.tries
		FROM receipt r JOIN folder_cursor c USING (folder_id) JOIN raw USING (raw_id)
		WHERE r.folder_id = $1 AND r.state = 'stored' AND r.next_try_at <= now()
		ORDER BY r.next_try_at, r.receipt_id LIMIT $2`, folderID, limit)
	if err != nil {
		return nil, fmt.Errorf("read the stored receipts of folder %d: %w", folderID, Classify(err))
	}
	stored, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (receipt.Stored, error) {
		var s receipt.Stored
		var date *time.Time
		err := row.Scan(&s.ReceiptID, &s.Ref.Folder, &s.Ref.UIDValidity, &s.Ref.UID, &s.Ref.Octets, &date, &s.Generation,
			&s.Ordinal, &s.RawID, &s.RawOctets, &s.SeenAt, &s.Tries)
		if date != nil {
			s.Ref.InternalDate = *date
		}
		return s, err
	})
	if err != nil {
		return nil, fmt.Errorf("read the stored receipts of folder %d: %w", folderID, Classify(err))
	}
	return stored, nil
}
