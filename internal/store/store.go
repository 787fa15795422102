// Package store is what Postroom keeps in PostgreSQL: one file a topic, the SQL beside the function that runs it.
//
// SQL is unqualified: the schema is the first of every connection's search_path, so that one database can hold several
// organisations. Only PostgreSQL's clock is compared between daemons.
//
// Invariants:
//   - every session commits with the configured durability, whatever the server's or the role's default;
//   - every statement, lock wait and open transaction is bounded in time by the session's settings;
//   - a transaction is run by InTx alone: it is rolled back on every way out but a commit that the server confirmed, and
//     done again only after 40001 and 40P01;
//   - errors come classed (Classify) and hold neither the connection string nor values.
//
// It must not talk to mail servers, nor decide what becomes of a message.
package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/postroom/postroom/internal/fault"
)

// MinVersion is the oldest server_version_num that Postroom works with.
const MinVersion = 140000

// DefaultSchema is where Options.Schema is empty.
const DefaultSchema = "postroom"

// DefaultMaxConns is the size of the pool where Options.MaxConns is 0.
const DefaultMaxConns = 10

// How long things may take.
const (
	connectTimeout   = 10 * time.Second
	statementTimeout = 30 * time.Second // of one statement, on the server
	lockTimeout      = 10 * time.Second // of one wait for a lock, on the server
	idleTxTimeout    = 60 * time.Second // of a transaction that waits for us, on the server
	txTimeout        = 2 * time.Minute  // of one transaction from BEGIN to its last statement
	endTimeout       = 30 * time.Second // of COMMIT, and of ROLLBACK
	connLifetime     = time.Hour        // so that a pool spreads over servers again after a fail-over
	connIdleTime     = 5 * time.Minute
)

// Options say where the database is and how it is used.
type Options struct {
	URL             string // as libpq takes it: postgres://user@host:5432/database, or key=value pairs
	Schema          string // "": DefaultSchema
	Durability      string // synchronous_commit of every session: local, on or remote_apply; "": on
	MaxConns        int    // of the pool; 0: DefaultMaxConns
	ApplicationName string // as pg_stat_activity shows it; "": postroom
}

// DB is a pool of connections to one schema. Its methods may be called by several goroutines at once.
type DB struct {
	pool   *pgxpool.Pool
	schema string
}

// Open connects to the database and checks that its server is new enough. It does not look at the schema: see Migrate
// and CheckSchema. The caller closes the DB.
//
// Errors are *fault.Error; those of class Transient are worth another try.
func Open(ctx context.Context, opts Options) (*DB, error) {
	cfg, schema, err := poolConfig(opts)
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, Classify(fmt.Errorf("open the database: %w", err))
	}
	db := &DB{pool: pool, schema: schema}
	if err := db.checkServer(ctx); err != nil {
		pool.Close()
		return nil, err
	}
	return db, nil
}

// poolConfig turns opts into the pool's settings. Errors never show the connection string: it may hold a password.
func poolConfig(opts Options) (cfg *pgxpool.Config, schema string, err error) {
	const hint = "Write database.url as postgres://user@host:5432/database, or as key=value pairs; the password can stand in a file (passfile)."
	cfg, err = pgxpool.ParseConfig(opts.URL)
	if err != nil {
		return nil, "", fault.New(fault.Permanent, "database_url_invalid", hint, errors.New("database.url cannot be read: "+reason(err)))
	}
	if opts.Durability == "" {
		opts.Durability = "on"
	}
	switch opts.Durability {
	case "local", "on", "remote_apply":
	default:
		return nil, "", fault.New(fault.Permanent, "database_durability_invalid", "Set database.durability to local, on or remote_apply.",
			fmt.Errorf("database.durability is %q", opts.Durability))
	}
	schema = opts.Schema
	if schema == "" {
		schema = DefaultSchema
	}
	if err := checkSchemaName(schema); err != nil {
		return nil, "", err
	}
	if opts.ApplicationName == "" {
		opts.ApplicationName = "postroom"
	}
	if opts.MaxConns <= 0 {
		opts.MaxConns = DefaultMaxConns
	}
	cfg.MaxConns = int32(min(opts.MaxConns, 10_000))
	cfg.MinConns, cfg.MinIdleConns = 0, 0
	cfg.MaxConnLifetime, cfg.MaxConnLifetimeJitter, cfg.MaxConnIdleTime = connLifetime, connLifetime/10, connIdleTime
	cfg.ConnConfig.ConnectTimeout = connectTimeout
	cfg.ConnConfig.DialFunc = (&net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 4},
	}).DialContext
	setSession(cfg.ConnConfig.RuntimeParams, schema, opts)
	cfg.AfterConnect = readInUTC
	return cfg, schema, nil
}

