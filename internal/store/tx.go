package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/postroom/postroom/internal/fault"
)

// txTries is how often InTx runs a transaction that keeps failing by 40001 or 40P01.
const txTries = 6

// ErrCommitUnknown is in the error of InTx when COMMIT was sent and not answered: the transaction may or may not be
// there. The caller reads back before it does anything else. Its class is Transient. Test with errors.Is.
var ErrCommitUnknown = errors.New("commit was not answered")

// InTx runs fn in a transaction and commits it. fn may be run several times: after 40001 and 40P01 everything that it did
// is rolled back and it is called again, a few times, after a short random wait. So it must not keep anything from a
// failed run. fn gets the context that bounds the transaction and must neither commit nor roll back.
//
// When ctx ends before the commit was sent, nothing is committed; from then on the answer is waited for, for a bounded
// time. The error is fn's own, or the database's, classed by Classify.
func (db *DB) InTx(ctx context.Context, opts pgx.TxOptions, fn func(ctx context.Context, tx pgx.Tx) error) error {
	for try := 1; ; try++ {
		err := db.tryTx(ctx, opts, fn)
		if err == nil {
			return nil
		}
		if try == txTries || !retryable(err) {
			return Classify(err)
		}
		if !pause(ctx, try) {
			return Classify(err)
		}
	}
}

// tryTx runs the transaction once.
func (db *DB) tryTx(ctx context.Context, opts pgx.TxOptions, fn func(ctx context.Context, tx pgx.Tx) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, txTimeout)
	defer cancel()
	tx, err := db.pool.BeginTx(ctx, opts)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	// Also when fn panics. The context is one that still works when ours has ended: a connection that cannot be rolled
	// back would be closed, and many at once when a daemon stops.
	defer rollback(ctx, tx)
	if err := fn(ctx, tx); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("before the commit: %w", err)
	}
	return commit(ctx, tx)
}

// rollback ends a transaction that was not committed. An error means that the connection is lost, and then the server
// rolls back by itself.
func rollback(ctx context.Context, tx pgx.Tx) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	_ = tx.Rollback(ctx)
}

// commit tells "not committed" from "not known".
func commit(ctx context.Context, tx pgx.Tx) error {
	if tx.Conn().IsClosed() {
		return fmt.Errorf("before the commit: %w", pgconn.ErrConnClosed)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	err := tx.Commit(ctx)
	if err == nil {
		return nil
	}
	// pgconn.SafeToRetry is no help: pgx 5.12 says it of a connection that ends after COMMIT was sent.
	pg, answered := errors.AsType[*pgconn.PgError](err)
	switch {
	case errors.Is(err, pgx.ErrTxCommitRollback), errors.Is(err, pgx.ErrTxClosed):
	case answered && pg.SeverityUnlocalized == "ERROR": // FATAL is a connection that ends, before the commit or after it
	default:
		return fault.New(fault.Transient, "commit_unknown", "", fmt.Errorf("%w: %w", ErrCommitUnknown, err))
	}
	return fmt.Errorf("commit: %w", err)
}

// retryable reports whether the server rolled the transaction back for a reason that may be over at once.
func retryable(err error) bool {
	if errors.Is(err, ErrCommitUnknown) {
		return false
	}
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pg.Code == "40001" || pg.Code == "40P01")
}

// pause waits before the next try, longer each time and never equally long; false: ctx has ended.
func pause(ctx context.Context, try int) bool {
	d := 5 * time.Millisecond << try
	timer := time.NewTimer(d/2 + rand.N(d)) // spreads load, guards nothing
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// verdict is what Classify says about an SQLSTATE.
type verdict struct {
	class      fault.Class
	code, hint string
}

// Classify gives a database's error its class, code and hint. An error that has a class already, one that does not come
// from the database, pgx.ErrNoRows and the end of a context are returned as they are.
//
// Class 22, 23 and 54 of the SQLSTATEs are Poison: the values of one message that the database refuses.
func Classify(err error) error {
	if err == nil || errors.Is(err, pgx.ErrNoRows) || errors.Is(err, context.Canceled) {
		return err
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		v := verdictOf(pg.Code)
		if _, connecting := errors.AsType[*pgconn.ConnectError](err); connecting && v.code == "database_query_refused" {
			v = verdict{fault.Permanent, "database_url_refused", "PostgreSQL does not know a parameter of database.url: correct it or leave it out."}
		}
		return fault.New(v.class, v.code, v.hint, err)
	}
	if v, ok := connectionVerdict(err); ok {
		return fault.New(v.class, v.code, v.hint, err)
	}
	return err
}

func verdictOf(state string) verdict {
	if v, ok := stateVerdict(state); ok {
		return v
	}
	switch class := state[:min(2, len(state))]; class {
	case "08", "57", "58":
		return verdict{fault.Transient, "database_unavailable", "PostgreSQL is going down, starting or failing: see its log."}
	case "53":
		return verdict{fault.Transient, "database_exhausted", "PostgreSQL is out of a resource: see its log."}
	case "40":
		return verdict{fault.Transient, "transaction_rolled_back", ""}
	case "55":
		return verdict{fault.Transient, "database_object_busy", ""}
	case "28":
		return verdict{fault.Auth, "database_login_refused", "Check user, password and pg_hba.conf for database.url."}
	case "22", "23", "54":
		return verdict{fault.Poison, "database_refused_values", ""}
	case "XX":
		return verdict{fault.Permanent, "database_corrupt", "PostgreSQL reports an internal fault: see its log, and check the disk before anything else."}
	}
	if strings.HasPrefix(state, "42") || strings.HasPrefix(state, "0A") {
		return verdict{fault.Permanent, "database_query_refused", "The schema is not what this version expects: run `postroom migrate`."}
	}
	return verdict{fault.Transient, "database_error", ""}
}

// stateVerdict knows the states that say more than their class.
func stateVerdict(state string) (verdict, bool) {
	switch state {
	case "28P01":
		return verdict{fault.Auth, "database_login_refused", "Mend user or password of database.url."}, true
	case "3D000":
		return verdict{fault.Permanent, "database_missing", "Create the database (`createdb`), or mend its name in database.url."}, true
	case "3F000", "42P01":
		return verdict{fault.Permanent, "schema_missing", "Run `postroom migrate`, and check database.schema."}, true
	case "42501":
		return verdict{fault.Permanent, "database_privilege", "Grant the user of database.url its rights on the database and its schema."}, true
	case "08P01":
		return verdict{fault.Permanent, "database_protocol", "Connect to PostgreSQL itself, or let PgBouncer pool by session and " +
			"set its ignore_startup_parameters not to drop search_path."}, true
	case "53100":
		return verdict{fault.Transient, "database_disk_full", "Free space on the disk of PostgreSQL."}, true
	case "53300":
		return verdict{fault.Transient, "database_connections_used_up", "Raise max_connections of PostgreSQL, or lower database.max_conns."}, true
	case "57014":
		return verdict{fault.Transient, "database_timeout", "A statement took too long: look for locks and load in pg_stat_activity."}, true
	case "55P03":
		return verdict{fault.Transient, "database_lock_timeout", "Something holds a lock for long: look into pg_stat_activity."}, true
	case "25006":
		return verdict{fault.Transient, "database_read_only", "This is a standby: name all hosts and target_session_attrs=read-write in database.url."}, true
	case "25P03":
		return verdict{fault.Transient, "database_transaction_idle", ""}, true
	case "23505":
		return verdict{fault.Poison, "row_exists", ""}, true
	case "23503":
		return verdict{fault.Poison, "row_referenced", ""}, true
	}
	return verdict{}, false
}
