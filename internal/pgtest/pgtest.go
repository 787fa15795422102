// Package pgtest gives tests a real PostgreSQL: a fresh, migrated database for each.
//
// Every test binary starts one server when its first test asks, in a temporary folder, without fsync. It is stopped and
// its folder removed when the binary ends, also when it is killed. A fresh cluster is kept in the system's temporary
// folder, to save each binary the time of initdb. Only tests import this package.
package pgtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/pgserver"
	"github.com/postroom/postroom/internal/store"
)

// limit bounds each thing that a helper does.
const limit = time.Minute

const (
	emptyTemplate    = "template1"
	migratedTemplate = "postroom_template"
)

// New returns a fresh, migrated database. It is closed and dropped when the test ends.
func New(t testing.TB) *store.DB {
	t.Helper()
	return Open(t, store.Options{URL: URL(t)})
}

// URL returns the connection string of a fresh, migrated database (schema postroom). It is dropped when the test ends,
// whoever is still connected.
func URL(t testing.TB) string {
	t.Helper()
	return create(t, migratedTemplate)
}

// EmptyURL is URL of a database without any schema of ours.
func EmptyURL(t testing.TB) string {
	t.Helper()
	return create(t, emptyTemplate)
}

// Open opens a database, which is closed when the test ends. A connection that the test has not given back by then is
// an error of the test.
func Open(t testing.TB, opts store.Options) *store.DB {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	db, err := store.Open(ctx, opts)
	if err != nil {
		t.Fatalf("open the test's database: %v", err)
	}
	t.Cleanup(func() {
		closed := make(chan struct{})
		go func() { db.Close(); close(closed) }()
		select {
		case <-closed:
		case <-time.After(limit):
			t.Errorf("a connection was not given back to the pool")
		}
	})
	return db
}

// Server returns a server of the test's own, with fsync, that can be killed and restarted. Its database is empty; it is
// stopped and removed when the test ends.
func Server(t testing.TB) *pgserver.Server {
	t.Helper()
	requirePostgres(t)
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	s, err := start(ctx, true)
	if err != nil {
		t.Fatalf("start a server of the test's own: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Errorf("stop the test's server: %v", err)
		}
	})
	return s
}

// Goroutines returns what goleak must not take for a leak: the shared server lives as long as the test binary.
func Goroutines() []goleak.Option {
	const server = "github.com/postroom/postroom/internal/pgserver.(*Server)."
	return []goleak.Option{goleak.IgnoreAnyFunction(server + "reap"), goleak.IgnoreAnyFunction(server + "read")}
}

// The one server of this test binary. Nothing stops it: its watchdog does when this process ends.
var (
	shared  = sync.OnceValues(startShared)   //nolint:gochecknoglobals // tests of one binary share it
	found   = sync.OnceValues(pgserver.Find) //nolint:gochecknoglobals // looked for once
	counter atomic.Int64                     //nolint:gochecknoglobals // numbers the databases of the shared server
)

// requirePostgres skips the test where there is no PostgreSQL, but fails it where CI=true.
func requirePostgres(t testing.TB) {
	t.Helper()
	_, err := found()
	if err == nil {
		return
	}
	_, _, text, hint := fault.Describe(err)
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s. %s", text, hint)
	}
	t.Skipf("%s. %s", text, hint)
}

func startShared() (*pgserver.Server, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	s, err := start(ctx, false)
	if err != nil {
		return nil, fmt.Errorf("start the tests' server: %w", err)
	}
	if err := execute(ctx, s, "CREATE DATABASE "+migratedTemplate+" OWNER "+pgserver.Role); err != nil {
		return nil, err
	}
	db, err := store.Open(ctx, store.Options{URL: s.URLOf(pgserver.Role, migratedTemplate)})
	if err != nil {
		return nil, fmt.Errorf("make the template: %w", err)
	}
	defer db.Close()
	if _, err := db.Migrate(ctx); err != nil {
		return nil, fmt.Errorf("make the template: %w", err)
	}
	return s, nil
}

func start(ctx context.Context, durable bool) (*pgserver.Server, error) {
	dir, err := os.MkdirTemp("", "postroom-pgtest-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // as root, PostgreSQL's user must pass
		return nil, err
	}
	s, err := pgserver.Start(ctx, pgserver.Options{Dir: dir, Durable: durable, Cache: cacheDir(), Remove: true})
	if err != nil {
		_ = os.RemoveAll(dir) // the server's error counts
		return nil, err
	}
	return s, nil
}

// cacheDir returns the folder of the kept cluster, or "" if it is not ours alone: in a folder that all may write to,
// someone else may have made it.
func cacheDir() string {
	dir := filepath.Join(os.TempDir(), "postroom-pgtest-cache-"+strconv.Itoa(os.Getuid()))
	_ = os.Mkdir(dir, 0o700) // it mostly exists
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() || info.Mode().Perm() != 0o700 {
		return ""
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != os.Getuid() {
		return ""
	}
	return dir
}

// create makes a database on the shared server, dropped when the test ends.
func create(t testing.TB, template string) string {
	t.Helper()
	requirePostgres(t)
	s, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	name := "test_" + strconv.FormatInt(counter.Add(1), 10)
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := copyDatabase(ctx, s, name, template); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := execute(ctx, s, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	return s.URLOf(pgserver.Role, name)
}

// copyDatabase copies a template. Copying its files is three times as fast as writing them to the log (PostgreSQL 15).
func copyDatabase(ctx context.Context, s *pgserver.Server, name, template string) error {
	return with(ctx, s, func(conn *pgx.Conn) error {
		sql := "CREATE DATABASE " + name + " OWNER " + pgserver.Role + " TEMPLATE " + template
		if v, err := strconv.Atoi(conn.PgConn().ParameterStatus("server_version")[:2]); err == nil && v >= 15 {
			sql += " STRATEGY file_copy"
		}
		_, err := conn.Exec(ctx, sql)
		return err
	})
}

func execute(ctx context.Context, s *pgserver.Server, sql string) error {
	return with(ctx, s, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, sql)
		return err
	})
}

// with runs fn on a connection of the server's superuser.
func with(ctx context.Context, s *pgserver.Server, fn func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, s.URLOf(pgserver.Admin, "postgres"))
	if err != nil {
		return fmt.Errorf("tests' server: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if err := fn(conn); err != nil {
		return fmt.Errorf("tests' server: %w", err)
	}
	return nil
}
