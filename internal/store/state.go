package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
)

// stateOctets is the longest text that a mailbox's state keeps of an error.
const stateOctets = 500

// PollSucceeded notes that a poll went well, which ends what was wrong, and returns when to poll again: after the
// mailbox's interval, but for the first time after mailbox.Spread. It fails with mailbox.ErrLeaseLost when the lease no
// longer holds, and then writes nothing.
func (db *DB) PollSucceeded(ctx context.Context, l mailbox.Lease) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, leaseTimeout)
	defer cancel()
	var interval time.Duration
	var first bool
	err := db.InTx(ctx, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		if err := CheckLease(ctx, tx, l); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `
			WITH before AS (
				SELECT m.poll_interval, s.last_success_at IS NULL AS first
				FROM mailbox m LEFT JOIN mailbox_state s USING (mailbox_id) WHERE m.mailbox_id = $1
			), written AS (
				INSERT INTO mailbox_state (mailbox_id, failures, last_poll_at, last_success_at) VALUES ($1, 0, now(), now())
				ON CONFLICT (mailbox_id) DO UPDATE SET failures = 0, last_poll_at = now(), last_success_at = now(),
					error_class = NULL, error_code = NULL, error_text = NULL, error_hint = NULL, error_since = NULL
			)
			SELECT poll_interval, first FROM before`, l.MailboxID).Scan(&interval, &first)
	})
	if err != nil {
		return 0, fmt.Errorf("note the poll of mailbox %d: %w", l.MailboxID, Classify(err))
	}
	if first {
		return mailbox.Spread(l.MailboxID, interval), nil
	}
	return interval, nil
}

// PollFailed notes why a poll failed and since when polls have failed, and returns when to try again, by
// mailbox.Backoff. When we are being stopped that is nobody's failure: nothing is written, and it is due at once (0).
// It fails with mailbox.ErrLeaseLost when the lease no longer holds, and then writes nothing.
func (db *DB) PollFailed(ctx context.Context, l mailbox.Lease, cause error) (time.Duration, error) {
	class, code, text, hint := fault.Describe(cause)
	if class == fault.Stopping || class == "" {
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, leaseTimeout)
	defer cancel()
	var interval time.Duration
	var failures int
	err := db.InTx(ctx, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		if err := CheckLease(ctx, tx, l); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `
			INSERT INTO mailbox_state (mailbox_id, failures, last_poll_at, error_class, error_code, error_text, error_hint, error_since)
			VALUES ($1, 1, now(), $2, $3, $4, $5, now())
			ON CONFLICT (mailbox_id) DO UPDATE SET failures = mailbox_state.failures + 1, last_poll_at = now(),
				error_class = excluded.error_class, error_code = excluded.error_code, error_text = excluded.error_text,
				error_hint = excluded.error_hint, error_since = coalesce(mailbox_state.error_since, now())
			RETURNING failures, (SELECT poll_interval FROM mailbox m WHERE m.mailbox_id = $1)`,
			l.MailboxID, string(class), stateText(code), stateText(text), stateText(hint)).Scan(&failures, &interval)
	})
	if err != nil {
		return 0, fmt.Errorf("note the failed poll of mailbox %d: %w", l.MailboxID, Classify(err))
	}
	return mailbox.Backoff(class, failures, interval, rand.Float64()), nil
}

// stateText makes text fit a column and a line: valid UTF-8, no control characters, at most stateOctets with "…" where
// it was cut. A server's own words may be in it.
func stateText(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, text)
	if len(text) <= stateOctets {
		return text
	}
	n := stateOctets - len("…")
	for !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n] + "…"
}

// PollFailed is DB.PollFailed.
func (d *Daemon) PollFailed(ctx context.Context, l mailbox.Lease, cause error) (time.Duration, error) {
	return d.db.PollFailed(ctx, l, cause)
}
