package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/pgtest"
	"github.com/postroom/postroom/internal/store"
)

func TestClassifyStates(t *testing.T) {
	t.Parallel()
	for state, want := range map[string]string{
		"08006": "transient database_unavailable", "08P01": "permanent database_protocol",
		"22021": "poison database_refused_values", "22P05": "poison database_refused_values",
		"23505": "poison row_exists", "23503": "poison row_referenced", "23514": "poison database_refused_values",
		"25006": "transient database_read_only", "25P03": "transient database_transaction_idle",
		"28000": "auth database_login_refused", "28P01": "auth database_login_refused",
		"3D000": "permanent database_missing", "3F000": "permanent schema_missing", "42P01": "permanent schema_missing",
		"40001": "transient transaction_rolled_back", "40P01": "transient transaction_rolled_back",
		"42501": "permanent database_privilege", "42703": "permanent database_query_refused",
		"53100": "transient database_disk_full", "53200": "transient database_exhausted",
		"53300": "transient database_connections_used_up", "54000": "poison database_refused_values",
		"55P03": "transient database_lock_timeout", "55006": "transient database_object_busy",
		"57014": "transient database_timeout", "57P01": "transient database_unavailable", "57P03": "transient database_unavailable",
		"58030": "transient database_unavailable", "XX001": "permanent database_corrupt", "P0001": "transient database_error",
		"": "transient database_error",
	} {
		cause := &pgconn.PgError{Code: state, Message: "m", Detail: "Key (subject)=(geheim)"}
		err := store.Classify(fmt.Errorf("write: %w", cause))
		class, code, text, _ := fault.Describe(err)
		if got := string(class) + " " + code; got != want {
			t.Errorf("%s: got %s, want %s", state, got, want)
		}
		if !errors.Is(err, cause) || strings.Contains(text, "geheim") {
			t.Errorf("%s: got %q, want the cause inside and no values", state, text)
		}
	}
}

func TestClassifyLeavesAlone(t *testing.T) {
	t.Parallel()
	own := errors.New("own")
	classed := fault.New(fault.Poison, "too_deep", "", &pgconn.PgError{Code: "40001"})
	for _, err := range []error{nil, own, pgx.ErrNoRows, context.Canceled, classed, fmt.Errorf("in: %w", classed)} {
		if got := store.Classify(err); got != err { //nolint:errorlint // the very same
			t.Errorf("got %v, want %v itself", got, err)
		}
	}
}

func TestClassifyConnections(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("x: %w", io.ErrUnexpectedEOF), "database_connection_lost"},
		{fmt.Errorf("x: %w", syscall.ECONNRESET), "database_connection_lost"},
		{fmt.Errorf("x: %w", syscall.ECONNREFUSED), "database_refused"},
		{fmt.Errorf("x: %w", context.DeadlineExceeded), "database_timeout"},
	} {
		if class, code, _, _ := fault.Describe(store.Classify(c.err)); class != fault.Transient || code != c.want {
			t.Errorf("%v: got %s %s, want transient %s", c.err, class, code, c.want)
		}
	}
}

// What the server says itself, with our own settings.
func TestClassifyOfTheRealThing(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	for sql, want := range map[string]string{
		"SET LOCAL statement_timeout = 1; SELECT pg_sleep(60)": "transient database_timeout",
		"SELECT 1/0": "poison database_refused_values",
		"INSERT INTO raw (state) VALUES ('nothing')":    "poison database_refused_values",
		"SELECT nothing FROM raw":                       "permanent database_query_refused",
		"SELECT 1 FROM nothing":                         "permanent schema_missing",
		"COPY (SELECT 1) TO PROGRAM 'true'":             "permanent database_privilege",
		"SELECT pg_terminate_backend(pg_backend_pid())": "transient database_unavailable",
	} {
		err := db.InTx(t.Context(), pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Conn().PgConn().Exec(ctx, sql).ReadAll()
			return err
		})
		class, code, _, _ := fault.Describe(err)
		if got := string(class) + " " + code; got != want {
			t.Errorf("%s: got %s (%v), want %s", sql, got, err, want)
		}
	}
}
