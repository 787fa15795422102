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
	// The most urgent first. Only when they are not enough, because their hosts are busy, all that are due are ranked.
	for _, sql := range []string{claimUrgentSQL, claimAnySQL} {
		more, err := d.claim(ctx, sql, n-len(leases), perHost)
		if err != nil && len(leases) > 0 {
			return leases, 0, nil // those are claimed and are to be polled
		}
		if err != nil {
			return nil, 0, fmt.Errorf("claim mailboxes: %w", Classify(err))
		}
		if leases = append(leases, more...); len(leases) == n {
			return leases, 0, nil
		}
	}
	if next, err = d.nextDue(ctx); err != nil {
		return leases, 0, nil // the claims stand; without the hint the caller looks a little earlier
	}
	return leases, next, nil
}

func (d *Daemon) claim(ctx context.Context, sql string, n, perHost int) ([]mailbox.Lease, error) {
	rows, err := d.db.Pool().Query(ctx, sql, d.id, n, perHost, d.staleAfter, d.holding())
	if err != nil {
		return nil, err
	}
	leases, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (mailbox.Lease, error) {
		l := mailbox.Lease{DaemonID: d.id}
		return l, row.Scan(&l.MailboxID, &l.Token, &l.Host, &l.PollTimeout)
	})
	if err != nil {
		return nil, err
	}
	d.hold(leases)
	return leases, nil
}

// farFuture is what Claim returns when nothing falls due.
const farFuture = time.Hour

// urgency is what waits longest, less five minutes for each step of priority: the lowest first. The index lease_urgency
// has the same words.
const urgency = `(l.next_at - timestamptz '2000-01-01 00:00:00+00' - l.priority * interval '5 minutes')`

// claimUrgentSQL and claimAnySQL: due is what could be taken, of which limited ranks what comes first of each profile
// within the profile's limit, and claimed locks what is within the hosts' limits, in order. A row that another daemon
// claims at the same time is skipped; one that it has claimed since our snapshot shows another token.
//
// Ranking all of ten thousand takes 20 ms, the most urgent of them 3 ms. More than is wanted is ranked of a profile, as
// others may be claiming the same: what they leave over is found at the next look.
const (
	claimUrgentSQL = claimDueSQL + ` ORDER BY urgency LIMIT 500` + claimRankedSQL
	claimAnySQL    = claimDueSQL + claimRankedSQL
)

const claimDueSQL = `
WITH live AS (
	SELECT coalesce(array_agg(daemon_id), '{}') AS ids, greatest(count(*), 1) AS daemons
	FROM daemon WHERE heartbeat_at > now() - $4::interval
), held AS (
	SELECT m.profile_id, lower(p.host) AS host, count(*) AS n
	FROM lease l JOIN mailbox m ON m.mailbox_id = l.target_id JOIN profile p USING (profile_id)
	WHERE l.kind = 'mailbox' AND l.daemon_id = $1 AND l.target_id = ANY ($5) GROUP BY 1, 2
), due AS (
	SELECT l.target_id, l.token, m.profile_id, ` + urgency + ` AS urgency
	FROM lease l JOIN mailbox m ON m.mailbox_id = l.target_id
	WHERE l.kind = 'mailbox' AND l.next_at <= now() AND m.enabled AND m.incoming = 'server_side'
		AND (l.daemon_id IS NULL OR CASE WHEN l.daemon_id = $1 THEN l.target_id <> ALL ($5)
			ELSE l.daemon_id <> ALL ((SELECT ids FROM live)::uuid[]) END)`

const claimRankedSQL = `
), ranked AS (
	SELECT due.*, row_number() OVER (PARTITION BY profile_id ORDER BY urgency, target_id) AS of_profile FROM due
), limited AS (
	SELECT r.target_id, r.token, r.urgency, lower(p.host) AS host, p.poll_timeout,
		row_number() OVER (PARTITION BY lower(p.host) ORDER BY r.urgency, r.target_id) AS of_host
	FROM ranked r JOIN profile p USING (profile_id) CROSS JOIN live LEFT JOIN held USING (profile_id)
	WHERE r.of_profile <= $2 + 4 + 16 * (live.daemons - 1)
		AND r.of_profile + coalesce(held.n, 0) <= greatest(p.max_connections / live.daemons, 1)
), claimed AS (
	SELECT l.target_id, r.host, r.poll_timeout
	FROM limited r
	JOIN lease l ON l.kind = 'mailbox' AND l.target_id = r.target_id AND l.token = r.token AND l.next_at <= now()
	LEFT JOIN (SELECT host, sum(n) AS n FROM held GROUP BY host) h USING (host)
	WHERE r.of_host + coalesce(h.n, 0) <= $3
	ORDER BY r.urgency, r.target_id
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
		SELECT coalesce((SELECT l.next_at - now()
			FROM lease l JOIN mailbox m ON m.mailbox_id = l.target_id
			WHERE l.kind = 'mailbox' AND l.daemon_id IS NULL AND l.next_at > now() AND m.enabled AND m.incoming = 'server_side'
			ORDER BY l.next_at LIMIT 1), $1::interval)`,
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
