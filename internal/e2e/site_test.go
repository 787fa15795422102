package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	commandTimeout = 90 * time.Second // of one command
	waitTimeout    = 90 * time.Second // for anything that must come to be
	lookEvery      = 50 * time.Millisecond
)

// site is one deployment: a folder with a configuration, and the database that it names.
type site struct {
	dir    string
	binary string // of the daemon; commands run without the race detector, which costs each a second
	config string
	db     *pgxpool.Pool // nil without a database of its own
}

// newSite writes a configuration for a database and opens that for the test. More is appended to the configuration.
// An empty url leaves the database to Postroom.
func newSite(t *testing.T, url, more string) *site {
	t.Helper()
	dir := openDir(t)
	s := &site{dir: dir, binary: binary(t, raceEnabled), config: filepath.Join(dir, "postroom.yaml")}
	text := fmt.Sprintf("data_dir: %q\nadmin:\n  listen: \"\"\nscheduler:\n  heartbeat: 1s\n  stale_after: 3s\n  drain: 3s\n", filepath.Join(dir, "data"))
	if url != "" {
		text += fmt.Sprintf("database:\n  url: %q\n", url)
		s.db = connect(t, url)
	}
	s.write(t, "postroom.yaml", text+more)
	return s
}

// openDir makes a folder that PostgreSQL's own user may enter, too: the tests may run as root.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "postroom-e2e-site-") //nolint:usetesting // t.TempDir is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

func connect(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	cfg.ConnConfig.RuntimeParams["search_path"] = "postroom"
	cfg.MaxConns = 3
	db, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

// write puts a file into the site's folder and returns its path.
func (s *site) write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// result is what a command printed, and its exit code.
type result struct {
	out, err string
	code     int
}

// run runs a command to its end.
func (s *site) run(t *testing.T, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), commandTimeout)
	defer cancel()
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, binary(t, false), append([]string{"--config", s.config}, args...)...)
	cmd.Env, cmd.Dir = environment(), s.dir
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && (!ended || ctx.Err() != nil) {
		t.Fatalf("postroom %s: %v: %s", strings.Join(args, " "), err, errOut.String())
	}
	return result{out: out.String(), err: errOut.String(), code: cmd.ProcessState.ExitCode()}
}

// must runs a command that is to succeed.
func (s *site) must(t *testing.T, args ...string) result {
	t.Helper()
	r := s.run(t, args...)
	if r.code != 0 {
		t.Fatalf("postroom %s: got exit code %d, want 0: %s%s", strings.Join(args, " "), r.code, r.out, r.err)
	}
	return r
}

// environment is what the binary gets: nothing of the tests' own settings.
func environment() []string {
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TZ=UTC", "GORACE=halt_on_error=1"}
	if dir := os.Getenv("TMPDIR"); dir != "" {
		env = append(env, "TMPDIR="+dir)
	}
	return env
}

// decode reads the object that a command printed with --output json.
func decode[T any](t *testing.T, r result) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(r.out), &v); err != nil {
		t.Fatalf("not JSON: %v: %s%s", err, r.out, r.err)
	}
	return v
}

// apply migrates the database and makes the records what text says.
func (s *site) apply(t *testing.T, text string) {
	t.Helper()
	s.must(t, "migrate")
	s.must(t, "apply", "-f", s.write(t, "records.yaml", text))
}

// poll has a mailbox polled now and fails unless that went well.
func (s *site) poll(t *testing.T, name string) {
	t.Helper()
	s.must(t, "mailbox", "poll", name, "--wait", "--timeout", "80s")
}

// count returns the one number that a query returns.
func (s *site) count(t *testing.T, sql string, args ...any) int64 {
	t.Helper()
	return one[int64](t, s, sql, args...)
}

// one returns the one value that a query returns.
func one[T any](t *testing.T, s *site, sql string, args ...any) T {
	t.Helper()
	list := all[T](t, s, sql, args...)
	if len(list) != 1 {
		t.Fatalf("%s: got %d rows, want 1", sql, len(list))
	}
	return list[0]
}

// all returns the only column of a query.
func all[T any](t *testing.T, s *site, sql string, args ...any) []T {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	rows, err := s.db.Query(ctx, sql, args...)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[T])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return list
}

// wants fails the test unless a query's number is want.
func (s *site) wants(t *testing.T, want int64, what, sql string, args ...any) {
	t.Helper()
	if got := s.count(t, sql, args...); got != want {
		t.Errorf("%s: got %d, want %d", what, got, want)
	}
}

// eventually looks until done says so, and fails the test with what it last said if that does not come.
func eventually(t *testing.T, what string, done func() (ok bool, state string)) {
	t.Helper()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	deadline := time.NewTimer(waitTimeout)
	defer deadline.Stop()
	for {
		ok, state := done()
		if ok {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("%s: not within %s: %s", what, waitTimeout, state)
		case <-t.Context().Done():
			t.Fatalf("%s: the test was ended: %s", what, state)
		}
	}
}

// awaits looks until a query's number is want.
func (s *site) awaits(t *testing.T, want int64, what, sql string, args ...any) {
	t.Helper()
	eventually(t, what, func() (bool, string) {
		got := s.count(t, sql, args...)
		return got == want, fmt.Sprintf("got %d, want %d", got, want)
	})
}
