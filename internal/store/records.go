package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
)

const (
	recordsTimeout = 15 * time.Second // of reading records or states
	listTimeout    = 60 * time.Second // of reading a large maildrop's receipts
)

// ErrNoRecord says that there is no record of this name or id. It comes with class Permanent and code no_record.
var ErrNoRecord = errors.New("no such record")

func noRecord(kind, nameOrID string) error {
	return fault.New(fault.Permanent, "no_record", "postroom "+kind+" list shows what there is",
		fmt.Errorf("%s %q: %w", kind, nameOrID, ErrNoRecord))
}

// User is a person whose mail is recorded, and who owns records.
type User struct {
	ID      int64
	Name    string
	Address string
}

// Queue is a shared mailbox's record: support@, sales@.
type Queue struct {
	ID      int64
	Name    string
	Address string
	OwnerID int64 // user_id; 0: nobody
}

// Records is everything that is configured, each kind by name.
type Records struct {
	Version   int64 // grows with every change: see RecordsVersion
	Profiles  []*mailbox.Profile
	Users     []User
	Queues    []Queue
	Mailboxes []*mailbox.Mailbox
}

// Mailboxes returns all mailboxes by name, with their profile, aliases and owner.
func (db *DB) Mailboxes(ctx context.Context) ([]*mailbox.Mailbox, error) {
	r, err := db.Records(ctx)
	if err != nil {
		return nil, err
	}
	return r.Mailboxes, nil
}

// Mailbox returns one mailbox by its name or, if none has that name, by its id. It fails with ErrNoRecord.
func (db *DB) Mailbox(ctx context.Context, nameOrID string) (*mailbox.Mailbox, error) {
	all, err := db.Mailboxes(ctx)
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(all, func(m *mailbox.Mailbox) bool { return m.Name == nameOrID }); i >= 0 {
		return all[i], nil
	}
	if id, err := strconv.ParseInt(nameOrID, 10, 64); err == nil {
		if i := slices.IndexFunc(all, func(m *mailbox.Mailbox) bool { return m.ID == id }); i >= 0 {
			return all[i], nil
		}
	}
	return nil, noRecord("mailbox", nameOrID)
}

// RecordsVersion returns the version of the records as they are now. Where it is another than Records.Version, they
// were changed since.
func (db *DB) RecordsVersion(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, recordsTimeout)
	defer cancel()
	var version int64
	if err := db.Pool().QueryRow(ctx, `SELECT version FROM records_version`).Scan(&version); err != nil {
		return 0, fmt.Errorf("read the records' version: %w", Classify(err))
	}
	return version, nil
}

// Records returns everything that is configured, as of one instant.
func (db *DB) Records(ctx context.Context) (*Records, error) {
	ctx, cancel := context.WithTimeout(ctx, recordsTimeout)
	defer cancel()
	var r *Records
	err := db.InTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly},
		func(ctx context.Context, tx pgx.Tx) (err error) {
			r, err = ReadRecords(ctx, tx)
			return err
		})
	return r, err
}

// ReadRecords is Records within a transaction.
func ReadRecords(ctx context.Context, tx pgx.Tx) (*Records, error) {
	r := &Records{}
	err := tx.QueryRow(ctx, `SELECT version FROM records_version`).Scan(&r.Version)
	if err != nil {
		return nil, fmt.Errorf("read the records' version: %w", Classify(err))
	}
	if r.Profiles, err = readProfiles(ctx, tx); err != nil {
		return nil, fmt.Errorf("read profiles: %w", Classify(err))
	}
	if r.Users, err = collect(ctx, tx, pgx.RowToStructByPos[User],
		`SELECT user_id, name, address FROM user_account ORDER BY name`); err != nil {
		return nil, fmt.Errorf("read users: %w", Classify(err))
	}
	if r.Queues, err = collect(ctx, tx, pgx.RowToStructByPos[Queue],
		`SELECT queue_id, name, address, coalesce(owner_id, 0) FROM queue ORDER BY name`); err != nil {
		return nil, fmt.Errorf("read queues: %w", Classify(err))
	}
	if r.Mailboxes, err = readMailboxes(ctx, tx, r.Profiles); err != nil {
		return nil, fmt.Errorf("read mailboxes: %w", Classify(err))
	}
	return r, nil
}

func collect[T any](ctx context.Context, tx pgx.Tx, scan pgx.RowToFunc[T], sql string) ([]T, error) {
	rows, err := tx.Query(ctx, sql)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scan)
}

func readProfiles(ctx context.Context, tx pgx.Tx) ([]*mailbox.Profile, error) {
	return collect(ctx, tx, pgx.RowToAddrOfStructByPos[mailbox.Profile], `
		SELECT profile_id, name, protocol, host, port, tls, ca_file, max_connections, timeout, poll_timeout, max_octets,
			authserv_id, mx_hosts, exchange
		FROM profile ORDER BY name`)
}

func readMailboxes(ctx context.Context, tx pgx.Tx, profiles []*mailbox.Profile) ([]*mailbox.Mailbox, error) {
	byID := make(map[int64]*mailbox.Profile, len(profiles))
	for _, p := range profiles {
		byID[p.ID] = p
	}
	return collect(ctx, tx, func(row pgx.CollectableRow) (*mailbox.Mailbox, error) {
		m := &mailbox.Mailbox{}
		var profile int64
		var startAt, enabledAt *time.Time
		err := row.Scan(&m.ID, &m.Name, &m.Kind, &m.Address, &m.Aliases, &m.RegardingID, &m.OwnerID, &m.Incoming, &profile,
			&m.Username, &m.SecretRef, &m.Folders, &m.StartKind, &startAt, &m.PollInterval, &m.Priority, &m.Disposition,
			&m.DeleteAfter, &m.MoveTo, &m.Undeliverable, &m.DeleteIgnored, &m.Trust, &m.TokenSuffices, &m.PlusTokenDigest,
			&m.Accept, &m.Enabled, &enabledAt)
		if err != nil {
			return nil, err
		}
		m.StartAt, m.EnabledAt = instant(startAt), instant(enabledAt)
		m.Profile = byID[profile]
		return m, nil
	}, `
		SELECT m.mailbox_id, m.name, m.kind, m.address,
			ARRAY(SELECT a.address FROM mailbox_address a WHERE a.mailbox_id = m.mailbox_id AND NOT a.is_primary ORDER BY 1),
			coalesce(m.user_id, m.queue_id, 0), coalesce(m.user_id::text, q.owner_id::text, ''), m.incoming,
			CASE WHEN m.incoming = 'server_side' THEN m.profile_id ELSE 0 END, m.username, m.secret_ref, m.folders,
			m.start_kind, m.start_at, m.poll_interval, m.priority, m.disposition, m.delete_after, m.move_to,
			m.undeliverable_folder, m.delete_ignored, m.trust, m.token_suffices, m.plus_token_digest, m.accept, m.enabled,
			m.enabled_at
		FROM mailbox m LEFT JOIN queue q USING (queue_id) ORDER BY m.name`)
}

func instant(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}
