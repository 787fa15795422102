package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/postroom/postroom/internal/mailbox"
)

// LockRecords keeps everyone else from changing profiles, users, queues and mailboxes until tx ends. Reading goes on,
// and so do polls.
func LockRecords(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, `LOCK TABLE profile, user_account, queue, mailbox, mailbox_address, watched_folder IN SHARE ROW EXCLUSIVE MODE`)
	if err != nil {
		return fmt.Errorf("lock the records: %w", Classify(err))
	}
	return nil
}

// errNoRow says that an update met no row: the record was removed meanwhile.
var errNoRow = errors.New("the record is gone")

// PutProfile inserts p (ID 0, which it sets) or updates it.
func PutProfile(ctx context.Context, tx pgx.Tx, p *mailbox.Profile) error {
	values := pgx.NamedArgs{
		"id": p.ID, "name": p.Name, "protocol": p.Protocol, "host": p.Host, "port": p.Port, "tls": p.TLS, "ca_file": p.CAFile,
		"max_connections": p.MaxConnections, "timeout": p.Timeout, "poll_timeout": p.PollTimeout, "max_octets": p.MaxOctets,
		"authserv_id": p.AuthservID, "mx_hosts": append([]string{}, p.MXHosts...), "exchange": p.Exchange,
	}
	id, err := put(ctx, tx, p.ID, `
		INSERT INTO profile (name, protocol, host, port, tls, ca_file, max_connections, timeout, poll_timeout, max_octets,
			authserv_id, mx_hosts, exchange)
		VALUES (@name, @protocol, @host, @port, @tls, @ca_file, @max_connections, @timeout, @poll_timeout, @max_octets,
			@authserv_id, @mx_hosts, @exchange)
		RETURNING profile_id`, `
		UPDATE profile SET name = @name, protocol = @protocol, host = @host, port = @port, tls = @tls, ca_file = @ca_file,
			max_connections = @max_connections, timeout = @timeout, poll_timeout = @poll_timeout, max_octets = @max_octets,
			authserv_id = @authserv_id, mx_hosts = @mx_hosts, exchange = @exchange, updated_at = now()
		WHERE profile_id = @id RETURNING profile_id`, values)
	if err != nil {
		return fmt.Errorf("write profile %q: %w", p.Name, err)
	}
	p.ID = id
	return nil
}

// PutUser inserts u (ID 0, which it sets) or updates it.
func PutUser(ctx context.Context, tx pgx.Tx, u *User) error {
	id, err := put(ctx, tx, u.ID, `
		INSERT INTO user_account (name, address) VALUES (@name, @address) RETURNING user_id`, `
		UPDATE user_account SET name = @name, address = @address, updated_at = now() WHERE user_id = @id RETURNING user_id`,
		pgx.NamedArgs{"id": u.ID, "name": u.Name, "address": u.Address})
	if err != nil {
		return fmt.Errorf("write user %q: %w", u.Name, err)
	}
	u.ID = id
	return nil
}

// PutQueue inserts q (ID 0, which it sets) or updates it.
func PutQueue(ctx context.Context, tx pgx.Tx, q *Queue) error {
	id, err := put(ctx, tx, q.ID, `
		INSERT INTO queue (name, address, owner_id) VALUES (@name, @address, nullif(@owner::bigint, 0)) RETURNING queue_id`, `
		UPDATE queue SET name = @name, address = @address, owner_id = nullif(@owner::bigint, 0), updated_at = now()
		WHERE queue_id = @id RETURNING queue_id`,
		pgx.NamedArgs{"id": q.ID, "name": q.Name, "address": q.Address, "owner": q.OwnerID})
	if err != nil {
		return fmt.Errorf("write queue %q: %w", q.Name, err)
	}
	q.ID = id
	return nil
}

// put runs insert when id is 0 and update otherwise, and returns the row's id.
func put(ctx context.Context, tx pgx.Tx, id int64, insert, update string, values pgx.NamedArgs) (int64, error) {
	sql := update
	if id == 0 {
		sql = insert
	}
	err := tx.QueryRow(ctx, sql, values).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, errNoRow
	}
	if err != nil {
		return 0, Classify(err)
	}
	return id, nil
}