// readInUTC makes instants arrive in UTC, whatever the zone of this machine.
func readInUTC(_ context.Context, conn *pgx.Conn) error {
	conn.TypeMap().RegisterType(&pgtype.Type{
		Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC},
	})
	return nil
}

// setSession sets what every session runs with. They are start-up parameters, so that RESET and DISCARD keep them.
func setSession(params map[string]string, schema string, opts Options) {
	params["application_name"] = opts.ApplicationName
	params["search_path"] = searchPath(schema)
	params["synchronous_commit"] = opts.Durability
	params["timezone"] = "UTC"
	params["statement_timeout"] = milliseconds(statementTimeout)
	params["lock_timeout"] = milliseconds(lockTimeout)
	params["idle_in_transaction_session_timeout"] = milliseconds(idleTxTimeout)
}

// searchPath names pg_temp last, where it would otherwise come first: a temporary table must not stand before ours.
func searchPath(schema string) string { return pgx.Identifier{schema}.Sanitize() + ", pg_temp" }

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

func checkSchemaName(schema string) error {
	const octets = 63 // NAMEDATALEN - 1
	if len(schema) > octets || strings.ContainsRune(schema, 0) || strings.HasPrefix(schema, "pg_") || schema == "information_schema" {
		return fault.New(fault.Permanent, "database_schema_invalid", "Choose a name of at most 63 octets that does not begin with pg_.",
			fmt.Errorf("database.schema %q cannot be used", schema))
	}
	return nil
}

// reason returns why a connection string cannot be read, without the string.
func reason(err error) string {
	parse, ok := errors.AsType[*pgconn.ParseConfigError](err)
	if !ok {
		return "it is malformed"
	}
	full := parse.Error()
	if i := strings.LastIndex(full, "`: "); i >= 0 {
		what, _, _ := strings.Cut(full[i+len("`: "):], " (") // what is in brackets may quote the string
		return what
	}
	return "it is malformed"
}

func (db *DB) checkServer(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout+statementTimeout)
	defer cancel()
	var version int
	if err := db.pool.QueryRow(ctx, "SELECT current_setting('server_version_num')::int").Scan(&version); err != nil {
		return Classify(fmt.Errorf("open the database: %w", err))
	}
	if version < MinVersion {
		return fault.New(fault.Permanent, "database_too_old", "Upgrade the server to PostgreSQL 14 or newer.",
			fmt.Errorf("the database server is PostgreSQL %d", version/10000))
	}
	return nil
}

// Pool returns the pool, for queries outside of a transaction. The caller bounds each by a context of its own.
func (db *DB) Pool() *pgxpool.Pool { return db.pool }

// Schema returns the name of the schema, unquoted.
func (db *DB) Schema() string { return db.schema }

// Close waits until every connection was given back, then closes them.
func (db *DB) Close() { db.pool.Close() }

// Ping checks that the database answers.
func (db *DB) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if err := db.pool.Ping(ctx); err != nil {
		return Classify(fmt.Errorf("ping the database: %w", err))
	}
	return nil
}

// Durable reports whether a committed transaction survives a crash of the server's machine. When it does not, why says
// which settings are to blame, and no message may be taken from a mail server.
func (db *DB) Durable(ctx context.Context) (ok bool, why string, err error) {
	ctx, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	var off []string
	const sql = `SELECT coalesce(array_agg(name::text ORDER BY name), '{}') FROM pg_settings
		WHERE (name IN ('fsync', 'full_page_writes') AND setting = 'off') OR (name = 'synchronous_commit' AND setting = 'off')`
	if err := db.pool.QueryRow(ctx, sql).Scan(&off); err != nil {
		return false, "", Classify(fmt.Errorf("read the database's settings: %w", err))
	}
	if len(off) == 0 {
		return true, "", nil
	}
	return false, "PostgreSQL runs with " + strings.Join(off, " and ") + " off", nil
}
