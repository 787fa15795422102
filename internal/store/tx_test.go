package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/pgtest"
	"github.com/postroom/postroom/internal/store"
)

func notes(t *testing.T) *store.DB {
	t.Helper()
	db := pgtest.Open(t, store.Options{URL: pgtest.EmptyURL(t)})
	run(t, db, "CREATE SCHEMA postroom")
	run(t, db, "CREATE TABLE note (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
	return db
}

func insert(n int) func(context.Context, pgx.Tx) error {
	return func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO note (n) VALUES ($1)", n)
		return err
	}
}

// idle waits until every connection was given back: the pool gets rid of a broken one in the background.
func idle(t *testing.T, db *store.DB) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); db.Pool().Stat().AcquiredConns() != 0; runtime.Gosched() {
		if time.Now().After(end) {
			t.Errorf("%d connections were not given back", db.Pool().Stat().AcquiredConns())
			return
		}
	}
}

func TestInTxCommitsAndRollsBack(t *testing.T) {
	t.Parallel()
	db := notes(t)
	if err := db.InTx(t.Context(), pgx.TxOptions{}, insert(1)); err != nil {
		t.Fatal(err)
	}
	wanted := errors.New("no")
	err := db.InTx(t.Context(), pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		return errors.Join(insert(2)(ctx, tx), wanted)
	})
	if !errors.Is(err, wanted) {
		t.Errorf("got %v, want fn's own error", err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is gone")
			}
		}()
		_ = db.InTx(t.Context(), pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
			if err := insert(3)(ctx, tx); err != nil {
				return err
			}
			panic("fn")
		})
	}()
	if got := one[int](t, db, "SELECT sum(n)::int FROM note"); got != 1 {
		t.Errorf("got sum %d, want 1: only the first was committed", got)
	}
	idle(t, db)
}

// The error of COMMIT is an error: a deferred constraint speaks up only there.
func TestInTxReturnsTheCommitsError(t *testing.T) {
	t.Parallel()
	db := notes(t)
	run(t, db, "INSERT INTO note (n) VALUES (1)")
	calls := 0
	err := db.InTx(t.Context(), pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		calls++
		return insert(1)(ctx, tx)
	})
	if codeOf(err) != "row_exists" || errors.Is(err, store.ErrCommitUnknown) || calls != 1 {
		t.Errorf("got %v after %d calls, want row_exists after 1", err, calls)
	}
	idle(t, db)
}

// An error that fn keeps to itself has broken the transaction all the same.
func TestInTxDoesNotCommitABrokenTransaction(t *testing.T) {
	t.Parallel()
	db := notes(t)
	err := db.InTx(t.Context(), pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		_, _ = tx.Exec(ctx, "SELECT 1/0")
		return nil
	})
	if !errors.Is(err, pgx.ErrTxCommitRollback) || errors.Is(err, store.ErrCommitUnknown) {
		t.Errorf("got %v, want pgx.ErrTxCommitRollback", err)
	}
	idle(t, db)
}

func TestInTxWithAnEndedContext(t *testing.T) {
	t.Parallel()
	db := notes(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := db.InTx(ctx, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		defer cancel() // we are stopped when all is written
		return insert(1)(ctx, tx)
	})
	if !errors.Is(err, context.Canceled) || errors.Is(err, store.ErrCommitUnknown) || fault.ClassOf(err) != fault.Stopping {
		t.Errorf("got %v, want context.Canceled of class stopping", err)
	}
	if got := one[int](t, db, "SELECT count(*)::int FROM note"); got != 0 {
		t.Errorf("got %d rows, want 0", got)
	}
	// Its connection was rolled back, not thrown away.
	if total := db.Pool().Stat().TotalConns(); total != 1 {
		t.Errorf("%d connections, want 1", total)
	}
	idle(t, db)
}

func TestInTxTriesAgainAfterConflicts(t *testing.T) {
	t.Parallel()
	db := notes(t)
	run(t, db, "INSERT INTO note (n) VALUES (0)")
	const goroutines = 5
	errs := make([]error, goroutines)
	var wg sync.WaitGroup
	var first sync.WaitGroup
	first.Add(goroutines)
	for g := range goroutines {
		wg.Go(func() {
			calls := 0
			errs[g] = db.InTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead}, func(ctx context.Context, tx pgx.Tx) error {
				var n int
				if err := tx.QueryRow(ctx, "SELECT n FROM note").Scan(&n); err != nil {
					return err
				}
				if calls++; calls == 1 {
					first.Done() // everyone reads before anyone writes
					first.Wait()
				}
				if _, err := tx.Exec(ctx, "UPDATE note SET n = $1", n+1); err != nil {
					return fmt.Errorf("wrapped: %w", err)
				}
				return nil
			})
		})
	}
	wg.Wait()
	done := 0
	for _, err := range errs {
		if err == nil {
			done++
		} else if codeOf(err) != "transaction_rolled_back" {
			t.Errorf("got %v", err)
		}
	}
	if got := one[int](t, db, "SELECT n FROM note"); got != done || done == 0 {
		t.Errorf("n is %d after %d transactions", got, done)
	}
	idle(t, db)
}

