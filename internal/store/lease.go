package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

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

// Claim takes up to n mailboxes that are due, none of them held by a daemon that lives, and returns their leases. Higher
// priority comes first, then what has waited longest; five minutes of waiting weigh as much as one step of priority, so
// that nothing waits for ever.
//
// This daemon never holds more than perHost mailboxes of one host, nor more of one profile than its max_connections
// divided by the number of living daemons (but one).
//
// A claim whose answer was lost, and a release that failed, leave rows that name this daemon though it does not poll
// them: they are claimed anew, with a new token.
//
// Next is how long it takes until another mailbox falls due, at least 0; it is only looked up when fewer than n were
// claimed, and otherwise 0.
func (d *Daemon) Claim(ctx context.Context, n, perHost int) (leases []mailbox.Lease, next time.Duration, err error) {
	d.claiming.Lock() // one at a time: rows of ours that are not held are taken for lost
	defer d.claiming.Unlock()
	ctx, cancel := context.WithTimeout(ctx, leaseTimeout)
	defer cancel()
	rows, err := d.db.Pool().Query(ctx, claimSQL, d.id, n, perHost, d.staleAfter, d.holding())
	if err != nil {
		return nil, 0, fmt.Errorf("claim mailboxes: %w", Classify(err))
	}
	leases, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (mailbox.Lease, error) {
		l := mailbox.Lease{DaemonID: d.id}
		return l, row.Scan(&l.MailboxID, &l.Token, &l.Host, &l.PollTimeout)
	})
	if err != nil {
		return nil, 0, fmt.Errorf("claim mailboxes: %w", Classify(err))
	}
	d.hold(leases)
	if len(leases) == n {
		return leases, 0, nil
	}
	if next, err = d.nextDue(ctx); err != nil {
		return leases, 0, nil // the claims stand; without the hint the caller looks a little earlier
	}
	return leases, next, nil
}

// farFuture is what Claim returns when nothing falls due.
const farFuture = time.Hour

// claimSQL: due ranks what could be taken within each host and each profile, the limits cut it, and what is left is
// locked in order. A row that another daemon claims at the same time is skipped; one that it has claimed since our
// snapshot shows another token.
const claimSQL = `
WITH live AS (
	SELECT greatest(count(*), 1) AS daemons FROM daemon WHERE heartbeat_at > now() - $4::interval
), held_host AS (
	SELECT lower(p.host) AS host, count(*) AS n
	FROM lease l JOIN mailbox m ON m.mailbox_id = l.target_id JOIN profile p USING (profile_id)
	WHERE l.kind = 'mailbox' AND l.daemon_id = $1 AND l.target_id = ANY ($5) GROUP BY 1
), held_profile AS (
	SELECT m.profile_id, count(*) AS n
	FROM lease l JOIN mailbox m ON m.mailbox_id = l.target_id
	WHERE l.kind = 'mailbox' AND l.daemon_id = $1 AND l.target_id = ANY ($5) GROUP BY 1
), due AS (
	SELECT l.target_id, l.token, lower(p.host) AS host, m.profile_id, p.max_connections, p.poll_timeout,
		l.priority + extract(epoch FROM now() - l.next_at) / 300 AS urgency, l.next_at
	FROM lease l JOIN mailbox m ON m.mailbox_id = l.target_id JOIN profile p USING (profile_id)
	WHERE l.kind = 'mailbox' AND l.next_at <= now() AND m.enabled AND m.incoming = 'server_side'
		AND (CASE WHEN l.daemon_id = $1 THEN l.target_id <> ALL ($5) ELSE
			NOT EXISTS (SELECT FROM daemon d WHERE d.daemon_id = l.daemon_id AND d.heartbeat_at > now() - $4::interval) END)
), ranked AS (
	SELECT due.*,
		row_number() OVER (PARTITION BY host ORDER BY urgency DESC, next_at, target_id) AS of_host,
		row_number() OVER (PARTITION BY profile_id ORDER BY urgency DESC, next_at, target_id) AS of_profile
	FROM due
), claimed AS (
	SELECT l.target_id, r.host, r.poll_timeout
	FROM ranked r
	JOIN lease l ON l.kind = 'mailbox' AND l.target_id = r.target_id AND l.token = r.token AND l.next_at <= now()
	CROSS JOIN live
	LEFT JOIN held_host USING (host)
	LEFT JOIN held_profile ON held_profile.profile_id = r.profile_id
	WHERE r.of_host + coalesce(held_host.n, 0) <= $3
		AND r.of_profile + coalesce(held_profile.n, 0) <= greatest(r.max_connections / live.daemons, 1)
	ORDER BY r.urgency DESC, r.next_at, r.target_id
	LIMIT $2
	FOR UPDATE OF l SKIP LOCKED
)
UPDATE lease SET daemon_id = $1, token = lease.token + 1, claimed_at = now()
FROM claimed
WHERE lease.kind = 'mailbox' AND lease.target_id = claimed.target_id
RETURNING lease.target_id, lease.token, claimed.host, claimed.poll_timeout`

