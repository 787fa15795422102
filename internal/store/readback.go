package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/postroom/postroom/internal/receipt"
)

// readBackBefore fills in the results of receipts that this transaction did not write.
func (a *attempt) readBackBefore(ctx context.Context) error {
	var rs []*receipt.Receipt
	var ms []*message
	for i := range a.messages {
		if m := &a.messages[i]; !m.written {
			rs, ms = append(rs, m.r), append(ms, m)
		}
	}
	if len(rs) == 0 {
		return nil
	}
	found, err := readResults(ctx, a.tx, a.b.FolderID, rs)
	if err != nil {
		return err
	}
	for i, m := range ms {
		if found[i] == nil {
			return fmt.Errorf("receipt %d: %w", m.r.ID, errReceiptGone)
		}
		m.result = found[i].Result
	}
	return nil
}

var errReceiptGone = errors.New("the receipt is gone")

// ReadBack says which receipts of a batch are in the database, and what became of them. committed is true when all are:
// then the batch needs not be written again. It is for a COMMIT without an answer, and is asked in a transaction of its
// own. A batch without receipts is never found: writing it again is harmless.
func (w *Writer) ReadBack(ctx context.Context, b *receipt.Batch) (results []receipt.Result, committed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	rs := make([]*receipt.Receipt, len(b.Receipts))
	for i := range b.Receipts {
		rs[i] = &b.Receipts[i]
	}
	err = w.db.InTx(ctx, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(ctx context.Context, tx pgx.Tx) error {
		found, err := readResults(ctx, tx, b.FolderID, rs)
		if err != nil {
			return err
		}
		results, committed = make([]receipt.Result, len(rs)), len(rs) > 0
		for i, f := range found {
			if f == nil || f.pending(rs[i]) {
				committed = false
				continue
			}
			results[i] = f.Result
		}
		return nil
	})
	if err != nil {
		return nil, false, fmt.Errorf("read back a batch of %d messages: %w", len(b.Receipts), Classify(err))
	}
	return results, committed, nil
}

// readResult is a receipt as it stands.
type readResult struct {
	receipt.Result
	state string
	tries int
}

// pending reports whether the receipt was stored before and is as it was: the new decision is not written.
func (f *readResult) pending(r *receipt.Receipt) bool {
	return r.ID != 0 && f.state == "stored" && (!r.Undecided || f.tries < r.Tries)
}

// readResults returns the receipts that are there, nil for the others, in the order asked for.
func readResults(ctx context.Context, tx pgx.Tx, folderID int64, rs []*receipt.Receipt) ([]*readResult, error) {
	var c receiptColumns
	for _, r := range rs {
		c.addKey(r)
	}
	rows, err := tx.Query(ctx, `
		WITH t AS (SELECT * FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bytea[], $6::integer[], $7::integer[])
			WITH ORDINALITY AS t (id, uidvalidity, uid, digest, generation, ordinal, n)),
		found AS (
			SELECT t.n, r.* FROM t JOIN receipt r ON t.id = 0 AND r.folder_id = $1 AND r.uidvalidity = t.uidvalidity AND r.uid = t.uid
			UNION ALL SELECT t.n, r.* FROM t JOIN receipt r ON t.id = 0 AND r.folder_id = $1 AND r.unique_id_digest = t.digest
				AND r.generation = t.generation AND r.ordinal = t.ordinal
			UNION ALL SELECT t.n, r.* FROM t JOIN receipt r ON t.id <> 0 AND r.receipt_id = t.id AND r.folder_id = $1)
		SELECT f.n, f.receipt_id, f.state, coalesce(f.tries, 0), coalesce(f.outcome, ''), coalesce(f.reason, ''),
			coalesce(i.outcome, ''), coalesce(i.reason, ''), coalesce(i.email_id::text, ''), coalesce(a.activity_id::text, ''),
			e.conflict_of IS NOT NULL
		FROM found f LEFT JOIN item i USING (receipt_id) LEFT JOIN email e USING (email_id)
			LEFT JOIN activity a ON a.email_id = e.email_id AND i.outcome IN ('recorded', 'duplicate')
		ORDER BY f.n, i.ordinal`,
		folderID, c.ids, c.uidValidities, c.uids, c.digests, c.generations, c.ordinals)
	if err != nil {
		return nil, fmt.Errorf("read receipts back: %w", err)
	}
	out := make([]*readResult, len(rs))
	var n int
	var f readResult
	var it receipt.ItemResult
	_, err = pgx.ForEachRow(rows, []any{
		&n, &f.ReceiptID, &f.state, &f.tries, &f.Outcome, &f.Reason,
		&it.Outcome, &it.Reason, &it.EmailID, &it.ActivityID, &it.Conflict,
	}, func() error {
		if out[n-1] == nil {
			out[n-1] = new(f)
		}
		if it.Outcome != "" {
			out[n-1].Items = append(out[n-1].Items, it)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read receipts back: %w", err)
	}
	return out, nil
}