// FreeClaims takes the addresses, the watched folders and the plus-address tokens from mailboxes that are about to be
// written, so that they can be exchanged between them in one transaction. PutMailbox gives them theirs.
func FreeClaims(ctx context.Context, tx pgx.Tx, mailboxIDs []int64) error {
	for _, sql := range []string{
		`DELETE FROM mailbox_address WHERE mailbox_id = ANY ($1)`,
		`DELETE FROM watched_folder WHERE mailbox_id = ANY ($1)`,
		`UPDATE mailbox SET plus_token_digest = NULL WHERE mailbox_id = ANY ($1) AND plus_token_digest IS NOT NULL`,
	} {
		if _, err := tx.Exec(ctx, sql, mailboxIDs); err != nil {
			return fmt.Errorf("free addresses and folders: %w", Classify(err))
		}
	}
	return nil
}

// PutMailbox inserts m (ID 0, which it sets) or updates it, with its addresses, its watched folders and, if it is polled,
// its lease and state. A mailbox that becomes enabled is due at once; EnabledAt is the database's: the first time it was
// enabled. When account is true, another account is polled from now on: a poll that goes on is fenced off.
func PutMailbox(ctx context.Context, tx pgx.Tx, m *mailbox.Mailbox, account bool) error {
	id, err := put(ctx, tx, m.ID, insertMailboxSQL, updateMailboxSQL, mailboxValues(m))
	if err == nil {
		m.ID = id
		err = putClaims(ctx, tx, m)
	}
	if err == nil && m.Incoming == mailbox.ServerSide {
		err = putLease(ctx, tx, m, account)
	}
	if err != nil {
		return fmt.Errorf("write mailbox %q: %w", m.Name, err)
	}
	return nil
}

const insertMailboxSQL = `
	INSERT INTO mailbox (name, kind, address, user_id, queue_id, incoming, profile_id, username, secret_ref, folders,
		start_kind, start_at, poll_interval, priority, disposition, delete_after, move_to, undeliverable_folder,
		delete_ignored, trust, token_suffices, plus_token_digest, accept, enabled, enabled_at)
	VALUES (@name, @kind, @address, @user_id, @queue_id, @incoming, @profile_id, @username, @secret_ref, @folders,
		@start_kind, @start_at, @poll_interval, @priority, @disposition, @delete_after, @move_to, @undeliverable,
		@delete_ignored, @trust, @token_suffices, @plus_token_digest, @accept, @enabled, CASE WHEN @enabled THEN now() END)
	RETURNING mailbox_id`

const updateMailboxSQL = `
	UPDATE mailbox SET name = @name, kind = @kind, address = @address, user_id = @user_id, queue_id = @queue_id,
		incoming = @incoming, profile_id = @profile_id, username = @username, secret_ref = @secret_ref, folders = @folders,
		start_kind = @start_kind, start_at = @start_at, poll_interval = @poll_interval, priority = @priority,
		disposition = @disposition, delete_after = @delete_after, move_to = @move_to,
		undeliverable_folder = @undeliverable, delete_ignored = @delete_ignored, trust = @trust,
		token_suffices = @token_suffices, plus_token_digest = @plus_token_digest, accept = @accept, enabled = @enabled,
		enabled_at = CASE WHEN @enabled THEN coalesce(enabled_at, now()) ELSE enabled_at END, updated_at = now()
	WHERE mailbox_id = @id RETURNING mailbox_id`

