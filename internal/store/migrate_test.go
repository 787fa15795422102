package store_test

import (
	"io/fs"
	"sync"
	"testing"

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
