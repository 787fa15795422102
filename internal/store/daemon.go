package store

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

const (
	leaseTimeout = 10 * time.Second // of one statement about leases and heartbeats
	daemonsKept  = 24 * time.Hour   // after its last heartbeat a daemon's row is removed
)

// Daemon is this process as the others see it: a row with a heartbeat. It claims mailboxes and releases them. It is
// safe for concurrent use.
type Daemon struct {
	db         *DB
	id         uuid.UUID
	host       string
	pid        int
	version    string
	staleAfter time.Duration

	claiming sync.Mutex
	mu       sync.Mutex
	held     map[int64]int64 // token by mailbox: claimed and not yet released
}

// Register writes a row for this process, with an id of its own for every start, and removes the rows of daemons that
// were last heard a day ago. A daemon that has not been heard for staleAfter loses its claims to others; staleAfter
// must be the same for all daemons of a deployment. Deregister ends it.
func (db *DB) Register(ctx context.Context, host string, pid int, version string, staleAfter time.Duration) (*Daemon, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("make an id for this daemon: %w", err)
	}
	d := &Daemon{db: db, id: id, host: host, pid: pid, version: version, staleAfter: staleAfter, held: map[int64]int64{}}
	if err := d.Heartbeat(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, leaseTimeout)
	defer cancel()
	if _, err := db.Pool().Exec(ctx, `DELETE FROM daemon WHERE heartbeat_at < now() - $1::interval`, daemonsKept); err != nil {
		return nil, fmt.Errorf("remove daemons that are long gone: %w", Classify(err))
	}
	return d, nil
}

// ID returns the daemon's id, which stands in its leases.
func (d *Daemon) ID() uuid.UUID { return d.id }

// Heartbeat says that the daemon lives. A row that another daemon has removed comes back: the tokens of its leases tell
// whether they still hold.
func (d *Daemon) Heartbeat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leaseTimeout)
	defer cancel()
	_, err := d.db.Pool().Exec(ctx, `
		INSERT INTO daemon (daemon_id, host, pid, version, started_at, heartbeat_at)
		VALUES ($1, $2, $3, $4, now(), now())
		ON CONFLICT (daemon_id) DO UPDATE SET heartbeat_at = now()`, d.id, d.host, d.pid, d.version)
	if err != nil {
		return fmt.Errorf("write the daemon's heartbeat: %w", Classify(err))
	}
	return nil
}

// Deregister removes the daemon's row. What it still held is free at once, and due.
func (d *Daemon) Deregister(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leaseTimeout)
	defer cancel()
	if _, err := d.db.Pool().Exec(ctx, `DELETE FROM daemon WHERE daemon_id = $1`, d.id); err != nil {
		return fmt.Errorf("remove the daemon's row: %w", Classify(err))
	}
	return nil
}

// DaemonState is a daemon as its row shows it.
type DaemonState struct {
	ID          uuid.UUID
	Host        string
	PID         int
	Version     string
	StartedAt   time.Time
	HeartbeatAt time.Time
	Silent      time.Duration // since its last heartbeat, by PostgreSQL's clock
	Leases      int           // mailboxes it is polling
}

// Daemons returns the daemons of the deployment, the longest running first.
func (db *DB) Daemons(ctx context.Context) ([]DaemonState, error) {
	ctx, cancel := context.WithTimeout(ctx, leaseTimeout)
	defer cancel()
	rows, err := db.Pool().Query(ctx, `
		SELECT daemon_id, host, pid, version, started_at, heartbeat_at, now() - heartbeat_at,
			(SELECT count(*) FROM lease l WHERE l.daemon_id = d.daemon_id)
		FROM daemon d ORDER BY started_at, daemon_id`)
	if err != nil {
		return nil, fmt.Errorf("list daemons: %w", Classify(err))
	}
	daemons, err := pgx.CollectRows(rows, pgx.RowToStructByPos[DaemonState])
	if err != nil {
		return nil, fmt.Errorf("list daemons: %w", Classify(err))
	}
	return daemons, nil
}
