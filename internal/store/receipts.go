package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/postroom/postroom/internal/receipt"
)

// maxItems is how many originals a receipt holds at most; item.ordinal is a smallint.
const maxItems = 10_000

// rowState is what a receipt's row says about the message.
type rowState struct {
	state   string
	outcome receipt.Outcome
	reason  receipt.Reason
}

// plan returns the state in which a receipt is entered: with the outcome that its items are planned to have.
func plan(r *receipt.Receipt) rowState {
	switch {
	case r.Baseline:
		return rowState{state: "baseline"}
	case r.Undecided:
		return rowState{state: "stored"}
	case len(r.Items) == 0:
		return rowState{"finished", r.Plan, r.Reason}
	}
	items := make([]receipt.ItemResult, len(r.Items))
	for i := range r.Items {
		items[i] = receipt.ItemResult{Outcome: r.Items[i].Plan, Reason: r.Items[i].Reason}
	}
	outcome, reason := receipt.Overall(items)
	return rowState{"finished", outcome, reason}
}

// rowKey is a receipt's identity in its folder.
type rowKey struct {
	uidValidity, uid    int64
	digest              [16]byte
	generation, ordinal int32
}

func keyOf(r *receipt.Receipt) rowKey {
	if r.Ref.UniqueID != "" {
		return rowKey{digest: receipt.UniqueIDDigest(r.Ref.UniqueID), generation: int32(r.Generation), ordinal: int32(r.Ordinal)}
	}
	return rowKey{uidValidity: int64(r.Ref.UIDValidity), uid: int64(r.Ref.UID)}
}

// receiptColumns are receipts as arrays, for unnest.
type receiptColumns struct {
	ids                   []int64
	uidValidities, uids   []*int64
	digests               [][]byte
	generations, ordinals []*int32
	octets                []int64
	internalDates         []*time.Time
	rawIDs                []*int64
	states                []string
	outcomes, reasons     []*string
	tries                 []*int32
	retryIns              []*int64 // µs
	disposeIns            []*int64 // µs; NULL: no disposition
	seenAts               []*time.Time
}

func (c *receiptColumns) addKey(r *receipt.Receipt) {
	c.ids = append(c.ids, r.ID)
	key := keyOf(r)
	if r.Ref.UniqueID != "" {
		c.uidValidities, c.uids = append(c.uidValidities, nil), append(c.uids, nil)
		c.digests = append(c.digests, key.digest[:])
		c.generations, c.ordinals = append(c.generations, &key.generation), append(c.ordinals, &key.ordinal)
		return
	}
	c.uidValidities, c.uids = append(c.uidValidities, &key.uidValidity), append(c.uids, &key.uid)
	c.digests = append(c.digests, nil)
	c.generations, c.ordinals = append(c.generations, nil), append(c.ordinals, nil)
}

func (c *receiptColumns) add(m *message) {
	c.addKey(m.r)
	c.octets = append(c.octets, m.r.Ref.Octets)
	c.internalDates = append(c.internalDates, timeOrNull(m.r.Ref.InternalDate))
	c.rawIDs = append(c.rawIDs, m.rawID)
	c.states = append(c.states, m.planned.state)
	c.outcomes = append(c.outcomes, textOrNull(string(m.planned.outcome)))
	c.reasons = append(c.reasons, textOrNull(string(m.planned.reason)))
	c.seenAts = append(c.seenAts, timeOrNull(m.r.SeenAt))
	var tries *int32
	var retryIn *int64
	if m.planned.state == "stored" {
		tries, retryIn = new(int32(min(m.r.Tries, 30_000))), new(m.r.RetryIn.Microseconds())
	}
	c.tries, c.retryIns = append(c.tries, tries), append(c.retryIns, retryIn)
	c.disposeIns = append(c.disposeIns, disposeIn(m))
}

// disposeIn returns after how many µs the server's copy is to be disposed of. Without the octets, the whole of them, it
// never is.
func disposeIn(m *message) *int64 {
	if !m.r.Dispose || m.planned.state != "finished" || m.rawID == nil || m.r.Reason == receipt.TooLarge {
		return nil
	}
	return new(max(0, m.r.DisposeIn.Microseconds()))
}

