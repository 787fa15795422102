package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/postroom/postroom/internal/pgtest"
)

// Removing a row looks for what refers to it. Without an index that begins with the referring columns that scans the
// whole table, for every row that is removed.
func TestForeignKeysHaveAnIndex(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	rows, err := db.Pool().Query(t.Context(), `
		SELECT format('%s(%s)', c.conrelid::regclass, (SELECT string_agg(a.attname, ', ' ORDER BY k.n)
			FROM unnest(c.conkey) WITH ORDINALITY AS k (attnum, n) JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.attnum))
		FROM pg_constraint c
		WHERE c.contype = 'f' AND c.connamespace = current_schema()::regnamespace AND NOT EXISTS (
			SELECT FROM pg_index i
			WHERE i.indrelid = c.conrelid AND i.indisvalid
				AND (string_to_array(i.indkey::text, ' ')::smallint[])[1:cardinality(c.conkey)] @> c.conkey
				AND (i.indpred IS NULL OR pg_get_expr(i.indpred, i.indrelid) = (SELECT format('(%I IS NOT NULL)', a.attname)
					FROM pg_attribute a WHERE a.attrelid = c.conrelid AND a.attnum = c.conkey[1])))
		ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	// There are as many leases as mailboxes, and a daemon goes but once.
	if want := []string{"lease(daemon_id)"}; !slices.Equal(got, want) {
		t.Errorf("foreign keys without an index: got %q, want %q", got, want)
	}
}

// Removing a mailbox must not read tables that hold mail from end to end.
func TestRemovingAMailboxScansNoMail(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	tx, err := db.Pool().Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	if _, err := tx.Exec(t.Context(), `SET LOCAL enable_seqscan = off`); err != nil { // the tables are empty here
		t.Fatal(err)
	}
	for table, column := range map[string]string{"receipt": "folder_id", "item": "mailbox_id", "activity": "mailbox_id", "sighting": "mailbox_id"} {
		plan(t, tx, table, column)
	}
	plan(t, tx, "sighting", "via_mailbox_id")
	plan(t, tx, "email", "conflict_of")
}

// plan expects that rows are found by an index on a column, as a foreign key looks for them.
func plan(t *testing.T, tx pgx.Tx, table, column string) {
	t.Helper()
	name := table + "_" + column
	kind := "bigint"
	if table == "email" {
		kind = "uuid"
	}
	for _, sql := range []string{
		`SET LOCAL plan_cache_mode = force_generic_plan`,
		fmt.Sprintf(`PREPARE %s (%s) AS SELECT FROM %s WHERE %s = $1`, name, kind, table, column),
	} {
		if _, err := tx.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	rows, err := tx.Query(t.Context(), fmt.Sprintf(`EXPLAIN EXECUTE %s (NULL)`, name), pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if text := strings.Join(lines, "\n"); err != nil || strings.Contains(text, "Seq Scan") || !strings.Contains(text, column+" = $1") {
		t.Errorf("%s by %s: got %v and\n%s\nwant an index", table, column, err, text)
	}
}
