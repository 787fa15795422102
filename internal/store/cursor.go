package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/receipt"
)

// Cursors returns how far the folders that a mailbox watches have been listed in the account that it polls now, in the
// mailbox's order, each in its newest epoch. A folder that is seen for the first time gets its cursor here, with the
// mailbox's start point (Mailbox.Start). It fails with ErrNoRecord when the mailbox is gone.
//
// A cursor is kept when its folder is no longer watched or its account no longer polled: after a change back it goes on
// from there.
func (db *DB) Cursors(ctx context.Context, m *mailbox.Mailbox) ([]mailbox.Cursor, error) {
	ctx, cancel := context.WithTimeout(ctx, recordsTimeout)
	defer cancel()
	var cursors []mailbox.Cursor
	err := db.InTx(ctx, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) (err error) {
		if cursors, err = readCursors(ctx, tx, m); err != nil || len(cursors) == len(m.Folders) {
			return err
		}
		// StartAll is the zero time. A mailbox that was never enabled starts now.
		_, err = tx.Exec(ctx, `
			INSERT INTO folder_cursor (mailbox_id, account, name, start_at)
			SELECT m.mailbox_id, $2, f.name, CASE m.start_kind WHEN 'all' THEN timestamptz '0001-01-01 00:00:00+00'
				WHEN 'date' THEN m.start_at ELSE coalesce(m.enabled_at, now()) END
			FROM mailbox m CROSS JOIN unnest($3::text[]) AS f (name) WHERE m.mailbox_id = $1
			ORDER BY f.name
			ON CONFLICT (mailbox_id, account, name, epoch) DO NOTHING`, m.ID, Account(m), m.Folders)
		if err != nil {
			return err
		}
		cursors, err = readCursors(ctx, tx, m)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the cursors of mailbox %d: %w", m.ID, Classify(err))
	}
	if len(cursors) != len(m.Folders) {
		return nil, noRecord("mailbox", strconv.FormatInt(m.ID, 10))
	}
	return cursors, nil
}

// cursorColumns are what scanCursor reads of folder_cursor c.
const cursorColumns = `c.folder_id, c.mailbox_id, c.name, coalesce(c.uidvalidity, 0), coalesce(c.uid_next, 0),
	coalesce(c.start_uidvalidity, 0), coalesce(c.start_uid_next, 0), c.start_at, c.listed_at IS NOT NULL, coalesce(c.messages, 0),
	EXISTS (SELECT FROM folder_cursor o WHERE o.mailbox_id = c.mailbox_id AND o.name = c.name AND o.account <> c.account
		AND o.listed_at IS NOT NULL)`

func readCursors(ctx context.Context, tx pgx.Tx, m *mailbox.Mailbox) ([]mailbox.Cursor, error) {
	rows, err := tx.Query(ctx, `
		SELECT DISTINCT ON (f.n) `+cursorColumns+`
		FROM unnest($3::text[]) WITH ORDINALITY AS f (name, n)
			JOIN folder_cursor c ON c.mailbox_id = $1 AND c.account = $2 AND c.name = f.name
		ORDER BY f.n, c.epoch DESC`, m.ID, Account(m), m.Folders)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanCursor)
}

func scanCursor(row pgx.CollectableRow) (mailbox.Cursor, error) {
	var c mailbox.Cursor
	var validity, next, startValidity, startNext int64
	var start time.Time
	err := row.Scan(&c.FolderID, &c.MailboxID, &c.Folder, &validity, &next, &startValidity, &startNext, &start, &c.Listed,
		&c.Messages, &c.Moved)
	c.UIDValidity, c.StartUIDValidity = uint32(validity), uint32(startValidity)
	c.UIDNext = uint32(min(next, math.MaxUint32)) // after the last UID of all there is no next one: that UID is listed again
	c.StartUIDNext = uint32(min(startNext, math.MaxUint32))
	c.StartAt = start.UTC()
	return c, err
}

