package store_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/postroom/postroom/internal/pgtest"
)

// schemaDoc is what CRM developers read about the tables.
const schemaDoc = "../../docs/schema.md"

// column is a column as the document's tables describe it.
type column struct{ Name, Type, Null string }

func readSchemaDoc(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(schemaDoc)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// documentedColumns returns the columns of every "## Table" and "## View" of the document, by relation.
func documentedColumns(t *testing.T, text string) map[string][]column {
	t.Helper()
	heading := regexp.MustCompile("^## (?:Table|View) `([a-z_]+)`$")
	row := regexp.MustCompile("^\\| `([a-z0-9_]+)` \\| ([a-z0-9\\[\\] ]+) \\| (null)? ?\\| .+ \\|$")
	found := map[string][]column{}
	relation := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "## ") {
			relation = ""
			if m := heading.FindStringSubmatch(line); m != nil {
				relation = m[1]
			}
		}
		if m := row.FindStringSubmatch(line); m != nil && relation != "" {
			found[relation] = append(found[relation], column{Name: m[1], Type: m[2], Null: m[3]})
		}
	}
	if len(found) == 0 {
		t.Fatalf("%s describes no table", schemaDoc)
	}
	return found
}

func TestTheSchemaIsDocumented(t *testing.T) {
	db := pgtest.New(t)
	for relation, documented := range documentedColumns(t, readSchemaDoc(t)) {
		rows, err := db.Pool().Query(t.Context(), `
			SELECT column_name::text, CASE data_type WHEN 'ARRAY' THEN ltrim(udt_name, '_') || '[]'
				WHEN 'timestamp with time zone' THEN 'timestamptz' ELSE data_type END,
				CASE is_nullable WHEN 'YES' THEN 'null' ELSE '' END
			FROM information_schema.columns WHERE table_schema = current_schema() AND table_name = $1`, relation)
		if err != nil {
			t.Fatal(err)
		}
		there, err := pgx.CollectRows(rows, pgx.RowToStructByPos[column])
		if err != nil {
			t.Fatal(err)
		}
		byName := func(a, b column) int { return strings.Compare(a.Name, b.Name) }
		slices.SortFunc(there, byName)
		slices.SortFunc(documented, byName)
		if diff := cmp.Diff(there, documented); diff != "" {
			t.Errorf("%s of %s differs from the database (-there +documented):\n%s", relation, schemaDoc, diff)
		}
	}
}

// Every table and view is named in the document, so that a new one is not forgotten.
func TestEveryTableIsDocumented(t *testing.T) {
	text, db := readSchemaDoc(t), pgtest.New(t)
	rows, err := db.Pool().Query(t.Context(), `
		SELECT relname::text FROM pg_class
		WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'm') AND NOT relispartition`)
	if err != nil {
		t.Fatal(err)
	}
	relations, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if len(relations) < 20 {
		t.Fatalf("got %d tables and views, want them all: %v", len(relations), relations)
	}
	for _, relation := range relations {
		if !strings.Contains(text, "`"+relation+"`") {
			t.Errorf("%s does not name %s", schemaDoc, relation)
		}
	}
}

// Values of closed lists that readers switch on stand in the document as the CHECK constraints have them.
func TestTheValuesOfClosedListsAreDocumented(t *testing.T) {
	text, db := readSchemaDoc(t), pgtest.New(t)
	rows, err := db.Pool().Query(t.Context(), `
		SELECT pg_get_constraintdef(oid) FROM pg_constraint
		WHERE contype = 'c' AND conrelid IN ('activity'::regclass, 'party'::regclass, 'attachment'::regclass, 'event'::regclass)`)
	if err != nil {
		t.Fatal(err)
	}
	checks, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	values := 0
	for _, check := range checks {
		for _, m := range regexp.MustCompile(`'([a-z0-9_.-]+)'::text`).FindAllStringSubmatch(check, -1) {
			if values++; !strings.Contains(text, "`"+m[1]+"`") {
				t.Errorf("%s does not name the value %q of %s", schemaDoc, m[1], check)
			}
		}
	}
	if values < 20 {
		t.Fatalf("got %d values in %d constraints, want them all", values, len(checks))
	}
}

// The queries of the document run.
func TestTheDocumentedQueriesRun(t *testing.T) {
	text, db := readSchemaDoc(t), pgtest.New(t)
	if _, err := db.Pool().Exec(t.Context(), `
		CREATE SCHEMA crm;
		CREATE TABLE crm.person (id bigint, full_name text, email text, owner bigint)`); err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllStringSubmatch(text, -1)
	if len(blocks) < 8 {
		t.Fatalf("got %d queries, want all of the document", len(blocks))
	}
	conn, err := db.Pool().Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	for _, block := range blocks {
		sql := strings.ReplaceAll(block[1], "'…'", "'01a20041-9320-71d1-895d-c0eeea921db8'")
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Errorf("got %v, want this to run:\n%s", err, sql)
		}
	}
}
