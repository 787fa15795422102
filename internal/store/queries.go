package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// queryTimeout bounds one question of an admin.
const queryTimeout = 30 * time.Second

// ask runs a query that only reads and returns its rows, scanned by position into T.
func ask[T any](ctx context.Context, db *DB, what, sql string, args ...any) ([]T, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	rows, err := db.Pool().Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", what, Classify(err))
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[T])
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", what, Classify(err))
	}
	return list, nil
}

// Page bounds a list: the newest Limit rows since Since.
type Page struct {
	Since time.Time // zero: from the beginning
	Limit int
}

func (p Page) since() *time.Time {
	if p.Since.IsZero() {
		return nil
	}
	return &p.Since
}