func mailboxValues(m *mailbox.Mailbox) pgx.NamedArgs {
	values := pgx.NamedArgs{
		"id": m.ID, "name": m.Name, "kind": m.Kind, "address": m.Address, "user_id": nil, "queue_id": nil,
		"incoming": m.Incoming, "profile_id": nil, "username": m.Username, "secret_ref": m.SecretRef, "folders": m.Folders,
		"start_kind": m.StartKind, "start_at": nil, "poll_interval": m.PollInterval, "priority": m.Priority,
		"disposition": m.Disposition, "delete_after": m.DeleteAfter, "move_to": m.MoveTo, "undeliverable": m.Undeliverable,
		"delete_ignored": m.DeleteIgnored, "trust": m.Trust, "token_suffices": m.TokenSuffices,
		"plus_token_digest": m.PlusTokenDigest, "accept": m.Accept, "enabled": m.Enabled,
	}
	switch m.Kind {
	case mailbox.User:
		values["user_id"] = m.RegardingID
	case mailbox.Queue:
		values["queue_id"] = m.RegardingID
	case mailbox.Forward:
	}
	if m.Profile != nil {
		values["profile_id"] = m.Profile.ID
	}
	if m.StartKind == mailbox.StartDate {
		values["start_at"] = m.StartAt
	}
	return values
}

// Account names the account that a mailbox polls, as watched_folder keeps it; "" if it polls none.
func Account(m *mailbox.Mailbox) string {
	if m.Incoming != mailbox.ServerSide || m.Profile == nil {
		return ""
	}
	return strings.ToLower(m.Profile.Host + "/" + m.Username)
}

// putClaims writes what a mailbox alone may have: its addresses, and the folders it watches.
func putClaims(ctx context.Context, tx pgx.Tx, m *mailbox.Mailbox) error {
	addresses := []string{mailbox.FoldAddress(m.Address)}
	for _, alias := range m.Aliases {
		addresses = append(addresses, mailbox.FoldAddress(alias))
	}
	batch := &pgx.Batch{}
	batch.Queue(`DELETE FROM mailbox_address WHERE mailbox_id = $1`, m.ID)
	batch.Queue(`DELETE FROM watched_folder WHERE mailbox_id = $1`, m.ID)
	batch.Queue(`
		INSERT INTO mailbox_address (address, mailbox_id, is_primary)
		SELECT a.address, $1, a.n = 1 FROM unnest($2::text[]) WITH ORDINALITY AS a (address, n)`, m.ID, addresses)
	if account := Account(m); account != "" {
		batch.Queue(`
			INSERT INTO watched_folder (account, folder, mailbox_id) SELECT $1, f.name, $2 FROM unnest($3::text[]) AS f (name)`,
			account, m.ID, m.Folders)
	}
	return Classify(tx.SendBatch(ctx, batch).Close())
}

// putLease makes a polled mailbox claimable. Its row is never removed, since its token must never start anew.
func putLease(ctx context.Context, tx pgx.Tx, m *mailbox.Mailbox, account bool) error {
	batch := &pgx.Batch{}
	batch.Queue(`INSERT INTO mailbox_state (mailbox_id) VALUES ($1) ON CONFLICT DO NOTHING`, m.ID)
	batch.Queue(`
		INSERT INTO lease (kind, target_id, next_at, priority) VALUES ('mailbox', $1, now(), $2)
		ON CONFLICT (kind, target_id) DO UPDATE SET priority = excluded.priority
		WHERE lease.priority <> excluded.priority`, m.ID, m.Priority)
	if account {
		batch.Queue(`
			UPDATE lease SET token = token + 1, daemon_id = NULL, claimed_at = NULL, next_at = now()
			WHERE kind = 'mailbox' AND target_id = $1`, m.ID)
	}
	return Classify(tx.SendBatch(ctx, batch).Close())
}

// MakeDue makes mailboxes due now, in the same transaction that enables them.
func MakeDue(ctx context.Context, tx pgx.Tx, mailboxIDs []int64) error {
	_, err := tx.Exec(ctx, `
		UPDATE lease SET next_at = now() WHERE kind = 'mailbox' AND target_id = ANY ($1) AND daemon_id IS NULL AND next_at > now()`,
		mailboxIDs)
	if err != nil {
		return fmt.Errorf("make mailboxes due: %w", Classify(err))
	}
	return nil
}
