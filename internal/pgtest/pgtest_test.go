package pgtest_test

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/postroom/postroom/internal/pgtest"
	"github.com/postroom/postroom/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, pgtest.Goroutines()...) }

func TestNewIsMigratedAndAlone(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	one, two := pgtest.New(t), pgtest.New(t)
	for _, db := range []*store.DB{one, two} {
		if err := db.CheckSchema(ctx); err != nil {
			t.Errorf("CheckSchema: %v", err)
		}
	}
	if _, err := one.Pool().Exec(ctx, "INSERT INTO user_account (name, address) VALUES ('a', 'a@example.org')"); err != nil {
		t.Fatal(err)
	}
	var n int
	if err := two.Pool().QueryRow(ctx, "SELECT count(*) FROM user_account").Scan(&n); err != nil || n != 0 {
		t.Errorf("the other database has %d rows, %v, want 0", n, err)
	}
}

func TestDroppedAtTheEnd(t *testing.T) {
	var url string
	t.Run("use", func(t *testing.T) {
		url = pgtest.URL(t)
		conn, err := pgx.Connect(t.Context(), url) // left open: the database goes all the same
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	if conn, err := pgx.Connect(t.Context(), url); err == nil {
		_ = conn.Close(t.Context())
		t.Errorf("the database is still there")
	}
}

func TestServerCanBeKilledAndRestarted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s := pgtest.Server(t)
	db := pgtest.Open(t, store.Options{URL: s.URL()})
	if _, err := db.Migrate(ctx); err != nil {
		t.Fatal(err)
	}
	if ok, why, err := db.Durable(ctx); err != nil || !ok {
		t.Errorf("Durable: %v %q %v, want true", ok, why, err)
	}
	if _, err := db.Pool().Exec(ctx, "INSERT INTO user_account (name, address) VALUES ('a', 'a@example.org')"); err != nil {
		t.Fatal(err)
	}
	old := s.Pid()
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	if s.Pid() == old {
		t.Errorf("pid is still %d", old)
	}
	var n int
	for n == 0 {
		err := db.Pool().QueryRow(ctx, "SELECT count(*) FROM user_account").Scan(&n)
		if ctx.Err() != nil || (err == nil && n == 0) {
			t.Fatalf("the committed row is gone: %v", err)
		} // an error of the pool's old connections is tried again
	}
}

// A test that is killed leaves nothing behind.
func TestKilledTestLeavesNothing(t *testing.T) {
	if os.Getenv("POSTROOM_TEST_PGTEST_CHILD") != "" {
		dir := pgtest.New(t)
		var data string
		if err := dir.Pool().QueryRow(t.Context(), "SELECT pg_backend_pid()::text").Scan(&data); err != nil {
			t.Fatal(err)
		}
		_, _ = os.Stdout.WriteString("ready " + data + "\n")
		select {}
	}
	t.Parallel()
	pgtest.URL(t)                                             // skips where there is no PostgreSQL
	tmp, err := os.MkdirTemp("/tmp", "postroom-pgtest-test-") //nolint:usetesting // PostgreSQL's user may not enter t.TempDir's parents
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(tmp) })
	if err := os.Chmod(tmp, 0o711); err != nil { // PostgreSQL's user must pass
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledTestLeavesNothing$")
	child.Env = append(os.Environ(), "POSTROOM_TEST_PGTEST_CHILD=1", "TMPDIR="+tmp)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	backend := readPid(t, out)
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // killed
	deadline := time.After(time.Minute)
	for {
		entries, err := os.ReadDir(tmp)
		if err != nil {
			t.Fatal(err)
		}
		left := len(entries) // the kept cluster stays
		if _, err := os.Stat("/proc/" + strconv.Itoa(backend)); left <= 1 && err != nil {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("left over: %v, process %d", entries, backend)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func readPid(t *testing.T, out interface{ Read(p []byte) (int, error) }) int {
	t.Helper()
	var text strings.Builder
	buf := make([]byte, 256)
	for {
		n, err := out.Read(buf)
		text.Write(buf[:n])
		if _, after, ok := strings.Cut(text.String(), "ready "); ok && strings.Contains(after, "\n") {
			pid, err := strconv.Atoi(strings.SplitN(after, "\n", 2)[0])
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
		if err != nil {
			t.Fatalf("the child ended: %v: %s", err, text.String())
		}
	}
}