// holding returns the mailboxes that are being polled here.
func (d *Daemon) holding() []int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.AppendSeq(make([]int64, 0, len(d.held)), maps.Keys(d.held))
}

func (d *Daemon) hold(leases []mailbox.Lease) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range leases {
		d.held[l.MailboxID] = l.Token
	}
}

func (d *Daemon) letGo(l mailbox.Lease) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.held[l.MailboxID] == l.Token {
		delete(d.held, l.MailboxID)
	}
}

func (d *Daemon) nextDue(ctx context.Context) (time.Duration, error) {
	var next time.Duration
	err := d.db.Pool().QueryRow(ctx, `
		SELECT coalesce(greatest(min(l.next_at) - now(), '0'), $1::interval)
		FROM lease l JOIN mailbox m ON m.mailbox_id = l.target_id
		WHERE l.kind = 'mailbox' AND l.daemon_id IS NULL AND l.next_at > now() AND m.enabled AND m.incoming = 'server_side'`,
		farFuture).Scan(&next)
	return next, err
}

// Release gives a claimed mailbox back; it falls due again after next. When someone has asked for a poll since it was
// claimed (PollNow sets next_at past claimed_at), it is due at once. It fails with mailbox.ErrLeaseLost when another daemon has claimed the mailbox.
func (d *Daemon) Release(ctx context.Context, l mailbox.Lease, next time.Duration) error {
	defer d.letGo(l) // after the row is free: a claim in between must not take it for lost
	ctx, cancel := context.WithTimeout(ctx, leaseTimeout)
	defer cancel()
	tag, err := d.db.Pool().Exec(ctx, `
		UPDATE lease SET daemon_id = NULL, claimed_at = NULL,
			next_at = CASE WHEN next_at > claimed_at THEN least(next_at, now() + $3::interval) ELSE now() + $3::interval END
		WHERE kind = 'mailbox' AND target_id = $1 AND token = $2`, l.MailboxID, l.Token, next)
	if err != nil {
		return fmt.Errorf("release mailbox %d: %w", l.MailboxID, Classify(err))
	}
	if tag.RowsAffected() != 1 {
		return leaseLost(l)
	}
	return nil
}

// PollNow makes a mailbox due at once, or once more when it is being polled, and wakes the daemons. It fails with class
// Permanent and code not_polled when the mailbox is not polled: disabled, not server_side, or not there.
func (db *DB) PollNow(ctx context.Context, mailboxID int64) error {
	ctx, cancel := context.WithTimeout(ctx, leaseTimeout)
	defer cancel()
	tag, err := db.Pool().Exec(ctx, `
		UPDATE lease SET next_at = CASE WHEN daemon_id IS NULL THEN least(next_at, now()) ELSE clock_timestamp() END
		FROM mailbox m
		WHERE lease.kind = 'mailbox' AND target_id = $1 AND m.mailbox_id = $1 AND m.enabled AND m.incoming = 'server_side'`,
		mailboxID)
	if err != nil {
		return fmt.Errorf("make mailbox %d due: %w", mailboxID, Classify(err))
	}
	if tag.RowsAffected() != 1 {
		return fault.New(fault.Permanent, "not_polled", "enable the mailbox, and set incoming: server_side",
			fmt.Errorf("mailbox %d is not polled", mailboxID))
	}
	// After the commit, and without content: whoever misses the hint finds the row within a second.
	if _, err := db.Pool().Exec(ctx, `NOTIFY poll_now`); err != nil {
		return fmt.Errorf("wake the daemons: %w", Classify(err))
	}
	return nil
}
