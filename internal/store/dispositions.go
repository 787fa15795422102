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

const (
	dispositionsTimeout = 30 * time.Second // of a question about dispositions or stored receipts, and of an answer
	dispositionRetry    = 10 * time.Minute // until an order that was not carried out is due again
)

// DueDispositions returns up to limit committed receipts of a folder whose server's copies are due to be disposed of, the
// longest due first. Those that the mailbox, as it is configured now, would leave (mailbox.DispositionOf) are left out,
// and so are those of POP3 that a complete listing no longer showed. On IMAP only receipts under the cursor's
// UIDVALIDITY are returned: others are void until matched again.
func (db *DB) DueDispositions(ctx context.Context, folderID int64, limit int) ([]receipt.Due, error) {
	ctx, cancel := context.WithTimeout(ctx, dispositionsTimeout)
	defer cancel()
	rows, err := db.pool.Query(ctx, `
		SELECT r.receipt_id, c.name, coalesce(r.uidvalidity, 0), coalesce(r.uid, 0), r.unique_id_digest, coalesce(r.ordinal, 0),
			r.octets, r.internaldate, r.outcome, r.disposition = 'copied'
		FROM receipt r JOIN folder_cursor c USING (folder_id) JOIN mailbox m USING (mailbox_id)
			LEFT JOIN profile p USING (profile_id)
		WHERE r.folder_id = $1 AND r.disposition IN ('due', 'copied') AND r.dispose_at <= now() AND r.is_open
			AND (r.uidvalidity = c.uidvalidity OR r.unique_id_digest IS NOT NULL)
			AND CASE r.outcome WHEN 'quarantined' THEN m.undeliverable_folder <> '' AND p.protocol = 'imap'
				WHEN 'ignored' THEN m.disposition <> 'leave' AND (m.kind = 'forward' OR (m.kind = 'queue' AND m.delete_ignored))
				ELSE m.disposition <> 'leave' END
		ORDER BY r.dispose_at, r.receipt_id LIMIT $2`, folderID, limit)
	if err != nil {
		return nil, fmt.Errorf("read the dispositions of folder %d: %w", folderID, Classify(err))
	}
	due, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (receipt.Due, error) {
		var d receipt.Due
		var digest []byte
		var date *time.Time
		err := row.Scan(&d.ReceiptID, &d.Ref.Folder, &d.Ref.UIDValidity, &d.Ref.UID, &digest, &d.Ordinal, &d.Ref.Octets,
			&date, &d.Outcome, &d.Copied)
		copy(d.Digest[:], digest)
		if date != nil {
			d.Ref.InternalDate = *date
		}
		return d, err
	})
	if err != nil {
		return nil, fmt.Errorf("read the dispositions of folder %d: %w", folderID, Classify(err))
	}
	return due, nil
}

// MarkDisposed writes how far orders have come: copied, or over, because the server confirmed or the message is no longer
// there. On POP3 what is over closes its receipt, so that a message that gets its unique-id again is a new one. DoneNot is
// due again in ten minutes, so that the others of the folder get their turn. It may be repeated. Nothing is written
// without the lease.
func (db *DB) MarkDisposed(ctx context.Context, lease mailbox.Lease, disposed []source.Disposed) error {
	if len(disposed) == 0 {
		return nil
	}
	ids, done := make([]int64, len(disposed)), make([]string, len(disposed))
	for i := range disposed {
		ids[i], done[i] = disposed[i].ReceiptID, string(disposed[i].Done)
	}
	ctx, cancel := context.WithTimeout(ctx, dispositionsTimeout)
	defer cancel()
	err := db.InTx(ctx, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		if err := CheckLease(ctx, tx, lease); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `
			UPDATE receipt r SET
				disposition = CASE WHEN r.disposition NOT IN ('due', 'copied') OR t.done = '' THEN r.disposition
					WHEN t.done = 'copied' THEN 'copied' ELSE 'done' END,
				dispose_at = CASE WHEN t.done = '' THEN greatest(r.dispose_at, now() + $4::interval) ELSE r.dispose_at END,
				is_open = r.is_open AND (r.unique_id_digest IS NULL OR t.done NOT IN ('done', 'gone'))
			FROM unnest($2::bigint[], $3::text[]) AS t (receipt_id, done), folder_cursor c
			WHERE r.receipt_id = t.receipt_id AND c.folder_id = r.folder_id AND c.mailbox_id = $1
				AND r.disposition IS NOT NULL`, lease.MailboxID, ids, done, dispositionRetry)
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
// messages now. Nothing is written without the lease.
func (db *DB) VoidDispositions(ctx context.Context, lease mailbox.Lease, folderID int64, uidValidity uint32) error {
	ctx, cancel := context.WithTimeout(ctx, dispositionsTimeout)
	defer cancel()
	err := db.InTx(ctx, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		if err := CheckLease(ctx, tx, lease); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `
			UPDATE receipt r SET disposition = 'void' FROM folder_cursor c
			WHERE r.folder_id = $1 AND c.folder_id = r.folder_id AND c.mailbox_id = $2 AND r.disposition IN ('due', 'copied')
				AND r.uidvalidity <> $3`, folderID, lease.MailboxID, int64(uidValidity))
		return err
	})
	if err != nil {
		return fmt.Errorf("void the dispositions of folder %d: %w", folderID, Classify(err))
	}
	return nil
}