// NextEpoch begins a folder anew whose server gives out UIDs again that it has used before, under the same UIDVALIDITY:
// it returns a cursor that was never listed, with the old one's start point. The old one's receipts stay; what was still
// to be done to the server's copies is void, because their UIDs may be those of other messages now. It may be repeated.
// Nothing is written without the lease.
func (db *DB) NextEpoch(ctx context.Context, lease mailbox.Lease, folderID int64) (mailbox.Cursor, error) {
	ctx, cancel := context.WithTimeout(ctx, dispositionsTimeout)
	defer cancel()
	var next mailbox.Cursor
	err := db.InTx(ctx, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		if err := CheckLease(ctx, tx, lease); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `
			INSERT INTO folder_cursor AS c (mailbox_id, account, name, epoch, start_at)
			SELECT mailbox_id, account, name, epoch + 1, start_at FROM folder_cursor WHERE folder_id = $1 AND mailbox_id = $2
			ON CONFLICT (mailbox_id, account, name, epoch) DO UPDATE SET epoch = excluded.epoch
			RETURNING `+cursorColumns, folderID, lease.MailboxID)
		if err != nil {
			return err
		}
		if next, err = pgx.CollectExactlyOneRow(rows, scanCursor); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `
			UPDATE receipt SET disposition = 'void' WHERE folder_id = $1 AND disposition IN ('due', 'copied')`, folderID)
		return err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		err = fault.New(fault.Stopping, "folder_gone", "", fmt.Errorf("folder %d is none of mailbox %d", folderID, lease.MailboxID))
	}
	if err != nil {
		return mailbox.Cursor{}, fmt.Errorf("begin folder %d anew: %w", folderID, Classify(err))
	}
	return next, nil
}

// OpenRefs returns the open receipts of a maildrop, by unique-id, generation and ordinal.
func (db *DB) OpenRefs(ctx context.Context, folderID int64) ([]receipt.OpenRef, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	rows, err := db.Pool().Query(ctx, `
		SELECT receipt_id, unique_id_digest, octets, generation, ordinal, state FROM receipt
		WHERE folder_id = $1 AND is_open AND unique_id_digest IS NOT NULL
		ORDER BY unique_id_digest, generation, ordinal`, folderID)
	if err != nil {
		return nil, fmt.Errorf("read the open receipts of folder %d: %w", folderID, Classify(err))
	}
	var digest []byte
	refs, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (receipt.OpenRef, error) {
		var r receipt.OpenRef
		err := row.Scan(&r.ReceiptID, &digest, &r.Octets, &r.Generation, &r.Ordinal, &r.State)
		copy(r.Digest[:], digest)
		return r, err
	})
	if err != nil {
		return nil, fmt.Errorf("read the open receipts of folder %d: %w", folderID, Classify(err))
	}
	return refs, nil
}

// MaxGeneration returns, for the unique-ids that a maildrop has shown before, open or closed, the highest generation
// that was written. Digests that were never met are not in the map.
func (db *DB) MaxGeneration(ctx context.Context, folderID int64, digests [][16]byte) (map[[16]byte]int, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	wanted := make([][]byte, len(digests))
	for i := range digests {
		wanted[i] = digests[i][:]
	}
	rows, err := db.Pool().Query(ctx, `
		SELECT unique_id_digest, max(generation) FROM receipt
		WHERE folder_id = $1 AND unique_id_digest = ANY ($2::bytea[]) GROUP BY 1`, folderID, wanted)
	if err != nil {
		return nil, fmt.Errorf("read the generations of folder %d: %w", folderID, Classify(err))
	}
	generations := make(map[[16]byte]int, len(digests))
	var digest []byte
	var generation int
	_, err = pgx.ForEachRow(rows, []any{&digest, &generation}, func() error {
		generations[[16]byte(digest)] = generation
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the generations of folder %d: %w", folderID, Classify(err))
	}
	return generations, nil
}