// putReceipts enters the receipts that are new, decides the stored ones again, and reads back those that were written
// before: by a daemon that crashed after the commit, or by another.
func (a *attempt) putReceipts(ctx context.Context) error {
	var fresh, again receiptColumns
	byKey, byID := make(map[rowKey]*message), make(map[int64]*message)
	for i := range a.messages {
		m := &a.messages[i]
		if m.r.ID == 0 {
			byKey[keyOf(m.r)] = m
			fresh.add(m)
		} else {
			byID[m.r.ID] = m
			again.add(m)
		}
	}
	batch := &pgx.Batch{}
	if len(byKey) > 0 {
		a.queueInsert(batch, &fresh, byKey)
	}
	if len(byID) > 0 {
		a.queueDecided(batch, &again, byID)
	}
	if err := a.tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("enter the receipts: %w", err)
	}
	return a.readBackBefore(ctx)
}

func (a *attempt) queueInsert(batch *pgx.Batch, c *receiptColumns, byKey map[rowKey]*message) {
	batch.Queue(`
		INSERT INTO receipt (folder_id, uidvalidity, uid, unique_id_digest, generation, ordinal, octets, internaldate, raw_id,
			state, outcome, reason, tries, next_try_at, disposition, dispose_at, seen_at)
		SELECT $1, t.uidvalidity, t.uid, t.digest, t.generation, t.ordinal, t.octets, t.internaldate, t.raw_id,
			t.state, t.outcome, t.reason, t.tries, now() + t.retry_in * interval '1 microsecond',
			CASE WHEN t.dispose_in IS NOT NULL THEN 'due' END, now() + t.dispose_in * interval '1 microsecond',
			coalesce(t.seen_at, now())
		FROM unnest($2::bigint[], $3::bigint[], $4::bytea[], $5::integer[], $6::integer[], $7::bigint[], $8::timestamptz[],
			$9::bigint[], $10::text[], $11::text[], $12::text[], $13::integer[], $14::bigint[], $15::bigint[],
			$16::timestamptz[]) WITH ORDINALITY
			AS t (uidvalidity, uid, digest, generation, ordinal, octets, internaldate, raw_id, state, outcome, reason, tries,
			retry_in, dispose_in, seen_at, n)
		ORDER BY t.n
		ON CONFLICT DO NOTHING
		RETURNING receipt_id, coalesce(uidvalidity, 0), coalesce(uid, 0), unique_id_digest, coalesce(generation, 0),
			coalesce(ordinal, 0)`,
		a.b.FolderID, c.uidValidities, c.uids, c.digests, c.generations, c.ordinals, c.octets, c.internalDates, c.rawIDs,
		c.states, c.outcomes, c.reasons, c.tries, c.retryIns, c.disposeIns, c.seenAts).
		Query(func(rows pgx.Rows) error {
			var id int64
			var digest []byte
			var key rowKey
			_, err := pgx.ForEachRow(rows, []any{&id, &key.uidValidity, &key.uid, &digest, &key.generation, &key.ordinal}, func() error {
				key.digest = [16]byte{}
				copy(key.digest[:], digest)
				return written(byKey[key], id)
			})
			return err
		})
}

func written(m *message, id int64) error {
	if m == nil {
		return fmt.Errorf("receipt %d is none of the batch", id)
	}
	m.rowID, m.written = id, true
	return nil
}