// StoredDue returns up to limit receipts of a mailbox whose octets are kept and whose decision is due to be made again,
// the longest due first: also those of folders and accounts that are no longer read.
func (db *DB) StoredDue(ctx context.Context, mailboxID int64, limit int) ([]receipt.Stored, error) {
	ctx, cancel := context.WithTimeout(ctx, dispositionsTimeout)
	defer cancel()
	rows, err := db.pool.Query(ctx, `
		SELECT r.receipt_id, r.folder_id, c.name, coalesce(r.uidvalidity, 0), coalesce(r.uid, 0), r.octets, r.internaldate,
			coalesce(r.generation, 0), coalesce(r.ordinal, 0), r.raw_id, raw.octets, r.seen_at, r.tries
		FROM folder_cursor c JOIN receipt r USING (folder_id) JOIN raw USING (raw_id)
		WHERE c.mailbox_id = $1 AND r.state = 'stored' AND r.next_try_at <= now()
		ORDER BY r.next_try_at, r.receipt_id LIMIT $2`, mailboxID, limit)
	if err != nil {
		return nil, fmt.Errorf("read the stored receipts of mailbox %d: %w", mailboxID, Classify(err))
	}
	stored, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (receipt.Stored, error) {
		var s receipt.Stored
		var date *time.Time
		err := row.Scan(&s.ReceiptID, &s.FolderID, &s.Ref.Folder, &s.Ref.UIDValidity, &s.Ref.UID, &s.Ref.Octets, &date, &s.Generation,
			&s.Ordinal, &s.RawID, &s.RawOctets, &s.SeenAt, &s.Tries)
		if date != nil {
			s.Ref.InternalDate = *date
		}
		return s, err
	})
	if err != nil {
		return nil, fmt.Errorf("read the stored receipts of mailbox %d: %w", mailboxID, Classify(err))
	}
	return stored, nil
}

// Postpone has a stored receipt's decision made again no earlier than after d: its octets cannot be read now. Its tries
// stay. Nothing is written without the lease.
func (db *DB) Postpone(ctx context.Context, lease mailbox.Lease, receiptID int64, d time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, dispositionsTimeout)
	defer cancel()
	err := db.InTx(ctx, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		if err := CheckLease(ctx, tx, lease); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `
			UPDATE receipt r SET next_try_at = now() + $3::interval FROM folder_cursor c
			WHERE r.receipt_id = $2 AND r.state = 'stored' AND c.folder_id = r.folder_id AND c.mailbox_id = $1`,
			lease.MailboxID, receiptID, d)
		if err == nil && tag.RowsAffected() != 1 {
			err = fault.New(fault.Permanent, "receipt_not_stored", "",
				fmt.Errorf("mailbox %d has no receipt %d that waits for its decision", lease.MailboxID, receiptID))
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("postpone receipt %d: %w", receiptID, Classify(err))
	}
	return nil
}