func TestInTxGivesUp(t *testing.T) {
	t.Parallel()
	db := notes(t)
	for code, wantCalls := range map[string]int{"40001": 6, "40P01": 6, "23505": 1, "57014": 1} {
		calls := 0
		err := db.InTx(t.Context(), pgx.TxOptions{}, func(context.Context, pgx.Tx) error {
			calls++
			return fmt.Errorf("wrapped: %w", &pgconn.PgError{Code: code})
		})
		if err == nil || calls != wantCalls {
			t.Errorf("%s: got %v after %d calls, want an error after %d", code, err, calls, wantCalls)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	err := db.InTx(ctx, pgx.TxOptions{}, func(context.Context, pgx.Tx) error {
		calls++
		cancel()
		return &pgconn.PgError{Code: "40001"}
	})
	if err == nil || calls != 1 {
		t.Errorf("with an ended context: got %v after %d calls, want an error after 1", err, calls)
	}
}

// proxy passes connections on to a database and cuts them when a COMMIT comes along.
type proxy struct {
	t      *testing.T
	socket string
	pass   bool // the COMMIT reaches the server, its answer is cut off; else the COMMIT itself is
	once   bool // only the first COMMIT is cut
	cuts   atomic.Int32
}

// cutAtCommit returns the URL of a proxy to the database at address.
func cutAtCommit(t *testing.T, address string, pass bool) string {
	t.Helper()
	return (&proxy{t: t, pass: pass}).listen(address)
}

// listen serves connections to the database at address and returns the URL for it.
func (p *proxy) listen(address string) string {
	t := p.t
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	p.socket = u.Query().Get("host") + "/.s.PGSQL." + u.Query().Get("port")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { p.serve(client) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); conns.Wait() })
	u.Host = l.Addr().String()
	u.RawQuery = "sslmode=disable"
	return u.String()
}

func (p *proxy) serve(client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial("unix", p.socket)
	if err != nil {
		p.t.Error(err)
		return
	}
	defer func() { _ = server.Close() }()
	var commit bool
	var mu sync.Mutex
	var back sync.WaitGroup
	defer back.Wait()
	defer func() { _ = server.Close() }()
	back.Go(func() {
		defer func() { _ = client.Close() }()
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf)
			mu.Lock()
			cut := commit
			mu.Unlock()
			if cut || err != nil {
				return // the server has answered the COMMIT: it is done
			}
			if _, err := client.Write(buf[:n]); err != nil {
				return
			}
		}
	})
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		if bytes.Contains(buf[:n], []byte("Q\x00\x00\x00\x0bcommit\x00")) && (p.cuts.Add(1) == 1 || !p.once) {
			if !p.pass {
				return
			}
			mu.Lock()
			commit = true
			mu.Unlock()
		}
		if _, err := server.Write(buf[:n]); err != nil && !errors.Is(err, io.ErrClosedPipe) {
			return
		}
	}
}

// A COMMIT without an answer is neither an error like others nor tried again.
func TestInTxSaysThatACommitIsUnknown(t *testing.T) {
	t.Parallel()
	for _, pass := range []bool{true, false} {
		t.Run(fmt.Sprintf("reaches the server %v", pass), func(t *testing.T) {
			t.Parallel()
			address := pgtest.EmptyURL(t)
			direct := pgtest.Open(t, store.Options{URL: address})
			run(t, direct, "CREATE SCHEMA postroom")
			run(t, direct, "CREATE TABLE note (n int)")
			db := pgtest.Open(t, store.Options{URL: cutAtCommit(t, address, pass)})
			calls := 0
			err := db.InTx(t.Context(), pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
				calls++
				return insert(1)(ctx, tx)
			})
			if class, code, _, _ := fault.Describe(err); !errors.Is(err, store.ErrCommitUnknown) || class != fault.Transient || code != "commit_unknown" {
				t.Errorf("got %s %s %v, want transient commit_unknown", class, code, err)
			}
			if calls != 1 {
				t.Errorf("%d calls, want 1", calls)
			}
			want := 0
			if pass {
				want = 1
			}
			if got := one[int](t, direct, "SELECT count(*)::int FROM note"); got != want {
				t.Errorf("got %d rows, want %d", got, want)
			}
			// The DB goes on.
			if got := one[int](t, db, "SELECT 1"); got != 1 {
				t.Errorf("got %d", got)
			}
			idle(t, db)
		})
	}
}

func TestInTxWhenTheConnectionIsCutBefore(t *testing.T) {
	t.Parallel()
	db := notes(t)
	err := db.InTx(t.Context(), pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		if err := insert(1)(ctx, tx); err != nil {
			return err
		}
		_, err := db.Pool().Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "SELECT 1")
		return err
	})
	// Which of the two depends on whether the server's last words are read before our statement is written.
	if got := codeOf(err); errors.Is(err, store.ErrCommitUnknown) || (got != "database_unavailable" && got != "database_connection_lost") {
		t.Errorf("got %s, %v, want database_unavailable or database_connection_lost", got, err)
	}
	if got := one[int](t, db, "SELECT count(*)::int FROM note"); got != 0 {
		t.Errorf("got %d rows, want 0", got)
	}
	idle(t, db)
}

// A connection that fn saw die, and kept quiet about, was never asked to commit: that is known.
func TestInTxOnAConnectionThatIsClosed(t *testing.T) {
	t.Parallel()
	db := notes(t)
	err := db.InTx(t.Context(), pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		if err := insert(1)(ctx, tx); err != nil {
			return err
		}
		return tx.Conn().Close(ctx)
	})
	if errors.Is(err, store.ErrCommitUnknown) || codeOf(err) != "database_connection_lost" {
		t.Errorf("got %v, want database_connection_lost", err)
	}
	idle(t, db)
}