// queueDecided updates receipts that were stored. Only those that still are: the others keep what was decided.
func (a *attempt) queueDecided(batch *pgx.Batch, c *receiptColumns, byID map[int64]*message) {
	batch.Queue(`
		WITH decided AS (
			SELECT r.receipt_id FROM receipt r
			WHERE r.receipt_id = ANY ($2::bigint[]) AND r.folder_id = $1 AND r.state = 'stored'
			ORDER BY r.receipt_id FOR UPDATE)
		UPDATE receipt r SET state = t.state, outcome = t.outcome, reason = t.reason,
			raw_id = coalesce(t.raw_id, r.raw_id), tries = coalesce(t.tries, r.tries),
			next_try_at = now() + t.retry_in * interval '1 microsecond',
			disposition = CASE WHEN t.dispose_in IS NOT NULL AND r.is_open THEN 'due' END,
			dispose_at = CASE WHEN r.is_open THEN now() + t.dispose_in * interval '1 microsecond' END
		FROM decided JOIN unnest($2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::integer[],
			$8::bigint[], $9::bigint[])
			AS t (receipt_id, raw_id, state, outcome, reason, tries, retry_in, dispose_in) USING (receipt_id)
		WHERE r.receipt_id = decided.receipt_id
		RETURNING r.receipt_id`,
		a.b.FolderID, c.ids, c.rawIDs, c.states, c.outcomes, c.reasons, c.tries, c.retryIns, c.disposeIns).
		Query(func(rows pgx.Rows) error {
			var id int64
			_, err := pgx.ForEachRow(rows, []any{&id}, func() error { return written(byID[id], id) })
			return err
		})
}

// queueOutcomes corrects the outcomes of receipts whose items did not become what was planned.
func (a *attempt) queueOutcomes(batch *pgx.Batch) {
	var ids []int64
	var outcomes []string
	var reasons []*string
	for i := range a.messages {
		m := &a.messages[i]
		if !m.written || len(m.items) == 0 || m.planned.state != "finished" {
			continue
		}
		items := make([]receipt.ItemResult, len(m.items))
		for j, it := range m.items {
			items[j] = it.outcome
		}
		outcome, reason := receipt.Overall(items)
		if outcome == m.planned.outcome && reason == m.planned.reason {
			continue
		}
		m.planned.outcome, m.planned.reason = outcome, reason
		ids, outcomes, reasons = append(ids, m.rowID), append(outcomes, string(outcome)), append(reasons, textOrNull(string(reason)))
	}
	if len(ids) == 0 {
		return
	}
	batch.Queue(`
		UPDATE receipt r SET outcome = t.outcome, reason = t.reason
		FROM unnest($1::bigint[], $2::text[], $3::text[]) AS t (receipt_id, outcome, reason)
		WHERE r.receipt_id = t.receipt_id`, ids, outcomes, reasons).Exec(expectRows("receipts", len(ids)))
}

// queueClosed closes what a complete listing no longer shows. Its disposition is over: the server's copy is gone.
func (a *attempt) queueClosed(batch *pgx.Batch) {
	ids := distinct(a.b.Closed)
	if len(ids) == 0 {
		return
	}
	batch.Queue(`
		UPDATE receipt SET is_open = false,
			disposition = CASE WHEN disposition IN ('due', 'copied') THEN 'done' ELSE disposition END
		WHERE receipt_id = ANY ($1::bigint[]) AND folder_id = $2`, ids, a.b.FolderID).Exec(expectRows("closed receipts", len(ids)))
}

// queueCursor moves the folder's cursor. A replay of the same move does not count its missed mail again.
func (a *attempt) queueCursor(batch *pgx.Batch) {
	c := a.b.Cursor
	if c == nil {
		return
	}
	batch.Queue(`
		UPDATE folder_cursor SET
			missed = missed + CASE WHEN (uidvalidity, uid_next) IS DISTINCT FROM (nullif($3::bigint, 0), nullif($4::bigint, 0))
				THEN $6::bigint ELSE 0 END,
			uidvalidity = nullif($3::bigint, 0), uid_next = nullif($4::bigint, 0), messages = $5, listed_at = now(),
			start_uidvalidity = CASE WHEN $7::bigint > 0 THEN nullif($3::bigint, 0) ELSE start_uidvalidity END,
			start_uid_next = CASE WHEN $7::bigint > 0 THEN $7 ELSE start_uid_next END
		WHERE folder_id = $1 AND mailbox_id = $2`,
		a.b.FolderID, a.lease.MailboxID, int64(c.UIDValidity), int64(c.UIDNext), c.Messages, c.Missed, int64(c.StartUIDNext)).
		Exec(expectRows("folder", 1))
}
