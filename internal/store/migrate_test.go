package store_test

import (
	"context"
	"io/fs"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/pgtest"
	"github.com/postroom/postroom/internal/store"
	"github.com/postroom/postroom/migrations"
)

func files(t *testing.T) []string {
	t.Helper()
	names, err := fs.Glob(migrations.FS, "*.sql")
	if err != nil || len(names) == 0 {
		t.Fatalf("no migrations: %v", err)
	}
	return names
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, store.Options{URL: pgtest.EmptyURL(t), Schema: "Our Mail"})
	if err := db.CheckSchema(t.Context()); codeOf(err) != "schema_older" {
		t.Errorf("CheckSchema before: got %v, want schema_older", err)
	}
	applied, err := db.Migrate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := files(t); len(applied) != len(want) || applied[0] != want[0] {
		t.Errorf("applied %v, want %v", applied, want)
	}
	if err := db.CheckSchema(t.Context()); err != nil {
		t.Errorf("CheckSchema after: %v", err)
	}
	if again, err := db.Migrate(t.Context()); err != nil || len(again) != 0 {
		t.Errorf("again: got %v, %v, want none", again, err)
	}
	const sql = `SELECT count(*)::int FROM pg_class WHERE relkind IN ('r', 'p', 'v') AND relnamespace <> to_regnamespace('"Our Mail"')
		AND relnamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname LIKE 'pg\_%' OR nspname = 'information_schema')`
	if n := one[int](t, db, sql); n != 0 {
		t.Errorf("%d tables and views are outside of the schema", n)
	}
}

func TestMigrateTwoSchemasOfOneDatabase(t *testing.T) {
	t.Parallel()
	address := pgtest.EmptyURL(t)
	for _, schema := range []string{"one", "two"} {
		db := pgtest.Open(t, store.Options{URL: address, Schema: schema})
		if applied, err := db.Migrate(t.Context()); err != nil || len(applied) != len(files(t)) {
			t.Errorf("%s: applied %v, %v", schema, applied, err)
		}
		run(t, db, "INSERT INTO user_account (name, address) VALUES ('a', 'a@example.org')")
		if n := one[int](t, db, "SELECT count(*)::int FROM user_account"); n != 1 {
			t.Errorf("%s: got %d rows, want 1", schema, n)
		}
	}
}

func TestMigrateByManyAtOnce(t *testing.T) {
	t.Parallel()
	address := pgtest.EmptyURL(t)
	const goroutines = 4
	applied, errs := make([][]string, goroutines), make([]error, goroutines)
	var wg sync.WaitGroup
	for g := range goroutines {
		db := pgtest.Open(t, store.Options{URL: address})
		wg.Go(func() { applied[g], errs[g] = db.Migrate(t.Context()) })
	}
	wg.Wait()
	total := 0
	for g := range goroutines {
		if errs[g] != nil {
			t.Errorf("Migrate: %v", errs[g])
		}
		total += len(applied[g])
	}
	if want := len(files(t)); total != want {
		t.Errorf("%d files were applied in all, want %d", total, want)
	}
}

func TestCheckSchemaOfAnotherVersion(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	run(t, db, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, true)")
	for what, err := range map[string]error{"CheckSchema": db.CheckSchema(t.Context()), "Migrate": second(db.Migrate(t.Context()))} {
		if class, code, _, hint := fault.Describe(err); class != fault.Permanent || code != "schema_newer" || hint == "" {
			t.Errorf("%s of a newer one: got %v, want permanent schema_newer with a hint", what, err)
		}
	}
	run(t, db, "DELETE FROM goose_db_version WHERE version_id > 1")
	if class, code, _, hint := fault.Describe(db.CheckSchema(t.Context())); class != fault.Permanent || code != "schema_older" || hint != "Run `postroom migrate`." {
		t.Errorf("of an older one: got %s %s %q, want permanent schema_older with the hint", class, code, hint)
	}
}

func second[A any](_ A, err error) error { return err }

// A migration that fails leaves what came before it, and says so.
func TestMigrateThatFails(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, store.Options{URL: pgtest.EmptyURL(t)})
	run(t, db, "CREATE SCHEMA postroom")
	run(t, db, "CREATE TABLE receipt (mine int)") // in the way of the second file
	applied, err := db.Migrate(t.Context())
	if err == nil || len(applied) != 1 {
		t.Errorf("got %v, %v, want the first file and an error", applied, err)
	}
	run(t, db, "DROP TABLE receipt")
	if rest, err := db.Migrate(t.Context()); err != nil || len(rest) != len(files(t))-1 {
		t.Errorf("afterwards: got %v, %v, want the rest", rest, err)
	}
}

