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
func New(tb testing.TB) *store.DB {
	tb.Helper()
	return Open(tb, store.Options{URL: URL(tb)})
}

// URL returns the connection string of a fresh, migrated database (schema postroom). It is dropped when the test ends,
// whoever is still connected.
func URL(tb testing.TB) string {
	tb.Helper()
	return create(tb, migratedTemplate)
}

// EmptyURL is URL of a database without any schema of ours.
func EmptyURL(tb testing.TB) string {
	tb.Helper()
	return create(tb, emptyTemplate)
}

// Open opens a database, which is closed when the test ends. A connection that the test has not given back by then is
// an error of the test.
func Open(tb testing.TB, opts store.Options) *store.DB {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), limit)
	defer cancel()
	db, err := store.Open(ctx, opts)
	if err != nil {
		tb.Fatalf("open the test's database: %v", err)
	}
	tb.Cleanup(func() {
		closed := make(chan struct{})
		go func() { db.Close(); close(closed) }()
		select {
		case <-closed:
		case <-time.After(limit):
			tb.Errorf("a connection was not given back to the pool")
		}
	})
	return db
}

// Server returns a server of the test's own, with fsync, that can be killed and restarted. Its database is empty; it is
// stopped and removed when the test ends.
func Server(tb testing.TB) *pgserver.Server {
	tb.Helper()
	requirePostgres(tb)
	ctx, cancel := context.WithTimeout(tb.Context(), limit)
	defer cancel()
	s, err := start(ctx, true)
	if err != nil {
		tb.Fatalf("start a server of the test's own: %v", err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit) //nolint:usetesting // the test's own has ended
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			tb.Errorf("stop the test's server: %v", err)
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
	shared  = sync.OnceValues(startShared)   // tests of one binary share it
	found   = sync.OnceValues(pgserver.Find) // looked for once
	counter atomic.Int64                     // numbers the databases of the shared server
)

// requirePostgres skips the test where there is no PostgreSQL, but fails it where CI=true.
func requirePostgres(tb testing.TB) {
	tb.Helper()
	_, err := found()
	if err == nil {
		return
	}
	_, _, text, hint := fault.Describe(err)
	if os.Getenv("CI") == "true" {
		tb.Fatalf("%s. %s", text, hint)
	}
	tb.Skipf("%s. %s", text, hint)
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
	dir, err := os.MkdirTemp(fastDir(), "postroom-pgtest-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o711); err != nil { // as root, PostgreSQL's user must pass
		return nil, err
	}
	s, err := pgserver.Start(ctx, pgserver.Options{Dir: dir, Durable: durable, Cache: cacheDir(), Remove: true})
	if err != nil {
		_ = os.RemoveAll(dir) // the server's error counts
		return nil, err
	}
	return s, nil
}

// fastDir returns the folder in memory that Linux has, if it has room: a database is copied there ten times as fast. ""
// is the system's temporary folder, also where TMPDIR names one.
func fastDir() string {
	const dir, room = "/dev/shm", 4 << 30
	var fs syscall.Statfs_t
	if os.Getenv("TMPDIR") != "" || syscall.Statfs(dir, &fs) != nil || int64(fs.Bavail)*fs.Bsize < room {
		return ""
	}
	return dir
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
func create(tb testing.TB, template string) string {
	tb.Helper()
	requirePostgres(tb)
	s, err := shared()
	if err != nil {
		tb.Fatal(err)
	}
	name := "test_" + strconv.FormatInt(counter.Add(1), 10)
	ctx, cancel := context.WithTimeout(tb.Context(), limit)
	defer cancel()
	if err := copyDatabase(ctx, s, name, template); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit) //nolint:usetesting // the test's own has ended
		defer cancel()
		if err := execute(ctx, s, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			tb.Error(err)
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
