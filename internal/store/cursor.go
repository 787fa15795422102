package store

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/receipt"
)

// Cursors returns how far the folders of a mailbox have been listed, in the order asked for. A folder that is seen for
// the first time gets its cursor here, with the mailbox's start point (Mailbox.Start). It fails with ErrNoRecord when
// the mailbox is gone.
//
// A folder's cursor is kept when the folder is no longer watched: watched again, it goes on from there.
func (db *DB) Cursors(ctx context.Context, mailboxID int64, folders []string) ([]mailbox.Cursor, error) {
	ctx, cancel := context.WithTimeout(ctx, recordsTimeout)
	defer cancel()
	var cursors []mailbox.Cursor
	err := db.InTx(ctx, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		// StartAll is the zero time. A mailbox that was never enabled starts now.
		_, err := tx.Exec(ctx, `
			INSERT INTO folder_cursor (mailbox_id, name, start_at)
			SELECT m.mailbox_id, f.name, CASE m.start_kind WHEN 'all' THEN timestamptz '0001-01-01 00:00:00+00'
				WHEN 'date' THEN m.start_at ELSE coalesce(m.enabled_at, now()) END
			FROM mailbox m CROSS JOIN unnest($2::text[]) AS f (name) WHERE m.mailbox_id = $1
			ORDER BY f.name
			ON CONFLICT (mailbox_id, name) DO NOTHING`, mailboxID, folders)
		if err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `
			SELECT c.folder_id, c.mailbox_id, c.name, coalesce(c.uidvalidity, 0), coalesce(c.uid_next, 0), c.start_at,
				c.listed_at IS NOT NULL
			FROM unnest($2::text[]) WITH ORDINALITY AS f (name, n) JOIN folder_cursor c ON c.mailbox_id = $1 AND c.name = f.name
			ORDER BY f.n`, mailboxID, folders)
		if err != nil {
			return err
		}
		cursors, err = pgx.CollectRows(rows, scanCursor)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the cursors of mailbox %d: %w", mailboxID, Classify(err))
	}
	if len(cursors) != len(folders) {
		return nil, noRecord("mailbox", strconv.FormatInt(mailboxID, 10))
	}
	return cursors, nil
}

func scanCursor(row pgx.CollectableRow) (mailbox.Cursor, error) {
	var c mailbox.Cursor
	var validity, next int64
	var start time.Time
	err := row.Scan(&c.FolderID, &c.MailboxID, &c.Folder, &validity, &next, &start, &c.Listed)
	c.UIDValidity = uint32(validity)
	c.UIDNext = uint32(min(next, math.MaxUint32)) // after the last UID of all there is no next one: that UID is listed again
	c.StartAt = start.UTC()
	return c, err
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
