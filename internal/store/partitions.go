package store

import (
	"context"
	"fmt"
)

// EnsurePartitions makes the partitions of this month and the next for traces and events. It is harmless to repeat, and
// to leave out: rows then go to the default partitions, which cannot be dropped by month.
func (db *DB) EnsurePartitions(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dispositionsTimeout)
	defer cancel()
	if _, err := db.pool.Exec(ctx, `SELECT ensure_partitions(now())`); err != nil {
		return fmt.Errorf("make the partitions of this month: %w", Classify(err))
	}
	return nil
}
