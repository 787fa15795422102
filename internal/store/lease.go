package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
)

// CheckLease compares the lease's token with its row and keeps the row locked FOR SHARE until tx ends, so that nobody
// can claim the mailbox between the check and the commit. Every write of a poll begins with it.
//
// It fails with mailbox.ErrLeaseLost (class Stopping) when another daemon has claimed the mailbox or it is gone.
func CheckLease(ctx context.Context, tx pgx.Tx, l mailbox.Lease) error {
	var token int64
	err := tx.QueryRow(ctx, `
		SELECT token FROM lease WHERE kind = 'mailbox' AND target_id = $1 FOR SHARE`, l.MailboxID).Scan(&token)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return leaseLost(l)
	case err != nil:
		return fmt.Errorf("check the lease of mailbox %d: %w", l.MailboxID, err)
	case token != l.Token:
		return leaseLost(l)
	}
	return nil
}

func leaseLost(l mailbox.Lease) error {
	return fault.New(fault.Stopping, "lease_lost", "",
		fmt.Errorf("mailbox %d, token %d: %w", l.MailboxID, l.Token, mailbox.ErrLeaseLost))
}
