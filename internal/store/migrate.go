package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/migrations"
)

// versionTable is where goose keeps which migrations were applied, in our schema.
const versionTable = goose.DefaultTablename

// migrationLockTries is for how many seconds one daemon waits for another that migrates.
const migrationLockTries = 300

// Migrate makes the schema if it is missing and applies the migrations that it lacks, each in a transaction of its own.
// Several may be started at once: one works, the others wait. It returns the names of the files that it applied, also
// along with an error: schema_newer, or what the database said.
func (db *DB) Migrate(ctx context.Context) (applied []string, err error) {
	cfg := db.pool.Config().ConnConfig.Copy()
	cfg.RuntimeParams["statement_timeout"] = "0" // a migration may rewrite a large table
	cfg.RuntimeParams["idle_in_transaction_session_timeout"] = "0"
	conn := stdlib.OpenDB(*cfg)
	defer func() {
		if closeErr := conn.Close(); err == nil && closeErr != nil {
			err = Classify(fmt.Errorf("migrate: %w", closeErr))
		}
	}()
	if err := createSchema(ctx, conn, db.schema); err != nil {
		return nil, err
	}
	if err := db.CheckSchema(ctx); err != nil {
		if _, code, _, _ := fault.Describe(err); code != "schema_older" {
			return nil, err
		}
		if err := db.checkRights(ctx, "CREATE"); err != nil {
			return nil, err
		}
	}
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, migrationLockTries))
	if err != nil {
		return nil, fmt.Errorf("migrate: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, conn, migrations.FS,
		goose.WithSessionLocker(locker), goose.WithDisableGlobalRegistry(true), goose.WithTableName(versionTable))
	if err != nil {
		return nil, fmt.Errorf("migrate: %w", err)
	}
	results, err := provider.Up(ctx)
	if partial, ok := errors.AsType[*goose.PartialError](err); ok {
		results = partial.Applied
	}
	for _, r := range results {
		applied = append(applied, path.Base(r.Source.Path))
	}
	if err != nil {
		return applied, Classify(fmt.Errorf("migrate: %w", err))
	}
	return applied, nil
}

// createSchema makes the schema. It asks first: IF NOT EXISTS wants the right to create schemas even where an admin has
// made it for us.
func createSchema(ctx context.Context, conn *sql.DB, schema string) error {
	quoted := pgx.Identifier{schema}.Sanitize()
	var there bool
	if err := conn.QueryRowContext(ctx, "SELECT to_regnamespace($1) IS NOT NULL", quoted).Scan(&there); err != nil {
		return Classify(fmt.Errorf("look for schema %s: %w", quoted, err))
	}
	if there {
		return nil
	}
	_, err := conn.ExecContext(ctx, "CREATE SCHEMA IF NOT EXISTS "+quoted)
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && (pg.Code == "23505" || pg.Code == "42P06") {
		return nil // another one made it at the same time
	}
	if err != nil {
		return Classify(fmt.Errorf("create schema %s: %w", quoted, err))
	}
	return nil
}

// CheckSchema compares the schema with this binary. Errors: schema_newer if it was migrated by a newer Postroom,
// schema_older if migrations are to be applied first, schema_forbidden if its role may not look into it; all of class
// Permanent.
func (db *DB) CheckSchema(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	want, err := latestMigration()
	if err != nil {
		return err
	}
	var have int64
	err = db.pool.QueryRow(ctx, "SELECT coalesce(max(version_id) FILTER (WHERE is_applied), 0) FROM "+versionTable).Scan(&have)
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == "42P01" {
		have, err = 0, db.checkRights(ctx, "USAGE") // never migrated, unless it is out of sight
	}
	switch {
	case err != nil:
		return Classify(fmt.Errorf("read the schema's version: %w", err))
	case have > want:
		return fault.New(fault.Permanent, "schema_newer", "Install the newer Postroom that migrated this database, or restore a backup.",
			fmt.Errorf("schema %s is at version %d, this Postroom knows %d", db.schema, have, want))
	case have < want:
		return fault.New(fault.Permanent, "schema_older", "Run `postroom migrate`.",
			fmt.Errorf("schema %s is at version %d, this Postroom needs %d", db.schema, have, want))
	}
	return nil
}

// checkRights returns schema_forbidden if the schema is there and our role has no such right on it.
func (db *DB) checkRights(ctx context.Context, right string) error {
	ctx, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	quoted := pgx.Identifier{db.schema}.Sanitize()
	var role string
	var has bool
	const sql = "SELECT current_user::text, coalesce(has_schema_privilege(to_regnamespace($1)::oid, $2), true)"
	if err := db.pool.QueryRow(ctx, sql, quoted, right).Scan(&role, &has); err != nil {
		return Classify(fmt.Errorf("look for the rights on schema %s: %w", quoted, err))
	}
	if has {
		return nil
	}
	to := pgx.Identifier{role}.Sanitize()
	hint := fmt.Sprintf("As the schema's owner run: GRANT USAGE ON SCHEMA %[1]s TO %[2]s; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %[1]s TO %[2]s; "+
		"GRANT USAGE ON ALL SEQUENCES IN SCHEMA %[1]s TO %[2]s;", quoted, to)
	if right == "CREATE" {
		hint = fmt.Sprintf("Run `postroom migrate` as the schema's owner; to a schema that is still empty, GRANT USAGE, CREATE ON SCHEMA %s TO %s does.", quoted, to)
	}
	return fault.New(fault.Permanent, "schema_forbidden", hint,
		fmt.Errorf("role %s has no right %s on schema %s", to, right, quoted))
}

// latestMigration returns the highest version among the embedded files.
func latestMigration() (int64, error) {
	names, err := fs.Glob(migrations.FS, "*.sql")
	if err != nil {
		return 0, fmt.Errorf("list the migrations: %w", err)
	}
	var latest int64
	for _, name := range names {
		v, err := goose.NumericComponent(name)
		if err != nil {
			return 0, fmt.Errorf("migration %s: %w", name, err)
		}
		latest = max(latest, v)
	}
	return latest, nil
}
