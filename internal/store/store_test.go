package store_test

import (
	"context"
	"errors"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/pgtest"
	"github.com/postroom/postroom/internal/store"
)

// codeOf returns the code of an error's class.
func codeOf(err error) string {
	_, code, _, _ := fault.Describe(err)
	return code
}

// one returns what a query gives.
func one[T any](t *testing.T, db *store.DB, sql string, args ...any) (got T) {
	t.Helper()
	if err := db.Pool().QueryRow(t.Context(), sql, args...).Scan(&got); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return got
}

// run runs a statement.
func run(t *testing.T, db *store.DB, sql string, args ...any) {
	t.Helper()
	if _, err := db.Pool().Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func TestSessionsHaveTheirSettings(t *testing.T) {
	t.Parallel()
	address := pgtest.EmptyURL(t)
	for _, c := range []struct {
		opts store.Options
		want map[string]string
	}{
		{store.Options{}, map[string]string{
			"search_path": `"postroom", pg_temp`, "synchronous_commit": "on", "application_name": "postroom", "TimeZone": "UTC",
			"statement_timeout": "30s", "lock_timeout": "10s", "idle_in_transaction_session_timeout": "1min",
		}},
		{store.Options{Schema: `Or"g`, Durability: "local", ApplicationName: "test"}, map[string]string{
			"search_path": `"Or""g", pg_temp`, "synchronous_commit": "local", "application_name": "test",
		}},
		{store.Options{Durability: "remote_apply"}, map[string]string{"synchronous_commit": "remote_apply"}},
	} {
		c.opts.URL = address
		db := pgtest.Open(t, c.opts)
		for name, want := range c.want {
			if got := one[string](t, db, "SELECT current_setting($1)", name); got != want {
				t.Errorf("%+v: %s is %q, want %q", c.opts, name, got, want)
			}
		}
		if err := db.Ping(t.Context()); err != nil {
			t.Errorf("Ping: %v", err)
		}
	}
}

// A database that commits without waiting for its disk by default must not make ours do so.
func TestDurabilityIsOurs(t *testing.T) {
	t.Parallel()
	address := pgtest.EmptyURL(t)
	db := pgtest.Open(t, store.Options{URL: address})
	run(t, db, "ALTER DATABASE "+one[string](t, db, "SELECT current_database()")+" SET synchronous_commit = off")
	again := pgtest.Open(t, store.Options{URL: address, Durability: "local"})
	run(t, again, "RESET ALL")
	if got := one[string](t, again, "SHOW synchronous_commit"); got != "local" {
		t.Errorf("got %q, want local", got)
	}
}

func TestTemporaryTablesComeLast(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	err := db.InTx(t.Context(), pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "CREATE TEMPORARY TABLE raw (n int)"); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "INSERT INTO raw (state) VALUES ('loading')")
		return err
	})
	if err != nil {
		t.Errorf("a temporary table stands before ours: %v", err)
	}
}

func TestDurable(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t) // the tests' server runs without
	ok, why, err := db.Durable(t.Context())
	if err != nil || ok || !strings.Contains(why, "fsync") || !strings.Contains(why, "full_page_writes") {
		t.Errorf("got %v %q %v, want false for fsync and full_page_writes", ok, why, err)
	}
}

func TestOpenRefusesOptions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		opts store.Options
		want string
	}{
		{"no URL of any kind", store.Options{URL: "postgres://u:geheim@h:notaport/d"}, "database_url_invalid"},
		{"a bad escape", store.Options{URL: "postgres://u:geheim%zz@h/d"}, "database_url_invalid"},
		{"a password with an at sign", store.Options{URL: "postgres://u:geheim@1:geheim@h:x/d"}, "database_url_invalid"},
		{"bad pairs", store.Options{URL: "host=h password=geheim port"}, "database_url_invalid"},
		{"sslmode", store.Options{URL: "postgres://u:geheim@h/d?sslmode=geheim"}, "database_url_invalid"},
		{"a certificate that is missing", store.Options{URL: "postgres://u:geheim@h/d?sslmode=verify-full&sslrootcert=/geheim"}, "database_url_invalid"},
		{"durability", store.Options{URL: "postgres:///d", Durability: "off"}, "database_durability_invalid"},
		{"a schema of PostgreSQL", store.Options{URL: "postgres:///d", Schema: "pg_catalog"}, "database_schema_invalid"},
		{"a long schema", store.Options{URL: "postgres:///d", Schema: strings.Repeat("x", 64)}, "database_schema_invalid"},
	} {
		_, err := store.Open(t.Context(), c.opts)
		class, code, text, hint := fault.Describe(err)
		if class != fault.Permanent || code != c.want || hint == "" {
			t.Errorf("%s: got %s %s %q, want permanent %s with a hint", c.name, class, code, text, c.want)
		}
		if strings.Contains(text+hint, "geheim") {
			t.Errorf("%s: the error shows the password: %q", c.name, text)
		}
	}
}

func TestOpenSaysWhyItCannotConnect(t *testing.T) {
	t.Parallel()
	good := pgtest.EmptyURL(t)
	other := func(change func(u *url.URL, q url.Values)) string {
		u, err := url.Parse(good)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		change(u, q)
		u.RawQuery = q.Encode()
		return u.String()
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, url string
		class     fault.Class
		code      string
	}{
		{"no such database", other(func(u *url.URL, _ url.Values) { u.Path = "/nowhere" }), fault.Permanent, "database_missing"},
		{"no such user", other(func(u *url.URL, _ url.Values) { u.User = url.User("nobody") }), fault.Auth, "database_login_refused"},
		{"no such socket", other(func(_ *url.URL, q url.Values) { q.Set("host", "/nowhere") }), fault.Transient, "database_refused"},
		{"nobody listens", "postgres://u@" + closed.Addr().String() + "/d?sslmode=disable", fault.Transient, "database_refused"},
		{"no such host", "postgres://u@host.invalid/d?sslmode=disable", fault.Transient, "database_host_unknown"},
		{"a setting that it does not know", other(func(_ *url.URL, q url.Values) { q.Set("nonsense", "1") }), fault.Permanent, "database_url_refused"},
	} {
		_, err := store.Open(t.Context(), store.Options{URL: c.url})
		class, code, text, hint := fault.Describe(err)
		if class != c.class || code != c.code || hint == "" {
			t.Errorf("%s: got %s %s %q (hint %q), want %s %s", c.name, class, code, text, hint, c.class, c.code)
		}
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("unix", filepath.Join(t.TempDir(), ".s.PGSQL.5432"))
	if err != nil {
		t.Skip(err) // the folder's name is too long for a socket
	}
	defer func() { _ = silent.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	accepted := make(chan struct{})
	go func() {
		conn, err := silent.Accept()
		if err == nil {
			defer func() { _ = conn.Close() }()
		}
		cancel() // once it waits for an answer
		<-accepted
	}()
	_, err = store.Open(ctx, store.Options{URL: "postgres://u@/d?host=" + filepath.Dir(silent.Addr().String())})
	close(accepted)
	if !errors.Is(err, context.Canceled) || fault.ClassOf(err) != fault.Stopping {
		t.Errorf("got %v of class %s, want context.Canceled, stopping", err, fault.ClassOf(err))
	}
}
