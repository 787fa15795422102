package raw

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// sweepPage is how many rows one statement of Sweep looks at.
const sweepPage = 2000

// unreferenced is what a row is that nobody uses. Every table with a foreign key to raw is named here (a test checks it).
const unreferenced = `NOT EXISTS (SELECT FROM receipt u WHERE u.raw_id = r.raw_id)
	AND NOT EXISTS (SELECT FROM item u WHERE u.raw_id = r.raw_id)
	AND NOT EXISTS (SELECT FROM activity u WHERE u.raw_id = r.raw_id)`

// Sweep removes what nobody uses: loading rows of daemons that are gone or that are a day old, and stored rows without
// a reference that are older than an hour. It works in short transactions and passes over rows that are in use, so
// that it can run beside everything else, also in several daemons. It returns how many rows it removed.
func (s *Store) Sweep(ctx context.Context) (n int, err error) {
	for {
		loading, err := s.sweepLoading(ctx)
		n += loading
		if err != nil {
			return n, fmt.Errorf("sweep loading octets: %w", err)
		}
		if loading < sweepPage {
			break
		}
	}
	for after, more := int64(0), true; more; {
		var removed int
		removed, after, more, err = s.sweepStored(ctx, after)
		n += removed
		if err != nil {
			return n, fmt.Errorf("sweep stored octets: %w", err)
		}
	}
	return n, nil
}

// sweepLoading removes a page of loading rows. A daemon is gone when it has no row or its heartbeat is ten minutes old;
// one that still runs and finds its load gone loads again.
func (s *Store) sweepLoading(ctx context.Context) (int, error) {
	const sql = `DELETE FROM raw WHERE raw_id IN (
		SELECT raw_id FROM raw l WHERE state = 'loading' AND (l.created_at < now() - interval '1 day'
			OR l.created_at < now() - interval '10 minutes' AND NOT EXISTS (
				SELECT FROM daemon d WHERE d.daemon_id = l.daemon_id AND d.heartbeat_at > now() - interval '10 minutes'))
		ORDER BY raw_id LIMIT $1 FOR UPDATE SKIP LOCKED)`
	var n int
	err := s.short(ctx, func(ctx context.Context) error {
		tag, err := s.pool.Exec(ctx, sql, sweepPage)
		n = int(tag.RowsAffected())
		return err
	})
	return n, err
}

// sweepStored looks at the page of rows after an id. It says where the next begins and whether there is one.
func (s *Store) sweepStored(ctx context.Context, after int64) (removed int, last int64, more bool, err error) {
	var ids []int64
	var looked int
	err = s.short(ctx, func(ctx context.Context) error {
		const sql = `WITH page AS (SELECT raw_id, state, created_at FROM raw WHERE raw_id > $1 ORDER BY raw_id LIMIT $2)
			SELECT count(*), coalesce(max(raw_id), $1), coalesce(array_agg(raw_id ORDER BY raw_id) FILTER (
				WHERE state = 'stored' AND created_at < now() - interval '1 hour' AND ` + unreferenced + `), '{}') FROM page r`
		return s.pool.QueryRow(ctx, sql, after, sweepPage).Scan(&looked, &last, &ids)
	})
	if err != nil || len(ids) == 0 {
		return 0, last, looked == sweepPage, err
	}
	err = s.short(ctx, func(ctx context.Context) error {
		removed, err = s.remove(ctx, ids)
		return err
	})
	return removed, last, looked == sweepPage, err
}

// remove deletes those of the rows that are still unused. It locks first and looks again in a statement of its own, whose
// snapshot is newer than the locks: a reference that was committed in between is seen, and none can be added.
func (s *Store) remove(ctx context.Context, ids []int64) (n int, err error) {
	err = pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT raw_id FROM raw WHERE raw_id = ANY($1) AND state = 'stored' ORDER BY raw_id FOR UPDATE SKIP LOCKED`, ids)
		if err != nil {
			return err
		}
		locked, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		if err != nil || len(locked) == 0 {
			return err
		}
		tag, err := tx.Exec(ctx, `DELETE FROM raw r WHERE raw_id = ANY($1) AND `+unreferenced, locked)
		n = int(tag.RowsAffected())
		return err
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}
