package store_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postroom/postroom/internal/activity"
	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/relate"
	"github.com/postroom/postroom/internal/store"
)

func (p *post) directory(t *testing.T, view string) *store.PartyDirectory {
	t.Helper()
	d, err := p.db.PartyDirectory(view, 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestResolvePartiesOfTheDefaultView(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	p.exec(t, `INSERT INTO account (name, address) VALUES ('ACME', 'Info@ACME.example')`)
	p.exec(t, `INSERT INTO contact (name, address, owner_id) SELECT 'Contact', 'ann@example.com', user_id FROM user_account WHERE name = 'bob'`)
	p.exec(t, `INSERT INTO lead (name, address) VALUES ('Lead', 'ann@example.com'), ('nobody', NULL)`)
	got, err := p.directory(t, "party_directory").ResolveParties(t.Context(), []string{"ann@example.com", "info@acme.example", "stranger@x", "bad\x00\xff"})
	if err != nil {
		t.Fatal(err)
	}
	var ann, bob, contact, lead, account string
	p.scan(t, []any{&ann, &bob, &contact, &lead, &account}, `SELECT (SELECT user_id::text FROM user_account WHERE name = 'ann'),
		(SELECT user_id::text FROM user_account WHERE name = 'bob'), (SELECT contact_id::text FROM contact), (SELECT lead_id::text FROM lead WHERE name = 'Lead'),
		(SELECT account_id::text FROM account)`)
	want := map[string][]activity.Party{
		"ann@example.com": {
			{Type: "user", ID: ann, Name: "ann", OwnerID: ann},
			{Type: "contact", ID: contact, Name: "Contact", OwnerID: bob},
			{Type: "lead", ID: lead, Name: "Lead"},
		},
		"info@acme.example": {{Type: "account", ID: account, Name: "ACME"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want - got +:\n%s", diff)
	}
	if chosen, ok := relate.Choose(got["ann@example.com"]); !ok || chosen.ID != ann {
		t.Errorf("got %+v, want the user", chosen)
	}
}

func TestResolvePartiesOfAnAdminsView(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	p.exec(t, `CREATE SCHEMA crm`)
	p.exec(t, `CREATE VIEW crm."people" AS SELECT 'many@x'::varchar AS address, CASE WHEN n % 2 = 0 THEN 'vendor' ELSE 'contact' END AS party_type,
		n AS party_id, NULL AS name, n * 1.5 AS owner_id FROM generate_series(1, 1000) n
		UNION ALL SELECT 'half@x', 'contact', NULL, '', 1`)
	directory, err := p.db.PartyDirectory("CRM.People", 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var _ relate.Resolver = directory
	got, err := directory.ResolveParties(t.Context(), []string{"many@x", "half@x"})
	if err != nil {
		t.Fatal(err)
	}
	if many := got["many@x"]; len(many) != 16 || many[0].ID != "1" || many[1].ID != "3" || many[0].OwnerID != "1.5" {
		t.Errorf("got %+v, want the contacts with the lowest numbers", many)
	}
	if half, ok := got["half@x"]; ok {
		t.Errorf("got %+v, want no entry without an id", half)
	}
}

func TestResolvePartiesFails(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	p.exec(t, `CREATE VIEW slow AS SELECT 'a@x' AS address, pg_sleep(60)::text AS party_type, '1' AS party_id, '' AS name, '' AS owner_id`)
	p.exec(t, `CREATE VIEW broken AS SELECT 'a@x' AS address, (1/(n-1))::text AS party_type, '1' AS party_id, '' AS name, '' AS owner_id FROM generate_series(1,2) n`)
	p.exec(t, `CREATE VIEW columns AS SELECT 'a@x' AS address`)
	p.exec(t, `CREATE FUNCTION w() RETURNS text LANGUAGE plpgsql AS $$ BEGIN DELETE FROM mailbox; RETURN 'user'; END $$`)
	p.exec(t, `CREATE VIEW writes AS SELECT 'a@x' AS address, w() AS party_type, '1' AS party_id, '' AS name, '' AS owner_id`)
	for _, view := range []string{"slow", "broken", "columns", "writes", "no_such_view", "no_such_schema.view"} {
		start := time.Now()
		_, err := p.directory(t, view).ResolveParties(t.Context(), []string{"a@x"})
		e, ok := errors.AsType[*fault.Error](err)
		if !ok || e.Code != "parties_view" || e.Class != fault.Transient || e.Hint == "" {
			t.Errorf("%s: got %v, want the fault parties_view", view, err)
		}
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("%s: took %v, want 2 s", view, took)
		}
	}
	if _, err := p.directory(t, "party_directory").ResolveParties(t.Context(), []string{"a@x"}); err != nil {
		t.Errorf("a good view, after: %v", err)
	}
	p.expect(t, "4", `SELECT count(*)::text FROM mailbox`)
}

func TestPartyViewNames(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	for _, name := range []string{
		"", "a.b.c", "a b", `a"b`, "a;drop table mailbox", "(select 1)", "1a", ".a", "a.", "ä", "a\x00", strings.Repeat("a", 64), "a--",
	} {
		if _, err := p.db.PartyDirectory(name, time.Second); fault.ClassOf(err) != fault.Permanent {
			t.Errorf("%q: got %v, want it refused", name, err)
		}
	}
	for _, name := range []string{"party_directory", "crm.v$1", "_x", "Postroom.Party_Directory"} {
		if _, err := p.db.PartyDirectory(name, time.Second); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestEnsurePartitions(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	for range 2 {
		if err := p.db.EnsurePartitions(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	p.write(t, p.ann, p.ann.batch(1, letter{id: "a1@x", text: "t"}))
	p.expect(t, "0/0", `SELECT concat_ws('/', (SELECT count(*) FROM trace_default), (SELECT count(*) FROM event_default))`)
}