// An admin may make the schema and give Postroom no right to make others.
func TestMigrateIntoAGivenSchema(t *testing.T) {
	t.Parallel()
	address := pgtest.EmptyURL(t)
	owner := pgtest.Open(t, store.Options{URL: address})
	run(t, owner, "CREATE SCHEMA postroom")
	run(t, owner, "REVOKE CREATE ON DATABASE "+one[string](t, owner, "SELECT current_database()")+" FROM postroom, PUBLIC")
	if applied, err := owner.Migrate(t.Context()); err != nil || len(applied) == 0 {
		t.Errorf("got %v, %v", applied, err)
	}
	other := pgtest.Open(t, store.Options{URL: address, Schema: "other"})
	if _, err := other.Migrate(t.Context()); codeOf(err) != "database_privilege" {
		t.Errorf("a schema that it may not make: got %v, want database_privilege", err)
	}
}

// as returns address with another role and without our search_path.
func as(t *testing.T, address, role string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(role)
	return u.String()
}

// A role that may not see the schema is not sent to migrate it, and one that may not write to it is told what it lacks.
func TestSchemaWithoutRights(t *testing.T) {
	t.Parallel()
	address := pgtest.EmptyURL(t)
	owner := pgtest.Open(t, store.Options{URL: address})
	admin, err := pgx.Connect(t.Context(), as(t, address, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = admin.Close(t.Context()) }()
	role := "plain_" + strings.ToLower(one[string](t, owner, "SELECT current_database()"))
	quoted := pgx.Identifier{role}.Sanitize()
	do := func(sql string) {
		t.Helper()
		if _, err := admin.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	do("CREATE ROLE " + quoted + " LOGIN")
	t.Cleanup(func() { // after its pool is closed, and before the database is dropped
		conn, err := pgx.Connect(context.Background(), as(t, address, "postgres")) //nolint:usetesting // the test's own has ended
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close(context.Background()) }()                                                   //nolint:usetesting // see above
		if _, err := conn.Exec(context.Background(), "DROP OWNED BY "+quoted+"; DROP ROLE "+quoted); err != nil { //nolint:usetesting // see above
			t.Error(err)
		}
	})
	plain := pgtest.Open(t, store.Options{URL: as(t, address, role)})
	wants := func(what string, err error, hint string) {
		t.Helper()
		if class, code, _, got := fault.Describe(err); class != fault.Permanent || code != "schema_forbidden" || !strings.Contains(got, hint) {
			t.Errorf("%s: got %v, hint %q, want permanent schema_forbidden and %q", what, err, got, hint)
		}
	}

	run(t, owner, "CREATE SCHEMA postroom")
	run(t, owner, "GRANT USAGE ON SCHEMA postroom TO "+quoted)
	wants("Migrate without CREATE", second(plain.Migrate(t.Context())), "GRANT USAGE, CREATE ON SCHEMA \"postroom\" TO "+quoted)
	run(t, owner, "REVOKE USAGE ON SCHEMA postroom FROM "+quoted)
	if _, err := owner.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	const grant = "GRANT USAGE ON SCHEMA"
	wants("CheckSchema without USAGE", plain.CheckSchema(t.Context()), grant)
	wants("Migrate without USAGE", second(plain.Migrate(t.Context())), grant)

	_, _, _, hint := fault.Describe(plain.CheckSchema(t.Context()))
	_, grants, _ := strings.Cut(hint, "run: ")
	do(grants) // the hint is what it takes
	if err := plain.CheckSchema(t.Context()); err != nil {
		t.Errorf("after what the hint says: %v", err)
	}
	if again, err := plain.Migrate(t.Context()); err != nil || len(again) > 0 {
		t.Errorf("Migrate by it of a schema that is up to date: got %v, %v", again, err)
	}
	run(t, plain, "INSERT INTO user_account (name, address) VALUES ('a', 'a@example.org')")
}

// Records may be changed by a session that does not have our search_path, and the daemons hear of it.
func TestRecordsAreChangedFromAnywhere(t *testing.T) {
	t.Parallel()
	address := pgtest.URL(t)
	db := pgtest.Open(t, store.Options{URL: address})
	before := one[int64](t, db, "SELECT version::bigint FROM records_version")
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	for _, sql := range []string{"SET search_path = public", "UPDATE postroom.mailbox SET enabled = false"} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	if after := one[int64](t, db, "SELECT version::bigint FROM records_version"); after != before+1 {
		t.Errorf("records_version: got %d, want %d", after, before+1)
	}
}
